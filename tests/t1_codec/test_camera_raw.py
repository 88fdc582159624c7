"""ARRIRAW, Canon C500 and VariCam raw. Every file here is made from the published layouts.

No frame of these cameras was to be had. Where dcraw is installed it says what a reader that
others wrote makes of the first two; real sensors' mosaics come from the corpus.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest

import codec
from codec.formats import FORMATS, arriraw, bayer, c500, dpx, varicam
from codec.formats.base import NotUnderstood
from codec.synthetic import (
    VARICAM_PACKINGS,
    arriraw_file,
    c500_file,
    dpx_file,
    image,
    mosaic,
    pnm_file,
    varicam_file,
)
from codec.types import LEVELS, Packing, Segment
from tests.oracle.samples import faults, row_samples, take
from tests.readers import dcraw

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from codec.synthetic import ByteOrder, VaricamPacking


def sites(element: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Four components a pixel as the mosaic they were taken from."""
    rows, width, _ = element.shape
    return element.reshape(rows, width, 2, 2).transpose(0, 2, 1, 3).reshape(2 * rows, 2 * width)


ARRI = arriraw_file(mosaic(48, 30))
C500 = c500_file(mosaic(96, 64, bits=10))


@pytest.mark.parametrize(("width", "height"), [(8, 2), (48, 30), (56, 31), (16, 3)])
def test_arriraw_layout_finds_the_codes(width: int, height: int) -> None:
    codes = mosaic(width, height)
    file = arriraw_file(codes, trailing=b"more")
    layout = arriraw.layout(memoryview(file))
    assert faults(layout, len(file)) == []
    assert np.array_equal(sites(take(file, layout)[0]), codes[: height // 2 * 2])
    assert layout.format == f"arriraw {width}x{height} bayer 12-bit"
    assert arriraw.probe(file[:4096], len(file)) == layout.format
    assert codec.decompress(codec.compress(file)) == file


def test_the_other_byte_order_mark() -> None:
    file = ARRI[:4] + ARRI[7:3:-1] + ARRI[8:]
    assert codec.encode(file).format == "arriraw 48x30 bayer 12-bit"


def arri_with(offset: int, value: int) -> bytes:
    return ARRI[:offset] + struct.pack("<I", value) + ARRI[offset + 4 :]


def arri_of(width: int, height: int) -> bytes:
    return (
        ARRI[:0x14] + struct.pack("<II", width, height) + ARRI[0x1C:0x48] + bytes(4) + ARRI[0x4C:]
    )


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (ARRI[:70], "unsupported: ARRIRAW header is cut short"),
        (ARRI[:-1], "unsupported: ARRIRAW image data is cut short"),
        (arri_with(8, 1 << 30), "unsupported: ARRIRAW image data begins outside the file"),
        (arri_with(8, 4), "unsupported: ARRIRAW image data begins outside the file"),
        (arri_with(0x14, 1), "unsupported: ARRIRAW of 1x30 photosites"),
        (arri_of(44, 30), "unsupported: ARRIRAW rows that do not begin at words"),
        (arri_of(1 << 20, 30), "unsupported: ARRIRAW of 1048576x30 photosites"),
        (arri_of(65536, 65536), "unsupported: ARRIRAW image data is cut short"),
        (
            arri_with(0x48, 999) + b"hde",
            "unsupported: ARRIRAW image data is not 12-bit codes",
        ),
    ],
)
def test_arriraw_that_is_not_understood_says_why(file: bytes, reason: str) -> None:
    assert codec.probe(file[: codec.PROBE_SIZE], len(file)).reason == reason
    encoded = codec.encode(file)
    assert encoded.reason == reason
    assert codec.decompress(encoded.container) == file


def test_a_wrong_data_size_does_not_matter_where_the_file_is_as_long_as_it_should() -> None:
    assert codec.encode(arri_with(0x48, 999)).format == "arriraw 48x30 bayer 12-bit"


@pytest.mark.parametrize("spare_bits", [0, 3])
@pytest.mark.parametrize(("width", "height"), [(96, 64), (97, 65), (98, 66), (99, 67)])
def test_c500_layout_finds_the_codes(width: int, height: int, spare_bits: int) -> None:
    codes = mosaic(width, height, bits=10)
    file = c500_file(codes, spare_bits=spare_bits, trailing=b"more")
    layout = c500.layout(memoryview(file))
    assert faults(layout, len(file)) == []
    stored = codes[: height // 2 * 2, : width // 3 * 3 // 2 * 2]
    assert np.array_equal(sites(take(file, layout)[0]), stored)
    assert layout.format == f"canon c500 raw {width}x{height} bayer 10-bit"
    assert c500.probe(file[:4096], len(file)) == layout.format
    encoded = codec.encode(file)
    assert encoded.format == layout.format
    assert codec.decompress(encoded.container) == file


def test_c500_data_that_is_cut_short_stays_verbatim() -> None:
    encoded = codec.encode(C500[:-1])
    assert encoded.reason == "unsupported: C500 raw image data is cut short"
    assert codec.decompress(encoded.container) == C500[:-1]


@pytest.mark.parametrize("user_id", [b"Canon", b"Canon Inc.\0"])
def test_a_dpx_file_of_the_same_maker_stays_a_dpx_file(user_id: bytes) -> None:
    frame = dpx_file(image(64, 48), byte_order="le")
    file = frame[:4] + struct.pack("<I", 4096) + frame[8:808] + struct.pack("<I", 4096)
    file += frame[812:2048] + user_id.ljust(2048, b"\0") + frame[2048:]
    assert not c500.recognises(file[:4096])
    assert codec.encode(file).format == "dpx 64x48 rgb 10-bit filled-a le"


def test_c500_is_asked_before_dpx_and_varicam_last() -> None:
    assert FORMATS.index(c500) < FORMATS.index(dpx)
    assert FORMATS[-1] is varicam
    assert dpx.recognises(C500[:4096])


@pytest.mark.parametrize("byte_order", ["be", "le"])
@pytest.mark.parametrize("packing", VARICAM_PACKINGS)
def test_a_mosaic_is_found_by_its_structure(packing: VaricamPacking, byte_order: ByteOrder) -> None:
    bits = int(packing[:2])
    codes = mosaic(1920, 1080, bits=bits, pattern="gbrg")
    header = np.random.default_rng(1).bytes(5000)
    file = varicam_file(codes, packing=packing, byte_order=byte_order, header=header)
    layout = varicam.layout(memoryview(file))
    assert faults(layout, len(file)) == []
    (element,) = layout.elements
    (region,) = element.regions
    assert region.offset == len(header)
    for row in (0, 1, 538, 1079):
        line = file[region.offset + row * region.row_bytes // 2 :]
        line = line[: region.row_bytes // 2]
        assert row_samples(line, 1920, element.segments[0]) == codes[row].tolist()
    assert codec.probe(file[: codec.PROBE_SIZE], len(file)).reason is None


def near(size: int, content: bytes) -> bytes:
    return (content * (size // len(content) + 1))[:size]


def strangers() -> dict[str, bytes]:
    """Files as long as a mosaic of 1920x1080 in some packing, which are none."""
    size = 1920 * 1080 * 3 // 2 + 4096
    random = np.random.default_rng(3)
    gray = image(1920, 1080, channels=1, bits=12)[:, :, 0]
    pairs = np.repeat(image(960, 1080, channels=1, bits=12)[:, :, 0], 2, axis=1)
    pairs[:, 1::2] = 4000
    return {
        "noise": random.bytes(size),
        "zero": bytes(size),
        "text": near(size, b"all work and no play makes a dull file\n"),
        "ramp": near(size, bytes(range(256))),
        "a gray picture": varicam_file(gray),
        "a gray picture of 16 bits": varicam_file(gray, packing="16"),
        "columns that alternate": varicam_file(pairs),
        "two bytes a pixel": near(1920 * 1080 * 2, random.bytes(7) + b"\0"),
        "rgb": bytes(4096) + image(1920, 720, bits=8).astype("u1").tobytes(),
    }


@pytest.mark.parametrize("kind", strangers())
def test_nothing_else_is_taken_for_a_mosaic(kind: str) -> None:
    file = strangers()[kind]
    with pytest.raises(NotUnderstood, match="not a frame format that is known"):
        varicam.layout(memoryview(file))


def test_other_lengths_are_not_even_looked_at() -> None:
    size = 1920 * 1080 * 3 // 2
    for length in (size - 1, size + varicam.MAX_HEADER + 1, 5000):
        with pytest.raises(NotUnderstood, match="not a frame format that is known"):
            varicam.probe(bytes(4096), length)
    assert not varicam.recognises(bytes(4095))


SEGMENTS = [
    Segment(2, 8, Packing.BYTE),
    *(Segment(2, 11, Packing.WORD, shift=3, big_endian=big) for big in (False, True)),
    *(
        Segment(2, 10, Packing.FILLED, shift=shift, big_endian=big, reverse=reverse)
        for shift in (0, 2)
        for big in (False, True)
        for reverse in (False, True)
    ),
    *(
        Segment(2, bits, packing, big_endian=big)
        for bits in (10, 12, 14)
        for packing in (Packing.PACKED, Packing.PACKED_HIGH)
        for big in (False, True)
    ),
    Segment(2, 12, Packing.PACKED_HIGH, reverse=True),
]


@pytest.mark.parametrize("segment", SEGMENTS, ids=str)
def test_looking_at_rows_agrees_with_the_oracle(segment: Segment) -> None:
    rows = np.random.default_rng(5).integers(0, 256, (3, 128)).astype(np.uint8)
    for count in (1, 5, 48):
        found = bayer.unpack(rows, count, segment)
        assert found.tolist() == [row_samples(row.tobytes(), count, segment) for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
def test_whole_frames_round_trip_smaller(level: codec.Level) -> None:
    wide, narrow = mosaic(1920, 1080), mosaic(1920, 1080, bits=10)
    for file in (arriraw_file(wide), c500_file(narrow, spare_bits=1), varicam_file(wide)):
        encoded = codec.encode(file, level=level)
        assert encoded.reason is None
        assert len(encoded.container) < 0.65 * len(file)
        assert codec.decompress(encoded.container, threads=2) == file


@pytest.mark.slow
def test_dcraw_reads_the_same_arriraw(tmp_path: Path) -> None:
    codes = mosaic(192, 108)
    path = tmp_path / "frame.ari"
    path.write_bytes(arriraw_file(codes))
    assert np.array_equal(dcraw(path), codes)


@pytest.mark.slow
def test_dcraw_reads_the_same_c500(tmp_path: Path) -> None:
    """Through its curve, and with four columns taken to the other end of another row."""
    codes = mosaic(1920, 1080, bits=10)
    path = tmp_path / "frame.rmf"
    path.write_bytes(c500_file(codes))
    through_curve = dcraw(path)[:, :-4].astype(np.int64).reshape(-1)
    stored = codes[:, 4:].astype(np.int64).reshape(-1)
    pairs = np.unique(stored * 65536 + through_curve)
    assert len(np.unique(pairs // 65536)) == len(pairs), "a code became two values"
    assert (np.diff(pairs % 65536) >= 0).all()


def log_codes(codes: NDArray[np.int64], bits: int) -> NDArray[np.uint16]:
    """Linear sensor codes as log codes of so many bits."""
    spread = np.log2(1 + codes / 16) / np.log2(1 + codes.max() / 16)
    return (spread * ((1 << bits) - 1)).astype(np.uint16)


@pytest.mark.slow
def test_mosaics_of_real_sensors_written_as_these_cameras_would(corpus: Path) -> None:
    """The codes are real, the files around them synthetic."""
    folder = corpus / "camera_raw"
    nikon = next(folder.glob("mushfiq_nikon14bit*.raw")).read_bytes()
    codes = np.frombuffer(nikon, "<u2").reshape(512, 768).astype(np.int64)
    phantom = np.frombuffer((folder / "pycine_chart1.cine").read_bytes(), np.uint8)
    bits = np.unpackbits(phantom[-2048 * 1080 * 10 // 8 :]).reshape(1080, 2048, 10)
    wide = bits.astype(np.int64) @ (1 << np.arange(9, -1, -1))
    for picture in (codes, wide):
        ari = arriraw_file(log_codes(picture, 12))
        rmf = c500_file(log_codes(picture, 10))
        for file in (ari, rmf):
            for level in LEVELS:
                encoded = codec.encode(file, level=level)
                assert encoded.reason is None
                assert codec.decompress(encoded.container) == file
    found = varicam.layout(memoryview(varicam_file(log_codes(wide, 10), packing="10-low")))
    assert found.format == "bayer raw 2048x1080 10-bit packed-low le, found by structure"


def test_a_netpbm_file_of_a_mosaics_length_is_netpbm() -> None:
    file = pnm_file(mosaic(1920, 1080)[:, :, None], maxval=4095)
    assert codec.encode(file).format == "pgm 1920x1080 luma 12-bit"
