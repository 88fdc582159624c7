"""Packing kernels against the bit-by-bit oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from codec.formats import dpx
from codec.kernels.packing import PACKED_HIGH, PAD, pack_row, unpack_rows
from tests.flavors import FLAVORS, flavor_id, frame
from tests.oracle import bits as oracle


@pytest.mark.parametrize("width", [16, 17, 18, 19])
@pytest.mark.parametrize("flavor", FLAVORS, ids=flavor_id)
def test_rows_unpack_and_pack_as_the_oracle_says(flavor: dict[str, Any], width: int) -> None:
    file = frame("noise", width, 3, flavor, padding_bits="random")
    (e,) = dpx.layout(memoryview(file)).elements
    (s,), (region,) = e.segments, e.regions
    row_bytes = s.row_bytes(width)
    planes = np.zeros((e.components, e.rows, width + 2 * PAD), np.uint16)
    source = np.frombuffer(file, np.uint8)
    place = (int(s.packing), s.bits, s.shift, s.big_endian, s.reverse)
    lines = (region.offset, region.row_bytes, row_bytes, e.rows)
    stray = unpack_rows(source, *lines, width, e.components, *place, planes)
    is_luma = flavor["descriptor"] == "luma"
    how = {k: flavor[k] for k in ("bits", "packing", "byte_order")}
    any_padding = False
    for r in range(e.rows):
        line = file[region.place(r) :][: region.row_bytes]
        values, _ = oracle.unpack_line(line, width * e.components, **how, luma=is_luma)
        plain = oracle.pack_line(values, **how, luma=is_luma)
        any_padding = any_padding or line[:row_bytes] != plain[:row_bytes]
        inside = planes[:, r, PAD : PAD + width]
        assert inside.T.reshape(-1).tolist() == values
        target = np.full(region.row_bytes, 0xAA, np.uint8)
        words = np.zeros(row_bytes + 16, np.uint8)
        linear = np.zeros(width * e.components + 3, np.uint16)
        dims = (row_bytes, width, e.components)
        pack_row(target, 0, *dims, *place, planes, r, words, linear)
        target[row_bytes:] = 0
        assert target.tobytes() == plain
    assert bool(stray) == any_padding


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("bits", range(1, 17))
def test_high_packing_is_a_stream_from_the_high_end(bits: int, big: bool, reverse: bool) -> None:
    count = 37
    values = np.random.default_rng(bits).integers(0, 1 << bits, count).tolist()
    placed = list(values)
    if reverse:
        for i in range(0, count - 1, 2):
            placed[i], placed[i + 1] = placed[i + 1], placed[i]
    stream = "".join(f"{value:0{bits}b}" for value in placed)
    unit = 8 if big else 32
    stream = stream.ljust(-(-len(stream) // unit) * unit, "0")
    raw = bytes(int(stream[i : i + 8], 2) for i in range(0, len(stream), 8))
    if not big:
        raw = b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4))
    source = np.frombuffer(b"???" + raw, np.uint8)
    planes = np.zeros((1, 1, count + 2 * PAD), np.uint16)
    place = (PACKED_HIGH, bits, 0, big, reverse)
    assert not unpack_rows(source, 3, 0, len(raw), 1, count, 1, *place, planes)
    assert planes[0, 0, PAD : PAD + count].tolist() == values
    target = np.full(len(raw) + 1, 0xAA, np.uint8)
    words = np.zeros(len(raw) + 16, np.uint8)
    linear = np.zeros(count + 3, np.uint16)
    pack_row(target, 0, len(raw), count, 1, *place, planes, 0, words, linear)
    assert target.tobytes() == raw + b"\xaa"
