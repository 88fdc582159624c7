"""The samples of a tile: values, prediction, prefix codes. See docs/format/container-v1.md."""

from __future__ import annotations

import lzma
import struct
import zlib
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
from standalone import quads
from standalone.deep import deep_rows
from standalone.halves import half_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Plane = dict[str, Any]
    Array = NDArray[Any]

TILE_FEATURES = {
    "tile-predicted-1",
    "tile-quads-1",
    "tile-quads-2",
    "tile-deep-1",
    "tile-deep-2",
}


def decode_samples(
    mode: int, packer: int, head: bytes, body: bytes, rows: int, e: dict[str, Any]
) -> Array:
    """Samples [component, row, column] as the file has them."""
    shifts, bits, maps, at = parse_values(head, e)
    depths = [bits[c] for c in e["order"]]
    if mode == 1:
        coded = rebuild(parse_heads(head[at:], body, rows, e["width"], depths), rows, e["width"])
    elif mode == 2:
        coded = rebuild(packed_planes(packer, body, rows, e["width"], depths), rows, e["width"])
    elif mode == 3:
        coded = rebuild(quads.planes(head[at:], body, rows, e["width"], depths), rows, e["width"])
    elif mode == 5:
        coded = half_rows(head[at:], body, rows, e["width"], depths)
    elif mode in (4, 6):
        coded = deep_rows(head[at:], body, mode, rows, e["width"], depths)
    else:
        raise ValueError(f"tile mode {mode} is not known")
    samples = np.zeros((e["components"], rows, e["width"]), np.int64)
    for r, row in enumerate(coded):
        samples[list(e["order"]), r] = row
    for c in range(e["components"]):
        samples[c] = (maps[c][samples[c]] if c in maps else samples[c]) << shifts[c]
        if e["signed"] >> c & 1:
            samples[c] = np.where(samples[c] >> 15, samples[c] & 0x7FFF, 0xFFFF - samples[c])
    return samples


def parse_values(
    head: bytes, e: dict[str, Any]
) -> tuple[list[int], list[int], dict[int, Array], int]:
    """Shift and bits of each component, maps of those that have one, where the heads begin."""
    n = e["components"]
    shifts, maps, at = list(head[:n]), {}, n + 1
    bits = [b - s for b, s in zip(e["bits"], shifts, strict=True)]
    for _ in range(head[n]):
        mask, d = struct.unpack_from("<HB", head, at)
        flags = np.frombuffer(head, np.uint8, max(2**d // 8, 1), at + 3)
        values = np.flatnonzero(np.unpackbits(flags, count=2**d, bitorder="little"))
        at += 3 + flags.size
        for c in (c for c in range(n) if mask >> c & 1):
            maps[c], bits[c] = values, max((values.size - 1).bit_length(), 1)
    return shifts, bits, maps, at


def parse_heads(
    raw: bytes, streams: bytes, rows: int, width: int, depths: list[int]
) -> list[Plane]:
    planes, at, stop = [], 0, 0
    for p, bits in enumerate(depths):
        names = ("whole", "shift", "cross", "median", "start", "bias")
        plane = dict(zip(names, struct.unpack_from("<4BHi", raw, at), strict=True), bits=bits)
        t = 4 + 5 * min(p, 3)
        numbers = np.frombuffer(raw, "<i2", t + 15, at + 10).tolist()
        plane["taps"], plane["thresholds"] = numbers[:t], sorted(numbers[t:])
        at += 10 + 2 * (t + 15)
        k, pairs = raw[at : at + 16], raw[at + 16 : at + 272]
        plane["table"] = decoding_table([n for b in pairs for n in (b & 15, b >> 4)], k, bits)
        lengths = struct.unpack_from("<4I", raw, at + 272)
        at += 288
        count = -(-width // 8)
        plane["coded"] = np.ones((rows, width), bool)
        if not plane["whole"]:
            flags = np.frombuffer(raw, np.uint8, -(-rows * count // 8), at)
            at += flags.size
            flags = np.unpackbits(flags, count=rows * count, bitorder="little")
            plane["coded"] = np.repeat(flags.reshape(rows, count) > 0, 8, 1)[:, :width]
        own = np.frombuffer(streams[stop : stop + sum(lengths)] + bytes(8), np.uint8)
        stop += sum(lengths)
        # The 32 bits that begin at each byte.
        plane["words"] = sum(own[i : own.size - 4 + i].astype(int) << 8 * i for i in range(4))
        plane["words"] = plane["words"].tolist()
        plane["places"] = [8 * n for n in accumulate(lengths[:3], initial=0)]
        planes.append(plane)
    return planes


def decoding_table(
    lengths: list[int], k: bytes, bits: int
) -> list[tuple[int, int, int, int] | None]:
    """(code length, mask of raw bits, bits in all, value) by context * 512 + the next 9 bits."""
    table = [None] * (16 << 9)
    for context in range(16):
        code = 0
        for length in range(1, 10):
            code <<= 1
            for symbol in range(32):
                if lengths[32 * context + symbol] == length:
                    low = bits if symbol == 31 else k[context]
                    value = 0 if symbol == 31 else symbol << low
                    first = int(f"{code:0{length}b}"[::-1], 2)
                    for i in range(first, 512, 1 << length):
                        table[context << 9 | i] = (length, (1 << low) - 1, length + low, value)
                    code += 1
    return table


def packed_planes(
    packer: int, packed: bytes, rows: int, width: int, depths: list[int]
) -> list[Plane]:
    """Residuals of a tile of mode 2; its planes have nothing else."""
    kind = "u1" if max(depths) <= 8 else "<u2"
    shape = (len(depths), rows, width)
    if packer == 1:
        raw = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(-1, *shape)
        z = sum(raw[i].astype(int) << 8 * i for i in range(len(raw)))
    else:
        p = 0 if kind == "u1" else 1
        chain = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 22, "lc": 0, "lp": p, "pb": p}]
        raw = lzma.decompress(packed, lzma.FORMAT_RAW, filters=chain)
        z = np.frombuffer(raw, kind).reshape(shape).astype(int)
    return [{"bits": bits, "z": own, "median": 1} for bits, own in zip(depths, z, strict=True)]


def read_row(plane: Plane, m: list[list[Array]], p: int, r: int) -> Array:
    """The folded residuals of row r of plane p, whose contexts come from magnitudes ``m``."""
    n, n2 = m[p][(r - 1) % 2], m[p][r % 2]
    s = 6 * n[2:-2] + 4 * (n[1:-3] + n[3:-1]) + 2 * (n[:-4] + n[4:] + n2[2:-2])
    for q in range(max(p - 2, 0), p):
        g = m[q][r % 2]
        s = s + plane["cross"] * (g[1:-3] + 2 * g[2:-2] + g[3:-1])
    contexts = np.searchsorted(plane["thresholds"], s, "right") << 9
    words, table, z = plane["words"], plane["table"], np.zeros(s.size, int)
    for stream in range(4):
        columns = np.arange(stream, s.size, 4)
        columns = columns[plane["coded"][r, columns]]
        at, out = plane["places"][stream], []
        for context in contexts[columns].tolist():
            word = words[at >> 3] >> (at & 7)
            code = table[context | word & 511]
            if code is None:
                raise ValueError("a stream holds bits that are no code")
            length, mask, used, value = code
            out.append(value + (word >> length & mask))
            at += used
        plane["places"][stream] = at
        z[columns] = out
    m[p][r % 2] = np.pad(np.minimum(z >> plane["shift"], 900), 2)
    return z


def rebuild(planes: list[Plane], rows: int, width: int) -> Iterator[list[Array]]:
    """Rows of samples as they are coded, each a list of all planes'."""
    run = -(-width // 8)
    edge = [[np.pad(np.full(width, min(p.get("start", 0), 900)), 2)] * 2 for p in planes]
    m = [list(pair) for pair in edge]
    last = []
    for r in range(rows):
        now = []
        for p, plane in enumerate(planes):
            z = plane["z"][r] if "z" in plane else read_row(plane, m, p, r)
            d = (z >> 1) ^ -(z & 1)
            half, mask = 1 << (plane["bits"] - 1), (1 << plane["bits"]) - 1
            above = last[p] if r else np.full(width + 2, half)
            starts = above[1:-1:run].tolist()
            if r and plane["median"]:
                row = median_row(above.tolist(), d.tolist(), run, mask)
            else:
                west, base = predicted(plane, p, r, now, above, last)
                base = (base + (d << 12)).tolist()
                row = []
                for i, start in enumerate(starts):
                    part = base[i * run : (i + 1) * run]
                    row += recursion(part, west, start, mask)
            now.append(np.array([above[1], *row, row[-1]]))
        yield [row[1:-1] for row in now]
        last = now


def predicted(
    plane: Plane, p: int, r: int, now: list[Array], above: Array, last: list[Array]
) -> tuple[int, Array]:
    """Weight of W, and the linear prediction of a row but for that and for its shift by 12."""
    if r == 0:
        return 4096, 2048 + 4096 * (now[p - 1][1:-1] - now[p - 1][:-2] if p else 0 * above[1:-1])
    t = plane["taps"]
    base = plane["bias"] + t[1] * above[1:-1] + t[2] * above[:-2] + t[3] * above[2:]
    for i, q in enumerate(range(p - 1, max(p - 4, -1), -1)):
        c = t[4 + 5 * i : 9 + 5 * i]
        base = base + c[0] * now[q][1:-1] + c[1] * now[q][:-2]
        base = base + c[2] * last[q][1:-1] + c[3] * last[q][:-2] + c[4] * last[q][2:]
    return t[0], base


def recursion(base: list[int], west: int, start: int, mask: int) -> list[int]:
    """One run: each sample is predicted from the one before it too."""
    return list(accumulate(base, lambda v, b: b + west * v >> 12 & mask, initial=start))[1:]


def median_row(above: list[int], d: list[int], run: int, mask: int) -> list[int]:
    row, value = [], 0
    for x, (north_west, north, residual) in enumerate(zip(above, above[1:], d, strict=False)):
        west = north if x % run == 0 else value
        low, high = min(west, north), max(west, north)
        value = max(low, min(high, west + north - north_west)) + residual & mask
        row.append(value)
    return row
