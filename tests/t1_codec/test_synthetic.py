"""Synthetic frames are valid DPX, mean what other programs read, and compress as film does."""

from __future__ import annotations

import hashlib
import itertools
import shutil
import struct
import subprocess
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from codec.synthetic import dpx_file, dpx_frame, image
from tests.oracle import bits as oracle

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from codec.synthetic import PaddingBits

CHANNELS = {"rgb": 3, "rgba": 4, "luma": 1}
LAYOUTS = [
    {"bits": bits, "packing": packing, "byte_order": order, "descriptor": descriptor}
    for bits, packings in (
        (8, ("packed",)),
        (10, oracle.PACKINGS),
        (12, oracle.PACKINGS),
        (16, ("packed",)),
    )
    for packing, order, descriptor in itertools.product(packings, ("be", "le"), CHANNELS)
]


def layout_id(layout: dict[str, Any]) -> str:
    return "-".join(str(value) for value in layout.values())


def picture_of(layout: dict[str, Any], width: int, height: int) -> NDArray[np.uint16]:
    return image(width, height, channels=CHANNELS[layout["descriptor"]], bits=layout["bits"])


@pytest.mark.parametrize("padding_bits", ["zero", "ones", "random"])
@pytest.mark.parametrize("width", [16, 17, 18, 19])
@pytest.mark.parametrize("layout", LAYOUTS, ids=layout_id)
def test_lines_hold_the_picture(
    layout: dict[str, Any], width: int, padding_bits: PaddingBits
) -> None:
    height = 3
    picture = picture_of(layout, width, height)
    channels = CHANNELS[layout["descriptor"]]
    file = dpx_frame(width, height, **layout, padding_bits=padding_bits, trailing=b"tail")
    assert file.endswith(b"tail")
    place = {"bits": layout["bits"], "packing": layout["packing"]}
    found = list(oracle.lines(file[2048:-4], width * channels, **place))
    assert len(found) == height
    padding: list[int] = []
    for line, row in zip(found, picture, strict=True):
        values, spare = oracle.unpack_line(
            line, width * channels, **place, byte_order=layout["byte_order"], luma=channels == 1
        )
        assert values == row.reshape(-1).tolist()
        padding += spare
    if padding_bits != "random":
        assert set(padding) <= {0 if padding_bits == "zero" else 1}
    elif len(padding) >= 64:
        assert set(padding) == {0, 1}


@pytest.mark.parametrize("layout", LAYOUTS, ids=layout_id)
def test_oracle_packs_what_it_unpacks(layout: dict[str, Any]) -> None:
    place = {name: layout[name] for name in ("bits", "packing", "byte_order")}
    luma = layout["descriptor"] == "luma"
    file = dpx_frame(7, 1, **layout, padding_bits="random")
    samples = 7 * CHANNELS[layout["descriptor"]]
    values, padding = oracle.unpack_line(file[2048:], samples, **place, luma=luma)
    assert oracle.pack_line(values, padding, **place, luma=luma) == file[2048:]


@pytest.mark.parametrize("layout", LAYOUTS, ids=layout_id)
def test_header_declares_the_file(layout: dict[str, Any]) -> None:
    file = dpx_frame(37, 11, **layout, frame=1001, trailing=bytes(100))
    order = ">" if layout["byte_order"] == "be" else "<"
    assert file[:4] == (b"SDPX" if order == ">" else b"XPDS")
    assert struct.unpack_from(order + "I8sI", file, 4) == (2048, b"V2.0\0\0\0\0", len(file))
    assert file[36:59] == b"synthetic.0001001.dpx\0\0"
    assert struct.unpack_from(order + "HHII", file, 768) == (0, 1, 37, 11)
    descriptor = {"rgb": 50, "rgba": 51, "luma": 6}[layout["descriptor"]]
    assert (file[800], file[803]) == (descriptor, layout["bits"])
    packing = (
        0
        if layout["bits"] in (8, 16)
        else ["packed", *oracle.PACKINGS].index(layout["packing"]) % 3
    )
    assert struct.unpack_from(order + "HHI", file, 804) == (packing, 0, 2048)
    assert struct.unpack_from(order + "I", file, 1712) == (1001,)
    assert struct.unpack_from(order + "I", file, 1920) == (0x00004117,)


def _ffmpeg(path: Path, descriptor: str, bits: int) -> NDArray[np.uint16]:
    deep = bits > 8
    names = {
        "rgb": ("rgb24", "rgb48le"),
        "rgba": ("rgba", "rgba64le"),
        "luma": ("gray", "gray16le"),
    }
    command = ["ffmpeg", "-v", "error", "-f", "image2", "-i", str(path), "-f", "rawvideo"]
    command += ["-pix_fmt", names[descriptor][deep], "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    raw = np.frombuffer(done.stdout, "<u2" if deep else "u1").astype(np.uint16)
    return raw >> np.uint16(16 - bits if deep else 0)


def _oiiotool(path: Path, shape: tuple[int, int, int], bits: int) -> NDArray[np.uint16]:
    """Through SGI, whose 512-byte header and bottom-up planes need no library to read."""
    out = path.with_suffix(".sgi")
    command = ["oiiotool", str(path), "-d", "uint16", "-o", str(out)]
    subprocess.run(command, capture_output=True, check=True)
    height, width, channels = shape
    raw = np.frombuffer(out.read_bytes(), ">u2", offset=512).reshape(channels, height, width)
    return raw[:, ::-1].transpose(1, 2, 0).astype(np.uint16) >> np.uint16(16 - bits)


# Line lengths that are not whole words are left out for OpenImageIO, which does not align lines
# of 8 and 16 bits; padding is left at zero because neither program masks all of it away.
@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS, ids=layout_id)
def test_oiiotool_reads_the_same_picture(layout: dict[str, Any], tmp_path: Path) -> None:
    if shutil.which("oiiotool") is None:
        pytest.skip("oiiotool is not installed")
    path = tmp_path / "frame.dpx"
    path.write_bytes(dpx_frame(48, 20, **layout))
    expected = picture_of(layout, 48, 20)
    assert np.array_equal(_oiiotool(path, expected.shape, layout["bits"]), expected)


@pytest.mark.slow
@pytest.mark.parametrize("width", [48, 49])
@pytest.mark.parametrize("layout", LAYOUTS, ids=layout_id)
def test_ffmpeg_reads_the_same_picture(layout: dict[str, Any], width: int, tmp_path: Path) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    if (layout["bits"], layout["packing"]) == (10, "packed"):
        pytest.skip("ffmpeg does not read packed 10-bit DPX")
    path = tmp_path / "frame.dpx"
    path.write_bytes(dpx_frame(width, 20, **layout))
    expected = picture_of(layout, width, 20).reshape(-1)
    assert np.array_equal(_ffmpeg(path, layout["descriptor"], layout["bits"]), expected)


@pytest.mark.parametrize(
    ("arguments", "digest"),
    [
        ({"width": 160, "height": 120}, "55316081ef3c32bb86a5485fafff13d5"),
        (
            {"width": 160, "height": 120, "frame": 7, "seed": 3, "bits": 16},
            "a861b2670c562bb2d44c5bc9dfef94e1",
        ),
        (
            {"width": 61, "height": 33, "descriptor": "rgba", "packing": "packed", "bits": 12},
            "24b0ce31ba8f87df82a4074c1e7d0613",
        ),
    ],
)
def test_bytes_never_change(arguments: dict[str, Any], digest: str) -> None:
    """Other tests and the golden containers rely on the same bytes on every machine."""
    assert hashlib.sha256(dpx_frame(**arguments)).hexdigest()[:32] == digest


def test_frames_of_a_shot_move_and_have_their_own_grain() -> None:
    first, second, other = (
        image(256, 192, seed=seed, frame=frame)[:, :, 1].astype(float)
        for seed, frame in ((1, 10), (1, 11), (2, 10))
    )
    correlation = np.corrcoef(first.ravel(), second.ravel())[0, 1]
    assert 0.8 < correlation < 0.999
    assert np.corrcoef(first.ravel(), other.ravel())[0, 1] < 0.8


def test_picture_has_range_and_grain_like_film() -> None:
    picture = image(512, 384).astype(float)
    assert picture.max() > 900
    assert picture.min() < 320
    # Second differences of neighbours cancel the scene and leave the grain.
    grain = picture[:, 2:] - 2 * picture[:, 1:-1] + picture[:, :-2]
    spread = np.median(np.abs(grain), axis=(0, 1)) / 0.6745
    assert (spread > 8).all()
    assert (spread < 24).all()
    shared = np.corrcoef(grain[:, :, 0].ravel(), grain[:, :, 2].ravel())[0, 1]
    assert 0.1 < shared < 0.6


def test_matte_is_flat_with_soft_edges() -> None:
    matte = image(256, 192, channels=4)[:, :, 3]
    flat = np.isin(matte, (0, 1023)).mean()
    assert 0.8 < flat < 1.0


def test_smallest_picture_is_a_picture() -> None:
    assert image(1, 1).shape == (1, 1, 3)
    assert len(dpx_frame(1, 1)) == 2048 + 4


def test_jpeg_ls_halves_a_frame() -> None:
    imagecodecs = pytest.importorskip("imagecodecs", reason="the bench extra is not installed")
    picture = image(1024, 778)
    planes = (np.ascontiguousarray(picture[:, :, channel]) for channel in range(3))
    stored = sum(len(imagecodecs.jpegls_encode(plane)) for plane in planes)
    assert 2.0 < len(dpx_file(picture)) / stored < 2.3


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 0},
        {"bits": 9},
        {"bits": 32},
        {"packing": "loose"},
        {"byte_order": "middle"},
        {"descriptor": "cmyk"},
        {"padding_bits": "some"},
        {"frame": -1},
    ],
)
def test_impossible_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|unknown|needs"):
        dpx_frame(**{"width": 8, "height": 8, **wrong})


def test_samples_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        dpx_file(np.full((2, 2, 3), 1024, np.uint16))
    with pytest.raises(ValueError, match="must be"):
        dpx_file(np.zeros((2, 2, 2), np.uint16))
