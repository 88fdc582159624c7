"""Prefix codes and streams."""

from __future__ import annotations

import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.kernels import entropy
from codec.kernels.context import CONTEXT_STEP, CONTEXTS
from codec.kernels.packing import PAD

COUNTS = st.lists(st.integers(0, 10**6), min_size=entropy.SYMBOLS, max_size=entropy.SYMBOLS)


def lengths_of(counts: list[int]) -> np.ndarray:
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
    cost = sum(c * int(n) for c, n in zip(counts, lengths, strict=True))
    # Each weight is its count plus one, so ties and near-ties may fall the other way.
    assert cost <= huffman_cost(counts) + entropy.SYMBOLS * entropy.MAX_LENGTH


@pytest.mark.parametrize("width", [1, 3, 5, 8, 63, 64, 65, 130])
@pytest.mark.parametrize("bits", [1, 8, 10, 12, 16])
@settings(max_examples=8)
@given(seed=st.integers(0, 2**32 - 1))
def test_streams_give_residuals_back(width: int, bits: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    rows, blocks = 5, -(-width // entropy.BLOCK)
    z = np.zeros((rows, width + 2 * PAD), np.uint16)
    spread = random.integers(0, 1 << bits, (rows, width)) >> random.integers(0, bits, (rows, width))
    z[:, PAD : PAD + width] = spread
    coded = random.integers(0, 2, (rows, blocks)).astype(np.uint8)
    for b in range(blocks):
        z[coded[:, b] == 0, PAD + b * 64 : min(PAD + b * 64 + 64, PAD + width)] = 0
    context = (random.integers(0, CONTEXTS, (rows, width)) * CONTEXT_STEP).astype(np.int16)
    k = random.integers(0, bits + 1, CONTEXTS).astype(np.uint8)
    counts = random.integers(1, 1000, (CONTEXTS, entropy.SYMBOLS))
    lengths = np.zeros((CONTEXTS, entropy.SYMBOLS), np.uint8)
    entropy.all_code_lengths(counts, lengths)
    table = np.zeros(CONTEXTS * entropy.SYMBOLS, np.uint32)
    entropy.encoding_table(lengths, k, bits, table)
    capacity = rows * (width // 4 + 1) * entropy.MAX_SAMPLE_BITS // 8 + 16
    out = np.zeros((entropy.STREAMS, capacity), np.uint8)
    ends = np.zeros(entropy.STREAMS, np.int64)
    entropy.emit_rows(z, context, coded, k, table, out, ends)
    if bits <= entropy.DIRECT_BITS:
        direct = np.zeros(CONTEXTS << entropy.DIRECT_BITS, np.uint32)
        entropy.direct_table(table, k, bits, direct)
        again = np.zeros_like(out)
        ends_again = np.zeros_like(ends)
        entropy.emit_rows_direct(z, context, coded, direct, again, ends_again)
        assert ends.tolist() == ends_again.tolist()
        for s in range(4):
            assert out[s, : ends[s]].tolist() == again[s, : ends[s]].tolist()
    data = np.concatenate([out[s, : ends[s]] for s in range(4)] + [np.zeros(4096, np.uint8)])
    positions = np.concatenate([[0], np.cumsum(ends)[:-1]]) * 8
    decoding = np.zeros(CONTEXTS << entropy.MAX_LENGTH, np.uint32)
    assert entropy.decoding_table(lengths, k, bits, decoding)
    row = np.zeros(width + 2 * PAD, np.uint16)
    for r in range(rows):
        entropy.take_row(data, positions, decoding, context[r], coded[r], row, width)
        assert row[PAD : PAD + width].tolist() == z[r, PAD : PAD + width].tolist()
    assert ((positions + 7) // 8).tolist() == np.cumsum(ends).tolist()


def test_an_over_full_code_is_refused() -> None:
    lengths = np.ones((CONTEXTS, entropy.SYMBOLS), np.uint8)
    table = np.zeros(CONTEXTS << entropy.MAX_LENGTH, np.uint32)
    assert not entropy.decoding_table(lengths, np.zeros(CONTEXTS, np.uint8), 10, table)
