"""Tokens of a row of modes 4 and 6: streams taken abreast, contexts that know W and WW."""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.jit import kernel
from codec.kernels.packing import PAD
from codec.kernels.serial_context import WEST, WEST_WEST, level
from codec.kernels.tans import MAX_TOKEN_BITS, take_token

STREAMS = 8
"""Streams that rows are cut into; fewer once."""


@kernel
def _take_abreast(
    data: Any,
    positions: Any,
    states: Any,
    table: Any,
    bases: Any,
    of_level: Any,
    activity: Any,
    w5: Any,
    by: Any,
    z: Any,
    m: Any,
    width: int,
    length: int,
    west: Any,
    west_west: Any,
) -> int:
    """The columns that all of `STREAMS` streams have, for `take_row`; how many these are.

    A step of one stream depends on the step before; written out, each step of one is followed by
    the same of the others, and what they hold stays in registers.
    """
    whole = max(width - (STREAMS - 1) * length, 0)
    pad = np.uint64(PAD)
    low = np.uint64(0xFFFF)
    to_m = np.uint64(16)
    to_a = np.uint64(32)
    u = np.uint64(length)
    p0 = np.uint64(positions[0])
    p1 = np.uint64(positions[1])
    p2 = np.uint64(positions[2])
    p3 = np.uint64(positions[3])
    p4 = np.uint64(positions[4])
    p5 = np.uint64(positions[5])
    p6 = np.uint64(positions[6])
    p7 = np.uint64(positions[7])
    s0 = states[0]
    s1 = states[1]
    s2 = states[2]
    s3 = states[3]
    s4 = states[4]
    s5 = states[5]
    s6 = states[6]
    s7 = states[7]
    a0 = np.int64(west[0] >> to_a)
    a1 = np.int64(west[1] >> to_a)
    a2 = np.int64(west[2] >> to_a)
    a3 = np.int64(west[3] >> to_a)
    a4 = np.int64(west[4] >> to_a)
    a5 = np.int64(west[5] >> to_a)
    a6 = np.int64(west[6] >> to_a)
    a7 = np.int64(west[7] >> to_a)
    m0 = np.int64((west[0] >> to_m) & low)
    m1 = np.int64((west[1] >> to_m) & low)
    m2 = np.int64((west[2] >> to_m) & low)
    m3 = np.int64((west[3] >> to_m) & low)
    m4 = np.int64((west[4] >> to_m) & low)
    m5 = np.int64((west[5] >> to_m) & low)
    m6 = np.int64((west[6] >> to_m) & low)
    m7 = np.int64((west[7] >> to_m) & low)
    b0 = west_west[0]
    b1 = west_west[1]
    b2 = west_west[2]
    b3 = west_west[3]
    b4 = west_west[4]
    b5 = west_west[5]
    b6 = west_west[6]
    b7 = west_west[7]
    e0 = west[0]
    e1 = west[1]
    e2 = west[2]
    e3 = west[3]
    e4 = west[4]
    e5 = west[5]
    e6 = west[6]
    e7 = west[7]
    for i in range(whole):
        x0 = np.uint64(i)
        x1 = x0 + u
        x2 = x1 + u
        x3 = x2 + u
        x4 = x3 + u
        x5 = x4 + u
        x6 = x5 + u
        x7 = x6 + u
        c0 = np.uint64(of_level[level(np.int64(activity[x0]) + b0 + a0, by)])
        c1 = np.uint64(of_level[level(np.int64(activity[x1]) + b1 + a1, by)])
        c2 = np.uint64(of_level[level(np.int64(activity[x2]) + b2 + a2, by)])
        c3 = np.uint64(of_level[level(np.int64(activity[x3]) + b3 + a3, by)])
        c4 = np.uint64(of_level[level(np.int64(activity[x4]) + b4 + a4, by)])
        c5 = np.uint64(of_level[level(np.int64(activity[x5]) + b5 + a5, by)])
        c6 = np.uint64(of_level[level(np.int64(activity[x6]) + b6 + a6, by)])
        c7 = np.uint64(of_level[level(np.int64(activity[x7]) + b7 + a7, by)])
        b0 = w5 * m0
        b1 = w5 * m1
        b2 = w5 * m2
        b3 = w5 * m3
        b4 = w5 * m4
        b5 = w5 * m5
        b6 = w5 * m6
        b7 = w5 * m7
        p0, s0, z0, e0 = take_token(data, p0, s0, table, c0, bases)
        p1, s1, z1, e1 = take_token(data, p1, s1, table, c1, bases)
        p2, s2, z2, e2 = take_token(data, p2, s2, table, c2, bases)
        p3, s3, z3, e3 = take_token(data, p3, s3, table, c3, bases)
        p4, s4, z4, e4 = take_token(data, p4, s4, table, c4, bases)
        p5, s5, z5, e5 = take_token(data, p5, s5, table, c5, bases)
        p6, s6, z6, e6 = take_token(data, p6, s6, table, c6, bases)
        p7, s7, z7, e7 = take_token(data, p7, s7, table, c7, bases)
        a0 = np.int64(e0 >> to_a)
        a1 = np.int64(e1 >> to_a)
        a2 = np.int64(e2 >> to_a)
        a3 = np.int64(e3 >> to_a)
        a4 = np.int64(e4 >> to_a)
        a5 = np.int64(e5 >> to_a)
        a6 = np.int64(e6 >> to_a)
        a7 = np.int64(e7 >> to_a)
        m0 = np.int64((e0 >> to_m) & low)
        m1 = np.int64((e1 >> to_m) & low)
        m2 = np.int64((e2 >> to_m) & low)
        m3 = np.int64((e3 >> to_m) & low)
        m4 = np.int64((e4 >> to_m) & low)
        m5 = np.int64((e5 >> to_m) & low)
        m6 = np.int64((e6 >> to_m) & low)
        m7 = np.int64((e7 >> to_m) & low)
        z[x0 + pad] = z0
        z[x1 + pad] = z1
        z[x2 + pad] = z2
        z[x3 + pad] = z3
        z[x4 + pad] = z4
        z[x5 + pad] = z5
        z[x6 + pad] = z6
        z[x7 + pad] = z7
        m[x0 + pad] = m0
        m[x1 + pad] = m1
        m[x2 + pad] = m2
        m[x3 + pad] = m3
        m[x4 + pad] = m4
        m[x5 + pad] = m5
        m[x6 + pad] = m6
        m[x7 + pad] = m7
    positions[0] = p0
    positions[1] = p1
    positions[2] = p2
    positions[3] = p3
    positions[4] = p4
    positions[5] = p5
    positions[6] = p6
    positions[7] = p7
    states[0] = s0
    states[1] = s1
    states[2] = s2
    states[3] = s3
    states[4] = s4
    states[5] = s5
    states[6] = s6
    states[7] = s7
    west[0] = e0
    west[1] = e1
    west[2] = e2
    west[3] = e3
    west[4] = e4
    west[5] = e5
    west[6] = e6
    west[7] = e7
    west_west[0] = b0
    west_west[1] = b1
    west_west[2] = b2
    west_west[3] = b3
    west_west[4] = b4
    west_west[5] = b5
    west_west[6] = b6
    west_west[7] = b7
    return whole


@kernel
def take_row(
    data: Any,
    positions: Any,
    states: Any,
    table: Any,
    bases: Any,
    of_level: Any,
    activity: Any,
    weights: Any,
    shift: int,
    north: Any,
    z: Any,
    m: Any,
    width: int,
    length: int,
    scratch: Any,
) -> None:
    """Decode one row of a plane: folded residuals ``z`` (uint16) and magnitudes ``m`` (int16).

    The streams, each of ``length`` columns but for the last ones, are decoded abreast, so that one
    waits while the others work. ``positions`` (int64[streams], in bits) and ``states``
    (uint64[streams]) are moved on; ``scratch`` is uint64[streams] and int64[streams]. The caller
    guarantees that ``data`` goes on for `row_slack_bits` after each position, which bounds every
    load whatever the bits are.
    """
    west, west_west = scratch
    w4 = np.int64(weights[WEST])
    w5 = np.int64(weights[WEST_WEST])
    by = np.uint64(shift)
    pad = np.uint64(PAD)
    low = np.uint64(0xFFFF)
    to_m = np.uint64(16)
    to_a = np.uint64(32)
    streams = positions.size
    step = np.uint64(length)
    for s in range(streams):
        above = np.uint64(north[PAD + min(s * length, width - 1)])
        # Entries of ``bases`` hold W's magnitude, and that by its weight.
        west[s] = (above << to_m) | (np.uint64(w4) * above) << to_a
        west_west[s] = w5 * np.int64(above)
    begin = 0
    if streams == STREAMS:
        begin = _take_abreast(
            data,
            positions,
            states,
            table,
            bases,
            of_level,
            activity,
            w5,
            by,
            z,
            m,
            width,
            length,
            west,
            west_west,
        )
    for i in range(begin, min(length, width)):
        # All streams but the last ones, which have fewer columns, or none.
        abreast = min(streams, (width - i - 1) // length + 1)
        x = np.uint64(i)
        for s in range(abreast):
            u = np.uint64(s)
            entry = west[u]
            total = np.int64(activity[x]) + west_west[u] + np.int64(entry >> to_a)
            c = np.uint64(of_level[level(total, by)])
            west_west[u] = w5 * np.int64((entry >> to_m) & low)
            position, state, found, entry = take_token(
                data, np.uint64(positions[u]), states[u], table, c, bases
            )
            positions[u] = position
            states[u] = state
            west[u] = entry
            z[x + pad] = found
            m[x + pad] = (entry >> to_m) & low
            x += step


def row_slack_bits(width: int) -> int:
    """Bits that one row of one stream may read past where it began, at the most."""
    return width * MAX_TOKEN_BITS + 64
