"""PGM, PPM, PAM and PFM: every depth, the habits of careless writers, lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import codec
from codec.formats import pnm
from codec.formats.base import NotUnderstood
from codec.synthetic import image, pfm_file, pnm_file
from codec.types import LEVELS
from tests.oracle.samples import faults, take
from tests.readers import ffmpeg, ffmpeg_floats, oiiotool

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Literal

    from numpy.typing import NDArray

    from codec.synthetic import ByteOrder

MAXVALS = (1, 15, 100, 255, 256, 1000, 1023, 4095, 16383, 65535)


def picture(width: int, height: int, channels: int, maxval: int) -> NDArray[np.uint16]:
    """A picture whose greatest possible value is ``maxval``."""
    wide = image(width, height, channels=4 if channels in (2, 4) else channels, bits=16)
    return (wide[:, :, :channels].astype(np.uint32) * maxval // 65535).astype(np.uint16)


def only_element(file: bytes) -> NDArray[np.uint16]:
    layout = pnm.layout(memoryview(file))
    assert faults(layout, len(file)) == []
    (found,) = take(file, layout)
    return found


@pytest.mark.parametrize("maxval", MAXVALS)
@pytest.mark.parametrize(
    ("kind", "channels"), [("pnm", 1), ("pnm", 3), ("pam", 1), ("pam", 2), ("pam", 3), ("pam", 4)]
)
def test_the_layout_finds_the_picture(
    maxval: int, kind: Literal["pnm", "pam"], channels: int
) -> None:
    pixels = picture(61, 33, channels, maxval)
    file = pnm_file(pixels, maxval=maxval, kind=kind, comment=b"of 12 34", trailing=b"\0\0")
    assert np.array_equal(only_element(file), pixels)
    named = pnm.probe(file[:4096], len(file))
    assert named == pnm.layout(memoryview(file)).format
    assert f"61x33 {['luma', 'luma and alpha', 'rgb', 'rgba'][channels - 1]}" in named
    assert named.endswith(f" {maxval.bit_length()}-bit")
    assert codec.decompress(codec.compress(file)) == file


def test_a_pam_of_many_components() -> None:
    pixels = np.concatenate([image(40, 30, channels=4)] * 4, axis=2)
    file = pnm_file(pixels, maxval=1023, kind="pam")
    assert np.array_equal(only_element(file), pixels)
    assert codec.decompress(codec.compress(file)) == file


def special_floats(channels: int) -> NDArray[np.float32]:
    """Ordinary values, and zeros, infinities, subnormals and NaNs with payloads."""
    floats = (image(40, 30, channels=3)[:, :, :channels] / np.float32(300)).astype(np.float32)
    bits = floats.view(np.uint32)
    bits[3, :8, 0] = [0, 1 << 31, 0x7F800000, 0xFF800000, 1, 0x807FFFFF, 0x7FC12345, 0xFF800001]
    return floats


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("byte_order", ["be", "le"])
def test_floats_are_found_as_two_halves(channels: int, byte_order: ByteOrder) -> None:
    floats = special_floats(channels)
    file = pfm_file(floats, byte_order=byte_order)
    halves = only_element(file).astype(np.uint32).reshape(30, 40, channels, 2)
    high = 0 if byte_order == "be" else 1
    found = halves[..., high] << np.uint32(16) | halves[..., 1 - high]
    assert np.array_equal(found[::-1], floats.view(np.uint32))
    (element,) = pnm.layout(memoryview(file)).elements
    assert set(element.order[:channels]) == set(element.signed)
    assert {component % 2 for component in element.signed} == {high}
    for level in LEVELS:
        assert codec.decompress(codec.compress(file, level=level)) == file


def test_samples_above_the_greatest_value_are_samples() -> None:
    pixels = picture(64, 64, 1, 65535)
    file = pnm_file(pixels, maxval=65535).replace(b"65535", b"4095", 1)
    assert np.array_equal(only_element(file), pixels)


def test_sixteen_bits_in_the_wrong_byte_order_are_noticed() -> None:
    pixels = picture(64, 64, 3, 4095)
    assert np.array_equal(
        only_element(pnm_file(pixels, maxval=4095, byte_order="le")),
        pixels,
    )


def test_a_line_end_of_two_bytes_before_the_rows() -> None:
    pixels = picture(50, 40, 3, 255)
    unix = pnm_file(pixels)
    windows = unix.replace(b"\n", b"\r\n", 3)
    assert np.array_equal(only_element(windows), pixels)


def test_a_row_that_begins_with_a_line_feed_is_no_line_end() -> None:
    pixels = picture(50, 40, 1, 255)
    pixels[0, 0] = 10
    file = pnm_file(pixels).replace(b"255\n", b"255\r", 1)
    assert np.array_equal(only_element(file), pixels)


def test_images_one_after_another() -> None:
    first, second = picture(40, 30, 3, 255), picture(41, 29, 1, 1023)
    file = pnm_file(first) + pnm_file(second, maxval=1023) + b"P6 and then none"
    layout = pnm.layout(memoryview(file))
    assert faults(layout, len(file)) == []
    assert layout.format == "ppm 40x30 rgb 8-bit 2 images"
    found = take(file, layout)
    assert np.array_equal(found[0], first)
    assert np.array_equal(found[1], second)
    assert codec.decompress(codec.compress(file)) == file


@pytest.mark.parametrize(
    ("file", "name"),
    [
        (b"P1\n# text\n400 90\n" + b"0 1 1 0 " * 9000, "pbm 400x90 text"),
        (b"P2 300 40 255\n" + b"17 " * 12000, "pgm 300x40 text"),
        (b"P3 300 4 255\n" + b"17 3 200 " * 1200, "ppm 300x4 text"),
        (b"P4 800 50\n" + bytes(range(100)) * 50, "pbm 800x50 bitmap"),
    ],
)
def test_text_and_bitmaps_are_compressed_as_bytes(file: bytes, name: str) -> None:
    encoded = codec.encode(file)
    assert (encoded.format, encoded.reason) == (name, None)
    assert len(encoded.container) < len(file) / 2
    assert codec.decompress(encoded.container) == file


BODY = bytes(range(256)) * 30


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (b"P6 50 50 255\n" + BODY[:7499], "unsupported: PPM is cut short"),
        (b"P5 0 50 255\n" + BODY, "unsupported: PGM of 0x50 pixels"),
        (b"P5 9999999 1 255\n" + BODY, "unsupported: PGM of 9999999x1 pixels"),
        (b"P6 65536 65536 255\n" + BODY, "unsupported: PPM is cut short"),
        (b"P5 50 50 0\n" + BODY, "unsupported: PGM with greatest value 0"),
        (b"P5 50 50 65536\n" + BODY, "unsupported: PGM with greatest value 65536"),
        (b"P5 50 -50 255\n" + BODY, "unsupported: PGM header is not understood"),
        (b"P5 50 50 255" + BODY, "unsupported: PGM header is not understood"),
        (b"P5 # never ends" + b"#" * 9000, "unsupported: PGM header is not understood"),
        (b"P5 99999999999999999999 1 255\n" + BODY, "unsupported: PGM header is not understood"),
        (b"P3 x y 255\n" + BODY, "unsupported: PPM header is not understood"),
        (b"PF 50 50 0.0\n" + BODY, "unsupported: PFM header is not understood"),
        (b"PF 50 50 ..1\n" + BODY, "unsupported: PFM header is not understood"),
        (b"PF 50 50 -1\n" + BODY, "unsupported: PFM is cut short"),
        (b"P7\nWIDTH 5\nHEIGHT 5\n" + BODY, "unsupported: PAM header does not end"),
        (b"P7\nWIDTH 5\nENDHDR\n" + BODY, "unsupported: PAM header without HEIGHT"),
        (
            b"P7\nWIDTH 5\nHEIGHT 5\nDEPTH 17\nMAXVAL 255\nENDHDR\n" + BODY,
            "unsupported: PAM with 17 samples a pixel",
        ),
        (b"P7 332\n" + BODY, "unsupported: not a frame format that is known"),
        (b"P8 50 50 255\n" + BODY, "unsupported: not a frame format that is known"),
    ],
)
def test_what_is_not_understood_says_why(file: bytes, reason: str) -> None:
    assert codec.probe(file[: codec.PROBE_SIZE], len(file)).reason == reason
    encoded = codec.encode(file)
    assert encoded.reason == reason
    assert codec.decompress(encoded.container) == file


def test_a_lying_scale_does_not_raise() -> None:
    for scale in (b"1e999", b"-1e-999", b".", b"-"):
        file = b"PF 5 5 " + scale + b"\n" + BODY
        with pytest.raises(NotUnderstood, match=r"PFM (header is not understood|is cut short)"):
            pnm.layout(memoryview(file[:90]))


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("maxval", [255, 65535])
def test_other_programs_read_the_same_picture(maxval: int, channels: int, tmp_path: Path) -> None:
    pixels = picture(48, 20, channels, maxval)
    path = tmp_path / "frame.pnm"
    path.write_bytes(pnm_file(pixels, maxval=maxval))
    # OpenImageIO rounds 16-bit samples through floats.
    seen = oiiotool(path).astype(np.int64) - pixels.astype(np.int64) * (65535 // maxval)
    assert np.abs(seen).max() <= 1
    named = path.rename(path.with_suffix(".pgm" if channels == 1 else ".ppm"))
    assert np.array_equal(ffmpeg(named, pixels.shape, maxval.bit_length()), pixels)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
def test_ffmpeg_reads_the_same_pam(channels: int, tmp_path: Path) -> None:
    pixels = picture(48, 20, channels, 255)
    path = tmp_path / "frame.pam"
    path.write_bytes(pnm_file(pixels, kind="pam"))
    assert np.array_equal(ffmpeg(path, pixels.shape, 8), pixels)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("byte_order", ["be", "le"])
def test_ffmpeg_reads_the_same_floats(byte_order: ByteOrder, channels: int, tmp_path: Path) -> None:
    floats = (image(48, 20)[:, :, :channels] / np.float32(1023)).astype(np.float32)
    path = tmp_path / "frame.pfm"
    path.write_bytes(pfm_file(floats, byte_order=byte_order))
    # PFM has the bottom row first; FFmpeg 5 shows rows as they come.
    assert np.array_equal(ffmpeg_floats(path, floats.shape)[::-1], floats)


@pytest.mark.slow
def test_the_corpus(corpus: Path) -> None:
    """Every real file, at every level."""
    files = sorted(
        p for p in corpus.rglob("*") if p.suffix in (".ppm", ".pgm", ".pnm", ".pam", ".pfm")
    )
    assert files
    coded = 0
    for path in files:
        file = path.read_bytes()
        for level in LEVELS:
            encoded = codec.encode(file, level=level)
            assert codec.decompress(encoded.container) == file, path.name
            coded += encoded.reason is None
    assert coded > 2 * len(files)
