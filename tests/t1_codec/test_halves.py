"""Tiles of mode 5: they come back, the specification decodes them, and damage is noticed."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import codec
from codec.container import parse_directory, parse_header
from codec.effort import EFFORTS
from codec.errors import DamagedError
from codec.synthetic import dpx_file, image
from codec.tile import MODE_HALVES, MODE_PREDICTED, decode_tile, encode_tile, slack_bytes
from codec.types import Element, Packing, Region, Segment
from tests.layouts import KINDS, elements, region_bytes, values
from tests.oracle import container as oracle
from tests.t1_codec.test_tile import as_read

if TYPE_CHECKING:
    from codec.effort import Effort

ALWAYS = replace(
    EFFORTS["fast"], quick_width=1, quick_evenness=-99, quick_unevenness=99, quick_clean=0
)
ROWS, WIDTH = 9, 150
RGB = Element(WIDTH, ROWS, (Region(0, 6 * WIDTH),), (Segment(3, 16, Packing.WORD),), (1, 0, 2))


def tile_of(e: Element, kind: str, seed: int, stray: bool = False) -> tuple[bytes, list[bytes]]:
    """A tile of all of an element's rows, in mode 5 where it can be, and what it was made from."""
    samples = values(kind, e.rows, e.width * e.components, seed)
    regions = region_bytes(e, e.rows, samples, seed, stray)
    with patch("codec.tile._CLEAN", 0):
        tile = encode_tile(regions, e.rows, e, ALWAYS)
    assert tile[0] in (MODE_HALVES, MODE_PREDICTED)
    return tile, [r.tobytes() for r in regions]


def test_a_tile_whose_taps_cannot_be_fitted_is_coded_in_mode_1() -> None:
    """Eight planes of 63x2 samples, all but sums of one another, once divided by zero."""
    raw = np.arange(6 * WIDTH * ROWS, dtype=np.uint8)
    with patch("codec.kernels.half_plan.plan_planes", side_effect=ZeroDivisionError):
        tile = encode_tile([raw], ROWS, RGB, ALWAYS)
    assert tile[0] == MODE_PREDICTED
    assert decode_tile(tile, ROWS, RGB)[0].tobytes() == raw.tobytes()


@settings(max_examples=250)
@given(
    e=elements(),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 2**32 - 1),
    stray=st.booleans(),
)
def test_every_layout_comes_back(e: Element, kind: str, seed: int, stray: bool) -> None:
    tile, regions = tile_of(e, kind, seed, stray)
    assert [r.tobytes() for r in decode_tile(tile, e.rows, e)] == regions


@settings(max_examples=60)
@given(e=elements(max_rows=6), kind=st.sampled_from(KINDS), seed=st.integers(0, 2**32 - 1))
def test_the_specification_decodes_every_layout(e: Element, kind: str, seed: int) -> None:
    tile, regions = tile_of(e, kind, seed)
    assert oracle.decode_tile(tile, e.rows, as_read(e)) == regions


@pytest.mark.parametrize("width", [1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 95, 1000])
@patch("codec.tile._CLEAN", 0)
def test_wide_and_narrow_planes_of_every_size_of_residual(width: int) -> None:
    """Noise whose depth changes from column to column: all classes, many escapes."""
    random = np.random.default_rng(width)
    depth = np.arange(width) // 7 % 17
    rows = 40
    samples = (random.integers(0, 1 << 16, (rows, width)) >> (16 - depth)).astype("<u2")
    e = Element(width, rows, (Region(0, 2 * width),), (Segment(1, 16, Packing.WORD),), (0,))
    tile = encode_tile([samples.view(np.uint8).reshape(-1)], rows, e, ALWAYS)
    assert tile[0] == MODE_HALVES
    assert decode_tile(tile, rows, e)[0].tobytes() == samples.tobytes()
    assert oracle.decode_tile(tile, rows, as_read(e)) == [samples.tobytes()]


@patch("codec.tile._CLEAN", 0)
def test_flat_blocks_are_not_written() -> None:
    rows, width = 40, 640
    samples = np.full((rows, width), 77, "<u2")
    e = Element(width, rows, (Region(0, 2 * width),), (Segment(1, 16, Packing.WORD),), (0,))
    flat = encode_tile([samples.view(np.uint8).reshape(-1)], rows, e, ALWAYS)
    assert len(flat) < 300
    samples[10:20, 100:250] = np.random.default_rng(4).integers(0, 1 << 16, (10, 150))
    tile = encode_tile([samples.view(np.uint8).reshape(-1)], rows, e, ALWAYS)
    assert len(tile) < 2 * 10 * 256 + 1000
    for made, regions in ((tile, [samples.tobytes()]),):
        assert oracle.decode_tile(made, rows, as_read(e)) == regions
        assert decode_tile(made, rows, e)[0].tobytes() == regions[0]


def test_narrow_tiles_are_of_mode_1() -> None:
    for width, mode in ((63, MODE_PREDICTED), (64, MODE_HALVES)):
        e = Element(width, 4, (Region(0, 2 * width),), (Segment(1, 16, Packing.WORD),), (0,))
        raw = values("noise", 4, width, 1).view(np.uint8).reshape(-1)
        tile = encode_tile([raw], 4, e, EFFORTS["fast"])
        assert tile[0] == mode


def test_uneven_tiles_are_of_mode_1() -> None:
    """A few columns of noise in calm ones: a group has one class, mode 1 contexts for each."""
    random = np.random.default_rng(3)
    samples = random.integers(0, 2, (30, 320))
    samples[:, ::11] = random.integers(0, 1 << 16, (30, 30))
    e = Element(320, 30, (Region(0, 640),), (Segment(1, 16, Packing.WORD),), (0,))
    raw = samples.astype("<u2").view(np.uint8).reshape(-1)
    uneven = encode_tile([raw], 30, e, EFFORTS["fast"])
    always = encode_tile([raw], 30, e, ALWAYS)
    assert (uneven[0], always[0]) == (MODE_PREDICTED, MODE_HALVES)
    assert len(uneven) < len(always)
    for tile in (uneven, always):
        assert decode_tile(tile, 30, e)[0].tobytes() == raw.tobytes()


def test_calm_tiles_are_of_mode_1() -> None:
    """Clean pictures repeat their rows: contexts of single samples know more than fitted taps."""
    samples = np.repeat(np.random.default_rng(5).integers(0, 1 << 16, (4, 320)), 8, axis=0)
    samples[3::8] += 1
    e = Element(320, 32, (Region(0, 640),), (Segment(1, 16, Packing.WORD),), (0,))
    raw = samples.astype("<u2").view(np.uint8).reshape(-1)
    with patch("codec.tile._CLEAN", 0):
        calm = encode_tile([raw], 32, e, EFFORTS["fast"])
    assert calm[0] == MODE_PREDICTED
    assert decode_tile(calm, 32, e)[0].tobytes() == raw.tobytes()


def test_hardly_any_flat_blocks_spare_the_general_purpose_compressor() -> None:
    """A clipped highlight in a photograph had every tile deflated in vain."""
    samples = np.random.default_rng(6).normal(500, 3, (64, 640)).astype("<u2")
    samples[20:22, 64:256] = 700
    e = Element(640, 64, (Region(0, 1280),), (Segment(1, 16, Packing.WORD),), (0,))
    with patch("codec.tile.looks_clean", side_effect=AssertionError):
        tile = encode_tile([samples.view(np.uint8).reshape(-1)], 64, e, EFFORTS["fast"])
    assert tile[0] == MODE_HALVES


def test_the_feature_is_named_where_a_reader_needs_it() -> None:
    for width, level, named in ((40, "fast", False), (90, "fast", True), (90, "balanced", False)):
        container = codec.compress(dpx_file(image(width, 60)), level=level)
        header = parse_header(container[:64])
        directory = parse_directory(container[64 : 64 + header.directory_length], header)
        assert ("tile-quads-2" in directory.features) == named


def rebuilt(tile: bytes, head: bytes, body: bytes) -> bytes:
    """A tile with other heads and another body."""
    deflated = zlib.compress(head, 1)
    fixed = struct.pack("<BBHIII", tile[0], 0, 0, len(deflated), 0, 0)
    return fixed + deflated + body


def parts_of(tile: bytes) -> tuple[bytes, bytes]:
    """The heads, inflated, and the body of a tile that has no gaps and no residue."""
    (length,) = struct.unpack_from("<I", tile, 4)
    return zlib.decompress(tile[16 : 16 + length]), tile[16 + length :]


FIRST = 4
"""Where the heads of the planes of an element of three components begin without maps."""


def test_heads_that_make_no_sense_are_damage() -> None:
    tile, _ = tile_of(RGB, "smooth", 5)
    head, body = parts_of(tile)
    assert head[:FIRST] == bytes(FIRST), "no shifts and no maps"
    decode_tile(rebuilt(tile, head, body), ROWS, RGB)
    k = FIRST + 8 + 2 * (2 + 3) + 60
    changes = {FIRST: 2, FIRST + 1: 1, k: 16, k + 16: 9, k + 32: head[k + 32] ^ 1}
    for at, value in changes.items():
        damaged = head[:at] + bytes([value]) + head[at + 1 :]
        with pytest.raises(DamagedError):
            decode_tile(rebuilt(tile, damaged, body), ROWS, RGB)
    for damaged in (head[:-1], head + b"\0", head[: FIRST + 20], head[:FIRST]):
        with pytest.raises(DamagedError):
            decode_tile(rebuilt(tile, damaged, body), ROWS, RGB)
    for damaged in (body[:-1], body + b"\0", body[1:], b""):
        with pytest.raises(DamagedError):
            decode_tile(rebuilt(tile, head, damaged), ROWS, RGB)


def test_an_edge_beyond_the_samples_is_damage() -> None:
    e = Element(64, 2, (Region(0, 64),), (Segment(1, 8, Packing.BYTE),), (0,))
    tile, _ = tile_of(e, "noise", 1)
    head, body = parts_of(tile)
    assert head[:2] == bytes(2), "no shifts and no maps"
    decode_tile(rebuilt(tile, head, body), 2, e)
    with pytest.raises(DamagedError):
        decode_tile(rebuilt(tile, head[:5] + b"\1" + head[6:], body), 2, e)


@settings(max_examples=300)
@given(data=st.data(), kind=st.sampled_from(["smooth", "noise", "rare", "ramp"]))
def test_damaged_tiles_give_rows_or_an_error(data: st.DataObject, kind: str) -> None:
    tile, regions = tile_of(RGB, kind, 5)
    parts = [bytearray(part) for part in parts_of(tile)]
    for _ in range(data.draw(st.integers(1, 4))):
        part = parts[data.draw(st.integers(0, 1))]
        at = data.draw(st.integers(0, len(part) - 1))
        part[at] = data.draw(st.sampled_from([0, 1, 15, 127, 128, 255, part[at] ^ 1]))
    try:
        decoded = decode_tile(rebuilt(tile, *map(bytes, parts)), ROWS, RGB)
    except DamagedError:
        return
    assert [r.size for r in decoded] == [len(r) for r in regions]


@settings(max_examples=200)
@given(
    level=st.sampled_from([ALWAYS, EFFORTS["balanced"]]),
    kind=st.sampled_from(["smooth", "noise"]),
    after=st.sampled_from([0, 0x55, 0xFF]),
    place=st.floats(0, 1),
    flip=st.integers(0, 255),
)
def test_what_stands_after_a_tile_does_not_matter(
    level: Effort, kind: str, after: int, place: float, flip: int
) -> None:
    """Its streams are read where they stand, and where they are damaged, past their end."""
    samples = values(kind, ROWS, 3 * WIDTH, 5)
    with patch("codec.tile._CLEAN", 0):
        tile = bytearray(encode_tile(region_bytes(RGB, ROWS, samples, 5, False), ROWS, RGB, level))
    tile[round(place * (len(tile) - 1))] ^= flip
    held = tile + bytes([after]) * slack_bytes(WIDTH)
    try:
        alone = decode_tile(tile, ROWS, RGB)
    except DamagedError:
        with pytest.raises(DamagedError):
            decode_tile(held, ROWS, RGB, length=len(tile))
    else:
        assert np.array_equal(decode_tile(held, ROWS, RGB, length=len(tile)), alone)


@settings(max_examples=100)
@given(st.binary(max_size=300), st.integers(1, 200))
def test_any_body_is_safe_to_decode(body: bytes, width: int) -> None:
    """Heads that claim all of a body of any bytes, at the most raw bits and the longest codes."""
    e = Element(width, 3, (Region(0, 2 * width),), (Segment(1, 16, Packing.WORD),), (0,))
    quarter = len(body) // 6
    lengths = [quarter] * 4 + [quarter // 32 * 32]
    lengths.append(len(body) - sum(lengths))
    plane = struct.pack("<BBHI", 1, 0, 40000, 0) + struct.pack("<5h", 9, -7, 32767, -32768, 1)
    plane += struct.pack("<15i", *range(0, 15 << 16, 1 << 16)) + bytes(range(16))
    plane += bytes(i % 9 for i in range(16)) + struct.pack("<6I", *lengths)
    deflated = zlib.compress(bytes(2) + plane, 1)
    tile = struct.pack("<BBHIII", MODE_HALVES, 0, 0, len(deflated), 0, 0) + deflated + body
    try:
        decoded = decode_tile(tile, 3, e)
    except DamagedError:
        return
    assert [r.size for r in decoded] == [6 * width]
