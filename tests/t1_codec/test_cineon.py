"""Cineon: every flavor means what the header says, liars stay harmless."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest

import codec
from codec.formats import cineon
from codec.formats.base import NotUnderstood
from codec.synthetic import CINEON_PACKINGS, cineon_file, image
from codec.types import LEVELS
from tests.oracle.samples import faults, take
from tests.readers import oiiotool

if TYPE_CHECKING:
    from pathlib import Path

    from codec.synthetic import ByteOrder, CineonInterleave

INTERLEAVES: tuple[CineonInterleave, ...] = ("pixel", "line", "channel")
GOOD = cineon_file(image(64, 48))


def is_big_endian_only(bits: int, packing: int) -> bool:
    return packing == 0 and bits in (10, 12)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("interleave", INTERLEAVES)
@pytest.mark.parametrize(("bits", "packing"), CINEON_PACKINGS)
@pytest.mark.parametrize("byte_order", ["be", "le"])
def test_the_layout_finds_the_picture(
    bits: int, packing: int, interleave: CineonInterleave, channels: int, byte_order: ByteOrder
) -> None:
    if byte_order == "le" and is_big_endian_only(bits, packing):
        pytest.skip("samples that run together are big-endian")
    # A multiple of four keeps 10- and 12-bit samples that run together in whole bytes.
    picture = image(28, 9, channels=channels, bits=bits)
    file = cineon_file(
        picture, bits=bits, packing=packing, interleave=interleave, byte_order=byte_order
    )
    layout = cineon.layout(memoryview(file))
    assert faults(layout, len(file)) == []
    (found,) = take(file, layout)
    assert np.array_equal(found, picture)
    assert layout.format == cineon.probe(file[:4096], len(file))
    assert layout.format.startswith("cineon 28x9")
    assert codec.decompress(codec.compress(file)) == file


@pytest.mark.parametrize("interleave", INTERLEAVES)
@pytest.mark.parametrize(("line_padding", "channel_padding"), [(4, 0), (6, 100), (0, 32)])
def test_padding_of_lines_and_channels(
    interleave: CineonInterleave, line_padding: int, channel_padding: int
) -> None:
    picture = image(31, 11)
    file = cineon_file(
        picture,
        interleave=interleave,
        line_padding=line_padding,
        channel_padding=channel_padding,
        trailing=b"after the picture",
    )
    layout = cineon.layout(memoryview(file))
    assert faults(layout, len(file)) == []
    assert np.array_equal(take(file, layout)[0], picture)
    assert codec.decompress(codec.compress(file)) == file


def test_lines_that_are_padded_to_words_without_saying_so() -> None:
    picture = image(29, 10, bits=8, channels=1)
    file = cineon_file(picture, bits=8, packing=1, line_padding=3)
    file = file[:684] + bytes(4) + file[688:]
    assert np.array_equal(take(file, cineon.layout(memoryview(file)))[0], picture)


def with_u32(offset: int, value: int) -> bytes:
    return GOOD[:offset] + struct.pack(">I", value) + GOOD[offset + 4 :]


def with_byte(offset: int, value: int) -> bytes:
    return GOOD[:offset] + bytes([value]) + GOOD[offset + 1 :]


def with_size(width: int, height: int) -> bytes:
    file = bytearray(GOOD)
    for channel in range(3):
        struct.pack_into(">II", file, 200 + 28 * channel, width, height)
    return bytes(file)


@pytest.mark.parametrize("lie", [0, 0xFFFFFFFF])
def test_without_an_offset_the_header_lengths_say_where(lie: int) -> None:
    file = with_u32(4, lie)
    assert np.array_equal(take(file, cineon.layout(memoryview(file)))[0], image(64, 48))


@pytest.mark.parametrize("padding", [0xFFFFFFFF, 64])
def test_line_padding_that_is_not_there(padding: int) -> None:
    """All ones mean none; and rows that would not fit with it are taken without."""
    file = with_u32(684, padding)
    assert np.array_equal(take(file, cineon.layout(memoryview(file)))[0], image(64, 48))


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (GOOD[:900], "unsupported: Cineon header is cut short"),
        (GOOD[:-1], "unsupported: Cineon image data is cut short"),
        (with_byte(193, 0), "unsupported: Cineon with 0 channels"),
        (with_byte(193, 9), "unsupported: Cineon with 9 channels"),
        (with_byte(680, 3), "unsupported: Cineon interleave 3"),
        (with_byte(681, 1), "unsupported: Cineon packing 1 of 10-bit samples"),
        (with_byte(681, 9), "unsupported: Cineon packing 9 of 10-bit samples"),
        (with_byte(226, 8), "unsupported: Cineon channels of different sizes or depths"),
        (with_size(0, 48), "unsupported: Cineon of 0x48 pixels"),
        (with_size(1 << 21, 48), "unsupported: Cineon of 2097152x48 pixels"),
        (with_size(65536, 49152)[:20480], "unsupported: Cineon image data is cut short"),
        (with_size(1 << 20, 1 << 20), "unsupported: Cineon image data is cut short"),
        (with_u32(4, 100), "unsupported: Cineon image data begins outside the file"),
        (with_u32(4, 1 << 31), "unsupported: Cineon image data begins outside the file"),
        (
            cineon_file(image(27, 9), packing=0),
            "unsupported: Cineon rows that share a byte",
        ),
    ],
)
def test_what_is_not_understood_says_why(file: bytes, reason: str) -> None:
    with pytest.raises(NotUnderstood) as verdict:
        cineon.layout(memoryview(file))
    assert verdict.value.reason == reason
    assert codec.probe(file[: codec.PROBE_SIZE], len(file)).reason == reason
    encoded = codec.encode(file)
    assert encoded.reason == reason
    assert codec.decompress(encoded.container) == file


@pytest.mark.parametrize("level", LEVELS)
def test_a_scan_gets_smaller(level: codec.Level) -> None:
    file = bytearray(cineon_file(image(320, 240)))
    file[2048 + 3 :: 400] = bytes(b | 3 for b in file[2048 + 3 :: 400])  # padding bits set
    encoded = codec.encode(file, level=level)
    assert encoded.reason is None
    assert encoded.format == "cineon 320x240 rgb 10-bit filled-a be"
    assert len(encoded.container) < 0.65 * len(file)
    assert codec.decompress(encoded.container) == file


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
def test_oiiotool_reads_the_same_picture(channels: int, tmp_path: Path) -> None:
    picture = image(48, 20, channels=3)[:, :, :channels]
    path = tmp_path / "frame.cin"
    path.write_bytes(cineon_file(picture))
    assert np.array_equal(oiiotool(path) >> 6, picture)


@pytest.mark.slow
def test_the_corpus(corpus: Path, tmp_path: Path) -> None:
    """Every real file, understood or not; a real one means what OpenImageIO reads."""
    files = sorted((corpus / "cineon").glob("*.cin"))
    assert files
    coded = 0
    for path in files:
        file = path.read_bytes()
        encoded = codec.encode(file)
        assert codec.decompress(encoded.container) == file, path.name
        if encoded.reason is None:
            coded += 1
            (found,) = take(file, cineon.layout(memoryview(file)))
            assert np.array_equal(oiiotool(_copied(file, tmp_path)) >> 6, found)
    assert coded


def _copied(file: bytes, folder: Path) -> Path:
    path = folder / "copy.cin"
    path.write_bytes(file)
    return path
