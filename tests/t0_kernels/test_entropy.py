"""Prefix codes and streams."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.kernels import entropy, streams
from codec.kernels.context import CONTEXTS
from codec.kernels.packing import PAD
from tests.oracle.container import Bits, canonical

if TYPE_CHECKING:
    from numpy.typing import NDArray

COUNTS = st.lists(st.integers(0, 10**6), min_size=entropy.SYMBOLS, max_size=entropy.SYMBOLS)


def lengths_of(counts: list[int]) -> NDArray[np.uint8]:
    lengths = np.full(entropy.SYMBOLS, 99, np.uint8)
    entropy.code_lengths(np.array(counts, np.int64), lengths)
    return lengths


def huffman_cost(counts: list[int]) -> int:
    """Bits of an optimal code without a length limit."""
    heap = [c for c in counts if c]
    heapq.heapify(heap)
    total = 0
    while len(heap) > 1:
        pair = heapq.heappop(heap) + heapq.heappop(heap)
        total += pair
        heapq.heappush(heap, pair)
    return total


def package_merge_cost(counts: list[int], limit: int) -> int:
    """Bits of an optimal code of at most ``limit`` bits a symbol (Larmore and Hirschberg)."""
    coins = sorted(c for c in counts if c)
    packages: list[int] = []
    for _ in range(limit):
        merged = sorted([*coins, *packages])
        packages = [a + b for a, b in zip(merged[::2], merged[1::2], strict=False)]
    return sum(packages[: len(coins) - 1])


@given(COUNTS)
def test_code_lengths_make_a_prefix_code(counts: list[int]) -> None:
    lengths = lengths_of(counts)
    used = [int(n) for n in lengths if n]
    assert [n > 0 for n in lengths] == [c > 0 for c in counts]
    assert all(n <= entropy.MAX_LENGTH for n in used)
    kraft = sum(2.0**-n for n in used)
    assert kraft == (1 if len(used) > 1 else len(used) / 2)


@given(st.lists(st.integers(50, 400), min_size=entropy.SYMBOLS, max_size=entropy.SYMBOLS))
def test_code_lengths_cost_what_huffman_costs_where_the_limit_does_not_bind(
    counts: list[int],
) -> None:
    lengths = lengths_of(counts)
    assert sum(c * int(n) for c, n in zip(counts, lengths, strict=True)) == huffman_cost(counts)


@given(COUNTS)
def test_limited_codes_are_the_cheapest_there_are(counts: list[int]) -> None:
    if sum(c > 0 for c in counts) < 2:
        return
    lengths = lengths_of(counts)
    cost = sum(c * int(n) for c, n in zip(counts, lengths, strict=True))
    assert cost == package_merge_cost(counts, entropy.MAX_LENGTH)


@given(COUNTS)
def test_codes_are_the_canonical_ones(counts: list[int]) -> None:
    lengths = lengths_of(counts)
    codes = np.zeros(entropy.SYMBOLS, np.uint32)
    entropy.canonical_codes(lengths, codes)
    for (length, code), symbol in canonical(lengths.tolist()).items():
        assert f"{int(codes[symbol]):0{length}b}"[::-1] == f"{code:0{length}b}"


class Case:
    """Residuals, their contexts, and codes that need not suit them."""

    def __init__(self, width: int, bits: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.width, self.bits, self.rows = width, bits, 5
        shape = (self.rows, width)
        self.z = np.zeros((self.rows, width + 2 * PAD), np.uint16)
        spread = random.integers(0, 1 << bits, shape) >> random.integers(0, bits, shape)
        self.z[:, PAD : PAD + width] = spread
        self.coded = random.integers(0, 2, (self.rows, -(-width // 8))).astype(np.uint8)
        for b in range(self.coded.shape[1]):
            self.z[self.coded[:, b] == 0, PAD + b * 8 : min(PAD + b * 8 + 8, PAD + width)] = 0
        self.context = random.integers(0, CONTEXTS, shape).astype(np.int16)
        self.k = random.integers(0, bits + 1, CONTEXTS).astype(np.uint8)
        counts = random.integers(0, 3, (CONTEXTS, entropy.SYMBOLS)) * random.integers(
            1, 1000, (CONTEXTS, entropy.SYMBOLS)
        )
        counts[:, entropy.ESCAPE] = 1
        self.lengths = np.zeros((CONTEXTS, entropy.SYMBOLS), np.uint8)
        entropy.all_code_lengths(counts, self.lengths)

    def emitted(self) -> list[bytes]:
        """The four streams, by the kernels."""
        table = np.zeros(CONTEXTS * entropy.SYMBOLS, np.uint32)
        entropy.encoding_table(self.lengths, self.k, self.bits, table)
        direct = np.zeros(CONTEXTS << entropy.DIRECT_BITS, np.uint32)
        entropy.direct_table(table, self.k, self.bits, direct)
        capacity = self.rows * (self.width // 4 + 1) * entropy.MAX_SAMPLE_BITS // 8 + 16
        out = np.full((entropy.STREAMS, capacity), 0xAA, np.uint8)
        entries = np.full(self.width + streams.GROUP, 0x55555555, np.uint32)
        state = np.empty((streams.STATE_ROWS, entropy.STREAMS), np.uint64)
        entropy.begin_streams(out, state)
        ends = np.zeros(entropy.STREAMS, np.int64)
        for r in range(self.rows):
            context = self.context[r] << np.int16(entropy.DIRECT_BITS)
            how = (self.k, table, direct, entries, out, state, self.width)
            entropy.emit_row(self.z[r], context, self.coded[r], *how)
        entropy.finish_streams(out, state, ends)
        return [out[s, : ends[s]].tobytes() for s in range(entropy.STREAMS)]

    def written(self) -> list[bytes]:
        """The four streams, bit by bit."""
        streams = [""] * 4
        codes = [{s: c for c, s in canonical(own.tolist()).items()} for own in self.lengths]
        for r in range(self.rows):
            for x in range(self.width):
                if not self.coded[r, x // 8]:
                    continue
                c = int(self.context[r, x])
                z, k = int(self.z[r, PAD + x]), int(self.k[c])
                symbol = min(z >> k, 31)
                if symbol not in codes[c]:
                    symbol = 31
                low = self.bits if symbol == 31 else k
                length, code = codes[c][symbol]
                streams[x % 4] += f"{code:0{length}b}"
                streams[x % 4] += "".join(str(z >> i & 1) for i in range(low))
        return [bytes(int(s[i : i + 8][::-1], 2) for i in range(0, len(s), 8)) for s in streams]


CASES = {"width": [1, 3, 5, 8, 63, 64, 65, 130], "bits": [1, 8, 9, 10, 12, 16]}


def parametrized(test: Any) -> Any:  # noqa: ANN401
    for name, values in CASES.items():
        test = pytest.mark.parametrize(name, values)(test)
    return test


@parametrized
@settings(max_examples=4)
@given(seed=st.integers(0, 2**32 - 1))
def test_streams_are_written_as_specified(width: int, bits: int, seed: int) -> None:
    case = Case(width, bits, seed)
    assert case.emitted() == case.written()


@parametrized
@settings(max_examples=4)
@given(seed=st.integers(0, 2**32 - 1))
def test_streams_give_residuals_back(width: int, bits: int, seed: int) -> None:
    case = Case(width, bits, seed)
    streams = case.written()
    slack = (width // 4 + 1) * entropy.MAX_SAMPLE_BITS // 8 + 16
    data = np.frombuffer(b"".join(streams) + b"\xff" * slack, np.uint8)
    ends = np.cumsum([len(s) for s in streams])
    positions = np.concatenate([[0], ends[:-1]]) * 8
    table = np.zeros(CONTEXTS << entropy.MAX_LENGTH, np.uint16)
    assert entropy.decoding_table(case.lengths, case.k, bits, table)
    taken = np.zeros(width, np.uint32)
    row = np.zeros(width + 2 * PAD, np.uint16)
    for r in range(case.rows):
        context = case.context[r] << np.int16(entropy.MAX_LENGTH)
        entropy.take_row(data, positions, table, context, case.coded[r], taken, bits, width)
        entropy.split_row(context, taken, bits, row, width)
        assert row[PAD : PAD + width].tolist() == case.z[r, PAD : PAD + width].tolist()
    assert ((positions + 7) // 8).tolist() == ends.tolist()


@given(st.lists(st.integers(0, 9), min_size=32, max_size=32), st.integers(0, 16), st.data())
def test_the_decoding_table_reads_codes_as_they_are(
    own: list[int], k: int, data: st.DataObject
) -> None:
    if sum(2 ** (9 - n) for n in own if n) > 512:
        return
    lengths = np.tile(np.array(own, np.uint8), (CONTEXTS, 1))
    table = np.zeros(CONTEXTS << entropy.MAX_LENGTH, np.uint16)
    assert entropy.decoding_table(lengths, np.full(CONTEXTS, k, np.uint8), 16, table)
    window = data.draw(st.integers(0, 511))
    entry = int(table[(3 << entropy.MAX_LENGTH) + window])
    stream = Bits(window.to_bytes(2, "little"))
    codes = canonical(own)
    code = length = 0
    while (length, code) not in codes and length < 9:
        code, length = code << 1 | stream.one(), length + 1
    if (length, code) not in codes:
        assert entry == 0
        return
    symbol = codes[length, code]
    assert entry & 63 == length + (16 if symbol == 31 else k)
    assert entry >> 6 & 31 == symbol
    assert entry >> 11 == length


def test_an_over_full_code_is_refused() -> None:
    lengths = np.ones((CONTEXTS, entropy.SYMBOLS), np.uint8)
    table = np.zeros(CONTEXTS << entropy.MAX_LENGTH, np.uint16)
    assert not entropy.decoding_table(lengths, np.zeros(CONTEXTS, np.uint8), 10, table)
