"""The deflate data that libdeflate writes: redo-v1.md, "Libdeflate's deflate"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from standalone import deflate as d
from standalone.libdeflate_blocks import OLD, write_block

if TYPE_CHECKING:
    from standalone.deflate import Symbol

WAYS = {  # nice, depth, and how many positions a match may wait for a better one
    2: (10, 6, 0),
    3: (14, 12, 0),
    4: (30, 16, 0),
    5: (30, 16, 1),
    6: (65, 35, 1),
    7: (130, 100, 1),
    8: (258, 300, 2),
    9: (258, 600, 2),
}
LEAST = ((5, 9), (7, 8), (9, 7), (15, 6), (44, 5), (79, 4), (256, 3))


def compress(data: bytes, level: int, make: int) -> bytes:
    """Raw deflate data of all of ``data``."""
    bits = d.Bits()
    if len(data) <= 55 - 4 * level:
        d.write_stored(bits, data, is_last=True)
        return bits.finish()
    p, finder = 0, Finder(data)
    while p < len(data):
        block = Block(finder, p, level, make)
        block.fill()
        write_block(bits, data[p : block.p], block.symbols, make, block.p == len(data))
        p = block.p
    return bits.finish()


class Finder:
    """Who was last under which hash, for all blocks of the data."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.short: dict[int, int] = {}
        self.long: dict[int, int] = {}
        self.before: dict[int, int | None] = {}

    def insert(self, p: int) -> tuple[int | None, int | None]:
        four = int.from_bytes(self.data[p : p + 4], "little") if p else 0
        a = ((four & 0xFFFFFF) * 0x1E35A7BD & 0xFFFFFFFF) >> 17
        b = (four * 0x1E35A7BD & 0xFFFFFFFF) >> 16
        found = self.short.get(a), self.long.get(b)
        self.before[p] = found[1]
        self.short[a] = self.long[b] = p
        return found

    def skip(self, p: int, n: int) -> None:
        if len(self.data) - p >= n + 5:
            for i in range(p, p + n):
                self.insert(i)

    def search(self, p: int, best: int, nice: int, depth: int) -> tuple[int, int]:
        """Length and distance of a match longer than best, or zeros."""
        data, m, found = self.data, min(258, len(self.data) - p), (0, 0)
        nice = min(nice, m)
        if m < 5:
            return found
        s, q = self.insert(p)
        if best < 4:
            if s is None or p - s > 32767:
                return found
            if best < 3 and data[s : s + 3] == data[p : p + 3]:
                best, found = 3, (3, p - s)
            best = max(best, 3)
        elif best >= nice:
            return found
        while q is not None and p - q <= 32767 and depth > 0:
            if best < m and data[q + best] == data[p + best]:
                length = d.match_length(data, q, p, m)
                if length > best:
                    best, found = length, (length, p - q)
                    if length >= nice:
                        break
            q, depth = self.before[q], depth - 1
        return found


class Mixture:
    """Whether the symbols of a block have come to be of another kind."""

    def __init__(self) -> None:
        self.old, self.new = [0] * 10, [0] * 10

    def add(self, symbol: Symbol) -> None:
        value, distance = symbol
        self.new[8 + (value >= 9) if distance else value >> 5 & 6 | value & 1] += 1

    def has_changed(self, size: int) -> bool:
        olds, news = sum(self.old), sum(self.new)
        if olds:
            s = sum(abs(n * olds - o * news) for n, o in zip(self.new, self.old, strict=True))
            c = 200 * news // 512 * olds
            if size < 10000 and olds + news < 8192:
                c += c * (8192 - olds - news) // 8192
            if s + size // 4096 * olds >= c:
                return True
        self.old = [n + o for n, o in zip(self.new, self.old, strict=True)]
        self.new = [0] * 10
        return False


class Block:
    def __init__(self, finder: Finder, begun: int, level: int, make: int) -> None:
        self.finder, self.data = finder, finder.data
        self.begun = self.p = begun
        self.nice, self.depth, self.ahead = WAYS[level]
        left = len(self.data) - begun
        self.limit = len(self.data) if left < 305000 else begun + 300000
        head = self.data[begun : min(begun + 4096, self.limit)]
        is_short = make != OLD and self.limit - begun < 512
        self.least = 3 if is_short else self.least_for(len(set(head)))
        self.renewal = min(begun + 10000, len(self.data))
        self.literals = [0] * 256
        self.matches = 0
        self.symbols: list[Symbol] = []
        self.mixture = Mixture()

    def least_for(self, different: int) -> int:
        """The least match worth writing where so many different bytes occur."""
        least = next(length for most, length in LEAST if different <= most)
        for depth, most in ((5, 4), (10, 5), (16, 7)):
            if self.depth < depth:
                return min(least, most)
        return least

    def fill(self) -> None:
        while True:
            if self.ahead and self.p >= self.renewal:
                self.renew_least()
            self.step()
            if self.p >= self.limit or self.matches == 50000:
                return
            size, left = self.p - self.begun, len(self.data) - self.p
            is_due = sum(self.mixture.new) >= 512 and size >= 5000 and left >= 5000
            if is_due and self.mixture.has_changed(size):
                return

    def renew_least(self) -> None:
        often = sum(self.literals) // 1024
        self.least = self.least_for(sum(n > often for n in self.literals))
        self.renewal = min(self.renewal + self.p - self.begun, len(self.data))

    def add(self, symbol: Symbol) -> None:
        self.symbols.append(symbol)
        self.mixture.add(symbol)
        if symbol[1]:
            self.matches += 1
        else:
            self.literals[symbol[0]] += 1

    def search(self, p: int, best: int, depth: int) -> tuple[int, int]:
        return self.finder.search(p, best, self.nice, depth)

    def step(self) -> None:
        f = self.p
        length, distance = self.search(f, self.least - 1, self.depth)
        far = 8192 if self.ahead else 4096
        if not length or (length == 3 and distance > far):
            self.add((self.data[f], 0))
            self.p += 1
            return
        searched = f + 1  # the first position that no search has inserted
        if self.ahead:
            f, searched, length, distance = self.look_ahead(f, length, distance)
        self.add((length, distance))
        self.p = f + length
        self.finder.skip(searched, self.p - searched)

    def look_ahead(self, f: int, length: int, distance: int) -> tuple[int, int, int, int]:
        """Put a match off as long as the next is better: where, searched to, length, distance."""
        searched = f + 1
        while length < min(self.nice, len(self.data) - (searched - 1)):
            for more in range(1, self.ahead + 1):
                found = self.search(searched, length - 1, self.depth >> more)
                searched += 1
                if is_better(found, (length, distance), 2 if more == 1 else 6):
                    for i in range(more):
                        self.add((self.data[f + i], 0))
                    f, (length, distance) = f + more, found
                    break
            else:
                break
        return f, searched, length, distance


def is_better(new: tuple[int, int], old: tuple[int, int], margin: int) -> bool:
    gain = 4 * (new[0] - old[0]) + old[1].bit_length() - new[1].bit_length()
    return new[0] >= old[0] and gain > margin
