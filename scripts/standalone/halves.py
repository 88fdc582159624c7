"""Tiles of mode 5: quads of even and odd columns. See docs/format/container-v1.md."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np
from standalone.quads import decoding_tables, part_streams, read_row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Plane = dict[str, Any]
    Array = NDArray[Any]


def parse_head(raw: bytes, at: int, p: int, rows: int, width: int) -> tuple[Plane, list[int], int]:
    """A plane's head, the lengths of its streams, and where the next head begins."""
    names = ("whole", "edge", "start")
    plane = dict(zip(names, struct.unpack_from("<BxHI", raw, at), strict=True))
    at += 8
    taps = []
    for count in (2 + 3 * min(p, 2), 3 + 3 * min(p, 2)):
        taps.append(np.frombuffer(raw, "<i2", count, at).tolist())
        at += 2 * count
    plane["taps"], blocks = taps, -(-width // 64)
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


def half_rows(
    raw: bytes, body: bytes, rows: int, width: int, depths: list[int]
) -> Iterator[list[Array]]:
    """Rows of samples as they are coded, each a list of all planes'."""
    groups, found, at, stop = -(-width // 32) * 2, [], 0, 0
    for p, bits in enumerate(depths):
        plane, lengths, at = parse_head(raw, at, p, rows, width)
        stop = part_streams(plane, body, stop, lengths, groups)
        plane["up"], plane["bits"] = max(15 - bits, 0), bits
        above = [
            np.full(n + 2, plane["edge"] << plane["up"]) for n in ((width + 1) // 2, width // 2)
        ]
        plane["rows"] = [above, above]
        found.append(plane)
    tables = decoding_tables()
    for r in range(rows):
        for p, plane in enumerate(found):
            z = read_row(found, p, r, groups, tables, 2)
            plane["sums"] = [z.sum(1), plane["sums"][0]]
            z = [half.reshape(-1) for half in (z[::2], z[1::2])]
            now = [None, None]
            for parity in range(2):
                now[parity] = rebuilt(found, p, now, parity, z[parity])
            now[1][0] = now[0][1]
            plane["rows"] = [now, plane["rows"][0]]
        yield [joined(plane, width) for plane in found]


def rebuilt(found: list[Plane], p: int, now: list[Array], parity: int, z: Array) -> Array:
    """A half of a row, with a sample beside each end."""
    plane = found[p]
    north, north2 = plane["rows"]
    n = north[parity].size - 2
    base = north[parity][1:-1]

    def beside(half: Array) -> Array:
        """Means of the left and the right neighbours, which are of the other parity."""
        west, east = (half[1:], half[2:]) if parity else (half, half[1:])
        east = np.append(east, east[-1:])
        return (west[:n] + east[:n] + 1) >> 1

    terms = [beside(north[1 - parity]) - base, north2[parity][1:-1] - base]
    for other in found[max(p - 2, 0) : p][::-1]:
        row, above = other["rows"]
        edge = above[parity][1:-1]
        terms += [row[parity][1:-1] - edge, beside(row[1 - parity]) - edge]
        terms.append(beside(above[1 - parity]) - edge)
    if parity:
        terms.append(beside(now[0]) - base)
    total = 0
    for i, (tap, term) in enumerate(zip(plane["taps"][parity], terms, strict=True)):
        product = (((term + 0x8000) % 0x10000 - 0x8000) * tap) >> 16
        total = total - product if i % 2 else total + product
    up = plane["up"]
    whole = ((base + 4 * total + (1 << up >> 1)) % 0x10000) >> up
    sample = (whole + ((z[:n] >> 1) ^ -(z[:n] & 1))) % (1 << plane["bits"]) << up
    if not n:
        return np.repeat(now[0][1], 2)
    return np.concatenate([sample[:1], sample, sample[-1:]])


def joined(plane: Plane, width: int) -> Array:
    row = np.zeros(width, int)
    for parity, half in enumerate(plane["rows"][0]):
        row[parity::2] = half[1:-1] >> plane["up"]
    return row
