"""SGI images: verbatim and in run lengths, in every order rows are stored in; lies."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest

import codec
from codec.formats import sgi
from codec.formats.base import NotUnderstood
from codec.synthetic import image, sgi_file
from codec.types import LEVELS
from tests.oracle.samples import faults, take
from tests.readers import ffmpeg, oiiotool

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from codec.synthetic import SgiRows
    from codec.types import Chunk, Element

ORDERS: tuple[SgiRows, ...] = ("planes", "rows", "rows down")


def undo(file: bytes, element: Element, chunks: Sequence[Chunk]) -> bytes:
    """Run lengths as the SGI format has them: a count below 128 repeats, 0 ends a row."""
    size = 2 if element.segments[0].bits == 16 else 1
    out = bytearray()
    for chunk in chunks:
        at = chunk.offset
        while at < chunk.offset + chunk.length:
            token = int.from_bytes(file[at : at + size], "big")
            count = token & 127
            at += size
            if token & 128:
                out += file[at : at + count * size]
                at += count * size
            elif count:
                out += file[at : at + size] * count
                at += size
    return bytes(out)


def with_runs(width: int, height: int, channels: int, bits: int) -> NDArray[np.uint16]:
    """A picture with flat parts, which run lengths make smaller."""
    pixels = image(width, height, channels=channels, bits=bits)
    pixels[height // 3 : height // 2] = 7
    pixels[:, width // 2 :, 0] = 200
    return pixels


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("bits", [8, 16])
def test_verbatim_layout_finds_the_picture(bits: int, channels: int) -> None:
    pixels = image(37, 23, channels=channels, bits=bits)
    file = sgi_file(pixels, bits=bits, trailing=b"more")
    layout = sgi.layout(memoryview(file))
    assert faults(layout, len(file)) == []
    assert np.array_equal(take(file, layout)[0][::-1], pixels)
    colour = {1: "luma", 3: "rgb", 4: "rgba"}[channels]
    assert layout.format == f"sgi 37x23 {colour} {bits}-bit"
    assert sgi.probe(file[:4096], len(file)) == layout.format
    assert codec.decompress(codec.compress(file)) == file


@pytest.mark.parametrize("gap", [0, 3])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("bits", [8, 16])
def test_run_length_layout_finds_the_picture(
    bits: int, channels: int, order: SgiRows, gap: int
) -> None:
    pixels = with_runs(100, 80, channels, bits)
    file = sgi_file(pixels, bits=bits, run_lengths=order, gap=gap if channels == 1 else 0)
    layout = sgi.layout(memoryview(file))
    assert faults(layout, len(file)) == []
    if not gap:
        (found,) = take(file, layout, undo)
        assert np.array_equal(found if order == "rows down" else found[::-1], pixels)
    assert layout.format.endswith(f"{bits}-bit rle")
    for level in LEVELS:
        encoded = codec.encode(file, level=level)
        assert encoded.reason is None
        assert codec.decompress(encoded.container) == file


def test_run_lengths_get_smaller_than_the_file_had_them() -> None:
    file = sgi_file(with_runs(200, 150, 3, 8), run_lengths="rows")
    assert len(codec.compress(file)) < 0.8 * len(file)


def test_room_between_planes_is_kept_beside() -> None:
    pixels = with_runs(100, 80, 3, 8)
    file = bytearray(sgi_file(pixels, run_lengths="planes"))
    (second,) = struct.unpack_from(">I", file, 512 + 4 * 80)
    file[second:second] = b"\xdd" * 500
    for entry in range(80, 240):
        (start,) = struct.unpack_from(">I", file, 512 + 4 * entry)
        struct.pack_into(">I", file, 512 + 4 * entry, start + 500)
    layout = sgi.layout(memoryview(bytes(file)))
    assert faults(layout, len(file)) == []
    assert np.array_equal(take(bytes(file), layout, undo)[0][::-1], pixels)
    encoded = codec.encode(file)
    assert encoded.reason is None
    assert codec.decompress(encoded.container) == file


def test_one_row_and_one_plane_whatever_else_the_header_says() -> None:
    for dimensions, shape in ((1, (1, 5000, 1)), (2, (50, 100, 1))):
        pixels = image(shape[1], shape[0], channels=1, bits=8)
        file = bytearray(sgi_file(pixels, dimensions=dimensions))
        struct.pack_into(">H", file, 10, 9)
        if dimensions == 1:
            struct.pack_into(">H", file, 8, 9)
        layout = sgi.layout(memoryview(bytes(file)))
        assert np.array_equal(take(bytes(file), layout)[0][::-1], pixels)


def test_rows_that_share_their_bytes_stay_verbatim() -> None:
    file = sgi_file(with_runs(700, 40, 1, 8), run_lengths="planes", share_rows=True)
    encoded = codec.encode(file)
    assert encoded.reason == "unsupported: SGI rows share their bytes"
    assert codec.decompress(encoded.container) == file


def test_rows_in_no_order_stay_verbatim() -> None:
    file = bytearray(sgi_file(with_runs(100, 40, 3, 8), run_lengths="rows"))
    for table in (512, 512 + 4 * 120):
        one, other = file[table : table + 4], file[table + 160 : table + 164]
        file[table : table + 4], file[table + 160 : table + 164] = other, one
    encoded = codec.encode(file)
    assert encoded.reason == "unsupported: SGI rows are stored in no order"
    assert codec.decompress(encoded.container) == file


def test_run_lengths_that_no_known_encoder_writes_stay_verbatim() -> None:
    pixels = with_runs(200, 60, 1, 8)
    pixels[60 - 1 - 20] = 7
    file = bytearray(sgi_file(pixels, run_lengths="planes"))
    at = struct.unpack_from(">I", file, 512 + 4 * 20)[0]
    # The first run of a flat row, as runs of one less and one.
    assert file[at] > 2
    length = struct.unpack_from(">I", file, 512 + 4 * 80)[0]
    row = bytes([file[at] - 1, 7, 1, 7]) + file[at + 2 : at + length]
    file[at : at + length] = row
    struct.pack_into(">I", file, 512 + 4 * 80, length + 2)
    for y in range(21, 60):
        (start,) = struct.unpack_from(">I", file, 512 + 4 * y)
        struct.pack_into(">I", file, 512 + 4 * y, start + 2)
    assert np.array_equal(take(file, sgi.layout(memoryview(file)), undo)[0][::-1], pixels)
    encoded = codec.encode(file)
    assert encoded.reason == "unsupported: no known encoder cuts its rows into runs like this"
    assert codec.decompress(encoded.container) == file


GOOD = sgi_file(image(64, 48, bits=8), bits=8)
CODED = sgi_file(with_runs(64, 48, 3, 8), run_lengths="planes")


def with_size(file: bytes, width: int, height: int, planes: int) -> bytes:
    return file[:6] + struct.pack(">HHH", width, height, planes) + file[12:]


def with_table(entry: int, value: int) -> bytes:
    at = 512 + 4 * entry
    return CODED[:at] + struct.pack(">I", value) + CODED[at + 4 :]


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (GOOD[:500], "unsupported: SGI header is cut short"),
        (GOOD[:-1], "unsupported: SGI image data is cut short"),
        (CODED[:1500], "unsupported: SGI row table is cut short"),
        (with_size(GOOD, 0, 48, 3), "unsupported: SGI of 0x48 pixels"),
        (with_size(GOOD, 64, 48, 0), "unsupported: SGI with 0 planes"),
        (with_size(GOOD, 64, 48, 17), "unsupported: SGI with 17 planes"),
        (with_size(GOOD, 65535, 65535, 3), "unsupported: SGI image data is cut short"),
        (with_size(CODED, 64, 65535, 3), "unsupported: SGI row table is cut short"),
        (
            with_size(CODED, 64, 65535, 4) + bytes(1 << 21),
            "unsupported: SGI row table points outside the image data",
        ),
        (
            with_size(CODED, 64, 65535, 5) + bytes(3 << 20),
            "unsupported: SGI with 327675 rows in run lengths",
        ),
        (with_table(3, 100), "unsupported: SGI row table points outside the image data"),
        (with_table(3, 0xFFFFFFFF), "unsupported: SGI row table points outside the image data"),
        (with_table(147, 0), "unsupported: SGI row table points outside the image data"),
        (with_table(147, 0xFFFFFFFF), "unsupported: SGI row table points outside the image data"),
        (with_table(147, 60000), "unsupported: SGI row table points outside the image data"),
        (with_table(147, 900), "unsupported: SGI rows share their bytes"),
    ],
)
def test_what_is_not_understood_says_why(file: bytes, reason: str) -> None:
    with pytest.raises(NotUnderstood) as verdict:
        sgi.layout(memoryview(file))
    assert verdict.value.reason == reason
    encoded = codec.encode(file)
    assert encoded.reason == reason
    assert codec.decompress(encoded.container) == file


@pytest.mark.parametrize("at", [2, 3, 4, 5])
def test_a_magic_with_nonsense_after_it_is_not_sgi(at: int) -> None:
    assert sgi.recognises(GOOD[:4096])
    assert not sgi.recognises(GOOD[:at] + b"\x09" + GOOD[at + 1 : 4096])


@pytest.mark.slow
@pytest.mark.parametrize("run_lengths", [None, *ORDERS])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("bits", [8, 16])
def test_other_programs_read_the_same_picture(
    bits: int, channels: int, run_lengths: SgiRows | None, tmp_path: Path
) -> None:
    pixels = with_runs(48, 20, channels, bits)
    path = tmp_path / "frame.sgi"
    path.write_bytes(sgi_file(pixels, bits=bits, run_lengths=run_lengths))
    assert np.array_equal(ffmpeg(path, pixels.shape, bits), pixels)
    assert np.array_equal(oiiotool(path), pixels * (257 if bits == 8 else 1))


@pytest.mark.slow
def test_the_corpus(corpus: Path, tmp_path: Path) -> None:
    """Every real file, at every level; sound ones mean what OpenImageIO reads."""
    folder = corpus / "sgi"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sound = [path for path in files if path.parent == folder and path.stat().st_size >= 4096]
    assert len(sound) > 15
    coded = 0
    for path in files:
        file = path.read_bytes()
        for level in LEVELS:
            encoded = codec.encode(file, level=level)
            assert codec.decompress(encoded.container) == file, path.name
        coded += encoded.reason is None
    # Two leave room for the longest row after each; nothing redoes that.
    assert coded == len(sound) - 2
    for path in sound:
        file = path.read_bytes()
        copy = tmp_path / f"{path.stem}.in.sgi"
        copy.write_bytes(file)
        (found,) = take(file, sgi.layout(memoryview(file)), undo)
        down = path.name.startswith("vips")
        expected = oiiotool(copy) // (257 if found.max() < 256 else 1)
        assert np.array_equal(found if down else found[::-1], expected), path.name
