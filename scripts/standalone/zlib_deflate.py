"""The deflate data that zlib 1.2 and 1.3 write: redo-v1.md, "Zlib's deflate"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from standalone import deflate as d

if TYPE_CHECKING:
    from standalone.deflate import Symbol, Told

WAYS = {  # good, lazy, nice, chain, and whether a match waits for the next
    1: (4, 4, 8, 4, False),
    2: (4, 5, 16, 8, False),
    3: (4, 6, 32, 32, False),
    4: (4, 4, 16, 16, True),
    5: (8, 16, 32, 32, True),
    6: (8, 16, 128, 128, True),
    7: (8, 32, 128, 256, True),
    8: (32, 128, 258, 1024, True),
    9: (32, 258, 258, 4096, True),
}


def compress(data: bytes, level: int, memory: int, window_bits: int, is_filtered: bool) -> bytes:
    """Raw deflate data of all of ``data``."""
    return Deflater(data, level, memory, 1 << window_bits, is_filtered).run()


class Deflater:
    def __init__(
        self, data: bytes, level: int, memory: int, window: int, is_filtered: bool
    ) -> None:
        self.data, self.window, self.is_filtered = data, window, is_filtered
        self.good, self.lazy, self.nice, self.chain, self.waits = WAYS[level]
        self.hash_bits = memory + 7
        self.most_symbols = (1 << memory + 6) - 1
        self.base = self.begun = 0
        self.last: dict[int, int] = {}
        self.before: dict[int, int | None] = {}
        self.symbols: list[Symbol] = []
        self.bits = d.Bits()

    def run(self) -> bytes:
        if self.waits:
            self.run_lazy()
        else:
            self.run_greedy()
        self.write_block(len(self.data), is_last=True)
        return self.bits.finish()

    def move_base(self, p: int) -> None:
        filled = min(len(self.data), self.base + 2 * self.window)
        if filled - p < 262 and p - self.base >= 2 * self.window - 262:
            self.base += self.window

    def insert(self, p: int) -> int | None:
        """Who was last under the hash of p; nobody within three bytes of the end."""
        if p + 3 > len(self.data):
            return None
        a, b, c = self.data[p : p + 3]
        shift = (self.hash_bits + 2) // 3
        key = (a << 2 * shift ^ b << shift ^ c) & (1 << self.hash_bits) - 1
        found = self.before[p] = self.last.get(key)
        self.last[key] = p
        return found

    def may_match(self, q: int | None, p: int) -> bool:
        return q is not None and q > self.base and p - q <= self.window - 262

    def search(self, p: int, best: int, q: int | None, chain: int) -> tuple[int, int | None]:
        data, position, m = self.data, None, min(258, len(self.data) - p)
        nice = min(self.nice, m)
        if best >= m:
            return m, None
        while q is not None:
            if data[q + best] == data[p + best]:
                length = d.match_length(data, q, p, m)
                if length > best:
                    best, position = length, q
                    if length >= nice:
                        break
            q, chain = self.before[q], chain - 1
            if q is None or q <= self.base or p - q >= self.window - 262 or chain <= 0:
                break
        return best, position

    def add(self, symbol: Symbol, end: int) -> None:
        """Write a symbol; a block that it fills ends at ``end``."""
        self.symbols.append(symbol)
        if len(self.symbols) == self.most_symbols:
            self.write_block(end, is_last=False)

    def run_greedy(self) -> None:
        data, p = self.data, 0
        while p < len(data):
            self.move_base(p)
            q, length, position = self.insert(p), 2, None
            if self.may_match(q, p):
                length, position = self.search(p, 2, q, self.chain)
            if length >= 3 and position is not None:
                end = p + length
                if length <= self.lazy and len(data) - end >= 3:
                    for i in range(p + 1, end):
                        self.insert(i)
                self.add((length, p - position), end)
                p = end
            else:
                self.add((data[p], 0), p + 1)
                p += 1
        self.move_base(p)

    def run_lazy(self) -> None:
        data, p, length, position, is_pending = self.data, 0, 2, 0, False
        while p < len(data):
            self.move_base(p)
            old, old_position = length, position
            length, q = 2, self.insert(p)
            if self.may_match(q, p) and old < self.lazy:
                chain = self.chain // 4 if old >= self.good else self.chain
                length, found = self.search(p, old, q, chain)
                position = position if found is None else found
                if length <= 5 and (self.is_filtered or (length == 3 and p - position > 4096)):
                    length = 2
            if old >= 3 and length <= old:
                end = p - 1 + old
                for i in range(p + 1, end):
                    self.insert(i)
                self.add((old, p - 1 - old_position), end)
                p, length, is_pending = end, 2, False
                continue
            if is_pending:
                self.add((data[p - 1], 0), p)
            p, is_pending = p + 1, True
        self.move_base(p)
        if is_pending:
            self.symbols.append((data[p - 1], 0))

    def write_block(self, end: int, is_last: bool) -> None:
        literals, distances = d.counts(self.symbols)
        extra = d.extra_bits(literals, distances)
        own = code_lengths(literals, 15), code_lengths(distances, 15)
        told = tell(own[0]) + tell(own[1])
        told_counts = [sum(symbol == i for symbol, _, _ in told) for i in range(19)]
        told_lengths = code_lengths(told_counts, 7)
        dynamic = 3 + 14 + 3 * d.told_size(told_lengths) + d.code_bits(told_counts, told_lengths)
        dynamic += sum(width for _, _, width in told)
        dynamic += d.code_bits(literals, own[0]) + d.code_bits(distances, own[1]) + extra
        fixed = 3 + d.code_bits(literals, d.FIXED_LITERALS) + 5 * sum(distances) + extra
        dynamic, fixed = -(-dynamic // 8), -(-fixed // 8)
        best, size = min(dynamic, fixed), end - self.begun
        if self.begun >= self.base and size + 4 <= best and size <= d.MOST_STORED:
            d.write_stored(self.bits, self.data[self.begun : end], is_last)
        elif fixed == best:
            self.bits.add(is_last | 2, 3)
            d.write_symbols(self.bits, self.symbols, d.FIXED_LITERALS, d.FIXED_DISTANCES)
        else:
            self.bits.add(is_last | 4, 3)
            d.write_head(self.bits, told, told_lengths, told_of(own[0]), told_of(own[1]))
            d.write_symbols(self.bits, self.symbols, *own)
        self.symbols, self.begun = [], end


def told_of(lengths: list[int]) -> int:
    return max(i for i, length in enumerate(lengths) if length) + 1


def tell(lengths: list[int]) -> list[Told]:
    """The symbols of code lengths that tell these, up to the last that is not zero."""
    out: list[Told] = []
    at, last, previous = 0, told_of(lengths), -1
    while at < last:
        length, n = lengths[at], 1
        repeats = length == previous
        most = 138 if length == 0 else 6 if repeats else 7
        while n < most and at + n < last and lengths[at + n] == length:
            n += 1
        at, previous = at + n, length
        if n < (4 if length and not repeats else 3):
            out += [(length, 0, 0)] * n
        elif length == 0:
            out.append((17, n - 3, 3) if n <= 10 else (18, n - 11, 7))
        else:
            if not repeats:
                out.append((length, 0, 0))
                n -= 1
            out.append((16, n - 3, 2))
    return out


def sink(heap: list[int], k: int, nodes: list[list[int]]) -> None:
    """Let the node at place k sink; places count from 1, so heap[0] is nothing."""
    node, n = heap[k], len(heap) - 1
    while 2 * k <= n:
        child = 2 * k
        if child < n and nodes[heap[child + 1]][:2] <= nodes[heap[child]][:2]:
            child += 1
        if nodes[node][:2] <= nodes[heap[child]][:2]:
            break
        heap[k], k = heap[child], child
    heap[k] = node


def code_lengths(numbers: list[int], most: int) -> list[int]:
    """A prefix code's lengths, at most ``most``, by zlib's heap."""
    # A node is its count, its depth and its parent.
    nodes = [[n, 0, -1] for n in numbers]
    heap = [-1, *(symbol for symbol, n in enumerate(numbers) if n)]
    last = heap[-1]
    while len(heap) < 3:
        last, symbol = (last + 1, last + 1) if last < 2 else (last, 0)
        nodes[symbol][0] = 1
        heap.append(symbol)
    for k in range((len(heap) - 1) // 2, 0, -1):
        sink(heap, k, nodes)
    order: list[int] = []  # the list from its end
    while len(heap) > 2:
        a = heap[1]
        heap[1] = heap[-1]
        heap.pop()
        sink(heap, 1, nodes)
        b = heap[1]
        order += [a, b]
        nodes[a][2] = nodes[b][2] = heap[1] = len(nodes)
        nodes.append([nodes[a][0] + nodes[b][0], max(nodes[a][1], nodes[b][1]) + 1, -1])
        sink(heap, 1, nodes)
    return limited(order, nodes, len(numbers), most)


def limited(order: list[int], nodes: list[list[int]], size: int, most: int) -> list[int]:
    lengths, per_length, over = [0] * len(nodes), [0] * (most + 1), 0
    for node in reversed(order):
        lengths[node] = lengths[nodes[node][2]] + 1
        if lengths[node] > most:
            lengths[node], over = most, over + 1
        if node < size:
            per_length[lengths[node]] += 1
    if over:
        while over > 0:
            j = max(i for i in range(1, most) if per_length[i])
            per_length[j] -= 1
            per_length[j + 1] += 2
            per_length[most] -= 1
            over -= 2
        leaves = iter(node for node in order if node < size)
        for length in range(most, 0, -1):
            for _ in range(per_length[length]):
                lengths[next(leaves)] = length
    return lengths[:size]
