"""Compress rows again exactly as a file had them: for decode_standalone.py, from redo-v1.md."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from standalone import libdeflate, zlib_deflate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Cut = Iterator[tuple[int, int, bool]]

STYLES = {1: "sgi", 2: "sgi", 3: "packbits", 4: "exr"}
COUNTS = {  # what stands before a run of n elements, and before a literal of n
    "sgi": (lambda n: n, lambda n: 128 + n),
    "packbits": (lambda n: 257 - n, lambda n: n - 1),
    "exr": (lambda n: n - 1, lambda n: 256 - n),
}


def redo(method: int, rows: bytes, parameters: bytes) -> bytes:
    """The bytes of the file's chunks."""
    if not 1 <= method <= 6 or parameters[0] != 1:
        raise ValueError("these rows are compressed in an unknown way")
    _, detail_size, setting_size, k, row_bytes, n = struct.unpack_from("<BBBBII", parameters)
    detail = parameters[12 : 12 + detail_size]
    setting = parameters[12 + detail_size : 12 + detail_size + setting_size]
    columns = zlib.decompress(parameters[12 + detail_size + setting_size :])
    chunk_rows = np.cumsum(np.frombuffer(columns, "<u4", n), dtype=np.uint32).tolist()
    flags, tails = columns[4 * n : 5 * n], columns[(5 + 4 * k) * n :]
    words = [np.frombuffer(columns, "<u4", n, (5 + 4 * i) * n) for i in range(k)]
    words = [np.cumsum(column, dtype=np.uint32) for column in words]
    out, at = [], 0
    for i, count in enumerate(chunk_rows):
        data = np.frombuffer(rows[at : at + count * row_bytes], np.uint8)
        at += data.size
        if not flags[i] & 128:
            data = filtered(method, data, row_bytes, detail)
            if method > 4:
                data = deflated(data, setting)
            else:
                data = run_lengths(method, data, row_bytes, detail, setting)
        if method in (4, 5):
            out.append(b"".join(struct.pack("<I", column[i]) for column in words))
            out.append(struct.pack("<I", len(data)))
        tail = flags[i] & 127
        out += [bytes(data), tails[:tail]]
        tails = tails[tail:]
    return b"".join(out)


def filtered(method: int, data: NDArray[Any], row_bytes: int, detail: bytes) -> NDArray[Any]:
    if method in (4, 5):
        parted = np.concatenate([data[::2], data[1::2]])
        parted[1:] += 128 - parted[:-1]
        return parted
    predictor, sample, stride, big = detail.ljust(4, b"\0") if method == 6 else (0, 0, 0, 0)
    if predictor < 2:
        return data
    words = data.view(f"{'>' if big else '<'}u{sample}" if predictor == 2 else np.uint8)
    words = words.reshape(-1, row_bytes // words.itemsize)
    if predictor == 3:
        samples = words.reshape(len(words), -1, sample)
        samples = samples if big else samples[:, :, ::-1]
        words = samples.transpose(0, 2, 1).reshape(len(words), -1)
    out = words.copy()
    out[:, stride:] -= words[:, : max(words.shape[1] - stride, 0)]
    return out.reshape(-1).view(np.uint8)


def deflated(rows: NDArray[Any], setting: bytes) -> bytes:
    head, (make, level, memory, is_filtered) = setting[:2], setting[2:]
    data = rows.tobytes()
    if make:
        body = libdeflate.compress(data, level, make)
    else:
        body = zlib_deflate.compress(data, level, memory, (head[0] >> 4) + 8, is_filtered == 1)
    return head + body + struct.pack(">I", zlib.adler32(data))


def run_lengths(
    method: int, data: NDArray[Any], row_bytes: int, detail: bytes, setting: bytes
) -> bytes:
    rule, *limits, ended, whole = setting
    wide, style = method == 2, STYLES[method]
    elements = (data.view(">u2") if wide else data).tolist()
    piece = int.from_bytes(detail, "little") or row_bytes if method < 3 else row_bytes
    piece = len(elements) if whole else piece // (2 if wide else 1)
    out, (run_count, literal_count) = [], COUNTS[style]
    for start in range(0, len(elements), piece):
        part = elements[start : start + piece]
        cut = (triples, greedy, pairs, merging)[rule]
        for first, stop, is_run in cut(part, limits, wide):
            n = stop - first
            out += [run_count(n), part[first]] if is_run else [literal_count(n), *part[first:stop]]
        out += [0] if ended else []
    return np.array(out, ">u2" if wide else "u1").tobytes()


def same(part: list[int], x: int, most: int) -> int:
    """Where the elements from x on that equal element x end, after at most so many."""
    stop = x
    while stop < len(part) and stop - x < most and part[stop] == part[x]:
        stop += 1
    return stop


def triples(part: list[int], limits: list[int], wide: bool) -> Cut:
    _, _, max_run, max_literal = limits
    x = 0
    while x < len(part):
        e = x
        while e < len(part) - 2 and not part[e] == part[e + 1] == part[e + 2]:
            e += 1
        yield from ((i, min(i + max_literal, e), False) for i in range(x, e, max_literal))
        x = same(part, e, len(part))
        yield from ((i, min(i + max_run, x), True) for i in range(e, x, max_run))


def greedy(part: list[int], limits: list[int], wide: bool) -> Cut:
    min_run, min_inside, max_run, max_literal = limits
    x = 0
    while x < len(part):
        e = same(part, x, max_run)
        is_run = e - x >= min_run
        if not is_run:
            e, most = x + 1, min(len(part), x + max_literal)
            while e < most and same(part, e, min_inside) - e < min_inside:
                e += 1
        yield x, e, is_run
        x = e


def pairs(part: list[int], limits: list[int], wide: bool) -> Cut:
    _, _, max_run, max_literal = limits
    x = 0
    while x < len(part):
        e = same(part, x, max_run)
        is_run = e - x >= 2
        if not is_run:
            e, most = x + 1, min(len(part), x + max_literal)
            while e < most:
                lone = not wide and e + 1 < most and part[e + 1] != part[e]
                if part[e] == part[e - 1] and not lone:
                    e -= 1
                    break
                e += 1
        yield x, e, is_run
        x = e


def merging(part: list[int], limits: list[int], wide: bool) -> list[tuple[int, int, bool]]:
    tokens, x = [], 0
    while x < len(part):
        e = same(part, x, 128)
        begins_group = x == 0 or part[x] != part[x - 1]
        if e - x > 1:
            tokens.append((x, e, True))
        else:
            if begins_group and len(tokens) > 1 and tokens[-1][2] and x - tokens[-1][0] == 2:
                first, stop, is_run = tokens[-2]
                if not is_run and stop - first <= 126:
                    tokens[-2:] = [(first, x, False)]
            if tokens and not tokens[-1][2] and x - tokens[-1][0] < 128:
                tokens[-1] = (tokens[-1][0], e, False)
            else:
                tokens.append((x, e, False))
        x = e
    return tokens
