"""What zlib's and libdeflate's deflate have in common: symbols, bits and blocks of RFC 1951."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    Symbol = tuple[int, int]  # a literal byte and 0, or a length and a distance
    Told = tuple[int, int, int]  # a symbol of code lengths, what follows it, in how many bits

LENGTH_EXTRA = [0] * 8 + [n for n in range(1, 6) for _ in range(4)] + [0]
DISTANCE_EXTRA = [0, 0] + [n for n in range(14) for _ in range(2)]
LENGTH_BASE, DISTANCE_BASE = [3], [1]
for _extra in LENGTH_EXTRA[:-2]:
    LENGTH_BASE.append(LENGTH_BASE[-1] + (1 << _extra))
for _extra in DISTANCE_EXTRA[:-1]:
    DISTANCE_BASE.append(DISTANCE_BASE[-1] + (1 << _extra))
LENGTH_BASE.append(258)
LENGTH_CODE = [0] * 259
for _code, _base in enumerate(LENGTH_BASE):
    LENGTH_CODE[_base:] = [_code] * (259 - _base)
TOLD_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
FIXED_LITERALS = [8] * 144 + [9] * 112 + [7] * 24 + [8] * 8
FIXED_DISTANCES = [5] * 32
MOST_STORED = 65535


def distance_code(distance: int) -> int:
    if distance < 3:
        return distance - 1
    high = (distance - 1).bit_length() - 1
    return 2 * high + (distance - 1 >> high - 1 & 1)


def match_length(data: bytes, q: int, p: int, most: int) -> int:
    """How many bytes from q on equal those from p on, at most ``most``."""
    n = 0
    while n + 16 <= most and data[q + n : q + n + 16] == data[p + n : p + n + 16]:
        n += 16
    while n < most and data[q + n] == data[p + n]:
        n += 1
    return n


class Bits:
    """A deflate stream as it grows, the first bit lowest."""

    def __init__(self) -> None:
        self.out = bytearray()
        self.held = self.count = 0

    def add(self, value: int, bits: int) -> None:
        self.held |= value << self.count
        self.count += bits
        if self.count >= 64:
            whole = self.count // 8
            self.out += (self.held & (1 << 8 * whole) - 1).to_bytes(whole, "little")
            self.held >>= 8 * whole
            self.count -= 8 * whole

    def finish(self) -> bytes:
        """Zeros to the next byte; all bytes so far."""
        whole = -(-self.count // 8)
        self.out += self.held.to_bytes(whole, "little")
        self.held = self.count = 0
        return bytes(self.out)


def counts(symbols: Sequence[Symbol]) -> tuple[list[int], list[int]]:
    """How often each literal or length, one end of block among them, and each distance occurs."""
    literals, distances = [0] * 286, [0] * 30
    literals[256] = 1
    for value, distance in symbols:
        if distance:
            literals[257 + LENGTH_CODE[value]] += 1
            distances[distance_code(distance)] += 1
        else:
            literals[value] += 1
    return literals, distances


def extra_bits(literals: list[int], distances: list[int]) -> int:
    lengths = sum(n * e for n, e in zip(literals[257:], LENGTH_EXTRA, strict=True))
    return lengths + sum(n * e for n, e in zip(distances, DISTANCE_EXTRA, strict=True))


def code_bits(numbers: list[int], lengths: list[int]) -> int:
    return sum(n * length for n, length in zip(numbers, lengths, strict=False))


def codes(lengths: list[int]) -> list[int]:
    """Canonical codes (RFC 1951, 3.2.2), turned round since their first bit is the highest."""
    made, code = [0] * len(lengths), 0
    for length in range(1, 16):
        for symbol, own in enumerate(lengths):
            if own == length:
                made[symbol] = int(f"{code:0{length}b}"[::-1], 2)
                code += 1
        code <<= 1
    return made


def told_size(told_lengths: list[int]) -> int:
    """How many lengths of code lengths are told."""
    last = max((i for i, symbol in enumerate(TOLD_ORDER) if told_lengths[symbol]), default=0)
    return max(last + 1, 4)


def write_head(
    bits: Bits, told: list[Told], told_lengths: list[int], literals: int, distances: int
) -> None:
    """What a dynamic block says of its codes, for so many literals and distances."""
    n = told_size(told_lengths)
    bits.add(literals - 257, 5)
    bits.add(distances - 1, 5)
    bits.add(n - 4, 4)
    for symbol in TOLD_ORDER[:n]:
        bits.add(told_lengths[symbol], 3)
    told_codes = codes(told_lengths)
    for symbol, more, width in told:
        bits.add(told_codes[symbol], told_lengths[symbol])
        bits.add(more, width)


def write_symbols(
    bits: Bits, symbols: Sequence[Symbol], literals: list[int], distances: list[int]
) -> None:
    """The symbols and an end of block in codes of these lengths."""
    literal_codes, distance_codes = codes(literals), codes(distances)
    for value, distance in symbols:
        if not distance:
            bits.add(literal_codes[value], literals[value])
            continue
        code = LENGTH_CODE[value]
        bits.add(literal_codes[257 + code], literals[257 + code])
        bits.add(value - LENGTH_BASE[code], LENGTH_EXTRA[code])
        code = distance_code(distance)
        bits.add(distance_codes[code], distances[code])
        bits.add(distance - DISTANCE_BASE[code], DISTANCE_EXTRA[code])
    bits.add(literal_codes[256], literals[256])


def write_stored(bits: Bits, data: bytes, is_last: bool) -> None:
    """Stored blocks of at most 65535 bytes, at least one."""
    for at in range(0, max(len(data), 1), MOST_STORED):
        part = data[at : at + MOST_STORED]
        bits.add(is_last and at + len(part) == len(data), 3)
        bits.finish()
        bits.out += len(part).to_bytes(2, "little") + (len(part) ^ 65535).to_bytes(2, "little")
        bits.out += part
