"""What the OpenEXR module makes of real headers, odd ones and lies."""

from __future__ import annotations

import contextlib
import shutil
import struct
import subprocess
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import codec
from codec.formats import exr
from codec.formats.base import NotUnderstood
from codec.synthetic import image
from codec.synthetic.exr import ExrPart, exr_file
from tests.oracle.samples import faults, take

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

WIDTH, HEIGHT = 70, 45


def channels(kind: str, names: str = "RGB", width: int = WIDTH) -> dict[str, NDArray[Any]]:
    """A picture's channels, partly negative where ``kind`` is a floating point type."""
    planes = image(width, HEIGHT, channels=3, bits=12, seed=len(names))
    found = {}
    for index, name in enumerate(names):
        plane = planes[:, :, index % 3].astype(np.uint32)
        values = plane * 1000 if kind == "u4" else plane / 513 - 0.5
        found[name] = values.astype(kind)
    return found


HALF, FLOAT, UINT = channels("f2"), channels("f4"), channels("u4")
MIXED = {**HALF, "Z": FLOAT["R"], "id": UINT["G"]}
LAYERS = {**channels("f2", "RGBA"), **{f"fg.{k}": v for k, v in channels("f4", "RGBA").items()}}

FLAVORS: dict[str, tuple[ExrPart, ...]] = {
    "half": (ExrPart(HALF),),
    "float-decreasing-moved": (ExrPart(FLOAT, decreasing=True, origin=(-5, 7)),),
    "uint": (ExrPart(UINT),),
    "mixed": (ExrPart(MIXED),),
    "one-channel": (ExrPart({"Y": HALF["G"]}),),
    "long-names": (ExrPart({40 * "x" + ".R": HALF["R"]}),),
    "layers": (ExrPart(LAYERS),),
    "tiles": (ExrPart(HALF, tiles=(32, 16)),),
    "whole-tiles": (ExrPart(FLOAT, tiles=(35, 15)),),
    "tiles-decreasing": (ExrPart(MIXED, tiles=(32, 16), decreasing=True),),
    "mip-map": (ExrPart(HALF, tiles=(16, 16), levels="mip"),),
    "mip-map-up": (ExrPart(HALF, tiles=(16, 16), levels="mip", round_up=True),),
    "rip-map": (ExrPart(FLOAT, tiles=(16, 16), levels="rip"),),
    "rip-map-up": (ExrPart(HALF, tiles=(16, 16), levels="rip", round_up=True),),
    "parts": (
        ExrPart(HALF, name="left"),
        ExrPart(MIXED, name="right", tiles=(16, 16), levels="mip"),
        ExrPart(UINT, name="id", decreasing=True, origin=(3, -9)),
    ),
}
GOOD = exr_file(ExrPart(HALF))
TILED = exr_file(ExrPart(HALF, tiles=(32, 16)))


def reason(file: bytes) -> str:
    """Why a file stays verbatim; the whole way through must agree."""
    with pytest.raises(NotUnderstood) as verdict:
        exr.layout(memoryview(file))
    encoded = codec.encode(file)
    assert encoded.reason == verdict.value.reason
    assert codec.decompress(encoded.container) == file
    return verdict.value.reason


def with_attribute(name: str, value: bytes, file: bytes = GOOD) -> bytes:
    """A copy whose attribute begins with other bytes."""
    at = file.index(name.encode() + b"\0")
    at = file.index(b"\0", at + len(name) + 1) + 5
    return file[:at] + value + file[at + len(value) :]


def pixel_words(file: bytes, parts: tuple[ExrPart, ...]) -> NDArray[np.uint16]:
    """The 16-bit words of all pixels, found by walking from chunk to chunk."""
    end = exr.read_header(memoryview(file)).end
    offsets: list[int] = []
    while not offsets or min(offsets) > end + 8 * len(offsets):
        offsets += struct.unpack_from("<Q", file, end + 8 * len(offsets))
    at = min(offsets)
    found = []
    while at < len(file):
        part = parts[0]
        if len(parts) > 1:
            part = parts[struct.unpack_from("<i", file, at)[0]]
            at += 4
        at += 20 if part.tiles else 8
        (length,) = struct.unpack_from("<i", file, at - 4)
        found.append(np.frombuffer(file, "<u2", length // 2, at))
        at += length
    return np.concatenate(found)


@pytest.mark.parametrize("parts", FLAVORS.values(), ids=FLAVORS)
def test_every_word_of_pixels_is_a_sample(parts: tuple[ExrPart, ...]) -> None:
    file = exr_file(*parts)
    layout = exr.layout(memoryview(file))
    assert faults(layout, len(file)) == []
    samples = np.concatenate([part.ravel() for part in take(file, layout)])
    whole = pixel_words(file, parts)
    # Elements of less than a kilobyte are not worth a table.
    assert 0.6 * whole.size <= samples.size <= whole.size
    if samples.size == whole.size:
        assert np.array_equal(np.sort(samples), np.sort(whole))


@pytest.mark.parametrize("parts", FLAVORS.values(), ids=FLAVORS)
def test_every_flavor_comes_back(parts: tuple[ExrPart, ...]) -> None:
    file = exr_file(*parts) + b"trailing bytes"
    encoded = codec.encode(file)
    assert encoded.reason is None
    assert codec.decompress(encoded.container) == file
    assert len(encoded.container) < 0.9 * len(file)


def test_scanlines_are_taken_channel_by_channel() -> None:
    (samples,) = take(GOOD, exr.layout(memoryview(GOOD)))
    for component, name in enumerate("BGR"):
        assert np.array_equal(samples[:, :, component], HALF[name].view(np.uint16))


def test_floats_are_two_halves_the_low_one_first() -> None:
    file = exr_file(ExrPart({"R": FLOAT["R"]}))
    layout = exr.layout(memoryview(file))
    (samples,) = take(file, layout)
    words = FLOAT["R"].view(np.uint32)
    assert np.array_equal(samples[:, :, 0], words & 0xFFFF)
    assert np.array_equal(samples[:, :, 1], words >> 16)
    assert layout.elements[0].order == (1, 0)
    assert layout.elements[0].signed == (1,)


def test_decreasing_lines_are_taken_in_the_order_of_the_file() -> None:
    file = exr_file(ExrPart(HALF, decreasing=True))
    (samples,) = take(file, exr.layout(memoryview(file)))
    assert np.array_equal(samples[::-1, :, 1], HALF["G"].view(np.uint16))


def test_tiles_lie_one_below_another() -> None:
    whole = channels("f2", width=64)
    file = exr_file(ExrPart(whole, tiles=(32, 15)))
    layout = exr.layout(memoryview(file))
    (samples,) = take(file, layout)
    green = whole["G"].view(np.uint16)
    tiles = [green[y : y + 15, x : x + 32] for y in (0, 15, 30) for x in (0, 32)]
    assert np.array_equal(samples[:, :, 1], np.concatenate(tiles))
    assert layout.elements[0].regions[0].band_rows == 15


def test_colour_is_coded_first_and_low_halves_last() -> None:
    file = exr_file(ExrPart(MIXED))
    (element,) = exr.layout(memoryview(file)).elements
    # Components: B, G, R, Z low, Z high, id low, id high.
    assert element.order == (1, 2, 0, 4, 6, 3, 5)
    assert element.signed == (0, 1, 2, 4)


def test_channels_beyond_sixteen_components_are_kept_beside() -> None:
    file = exr_file(ExrPart({f"z{i:02}": FLOAT["R"] for i in range(11)} | HALF))
    (element,) = exr.layout(memoryview(file)).elements
    assert element.components == 15  # R, G, B and the first six of z
    assert codec.decompress(codec.compress(file)) == file


def test_a_probe_of_a_long_header_names_the_format_alone() -> None:
    note = ("string", bytes(8000))
    file = exr_file(ExrPart(HALF, attributes={"aNote": note}))
    assert codec.probe(file[: codec.PROBE_SIZE], len(file)) == codec.Probe("exr", None)
    assert codec.encode(file).format == "exr 70x45 rgb half none scanline"


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (GOOD[:200], "unsupported: EXR header is cut short"),
        (GOOD[:350], "unsupported: EXR offset table is cut short"),
        (GOOD[:4] + b"\x03" + GOOD[5:], "unsupported: EXR version and flags 0x3"),
        (GOOD[:6] + b"\x01" + GOOD[7:], "unsupported: EXR version and flags 0x10002"),
        (GOOD[:5] + b"\x08" + GOOD[6:], "unsupported: EXR deep data"),
        (with_attribute("compression", b"\x04"), "unsupported: EXR compression PIZ"),
        (with_attribute("compression", b"\x63"), "unsupported: EXR compression METHOD 99"),
        (with_attribute("dataWindow", b"\xff\xff\xff\x7f"), "unsupported: EXR of -2147483577x45"),
        (with_attribute("channels", b"B\0\x07"), "unsupported: EXR without valid channels"),
        (with_attribute("channels", b"\0"), "unsupported: EXR without valid channels"),
        (GOOD.replace(b"compression\0", b"compressiom\0", 1), "unsupported: EXR without a valid"),
        (
            GOOD.replace(b"\x01\0\0\0\x01\0\0\0G", b"\x02\0\0\0\x01\0\0\0G", 1),
            "unsupported: EXR subsampled channels",
        ),
        (with_attribute("tiles", bytes(4), TILED), "unsupported: EXR without a valid tiles"),
        (with_attribute("tiles", b"\x01\0\0\0\x01\0\0\0", TILED), "unsupported: EXR offset table"),
    ],
)
def test_what_is_not_understood_says_why(file: bytes, expected: str) -> None:
    assert reason(file).startswith(expected)


def table(file: bytes, value: bytes, at: int = 0) -> bytes:
    """A copy with other offsets, from number ``at`` on."""
    start = exr.read_header(memoryview(file)).end + 8 * at
    return file[:start] + value + file[start + len(value) :]


def test_a_file_whose_writer_did_not_get_to_its_end_stays_verbatim() -> None:
    file = table(GOOD, bytes(8 * HEIGHT))
    assert reason(file) == "unsupported: EXR without a chunk that is whole"


def test_chunks_without_an_offset_are_kept_beside() -> None:
    file = table(GOOD, bytes(16), at=10)
    layout = exr.layout(memoryview(file))
    assert [element.rows for element in layout.elements] == [10, HEIGHT - 12]
    assert codec.decompress(codec.compress(file)) == file


@pytest.mark.parametrize("offset", [1 << 63, len(GOOD) - 10, 3, 2**64 - 1])
def test_offsets_that_cannot_be_are_kept_beside(offset: int) -> None:
    file = table(GOOD, struct.pack("<Q", offset))
    assert sum(e.rows for e in exr.layout(memoryview(file)).elements) == HEIGHT - 1
    assert codec.decompress(codec.compress(file)) == file


def test_two_offsets_of_one_chunk_are_one_chunk() -> None:
    start = exr.read_header(memoryview(GOOD)).end
    file = table(GOOD, GOOD[start : start + 8], at=1)
    layout = exr.layout(memoryview(file))
    assert faults(layout, len(file)) == []
    assert codec.decompress(codec.compress(file)) == file


@pytest.mark.parametrize("file", [GOOD, TILED, exr_file(*FLAVORS["parts"])], ids=len)
@pytest.mark.parametrize("keep", [0.3, 0.7, 0.99])
def test_a_file_that_is_cut_short_keeps_its_whole_chunks(file: bytes, keep: float) -> None:
    short = file[: int(len(file) * keep)]
    layout = exr.layout(memoryview(short))
    assert faults(layout, len(short)) == []
    assert codec.decompress(codec.compress(short)) == short


def test_a_small_file_that_declares_a_million_lines_is_refused_at_once() -> None:
    window = struct.pack("<4i", 0, 0, (1 << 20) - 1, (1 << 20) - 1)
    assert reason(with_attribute("dataWindow", window)).endswith("offset table is cut short")


def test_half_floats_of_every_kind_come_back() -> None:
    """All 65,536 patterns: infinities, payloads of NaN, subnormals, both zeros."""
    every = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256).view(np.float16)
    file = exr_file(ExrPart({"Y": every, "Z": every.T.copy()}))
    assert codec.decompress(codec.compress(file)) == file


@given(st.binary(max_size=400), st.integers(0, 600), st.booleans())
def test_the_module_is_total(noise: bytes, at: int, tiled: bool) -> None:
    base = TILED if tiled else GOOD
    for file in (exr.MAGIC + noise, base[:at] + noise + base[at + len(noise) :]):
        head = file[: codec.PROBE_SIZE]
        probe = codec.probe(head, len(file))
        assert probe.reason is not None or probe.format is not None
        if not exr.recognises(head):
            continue
        try:
            layout = exr.layout(memoryview(file))
        except NotUnderstood:
            continue
        assert faults(layout, len(file)) == []


def test_real_files_get_a_layout_or_a_reason(corpus: Path) -> None:
    files = sorted((corpus / "exr").iterdir())
    assert files
    for path in files:
        file = path.read_bytes()
        assert codec.probe(file[: codec.PROBE_SIZE], len(file)).format is not None, path.name
        with contextlib.suppress(NotUnderstood):
            assert faults(exr.layout(memoryview(file)), len(file)) == [], path.name


@pytest.mark.skipif(shutil.which("oiiotool") is None, reason="oiiotool is not installed")
@pytest.mark.parametrize("flavor", ["half", "float-decreasing-moved", "tiles", "whole-tiles"])
def test_openimageio_sees_the_same_pixels(flavor: str, tmp_path: Path) -> None:
    """Rewritten by OpenImageIO as plain scanlines, the file gives the same samples."""
    (part,) = FLAVORS[flavor]
    before, after = tmp_path / "before.exr", tmp_path / "after.exr"
    before.write_bytes(exr_file(part))
    command = ["oiiotool", before, "--compression", "none", "--scanline", "-o", after]
    subprocess.run(command, check=True, capture_output=True)
    file = after.read_bytes()
    (samples,) = take(file, exr.layout(memoryview(file)))
    component = 0
    for _, plane in sorted(part.channels.items()):
        words = plane.view(f"u{plane.dtype.itemsize}").astype(np.uint32)
        for shift in range(0, 8 * plane.dtype.itemsize, 16):
            assert np.array_equal(samples[:, :, component], words >> shift & 0xFFFF)
            component += 1
