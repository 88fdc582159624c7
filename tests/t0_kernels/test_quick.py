"""Groups, quads, escapes and lanes of tile modes 3 and 5, each against an obvious twin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from codec.kernels import quick_code as code
from codec.kernels import quick_groups as groups_of
from codec.kernels import quick_lanes as lanes_of
from codec.kernels import quick_predict, quick_rows
from codec.kernels.packing import PAD
from tests.oracle import quads as oracle
from tests.oracle.container import Bits

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESIDUALS = st.lists(
    st.one_of(st.integers(0, 40), st.integers(0, 0xFFFF)), min_size=16, max_size=16
)


@njit
def split(
    z: NDArray[np.uint16],
    at: int,
    k: int,
    quads: NDArray[np.uint8],
    lanes: NDArray[np.uint8],
    byte: int,
    filled: int,
) -> int:
    return lanes_of.split_group(z, at, k, quads, 4, lanes, byte, filled)


@njit
def merge(
    entries: NDArray[np.uint16],
    k: int,
    lanes: NDArray[np.uint8],
    byte: int,
    filled: int,
    z: NDArray[np.uint16],
    at: int,
    sums: NDArray[np.int32],
) -> int:
    return lanes_of.merge_group(entries, 4, k, lanes, byte, filled, z, at, sums, 1)


@njit
def total(z: NDArray[np.uint16], at: int) -> int:
    return lanes_of.group_sum(z, at)


@given(z=RESIDUALS, k=st.integers(0, 15), filled=st.integers(0, 15), seed=st.integers(0, 99))
def test_a_group_parts_into_quads_and_lanes(z: list[int], k: int, filled: int, seed: int) -> None:
    row = np.array([9, *z, 9], np.uint16)
    quads = np.full(12, 0xEE, np.uint8)
    before = np.random.default_rng(seed).integers(0, 1 << 16, 16) % (1 << filled)
    lanes = np.full(3 * 32, 0xEE, np.uint8)
    lanes[:32] = before.astype("<u2").view(np.uint8)
    marks = split(row, 1, k, quads, lanes, 0, filled)
    high = [min(v >> k, 3) for v in z]
    assert marks == sum((h == 3) << i for i, h in enumerate(high))
    for j in range(4):
        assert quads[4 + j] == sum(h << 2 * i for i, h in enumerate(high[4 * j : 4 * j + 4]))
    assert set(quads[:4].tolist() + quads[8:].tolist()) == {0xEE}
    held = lanes[:64].view("<u2").reshape(2, 16).astype(int)
    for i, v in enumerate(z):
        assert held[0, i] | held[1, i] << 16 == before[i] | (v % (1 << k)) << filled
    assert set(lanes[64:].tolist()) == {0xEE}
    back = np.full(18, 7, np.uint16)
    sums = np.full(3, 5, np.int32)
    # Lengths of codes, below the quads, are not looked at.
    entries = quads.astype(np.uint16) << lanes_of.QUAD_SHIFT | 10
    assert merge(entries, k, lanes, 0, filled, back, 1, sums) == marks
    expected = [(h << k | v % (1 << k)) & 0xFFFF for h, v in zip(high, z, strict=True)]
    assert back.tolist() == [7, *expected, 7]
    assert sums.tolist() == [5, sum(expected), 5]
    assert total(row, 1) == sum(z)


def test_codes_are_those_of_the_specification() -> None:
    for number, digits in enumerate(code.CODES):
        book = oracle.code_book(number)
        lengths = code.code_lengths(digits)
        assert sum(2.0 ** -int(n) for n in lengths) == 1
        for (length, bits), high in book.items():
            s = sum(h << 2 * i for i, h in enumerate(high))
            entry = int(code.ENCODING[number * code.SYMBOLS + s])
            written = int(f"{bits:0{length}b}"[::-1], 2)
            assert lengths[s] == length
            assert entry == written << 64 - length | length
            for rest in range(1 << (code.MAX_LENGTH - length)):
                at = number << code.MAX_LENGTH | rest << length | written
                assert int(code.DECODING[at]) == length | s << lanes_of.QUAD_SHIFT


def emitted(
    quads: NDArray[np.uint8], numbers: NDArray[np.int64], coded: NDArray[np.uint8]
) -> list[bytes]:
    """The four streams of one row."""
    groups = numbers.size
    out = np.zeros((4, 2 * groups + 16), np.uint8)
    state = np.zeros((3, 4), np.uint64)
    code.put_quads(quads, numbers * code.SYMBOLS, coded, groups, code.ENCODING, out, state)
    streams = []
    for s in range(4):
        size = quick_rows.finish_stream(out[s], *state[:, s])
        streams.append(out[s, :size].tobytes())
    return streams


@settings(max_examples=60)
@given(groups=st.integers(1, 23), seed=st.integers(0, 2**32 - 1), rare=st.booleans())
def test_quads_are_written_as_specified_and_read_back(groups: int, seed: int, rare: bool) -> None:
    random = np.random.default_rng(seed)
    quads = random.integers(0, 256, 4 * groups).astype(np.uint8)
    if not rare:
        quads &= random.integers(0, 256, 4 * groups).astype(np.uint8) & 0x15
    numbers = random.integers(0, len(code.CODES), groups)
    coded = random.integers(0, 2, -(-groups // code.BLOCK)).astype(np.uint8)
    streams = emitted(quads, numbers, coded)
    there = [g for g in range(groups) if coded[g // code.BLOCK]]
    readers = [Bits(stream) for stream in streams]
    expected = np.zeros(4 * groups, np.uint8)
    for g in there:
        for j in range(4):
            high = oracle.take(readers[j], oracle.code_book(numbers[g]))
            expected[4 * g + j] = sum(h << 2 * i for i, h in enumerate(high))
            assert expected[4 * g + j] == quads[4 * g + j]
    assert [(b.at + 7) // 8 for b in readers] == [len(stream) for stream in streams]
    room = bytes(2 * groups + 16)
    data = np.frombuffer(b"".join(stream + room for stream in streams), np.uint8)
    begins = np.cumsum([0, *(len(stream) + len(room) for stream in streams[:3])])
    positions = begins * 8
    back = np.zeros(4 * groups, np.uint16)
    firsts = numbers << code.MAX_LENGTH
    code.take_quads(data, positions, firsts, coded, groups, code.DECODING, back)
    assert (back >> lanes_of.QUAD_SHIFT).tolist() == expected.tolist()
    assert (positions - begins * 8).tolist() == [b.at for b in readers]


@given(z=RESIDUALS, k=st.integers(0, 15), group=st.integers(0, 7))
def test_escapes_are_written_as_specified_and_read_back(z: list[int], k: int, group: int) -> None:
    row = np.zeros(8 * 16, np.uint16)
    row[16 * group : 16 * group + 16] = z
    marks = np.zeros(8, np.uint16)
    marks[group] = sum((v >> k >= 3) << i for i, v in enumerate(z))
    low = np.full(8, k, np.int64)
    out = np.zeros(100, np.uint8)
    state = np.zeros(3, np.uint64)
    places = np.full(row.size + code.PLACES_SLACK, 0xEEEE, np.uint32)
    code.put_escapes(row, low, marks, places, out, state)
    size = quick_rows.finish_stream(out, *state)
    reader = Bits(out[:size].tobytes())
    for v in z:
        if v >> k >= 3:
            assert 3 + oracle.more(reader) == v >> k
    assert (reader.at + 7) // 8 == size
    cut = np.zeros_like(row)
    cut[16 * group : 16 * group + 16] = [min(v, 3 << k | v % (1 << k)) & 0xFFFF for v in z]
    sums = np.zeros(8, np.int32)
    sums[group] = cut.sum()
    assert code.take_escapes(out, 0, 8 * size, cut, low, marks, places, sums) == reader.at
    assert cut.tolist() == row.tolist()
    assert sums.tolist() == row.reshape(8, 16).sum(1).tolist()


@given(count=st.integers(0, 128), blocks=st.integers(1, 3), seed=st.integers(0, 2**32 - 1))
def test_places_of_escapes_are_those_of_marks(count: int, blocks: int, seed: int) -> None:
    """None, a few, and all 64 of a block: eight are noted at a time."""
    columns = 64 * blocks
    random = np.random.default_rng(seed)
    there = np.sort(random.choice(columns, min(count, columns), replace=False))
    flags = np.zeros(columns, np.uint8)
    flags[there] = 1
    marks = np.packbits(flags, bitorder="little").view("<u2")
    places = np.full(columns + code.PLACES_SLACK, 0xEEEE, np.uint32)
    assert code.escape_places(marks, places) == there.size
    assert places[: there.size].tolist() == there.tolist()


def test_escapes_stop_at_the_limit() -> None:
    """Zeros for ever are read as escapes of bounded length, up to the limit and no further."""
    data = np.zeros(64, np.uint8)
    z = np.full(16 * 40, 3, np.uint16)
    low = np.zeros(40, np.int64)
    sums = np.zeros(40, np.int32)
    marks = np.full(40, 0xFFFF, np.uint16)
    places = np.full(z.size + code.PLACES_SLACK, 0xEEEE, np.uint32)
    assert code.take_escapes(data, 0, 8 * 24, z, low, marks, places, sums) == -1
    marks[:] = 0
    marks[7] = 0xF
    assert code.take_escapes(data, 0, 8 * 24, z, low, marks, places, sums) == 4 * 33


@given(
    groups=st.integers(1, 9),
    p=st.integers(0, 3),
    reach=st.integers(1, 2),
    seed=st.integers(0, 2**32 - 1),
)
def test_activities_and_classes_are_as_specified(
    groups: int, p: int, reach: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    groups *= reach
    side = groups_of.SIDE
    sums = random.integers(0, 16 * 0xFFFF + 1, (4, 3, groups + 2 * side)).astype(np.int32)
    for row in sums.reshape(12, -1):
        groups_of.pad_sums(row, groups, reach)
    activity = np.empty(groups, np.int32)
    groups_of.row_activities(sums, p, 1, 0, 2, activity, groups, reach)
    whole = sums[:, :, side:-side].astype(int)
    for g in range(groups):
        north = whole[p, 1]
        before = g - reach if g >= reach else g
        after = g + reach if g + reach < groups else g
        a = 8 * north[g] + north[before] + north[after] + 2 * whole[p, 0, g]
        a += 4 * sum(whole[q, 2, g] for q in range(max(p - 2, 0), p))
        assert activity[g] == a
    thresholds = np.sort(random.integers(0, 1 << 25, 15)).astype(np.int32)
    thresholds[3] = activity[0]
    number = np.empty(groups, np.int32)
    groups_of.classify(activity, thresholds, number, groups)
    assert number.tolist() == [sum(t <= a for t in thresholds) for a in activity]


@given(st.integers(0, (1 << 25) - 1))
def test_levels_part_the_activities(activity: int) -> None:
    level = level_of(activity)
    assert groups_of._least(level) <= activity < groups_of._least(level + 1)


@njit
def level_of(activity: int) -> int:
    return groups_of._level(activity)


@pytest.mark.parametrize("kind", ["zero", "flat", "mixed", "wild"])
@pytest.mark.parametrize("bits", [1, 8, 16])
def test_classes_are_chosen_within_their_range(kind: str, bits: int) -> None:
    random = np.random.default_rng(bits)
    top = 16 * ((1 << bits) - 1)
    shape = (2, 5, 2, 44)
    sums = {
        "zero": np.zeros(shape),
        "flat": np.full(shape, top // 2),
        "mixed": random.integers(0, top // 2 + 1, shape) * random.integers(0, 2, shape),
        "wild": top * random.random(shape) ** 9,
    }[kind].astype(np.int32)
    if kind == "wild":
        sums[:] = sums[:1, :, :1]
    thresholds = np.zeros(groups_of.THRESHOLDS, np.int32)
    k, codes = np.full((2, groups_of.CLASSES), 99)
    groups_of.choose_classes(sums, 1, 40, bits, 2, thresholds, k, codes)
    assert (np.diff(thresholds.astype(int)) >= 0).all()
    assert k.min() >= 0
    assert k.max() <= min(bits, groups_of.MAX_RAW)
    assert codes.min() >= 0
    assert codes.max() < len(code.CODES)
    if kind == "wild" and bits == 16:
        assert len(set(k.tolist())) > 3
        assert k.tolist() == sorted(k.tolist())


@settings(max_examples=40)
@given(
    p=st.integers(0, 3),
    bits=st.integers(1, 16),
    width=st.integers(1, 70),
    seed=st.integers(0, 2**32 - 1),
)
def test_bases_of_mode_3_are_as_specified(p: int, bits: int, width: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    planes = random.integers(0, 1 << bits, (4, 2, width + 2 * PAD)).astype(np.uint16)
    order = random.permutation(4)
    c = random.integers(-32768, 32768, quick_predict.COEFFICIENTS).astype(np.int32)
    z = random.integers(0, 1 << bits, width + 2 * PAD).astype(np.uint16)
    base = np.zeros(width, np.int32)
    quick_predict.quick_base(base, planes, order, p, 1, 0, c, z, width)
    x_of = planes[order].astype(int)
    for x in range(PAD, PAD + width):
        s = int(c[9]) + c[1] * x_of[p, 0, x] + c[2] * x_of[p, 0, x - 1] + c[3] * x_of[p, 0, x + 1]
        if p > 0:
            g = x_of[p - 1]
            s += c[4] * g[1, x] + c[5] * g[1, x - 1] + c[6] * g[0, x]
        if p > 1:
            s += c[7] * x_of[p - 2, 1, x] + c[8] * x_of[p - 2, 0, x]
        d = int(z[x]) // 2 if z[x] % 2 == 0 else -(int(z[x]) + 1) // 2
        assert base[x - PAD] == wrapped(int(s) + (d << 12), 32)


def wrapped(value: int, bits: int) -> int:
    """``value`` in two's complement of ``bits``."""
    value %= 1 << bits
    return value - (1 << bits) if value >> (bits - 1) else value
