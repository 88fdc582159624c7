"""Tiles in modes 4 and 6: sets of coefficients, tANS. See docs/format/container-v1.md."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Plane = dict[str, Any]
    Array = NDArray[Any]

LOW = [t if t < 16 else (4 + t % 4) << (2 + (t - 16) // 4) for t in range(64)]
EXTRA = [0 if t < 16 else 2 + (t - 16) // 4 for t in range(64)]


def parse(
    raw: bytes, streams: bytes, mode: int, rows: int, width: int, depths: list[int]
) -> list[Plane]:
    cut = 4 if mode == 4 else 8
    planes, at, stop = [], 0, 0
    for p, bits in enumerate(depths):
        names = ("sets", "mapped", "shift", "level_shift", "start", "tokens")
        plane = dict(zip(names, struct.unpack_from("<4BHBx", raw, at), strict=True), bits=bits)
        count, tokens, taps, n = (
            plane["sets"],
            plane["tokens"],
            7 + 6 * min(p, 3),
            6 + 2 * min(p, 2),
        )
        plane["weights"] = list(raw[at + 8 : at + 8 + n])
        at += 8 + n
        plane["thresholds"] = sorted(struct.unpack_from("<15H", raw, at))
        plane["taps"] = np.frombuffer(raw, "<i2", taps * count, at + 30).reshape(count, taps)
        at += 30 + 2 * taps * count
        plane["tables"] = [table(raw[at + tokens * c : at + tokens * (c + 1)]) for c in range(16)]
        at += 16 * tokens
        plane["streams"] = []
        for length in struct.unpack_from(f"<{cut}I", raw, at) if mode == 4 or tokens else ():
            stream = int.from_bytes(streams[stop : stop + length], "little")
            plane["streams"].append([words(streams[stop : stop + length]), 10, stream & 1023])
            stop += length
        at += 4 * cut
        plane["values"] = np.arange(1 << bits)
        if plane["mapped"]:
            size = max(2**bits // 8, 1)
            flags = np.unpackbits(np.frombuffer(raw, "u1", size, at), bitorder="little")
            plane["values"] = np.flatnonzero(flags[: 1 << bits])
            at += size
        down, across = -(-rows // 16), -(-width // 16)
        plane["classes"] = np.zeros((down, width), int)
        if count > 1:
            held = np.frombuffer(raw, "u1", down * across, at).reshape(down, across)
            plane["classes"] = np.repeat(held, 16, 1)[:, :width]
            at += down * across
        plane["ranks"] = np.searchsorted(plane["values"], np.arange(1 << bits)).tolist()
        planes.append(plane)
    return planes


def words(stream: bytes) -> list[int]:
    """The 32 bits that begin at each byte."""
    own = np.frombuffer(stream + bytes(8), np.uint8).astype(int)
    return sum(own[i : own.size - 4 + i] << 8 * i for i in range(4)).tolist()


def table(codes: bytes) -> list[tuple[int, int, int]]:
    """(token, new bits, next state less those) of each state."""
    weights = [q and (8 + (q - 1) % 8) << (q - 1) // 8 for q in codes]
    total = sum(weights)
    f = [max(w * 1024 // total, 1) if w else 0 for w in weights] if total else [1024]
    while sum(f) > 1024:
        f[f.index(max(f))] -= 1
    f[f.index(max(f))] += 1024 - sum(f)
    tokens = [0] * 1024
    for i, token in enumerate(np.repeat(np.arange(len(f)), f).tolist()):
        tokens[i * 643 % 1024] = token
    states = []
    for token in tokens:
        new = 11 - f[token].bit_length()
        states.append((token, new, (f[token] << new) - 1024))
        f[token] += 1
    return states


def deep_rows(
    raw: bytes, streams: bytes, mode: int, rows: int, width: int, depths: list[int]
) -> Iterator[list[list[int]]]:
    """Rows of samples as they are coded, each a list of all planes'."""
    planes = parse(raw, streams, mode, rows, width, depths)
    run = -(-width // 4) if mode == 4 else -(-width // 16)
    m = [[np.pad(np.full(width, min(p["start"], 900)), 2)] * 2 for p in planes]
    last: list[Array] = []
    above2: list[Array] = []
    for r in range(rows):
        now: list[Array] = []
        for p, plane in enumerate(planes):
            z = read_row(plane, m, p, r, run if mode == 4 else 2 * run)
            half = 1 << (plane["bits"] - 1)
            above = last[p] if r else np.full(width + 3, half)
            base, west, west2 = predicted(plane, p, r, now, above, last, above2 or last)
            row: list[int] = []
            for begin in range(0, width, run):
                w = ww = int(above[begin + 1])
                if mode == 6 and r == 0 and p:
                    w = int(now[p - 1][begin])
                for x in range(begin, min(begin + run, width)):
                    guess = base[x] + west[x] * w + west2[x] * ww & 0xFFFFFFFF
                    guess = (guess - (guess >> 31 << 32)) >> 12
                    w, ww = step(plane, guess, z[x]), w
                    row.append(w)
            now.append(np.array([above[1], *row, row[-1], row[-1]]))
        yield [row[1:-2].tolist() for row in now]
        last, above2 = now, last


def step(plane: Plane, guess: int, z: int) -> int:
    """The sample that residual z makes of a prediction."""
    values, end = plane["values"], plane["values"].size - 1
    rank = min(plane["ranks"][max(0, min(guess, (1 << plane["bits"]) - 1))], end)
    least = min(rank, end - rank)
    if z <= 2 * least:
        return int(values[rank + ((z >> 1) ^ -(z & 1))])
    return int(values[rank + (z - least if rank < end - rank else least - z)])


def read_row(plane: Plane, m: list[list[Array]], p: int, r: int, run: int) -> list[int]:
    """The folded residuals of row r of plane p; ``m`` holds the magnitudes of two rows."""
    if not plane["streams"]:
        m[p][r % 2] = np.zeros_like(m[p][r % 2])
        return [0] * (m[p][0].size - 4)
    n, n2, w = m[p][(r - 1) % 2], m[p][r % 2], plane["weights"]
    s = w[0] * n[2:-2] + w[1] * (n[1:-3] + n[3:-1]) + w[2] * (n[:-4] + n[4:]) + w[3] * n2[2:-2]
    for i, q in enumerate(range(p - 1, max(p - 3, -1), -1)):
        g = m[q][r % 2]
        s = s + w[6 + 2 * i] * g[2:-2] + w[7 + 2 * i] * (g[1:-3] + g[3:-1])
    context = np.searchsorted(plane["thresholds"], np.arange(2048), "right").tolist()
    activity, z, now = s.tolist(), [], []
    for number, begin in enumerate(range(0, len(activity), run)):
        words, at, state = plane["streams"][number]
        west = west2 = int(n[2 + begin])
        for base in activity[begin : begin + run]:
            level = min(base + w[4] * west + w[5] * west2 >> plane["level_shift"], 2047)
            token, new, state = plane["tables"][context[level]][state]
            word = words[at >> 3] >> (at & 7)
            state += word & (1 << new) - 1
            z.append(LOW[token] + (word >> new & (1 << EXTRA[token]) - 1))
            at += new + EXTRA[token]
            west, west2 = min(LOW[token] >> plane["shift"], 900), west
            now.append(west)
        plane["streams"][number][1:] = at, state
    m[p][r % 2] = np.pad(np.array(now), 2)
    return z


def predicted(
    plane: Plane, p: int, r: int, now: list[Array], above: Array, last: list[Array],
    above2: list[Array],
) -> tuple[list[int], list[int], list[int]]:  # fmt: skip
    """A row's sums but for W and WW, and what these weigh."""
    width = above.size - 3
    if r == 0:
        step = now[p - 1][1:-2] - now[p - 1][:-3] if p else np.zeros(width, int)
        return (2048 + 4096 * step).tolist(), [4096] * width, [0] * width
    c = plane["taps"][plane["classes"][r // 16]].astype(int).T
    base = 2048 + c[2] * above[1:-2] + c[3] * above[:-3] + c[4] * above[2:-1]
    base = base + c[5] * above2[p][1:-2] + c[6] * above[3:]
    for i, q in enumerate(range(p - 1, max(p - 4, -1), -1)):
        g = c[7 + 6 * i : 13 + 6 * i]
        base = base + g[0] * now[q][1:-2] + g[1] * now[q][:-3] + g[2] * now[q][2:-1]
        base = base + g[3] * last[q][1:-2] + g[4] * last[q][:-3] + g[5] * last[q][2:-1]
    return base.tolist(), c[0].tolist(), c[1].tolist()
