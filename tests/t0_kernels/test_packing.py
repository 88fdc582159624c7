"""Packing kernels against the bit-by-bit oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.formats import dpx
from codec.kernels.packing import PACKED_HIGH, PAD, pack_row, unpack_rows
from codec.types import Packing, Segment
from tests.flavors import FLAVORS, flavor_id, frame
from tests.oracle import bits as oracle
from tests.oracle import container
from tests.oracle.samples import row_samples


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


def segments(components: int) -> st.SearchStrategy[Segment]:
    """Every packing with every depth, shift, byte order and direction it can have."""
    flags = {"big_endian": st.booleans(), "reverse": st.booleans()}

    def of(packing: Packing, bits: int, shift: int) -> st.SearchStrategy[Segment]:
        made = {"bits": st.just(bits), "packing": st.just(packing), "shift": st.just(shift)}
        return st.builds(Segment, st.just(components), **made, **flags)

    depth = st.integers(1, 16)
    word = depth.flatmap(lambda bits: st.tuples(st.just(bits), st.integers(0, 16 - bits)))
    return st.one_of(
        of(Packing.BYTE, 8, 0),
        word.flatmap(lambda both: of(Packing.WORD, *both)),
        st.integers(0, 2).flatmap(lambda shift: of(Packing.FILLED, 10, shift)),
        depth.flatmap(lambda bits: of(Packing.PACKED, bits, 0)),
        depth.flatmap(lambda bits: of(Packing.PACKED_HIGH, bits, 0)),
    )


@settings(max_examples=400)
@given(
    segment=st.integers(1, 5).flatmap(segments),
    width=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
    stray=st.booleans(),
)
def test_any_packing_is_unpacked_and_packed(
    segment: Segment, width: int, seed: int, stray: bool
) -> None:
    """Against two oracles: one reads a bit at a time, the other writes as a container's does."""
    random = np.random.default_rng(seed)
    count = width * segment.components
    row_bytes = segment.row_bytes(width)
    samples = random.integers(0, 1 << segment.bits, (segment.components, width)).tolist()
    flags = segment.big_endian + 2 * segment.reverse
    held = container.Segment(
        0, segment.components, segment.bits, int(segment.packing), segment.shift, flags, 0
    )
    plain = container.pack_row(samples, held, width)
    assert len(plain) == row_bytes
    raw = random.bytes(row_bytes) if stray else plain
    values = row_samples(raw, count, segment)
    source = np.frombuffer(b"?" + raw + b"?", np.uint8)
    planes = np.zeros((segment.components, 1, width + 2 * PAD), np.uint16)
    how = (int(segment.packing), segment.bits, segment.shift, segment.big_endian, segment.reverse)
    dims = (row_bytes, width, segment.components)
    any_stray = unpack_rows(source, 1, 0, row_bytes, 1, *dims[1:], *how, planes)
    assert planes[:, 0, PAD : PAD + width].T.reshape(-1).tolist() == values
    target = np.full(row_bytes + 2, 0xAA, np.uint8)
    words = np.full(row_bytes + 16, 0xAA, np.uint8)
    linear = np.full(count + 3, 0xAAAA, np.uint16)
    pack_row(target, 1, *dims, *how, planes, 0, words, linear)
    inside = planes[:, 0, PAD : PAD + width].tolist()
    assert target[1:-1].tobytes() == container.pack_row(inside, held, width)
    assert target[0] == target[-1] == 0xAA
    assert bool(any_stray) == (target[1:-1].tobytes() != raw)
    if not stray:
        assert target[1:-1].tobytes() == plain
