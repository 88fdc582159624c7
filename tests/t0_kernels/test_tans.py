"""Tokens, frequencies and streams of tANS against the oracle's reading of the specification."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from codec.kernels import tans
from tests.oracle import deep as oracle

CODES = st.lists(st.integers(0, tans.MAX_WEIGHT_CODE), min_size=64, max_size=64)


def test_tokens_are_as_specified() -> None:
    tokens = tans.token_table()
    bases = np.zeros(tans.TOKENS, np.uint64)
    tans.token_bases(3, 900, 7, bases)
    for token in range(tans.TOKENS):
        low, extra = oracle.lowest(token)
        assert set(tokens[low : low + (1 << extra)].tolist()) == {token}
        base = int(bases[token])
        m = min(low >> 3, 900)
        assert (base & 0xFFFF, base >> 16 & 0xFFFF, base >> 32) == (low, m, 7 * m)
        assert tans.low_bits.py_func(token) == extra
    assert np.all(np.diff(tokens.astype(int)) >= 0)


@settings(max_examples=200)
@given(CODES)
@example([0] * 64)
@example([128] + [1] * 63)
@example([1] * 64)
@example([57] * 32 + [1] * 32)
def test_frequencies_and_tables_are_as_specified(codes: list[int]) -> None:
    f = np.zeros(tans.TOKENS, np.int64)
    tans.frequencies(np.array(codes, np.uint8), f)
    expected = oracle.frequencies(codes)
    assert f[: len(expected)].tolist() == expected
    assert f.sum() == tans.SIZE
    assert f.min() >= 0
    assert all(f[t] for t in range(64) if codes[t])
    table = np.zeros(tans.CONTEXTS << tans.LOG_SIZE, np.uint32)
    tans.decoding_tables(np.tile(np.array(codes, np.uint8), (tans.CONTEXTS, 1)), table)
    entries = [int(e) for e in table[: tans.SIZE]]
    expected_table = oracle.decoding_table(codes)
    assert [(e >> 14 & 63, e >> 10 & 15, e & 1023) for e in entries] == expected_table
    used = [new + oracle.lowest(token)[1] for token, new, _ in expected_table]
    assert [e >> 20 for e in entries] == used


@given(st.lists(st.integers(0, 1 << 24), min_size=64, max_size=64))
def test_weight_codes_are_near_what_they_count(counts: list[int]) -> None:
    codes = np.zeros(tans.TOKENS, np.uint8)
    tans.weight_codes(np.array(counts, np.int64), codes)
    assert [c > 0 for c in codes] == [n > 0 for n in counts]
    top = max(counts)
    for code, count in zip(codes.tolist(), counts, strict=True):
        if count > top >> 14 and count:
            weight = (8 + (code - 1) % 8) << (code - 1) // 8
            scale = ((8 + (int(codes.max()) - 1) % 8) << (int(codes.max()) - 1) // 8) / top
            assert weight == pytest.approx(count * scale, rel=0.15, abs=8)


@settings(max_examples=60)
@given(
    rows=st.integers(1, 5),
    width=st.integers(1, 40),
    streams=st.sampled_from([1, 3, 8]),
    spread=st.sampled_from([1, 2, 40, 1 << 16]),
    seed=st.integers(0, 999),
)
def test_streams_are_read_as_specified(
    rows: int, width: int, streams: int, spread: int, seed: int
) -> None:
    length = -(-width // streams)
    random = np.random.default_rng(seed)
    z = random.integers(0, spread, (rows, width)).astype(np.uint16)
    contexts = random.integers(0, tans.CONTEXTS, (rows, width)).astype(np.uint8)
    tokens = tans.token_table()
    counts = np.zeros((tans.CONTEXTS, tans.TOKENS), np.int64)
    np.add.at(counts, (contexts, tokens[z]), 1)
    codes = np.zeros((tans.CONTEXTS, tans.TOKENS), np.uint8)
    for c in range(tans.CONTEXTS):
        tans.weight_codes(counts[c], codes[c])
    first = np.zeros((tans.CONTEXTS, tans.TOKENS), np.int64)
    steps = np.zeros((tans.CONTEXTS, tans.TOKENS), np.int64)
    states = np.zeros((tans.CONTEXTS, tans.SIZE), np.uint16)
    tans.encoding_tables(codes, first, steps, states)
    scratch = np.empty((streams, rows * length), np.uint32)
    out = np.empty((streams, rows * length * tans.MAX_TOKEN_BITS // 8 + 24), np.uint8)
    ends = np.zeros(streams, np.int64)
    tables = (tokens, first, steps, states)
    tans.encode_streams(z, contexts, length, *tables, scratch, out, ends)
    read = [oracle.decoding_table(codes[c].tolist()) for c in range(tans.CONTEXTS)]
    for s in range(streams):
        stream = oracle.Stream(out[s, : ends[s]].tobytes())
        for r in range(rows):
            for x in range(min(s * length, width), min((s + 1) * length, width)):
                token, new, state = read[contexts[r, x]][stream.state]
                stream.state = state + stream.number(new)
                low, extra = oracle.lowest(token)
                assert low + stream.number(extra) == z[r, x]
        stream.end()
