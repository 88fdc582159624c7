"""Run-length codes of SGI, TIFF and OpenEXR files, written exactly as known encoders write them.

All work on elements: bytes, or 16-bit words for SGI files of two bytes a sample. A coded row is a
sequence of tokens, each a count element and then either one element that is repeated (a run) or
that many elements (a literal). What the count looks like is the style:

``SGI``       run: count; literal: count + 128. An element 0 may end each piece.
``PACKBITS``  run: 257 - count; literal: count - 1 (TIFF 6.0, section 9).
``EXR``       run: count - 1; literal: 256 - count (two's complement).

Where encoders differ is how they cut the data into tokens. The rules:

``TRIPLES``   a literal goes on to the next three equal elements, or to two elements before the
              end; what follows is a run, even of one element. (SGI's own library, and what was
              modelled on it.)
``GREEDY``    ``min_run`` equal elements make a run; a literal goes on to the next ``min_inside``
              equal elements.
``PAIRS``     two equal elements make a run; a literal of bytes goes on over two equal ones if the
              third differs and is not the last that the token could take. (FFmpeg.)
``MERGING``   two equal elements make a run, but two equal ones between literals become part of
              one literal of at most 128. (libtiff.)

Tokens are at most ``max_run`` and ``max_literal`` elements; TRIPLES cuts longer ones afterwards,
so that the rest of a long run is a run however short.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.jit import inlined, kernel

SGI = 0
PACKBITS = 1
EXR = 2

TRIPLES = 0
GREEDY = 1
PAIRS = 2
MERGING = 3

FULL = -1
MALFORMED = -1


@inlined
def _run_length(data: Any, start: Any, stop: Any) -> Any:
    """How many elements from ``start`` on equal the first of them."""
    end = start + np.uint64(1)
    while end < stop and data[end] == data[start]:
        end += np.uint64(1)
    return end - start


@kernel
def _triples(data: Any, start: Any, stop: Any) -> int:
    end = start + np.uint64(2)
    while end < stop and (data[end - 2] != data[end - 1] or data[end - 1] != data[end]):
        end += np.uint64(1)
    literal = np.int64(end - start) - 2
    if literal > 0:
        return -literal
    return np.int64(_run_length(data, start, stop))


@kernel
def _greedy(
    data: Any, start: Any, stop: Any, min_run: Any, min_inside: Any, max_run: Any, max_literal: Any
) -> int:
    run = _run_length(data, start, min(stop, start + max_run))
    if run >= min_run:
        return np.int64(run)
    end = start + np.uint64(1)
    last = min(stop, start + max_literal)
    while end < last:
        if min_inside <= stop - end:
            equal = np.uint64(1)
            while equal < min_inside and data[end + equal] == data[end]:
                equal += np.uint64(1)
            if equal == min_inside:
                break
        end += np.uint64(1)
    return -np.int64(end - start)


@kernel
def _pairs(data: Any, start: Any, stop: Any, max_run: Any, max_literal: Any) -> int:
    run = _run_length(data, start, min(stop, start + max_run))
    if run > np.uint64(1):
        return np.int64(run)
    end = start + np.uint64(1)
    last = min(stop, start + max_literal)
    while end < last:
        if data[end] == data[end - np.uint64(1)]:
            lone = (
                data.itemsize == 1
                and end + np.uint64(1) < last
                and data[end] != data[end + np.uint64(1)]
            )
            if not lone:
                end -= np.uint64(1)
                break
        end += np.uint64(1)
    return -np.int64(end - start)


@inlined
def _put(
    data: Any, start: Any, count: Any, style: Any, max_run: Any, max_literal: Any, out: Any, at: Any
) -> Any:
    """Write one token, cut where it is too long; the position after it, or FULL.

    ``count`` is negative for a literal.
    """
    left = np.uint64(abs(count))
    position = np.uint64(start)
    target = np.uint64(at)
    full = False
    while left > np.uint64(0) and not full:
        n = min(left, max_run if count > 0 else max_literal)
        need = np.uint64(2) if count > 0 else n + np.uint64(1)
        if target + need > np.uint64(out.size):
            full = True
        elif count > 0:
            code = n
            if style == PACKBITS:
                code = np.uint64(257) - n
            elif style == EXR:
                code = n - np.uint64(1)
            out[target] = code
            out[target + np.uint64(1)] = data[position]
        else:
            code = n | np.uint64(128)
            if style == PACKBITS:
                code = n - np.uint64(1)
            elif style == EXR:
                code = np.uint64(256) - n
            out[target] = code
            for i in range(n):
                out[target + np.uint64(1) + np.uint64(i)] = data[position + np.uint64(i)]
        target += need
        position += n
        left -= n
    return np.int64(FULL) if full else np.int64(target)


@kernel
def _merging(data: Any, start: Any, stop: Any, out: Any, at: int) -> int:
    """MERGING over ``data[start:stop]`` in the PACKBITS style; the position after it, or FULL.

    ``literal`` is where the count of the literal that can still grow stands, or -1; ``after``
    says that exactly one run of ``previous`` elements has been written since.
    """
    literal = np.int64(-1)
    after = False
    previous = np.int64(0)
    x = start
    while x < stop:
        run = np.int64(_run_length(data, x, stop))
        value = data[x]
        x += np.uint64(run)
        while run > 0:
            if run > 1:
                if at + 2 > out.size:
                    return FULL
                n = min(run, 128)
                out[at] = 257 - n
                out[at + 1] = value
                at += 2
                after = literal >= 0 and not after
                if not after:
                    literal = np.int64(-1)
                previous = n
                run -= n
                continue
            if literal >= 0 and after:
                if previous == 2 and out[literal] < 126:
                    out[at - 2] = out[at - 1]
                    out[literal] += 2
                    if out[literal] == 127:
                        literal = np.int64(-1)
                else:
                    literal = np.int64(-1)
                after = False
            if at + (1 if literal >= 0 else 2) > out.size:
                return FULL
            if literal >= 0:
                out[at] = value
                at += 1
                out[literal] += 1
                if out[literal] == 127:
                    literal = np.int64(-1)
            else:
                literal = np.int64(at)
                out[at] = 0
                out[at + 1] = value
                at += 2
            run = 0
    return at


@kernel
def encode_runs(
    data: Any,
    piece: int,
    style: int,
    rule: int,
    min_run: int,
    min_inside: int,
    max_run: int,
    max_literal: int,
    terminated: bool,
    out: Any,
) -> int:
    """Code ``data`` in pieces of ``piece`` elements into ``out``; elements written, or FULL.

    ``data`` and ``out`` are one-dimensional, contiguous, of the same type (uint8 or uint16).
    ``piece`` > 0 divides the size of ``data``; ``min_run``, ``min_inside`` >= 2 and the maxima
    >= 1 and within what the style can say. MERGING is only for PACKBITS, with maxima of 128.
    """
    at = np.int64(0)
    most_run = np.uint64(max_run)
    most_literal = np.uint64(max_literal)
    for first in range(0, data.size, piece):
        x = np.uint64(first)
        stop = np.uint64(first + piece)
        if rule == MERGING:
            at = _merging(data, x, stop, out, at)
            x = stop
        while x < stop and at != FULL:
            if rule == TRIPLES:
                count = _triples(data, x, stop)
            elif rule == GREEDY:
                count = _greedy(
                    data,
                    x,
                    stop,
                    np.uint64(min_run),
                    np.uint64(min_inside),
                    most_run,
                    most_literal,
                )
            else:
                count = _pairs(data, x, stop, most_run, most_literal)
            at = _put(data, x, count, style, most_run, most_literal, out, at)
            x += np.uint64(abs(count))
        if at == FULL:
            return FULL
        if terminated:
            if at >= out.size:
                return FULL
            out[at] = 0
            at += 1
    return at


@kernel
def decode_runs(source: Any, piece: int, style: int, data: Any) -> int:
    """Fill ``data`` from the tokens in ``source``; elements of ``source`` used, or MALFORMED.

    In the SGI style an element 0 after each ``piece`` elements is taken as its end. A token that
    says nothing (a count of 0 elsewhere, 128 in PACKBITS) is MALFORMED, and so is one that goes
    beyond either end. Types as in `encode_runs`.
    """
    at = np.int64(0)
    x = np.int64(0)
    edge = np.int64(piece)
    while x < data.size:
        if at + 1 >= source.size:
            return MALFORMED
        code = np.int64(source[at])
        at += 1
        if style == SGI:
            run = code < 128
            n = code & 127
            if n == 0 or code > 255:
                return MALFORMED
        elif style == PACKBITS:
            run = code > 127
            n = 257 - code if run else code + 1
            if code == 128:
                return MALFORMED
        else:
            run = code < 128
            n = code + 1 if run else 256 - code
        if x + n > data.size or (not run and at + n > source.size):
            return MALFORMED
        if run:
            value = source[at]
            at += 1
            for i in range(n):
                data[np.uint64(x + i)] = value
        else:
            for i in range(n):
                data[np.uint64(x + i)] = source[np.uint64(at + i)]
            at += n
        x += n
        if style == SGI and x >= edge:
            edge += piece
            if at < source.size and source[at] == 0:
                at += 1
    return at
