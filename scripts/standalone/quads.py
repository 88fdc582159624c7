"""Planes of a tile of mode 3, and streams of modes 3 and 5. See docs/format/container-v1.md."""

from __future__ import annotations

import struct
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Plane = dict[str, Any]
    Array = NDArray[Any]

LENGTHS = (
    "2467778899AAAA989AAAAAAAAAAAAAAAAA9",
    "25677778989AAA979999AAAAA9AAAAA9AA8",
    "35678679A8AAAA8689999AAAA8999AA8998",
    "34689679A9AAAA9789A9AAAAA89AAAA9AA9",
    "24688689A9AAAA979AAAAAAAAAAAAAAAAA9",
    "1579869AAAAAAAA8AAAAAAAAAAAAAAAAAAA",
    "24678689A9AAAA989AAAAAAAAAAAAAAAAA9",
    "2567767899AAAA978AAAAAAAA9AAAAAAAA8",
    "3567767888999A8789999AAAA89AAAA9AA7",
)


def decoding_tables() -> list[list[tuple[int, list[int]]]]:
    """(code length, four high parts) of each code, by the next 10 bits."""
    high = [[s >> 2 * i & 3 for i in range(4)] for s in range(256)]
    kinds = [tuple(sorted(h, reverse=True)) for h in high]
    tables = []
    for digits in LENGTHS:
        of_kind = dict(zip(sorted(set(kinds)), digits, strict=True))
        lengths = [int(of_kind[kind], 16) for kind in kinds]
        table, code = [(0, [])] * 1024, 0
        for length in range(1, 11):
            code <<= 1
            for s in (s for s in range(256) if lengths[s] == length):
                first = int(f"{code:0{length}b}"[::-1], 2)
                table[first :: 1 << length] = [(length, high[s])] * (1024 >> length)
                code += 1
        tables.append(table)
    return tables


def words_of(stream: bytes) -> list[int]:
    """The 40 bits that begin at each byte."""
    own = np.frombuffer(stream + bytes(8), np.uint8).astype(int)
    return sum(own[i : own.size - 5 + i] << 8 * i for i in range(5)).tolist()


def parse_head(raw: bytes, at: int, p: int, rows: int, width: int) -> tuple[Plane, list[int], int]:
    """A plane's head, the lengths of its streams, and where the next head begins."""
    names = ("whole", "median", "start", "bias")
    plane = dict(zip(names, struct.unpack_from("<BB2xIi", raw, at), strict=True))
    t, blocks = (4, 7, 9)[min(p, 2)], -(-width // 64)
    taps = np.zeros(19, int)
    # The places these taps have among those of mode 1.
    taps[[0, 1, 2, 3, 4, 5, 6, 9, 11][:t]] = np.frombuffer(raw, "<i2", t, at + 12)
    plane["taps"] = taps.tolist()
    at += 12 + 2 * t
    plane["thresholds"] = np.sort(np.frombuffer(raw, "<i4", 15, at))
    plane["k"], plane["codes"] = (
        np.frombuffer(raw, np.uint8, 32, at + 60).reshape(2, 16).astype(int)
    )
    lengths = struct.unpack_from("<6I", raw, at + 92)
    at += 116
    plane["coded"] = np.ones((rows, blocks), np.uint8)
    if not plane["whole"]:
        flags = np.frombuffer(raw, np.uint8, -(-rows * blocks // 8), at)
        at += flags.size
        flags = np.unpackbits(flags, count=rows * blocks, bitorder="little")
        plane["coded"] = flags.reshape(rows, blocks)
    return plane, list(lengths), at


def part_streams(plane: Plane, body: bytes, stop: int, lengths: list[int], groups: int) -> int:
    """Give a plane its streams, the first at ``stop`` of ``body``; where the last one ends."""
    parts = []
    for length in lengths:
        parts.append(body[stop : stop + length])
        stop += length
    lanes = np.frombuffer(parts.pop(4), np.uint8).reshape(-1, 16, 2)
    # Row b holds bit b of all lanes.
    plane["lanes"] = np.unpackbits(lanes, axis=2, bitorder="little").transpose(0, 2, 1)
    plane["lanes"] = plane["lanes"].reshape(-1, 16).astype(int)
    plane["words"] = [words_of(part) for part in parts]
    plane["at"] = [0] * 6
    edge = np.full(groups, min(plane["start"], 16 * 65535))
    plane["sums"] = [edge, edge]
    return stop


def planes(raw: bytes, body: bytes, rows: int, width: int, depths: list[int]) -> list[Plane]:
    """The planes, with their folded residuals."""
    groups = -(-width // 16)
    found, at, stop = [], 0, 0
    for p, bits in enumerate(depths):
        plane, lengths, at = parse_head(raw, at, p, rows, width)
        stop = part_streams(plane, body, stop, lengths, groups)
        plane["bits"], plane["z"] = bits, np.zeros((rows, width), int)
        found.append(plane)
    tables = decoding_tables()
    for r, p in product(range(rows), range(len(found))):
        z = read_row(found, p, r, groups, tables, 1)
        found[p]["sums"] = [z.sum(1), found[p]["sums"][0]]
        found[p]["z"][r] = z.reshape(-1)[:width]
    return found


def read_row(
    found: list[Plane],
    p: int,
    r: int,
    groups: int,
    tables: list[list[tuple[int, list[int]]]],
    reach: int,
) -> Array:
    """Folded residuals [group, 16] of row r of plane p; groups ``reach`` further are beside."""
    plane = found[p]
    north, north2 = plane["sums"]
    beside = np.concatenate([north[:reach], north, north[-reach:]])
    activity = 8 * north + beside[:groups] + beside[2 * reach :] + 2 * north2
    for q in range(max(p - 2, 0), p):
        activity = activity + 4 * found[q]["sums"][0]
    numbers = np.searchsorted(plane["thresholds"], activity, "right")
    z, places, words = np.zeros((groups, 16), int), plane["at"], plane["words"]
    for g in np.flatnonzero(np.repeat(plane["coded"][r], 4)[:groups]).tolist():
        k, table = int(plane["k"][numbers[g]]), tables[plane["codes"][numbers[g]]]
        high = []
        for s in range(4):
            length, quad = table[words[s][places[s] >> 3] >> (places[s] & 7) & 1023]
            places[s] += length
            high += quad
        for i in (i for i, h in enumerate(high) if h == 3):
            word = words[4][places[4] >> 3] >> (places[4] & 7)
            n = (word & -word).bit_length() - 1
            high[i] = (1 << n | word >> n + 1 & (1 << n) - 1) + 2
            places[4] += 2 * n + 1
        low = plane["lanes"][places[5] : places[5] + k]
        places[5] += k
        z[g] = (np.array(high) << k) + (low << np.arange(k)[:, None]).sum(0)
    return z
