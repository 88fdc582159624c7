"""Tokens of residuals, and tabled asymmetric numeral systems (tANS) that code them.

A folded residual z below 16 is token z. A larger one, with ``e = floor(log2(z))``, is token
``16 + 4 * (e - 4) + ((z >> (e - 2)) & 3)``, and its low ``e - 2`` bits are written as they are.

Each context has frequencies of the tokens that add up to `SIZE`, and from them a table of `SIZE`
states. An entry for decoding is uint32: ``next state less its new bits | new bits << 10 |
token << 14 | new bits and low bits << 20``. Tokens are encoded from the last one to the first;
decoding goes forward.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.jit import inlined, kernel
from codec.kernels.memory import load64, store64

TOKENS = 64
DIRECT_TOKENS = 16
LOG_SIZE = 10
SIZE = 1 << LOG_SIZE
CONTEXTS = 16
MAX_TOKEN_BITS = LOG_SIZE + 13
MAX_WEIGHT_CODE = 128
_STEP = (SIZE >> 1) + (SIZE >> 3) + 3
_LENGTH_SHIFT = 27
_TOKEN_SHIFT = LOG_SIZE + 4
_USED_SHIFT = _TOKEN_SHIFT + 6


@inlined
def token_of(z: Any) -> Any:
    """The token of a folded residual, and how many of its low bits are written as they are."""
    extra = 0
    v = np.int64(z)
    while v >= DIRECT_TOKENS >> 1 and z >= DIRECT_TOKENS:
        v >>= 1
        extra += 1
    if z < DIRECT_TOKENS:
        return v, extra
    return np.int64(DIRECT_TOKENS + 4 * (extra - 2) + (v & 3)), extra


@kernel
def token_table() -> Any:
    """The token of every folded residual: uint8[65536]."""
    table = np.empty(1 << 16, np.uint8)
    for z in range(1 << 16):
        token, _ = token_of(z)
        table[z] = token
    return table


@inlined
def low_bits(token: Any) -> Any:
    """How many bits of z follow a token."""
    return 0 if token < DIRECT_TOKENS else 2 + (token - DIRECT_TOKENS) // 4


@kernel
def token_bases(magnitude_shift: int, limit: int, weight: int, bases: Any) -> None:
    """``bases`` (uint64[TOKENS]): lowest z of each token, ``| m << 16 | weight * m << 32``.

    ``m = min(lowest z >> magnitude_shift, limit)`` is what contexts see of a residual.
    """
    for token in range(TOKENS):
        base = token
        if token >= DIRECT_TOKENS:
            base = (4 + (token & 3)) << low_bits(token)
        m = min(base >> magnitude_shift, limit)
        bases[token] = np.uint64(base | (m << 16) | ((weight * m) << 32))


@kernel
def weight_code(weight: int) -> int:
    """The code (1 to `MAX_WEIGHT_CODE`) whose weight is nearest to ``weight`` >= 8."""
    shift = 0
    while (weight >> shift) >= 16:
        shift += 1
    mantissa = (weight + ((1 << shift) >> 1)) >> shift
    if mantissa == 16:
        mantissa = 8
        shift += 1
    return min(1 + 8 * shift + mantissa - 8, MAX_WEIGHT_CODE)


@kernel
def weight_codes(counts: Any, codes: Any) -> None:
    """Codes (uint8[TOKENS], 0 = does not occur) of how often each token occurs (int64)."""
    top = np.int64(0)
    for t in range(TOKENS):
        top = max(top, counts[t])
    shrink = 0
    while ((top << 3) >> shrink) > 15 << 15:
        shrink += 1
    for t in range(TOKENS):
        codes[t] = 0
        if counts[t] > 0:
            codes[t] = weight_code(max((counts[t] << 3) >> shrink, 8))


@kernel
def frequencies(codes: Any, f: Any) -> None:
    """Frequencies (int64[TOKENS], together `SIZE`) of weight codes; token 0 alone if none."""
    total = np.int64(0)
    for t in range(TOKENS):
        f[t] = 0
        if codes[t]:
            j = np.int64(codes[t]) - 1
            f[t] = (8 + (j & 7)) << (j >> 3)
            total += f[t]
    if total == 0:
        f[0] = SIZE
        return
    left = np.int64(SIZE)
    for t in range(TOKENS):
        if f[t]:
            f[t] = max(f[t] * SIZE // total, 1)
            left -= f[t]
    while left < 0:
        f[np.argmax(f)] -= 1
        left += 1
    f[np.argmax(f)] += left


@kernel
def _spread(f: Any, tokens: Any) -> None:
    """The token (uint8) of each of the `SIZE` states."""
    at = 0
    for t in range(TOKENS):
        for _ in range(f[t]):
            tokens[at] = t
            at = (at + _STEP) & (SIZE - 1)


@kernel
def decoding_tables(codes: Any, table: Any) -> None:
    """Fill ``table`` (uint32[CONTEXTS << LOG_SIZE]) from weight codes (uint8[CONTEXTS, TOKENS])."""
    f = np.empty(TOKENS, np.int64)
    tokens = np.empty(SIZE, np.uint8)
    for c in range(CONTEXTS):
        frequencies(codes[c], f)
        _spread(f, tokens)
        for i in range(SIZE):
            t = tokens[i]
            x = f[t]
            f[t] += 1
            bits = 0
            while (x << bits) < SIZE:
                bits += 1
            entry = ((x << bits) - SIZE) | (bits << LOG_SIZE) | (np.int64(t) << _TOKEN_SHIFT)
            table[(c << LOG_SIZE) + i] = entry | ((bits + low_bits(np.int64(t))) << _USED_SHIFT)


@kernel
def encoding_tables(codes: Any, first: Any, steps: Any, states: Any) -> None:
    """Fill what the encoder needs from weight codes (uint8[CONTEXTS, TOKENS]).

    For a token of frequency f, ``states`` (uint16[CONTEXTS, SIZE]) holds at ``first[c, t] + x``
    (int64, ``f <= x < 2 * f``) the state that stands for x; and ``(state + steps[c, t]) >> 16``
    (int64, the state counted from `SIZE` on) is how many bits it gives away first.
    """
    f = np.empty(TOKENS, np.int64)
    tokens = np.empty(SIZE, np.uint8)
    x = np.empty(TOKENS, np.int64)
    for c in range(CONTEXTS):
        frequencies(codes[c], f)
        _spread(f, tokens)
        at = np.int64(0)
        for t in range(TOKENS):
            first[c, t] = at - f[t]
            at += f[t]
            x[t] = f[t]
            most = 0
            while f[t] and (f[t] << most) < SIZE:
                most += 1
            # From f << most on states give away so many bits, below that one fewer.
            steps[c, t] = (most << 16) - (f[t] << most)
        for i in range(SIZE):
            t = tokens[i]
            states[c, first[c, t] + x[t]] = i
            x[t] += 1


@kernel
def _codes_of_streams(
    z: Any,
    contexts: Any,
    length: int,
    tokens: Any,
    first: Any,
    steps: Any,
    states: Any,
    held: Any,
    codes: Any,
) -> None:
    """What each residual writes: ``codes`` (uint32[streams, samples]), and the states they end in.

    The streams are taken abreast, from their last sample to their first.
    """
    rows, width = z.shape
    streams = codes.shape[0]
    held[:] = SIZE
    for r in range(rows - 1, -1, -1):
        for i in range(length - 1, -1, -1):
            for s in range(streams):
                x = s * length + i
                if x >= width:
                    break
                value = np.int64(z[r, x])
                t = np.int64(tokens[value])
                c = np.int64(contexts[r, x])
                extra = low_bits(t)
                whole = held[s]
                bits = (whole + steps[c, t]) >> 16
                code = (whole & ((1 << bits) - 1)) | ((value & ((1 << extra) - 1)) << bits)
                own = min(length, width - s * length)
                codes[s, r * own + i] = code | ((bits + extra) << _LENGTH_SHIFT)
                held[s] = SIZE + np.int64(states[c, first[c, t] + (whole >> bits)])


@kernel
def _write(state: int, codes: Any, count: int, out: Any) -> int:
    """Write a stream's first state and ``count`` codes into ``out``; its length in bytes."""
    held = np.uint64(state)
    filled = np.uint64(LOG_SIZE)
    place = 0
    for i in range(count):
        code = np.uint64(codes[i])
        held |= (code & np.uint64((1 << _LENGTH_SHIFT) - 1)) << filled
        filled += code >> np.uint64(_LENGTH_SHIFT)
        store64(out, place, held)
        whole_bytes = filled >> np.uint64(3)
        place += np.int64(whole_bytes)
        held >>= whole_bytes << np.uint64(3)
        filled &= np.uint64(7)
    store64(out, place, held)
    return place + np.int64((filled + np.uint64(7)) >> np.uint64(3))


@kernel
def encode_streams(
    z: Any,
    contexts: Any,
    length: int,
    tokens: Any,
    first: Any,
    steps: Any,
    states: Any,
    codes: Any,
    out: Any,
    ends: Any,
) -> None:
    """Write all streams, ``length`` columns of all rows each, into ``out``; ``ends`` their lengths.

    ``z`` uint16[rows, width] and ``contexts`` uint8[rows, width]; ``tokens`` is `token_table`'s,
    ``first`` to ``states`` are `encoding_tables`'s. ``codes`` (uint32[streams, samples]) is
    scratch. ``out`` uint8[streams, n] has at least ``samples * MAX_TOKEN_BITS / 8 + 24`` bytes a
    stream.
    """
    rows, width = z.shape
    held = np.empty(codes.shape[0], np.int64)
    _codes_of_streams(z, contexts, length, tokens, first, steps, states, held, codes)
    for s in range(codes.shape[0]):
        own = max(min(length, width - s * length), 0)
        ends[s] = _write(held[s] - SIZE, codes[s], rows * own, out[s])


@inlined
def take_token(data: Any, position: Any, state: Any, table: Any, context: Any, bases: Any) -> Any:
    """Decode one token: position in bits and state after it, residual, entry of ``bases``."""
    word = load64(data, np.int64(position >> np.uint64(3))) >> (position & np.uint64(7))
    entry = np.uint64(table[(context << np.uint64(LOG_SIZE)) | state])
    base = bases[(entry >> np.uint64(_TOKEN_SHIFT)) & np.uint64(TOKENS - 1)]
    new = (entry >> np.uint64(LOG_SIZE)) & np.uint64(15)
    used = entry >> np.uint64(_USED_SHIFT)
    one = np.uint64(1)
    state = (entry & np.uint64(SIZE - 1)) + (word & ((one << new) - one))
    z = (base & np.uint64(0xFFFF)) + ((word & ((one << used) - one)) >> new)
    return position + used, state, z, base
