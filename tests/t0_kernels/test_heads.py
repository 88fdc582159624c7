"""Plane heads against the oracle's reading of them, and heads that make no sense."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.effort import EFFORTS
from codec.kernels import heads as kernel
from codec.planes import PlaneHeads
from codec.tile import encode_tile
from codec.types import Element, Packing, Region, Segment
from tests.layouts import KINDS, region_bytes, values
from tests.oracle import container as oracle

ROWS, WIDTH = 5, 130
ELEMENT = Element(
    WIDTH, ROWS, (Region(0, 10 * WIDTH),), (Segment(5, 16, Packing.WORD),), (3, 1, 0, 4, 2)
)
BITS = np.full(5, 16, np.int64)


def heads_of(kind: str) -> bytes:
    samples = values(kind, ROWS, 5 * WIDTH, 3)
    effort = replace(EFFORTS["max"], deep="never")
    tile = encode_tile(region_bytes(ELEMENT, ROWS, samples, 3, False), ROWS, ELEMENT, effort)
    assert tile[0] == 1
    (length,) = struct.unpack_from("<I", tile, 4)
    raw = zlib.decompress(tile[16 : 16 + length])
    assert raw[:6] == bytes(6), "this kind has shifts or maps"
    return raw[6:]


NOISE = heads_of("noise")


@pytest.mark.parametrize("kind", [k for k in KINDS if k in ("noise", "smooth")])
def test_heads_are_read_as_specified(kind: str) -> None:
    raw = heads_of(kind)
    e = oracle.Element(
        WIDTH, ROWS, 0, 0, list(ELEMENT.order), [], [oracle.Segment(0, 5, 16, 1, 0, 0, 0)]
    )
    planes = oracle.parse_heads(raw, ROWS, e, [oracle.Values(0, 16)] * 5)
    read = PlaneHeads(memoryview(raw), ROWS, ELEMENT, BITS)
    for p, plane in enumerate(planes):
        assert read.magnitude_shifts[p] == plane.magnitude_shift
        assert read.crosses[p] == plane.cross
        assert read.predictors[p] == plane.predictor
        assert read.starts[p] == plane.start
        assert read.coefficients[p].tolist() == [*(plane.taps + [0] * 19)[:19], plane.bias]
        assert read.thresholds[p].tolist() == plane.thresholds
        assert read.coded[p].reshape(-1).tolist() == plane.coded
        assert read.ends[p].tolist() == plane.lengths
        for context in range(16):
            table = read.tables[p, context << 9 : (context + 1) << 9]
            assert set((table[table > 0] >> 6 & 31).tolist()) == set(plane.codes[context].values())


CODES_AT = 10 + 2 * 4 + 2 * 15 + 16


@pytest.mark.parametrize(
    ("at", "byte", "reason"),
    [
        (0, 2, "out of range"),
        (1, 16, "out of range"),
        (2, 3, "out of range"),
        (3, 2, "out of range"),
        (CODES_AT - 16, 17, "more raw bits"),
        (CODES_AT, 0xA9, "code is too long"),
        (CODES_AT, 0x11, "over-full"),
        (0, 0, "cut short|too long|out of range|over-full|too long|raw bits"),
    ],
)
def test_heads_that_make_no_sense_are_refused(at: int, byte: int, reason: str) -> None:
    raw = bytearray(NOISE)
    raw[at] = byte
    with pytest.raises(ValueError, match=reason):
        PlaneHeads(memoryview(bytes(raw)), ROWS, ELEMENT, BITS)


@pytest.mark.parametrize("size", [0, 9, 10, CODES_AT, len(NOISE) - 1])
def test_heads_cut_short_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="cut short"):
        PlaneHeads(memoryview(NOISE[:size]), ROWS, ELEMENT, BITS)
    with pytest.raises(ValueError, match="too long"):
        PlaneHeads(memoryview(NOISE + b"\0"), ROWS, ELEMENT, BITS)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, len(NOISE) - 1), st.integers(0, 255)), max_size=6))
def test_damaged_heads_are_in_range_or_refused(changes: list[tuple[int, int]]) -> None:
    raw = bytearray(NOISE)
    for at, byte in changes:
        raw[at] = byte
    try:
        read = PlaneHeads(memoryview(bytes(raw)), ROWS, ELEMENT, BITS)
    except ValueError:
        return
    assert read.starts.max() <= 900
    assert read.crosses.max() <= 2
    assert read.magnitude_shifts.max() <= 15
    assert (read.tables & 31).max() <= 9 + 16
    assert kernel.SOUND == 0
