"""Where each bit of each sample stands in a line of a frame file: slow, obvious, no numpy.

Everything follows from one function, `sample_bits`, that says for one sample which bits of
which bytes hold it. Reading is collecting those bits, writing is setting them, and padding is
whatever no sample claims. Lines start on a 32-bit word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BitAddress = tuple[int, int]  # byte within the line, bit within the byte (0 is lowest)

PACKINGS: Final = ("filled-a", "filled-b", "packed")


def _in_word(word: int, bit: int, size: int, byte_order: str) -> BitAddress:
    """Address of a bit (0 is lowest) of a word of `size` bytes."""
    byte = bit // 8 if byte_order == "le" else size - 1 - bit // 8
    return word * size + byte, bit % 8


def sample_bits(
    index: int, *, bits: int, packing: str, byte_order: str, luma: bool = False
) -> list[BitAddress]:
    """Addresses of sample number `index` of a line, from its lowest bit to its highest.

    Args:
        bits: 8, 10, 12 or 16.
        packing: one of PACKINGS; 8 and 16 bits have one form only, whatever it says.
        byte_order: "be" or "le".
        luma: one channel only, which turns the samples in a 10-bit filled word round.

    Raises:
        ValueError: bits, packing or byte order that does not exist.
    """
    if packing not in PACKINGS or byte_order not in ("be", "le"):
        raise ValueError(f"no such layout: {packing} {byte_order}")
    if bits == 8:
        return [(index, bit) for bit in range(8)]
    if bits == 16:
        return [_in_word(index, bit, 2, byte_order) for bit in range(16)]
    if bits not in (10, 12):
        raise ValueError(f"no such depth: {bits}")
    if packing == "packed":
        stream = [index * bits + bit for bit in range(bits)]
        return [_in_word(position // 32, position % 32, 4, byte_order) for position in stream]
    if bits == 12:
        lowest = 4 if packing == "filled-a" else 0
        return [_in_word(index, lowest + bit, 2, byte_order) for bit in range(12)]
    word, place = divmod(index, 3)
    if not luma:
        place = 2 - place  # the first of the three stands highest
    lowest = 10 * place + (2 if packing == "filled-a" else 0)
    return [_in_word(word, lowest + bit, 4, byte_order) for bit in range(10)]


def line_size(samples: int, *, bits: int, packing: str) -> int:
    """Bytes of a line of this many samples, its last 32-bit word included."""
    if bits in (8, 16) or packing == "packed":
        words = -(-samples * bits // 32)
    elif bits == 12:
        words = -(-samples // 2)
    else:
        words = -(-samples // 3)
    return 4 * words


def unpack_line(
    line: bytes, samples: int, *, bits: int, packing: str, byte_order: str, luma: bool = False
) -> tuple[list[int], list[int]]:
    """Read a line: its samples, and its padding bits in the order of their addresses.

    Raises:
        IndexError: the line is shorter than `line_size`.
    """
    values = []
    claimed: set[BitAddress] = set()
    for index in range(samples):
        addresses = sample_bits(index, bits=bits, packing=packing, byte_order=byte_order, luma=luma)
        claimed.update(addresses)
        values.append(sum((line[byte] >> bit & 1) << n for n, (byte, bit) in enumerate(addresses)))
    size = line_size(samples, bits=bits, packing=packing)
    every = ((byte, bit) for byte in range(size) for bit in range(8))
    padding = [line[byte] >> bit & 1 for byte, bit in every if (byte, bit) not in claimed]
    return values, padding


def pack_line(
    values: Sequence[int],
    padding: Sequence[int] | None = None,
    *,
    bits: int,
    packing: str,
    byte_order: str,
    luma: bool = False,
) -> bytes:
    """Write a line: the inverse of `unpack_line`; without padding its bits are zero.

    Raises:
        ValueError: the padding has another number of bits than the line has room for.
    """
    size = line_size(len(values), bits=bits, packing=packing)
    line = bytearray(size)
    free = {(byte, bit): None for byte in range(size) for bit in range(8)}
    for index, value in enumerate(values):
        addresses = sample_bits(index, bits=bits, packing=packing, byte_order=byte_order, luma=luma)
        for n, (byte, bit) in enumerate(addresses):
            line[byte] |= (value >> n & 1) << bit
            del free[byte, bit]
    if padding is not None:
        for (byte, bit), value in zip(free, padding, strict=True):
            line[byte] |= value << bit
    return bytes(line)


def lines(payload: bytes, samples: int, *, bits: int, packing: str) -> Iterator[bytes]:
    """Cut an image element's bytes into lines; what is left over at the end is not a line."""
    size = line_size(samples, bits=bits, packing=packing)
    for start in range(0, len(payload) - size + 1, size):
        yield payload[start : start + size]
