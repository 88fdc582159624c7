"""How libdeflate writes a block: redo-v1.md, "Libdeflate's deflate", from "Blocks" on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from standalone import deflate as d

if TYPE_CHECKING:
    from standalone.deflate import Symbol, Told

OLD = 2  # the make of versions 1.10 to 1.18


def write_block(bits: d.Bits, data: bytes, symbols: list[Symbol], make: int, is_last: bool) -> None:
    literals, distances = d.counts(symbols)
    extra = d.extra_bits(literals, distances)
    own = code_lengths(literals, 14), code_lengths(distances, 15)
    if make == OLD and not any(distances):
        own = own[0], [0] * 30
    told_of = [max(i + 1 for i, n in enumerate([1, *lengths]) if n) - 1 for lengths in own]
    sizes = max(told_of[0], 257), max(told_of[1], 1)
    told = tell(own[0][: sizes[0]] + own[1][: sizes[1]])
    told_counts = [sum(symbol == i for symbol, _, _ in told) for i in range(19)]
    told_lengths = code_lengths(told_counts, 7)
    dynamic = 14 + 3 * d.told_size(told_lengths) + d.code_bits(told_counts, told_lengths)
    dynamic += sum(width for _, _, width in told)
    dynamic += d.code_bits(literals, own[0]) + d.code_bits(distances, own[1]) + extra
    fixed = d.code_bits(literals, d.FIXED_LITERALS) + 5 * sum(distances) + extra
    further = (len(data) - 1) // d.MOST_STORED
    stored = -(bits.count + 3) % 8 + 32 + 40 * further + 8 * len(data)
    best = min(stored, fixed, dynamic)
    if stored == best:
        d.write_stored(bits, data, is_last)
    elif fixed == best:
        bits.add(is_last | 2, 3)
        d.write_symbols(bits, symbols, d.FIXED_LITERALS, d.FIXED_DISTANCES)
    else:
        bits.add(is_last | 4, 3)
        d.write_head(bits, told, told_lengths, *sizes)
        d.write_symbols(bits, symbols, *own)


def tell(lengths: list[int]) -> list[Told]:
    """The symbols of code lengths that tell these."""
    out: list[Told] = []
    at = 0
    while at < len(lengths):
        length, end = lengths[at], at + 1
        while end < len(lengths) and lengths[end] == length:
            end += 1
        if length == 0:
            while end - at >= 11:
                n = min(end - at, 138)
                out.append((18, n - 11, 7))
                at += n
            if end - at >= 3:
                out.append((17, end - at - 3, 3))
                at = end
        elif end - at >= 4:
            out.append((length, 0, 0))
            at += 1
            while end - at >= 3:
                n = min(end - at, 6)
                out.append((16, n - 3, 2))
                at += n
        out += [(length, 0, 0)] * (end - at)
        at = end
    return out


def code_lengths(numbers: list[int], most: int) -> list[int]:
    """A prefix code's lengths, at most ``most``, by libdeflate's two queues."""
    lengths = [0] * len(numbers)
    order = sorted((n, symbol) for symbol, n in enumerate(numbers) if n)
    if len(order) < 2:
        one = order[0][1] if order else 0
        lengths[0] = lengths[one or 1] = 1
        return lengths
    weights = [n for n, _ in order]
    parents: dict[int, int] = {}
    leaf, inner = 0, len(order)
    while len(weights) < 2 * len(order) - 1:
        weight = 0
        for _ in range(2):
            if leaf < len(order) and (inner == len(weights) or weights[leaf] <= weights[inner]):
                node, leaf = leaf, leaf + 1
            else:
                node, inner = inner, inner + 1
            parents[node] = len(weights)
            weight += weights[node]
        weights.append(weight)
    per_length = [0] * (most + 1)
    per_length[1] = 2
    root = len(weights) - 1
    depths = {root: 0}
    for node in range(root - 1, len(order) - 1, -1):
        t = depths[node] = depths[parents[node]] + 1
        if t >= most:
            t = max(i for i in range(1, most) if per_length[i])
        per_length[t] -= 1
        per_length[t + 1] += 2
    symbols = iter(symbol for _, symbol in order)
    for length in range(most, 0, -1):
        for _ in range(per_length[length]):
            lengths[next(symbols)] = length
    return lengths
