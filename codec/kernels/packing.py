"""Between the bytes of a file's rows and planes of samples.

A row of ``width`` pixels has ``components`` samples a pixel, interleaved; sample ``i`` is
component ``i % components`` of pixel ``i // components``. How samples lie in the row's bytes is
one of the packings below; words are 16 or 32 bits, in either byte order.

``BYTE``        one sample a byte.
``WORD``        one sample of ``bits`` bits in each 16-bit word, ``shift`` bits above its low end.
``FILLED``      three 10-bit samples in each 32-bit word, ``shift`` bits above its low end; the
                first sample is the highest of the three, or the lowest where ``reverse`` is set.
``PACKED``      samples of ``bits`` bits one after another from the low end of each 32-bit word,
                running over into the next word; each row begins at a word.
``PACKED_HIGH`` samples one after another from the high end: of bytes where words are big-endian
                (a plain stream, most significant bit first), else of each little-endian 32-bit
                word. Where ``reverse`` is set the two samples of each pair are exchanged.

Planes are uint16 arrays ``[components, rows, PAD + width + PAD]``. Bits of a row that belong to
no sample (padding) are dropped by `unpack_rows`, which says whether any of them was set.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.jit import inlined, kernel
from codec.kernels.memory import load16, load32, load64, store16, store32, store64

PAD = 4
BYTE = 0
WORD = 1
FILLED = 2
PACKED = 3
PACKED_HIGH = 4

_U16_8 = np.uint16(8)
_BYTE = np.uint32(0xFF)
_BYTE1 = np.uint32(0xFF00)


@inlined
def swap16(word: Any) -> Any:
    """``word`` with its two bytes exchanged."""
    return np.uint16(np.uint16(word << _U16_8) | np.uint16(word >> _U16_8))


@inlined
def swap32(word: Any) -> Any:
    """``word`` with its four bytes in reverse order."""
    return np.uint32(
        ((word & _BYTE) << np.uint32(24))
        | ((word & _BYTE1) << np.uint32(8))
        | ((word >> np.uint32(8)) & _BYTE1)
        | (word >> np.uint32(24))
    )


@inlined
def swap64(word: Any) -> Any:
    """``word`` with its eight bytes in reverse order."""
    low = np.uint64(swap32(np.uint32(word & np.uint64(0xFFFFFFFF))))
    return (low << np.uint64(32)) | np.uint64(swap32(np.uint32(word >> np.uint64(32))))


@kernel
def _unpack_filled_rgb(
    source: Any, offset: int, width: int, shift: int, big: bool, p0: Any, p1: Any, p2: Any
) -> int:
    """One row of FILLED with three components, first sample highest: a pixel a word."""
    low = np.uint32(shift)
    mid = np.uint32(shift + 10)
    high = np.uint32(shift + 20)
    mask = np.uint32(1023)
    padding = np.uint32(~(np.uint32(0x3FFFFFFF) << low))
    stray = np.uint32(0)
    if big:
        for x in range(width):
            word = swap32(load32(source, offset + 4 * x))
            stray |= word & padding
            p0[PAD + x] = (word >> high) & mask
            p1[PAD + x] = (word >> mid) & mask
            p2[PAD + x] = (word >> low) & mask
    else:
        for x in range(width):
            word = load32(source, offset + 4 * x)
            stray |= word & padding
            p0[PAD + x] = (word >> high) & mask
            p1[PAD + x] = (word >> mid) & mask
            p2[PAD + x] = (word >> low) & mask
    return np.int64(stray)


@kernel
def _pack_filled_rgb(
    target: Any, offset: int, width: int, shift: int, big: bool, p0: Any, p1: Any, p2: Any
) -> None:
    """The inverse of `_unpack_filled_rgb`, with zero padding."""
    low = np.uint32(shift)
    mid = np.uint32(shift + 10)
    high = np.uint32(shift + 20)
    for x in range(width):
        word = np.uint32(
            (np.uint32(p0[PAD + x]) << high)
            | (np.uint32(p1[PAD + x]) << mid)
            | (np.uint32(p2[PAD + x]) << low)
        )
        if big:
            word = swap32(word)
        store32(target, offset + 4 * x, word)


@kernel
def _swap_words32(source: Any, offset: int, target: Any, words: int) -> None:
    for i in range(words):
        store32(target, 4 * i, swap32(load32(source, offset + 4 * i)))


@kernel
def _unpack_high(
    source: Any,
    offset: int,
    row_bytes: int,
    count: int,
    bits: int,
    big: bool,
    reverse: bool,
    words: Any,
    linear: Any,
) -> int:
    """One row of PACKED_HIGH into ``linear``; nonzero if a bit after its samples is set."""
    if big:
        for i in range(row_bytes):
            words[i] = source[offset + i]
    else:
        _swap_words32(source, offset, words, row_bytes // 4)
    for i in range(row_bytes, row_bytes + 8):
        words[i] = 0
    down = np.uint64(64 - bits)
    for i in range(count):
        position = i * bits
        word = swap64(load64(words, position >> 3)) << np.uint64(position & 7)
        linear[i] = word >> down
    if reverse:
        _exchange_pairs(linear, count)
    used = count * bits
    stray = np.int64(0)
    for i in range(used >> 3, row_bytes):
        byte = np.int64(words[i])
        stray |= byte & (0xFF >> (used & 7)) if i == used >> 3 else byte
    return stray


@kernel
def _pack_high(
    target: Any,
    offset: int,
    row_bytes: int,
    count: int,
    bits: int,
    big: bool,
    reverse: bool,
    words: Any,
    linear: Any,
) -> None:
    """The inverse of `_unpack_high`, with zero padding; may exchange pairs in ``linear``."""
    if reverse:
        _exchange_pairs(linear, count)
    at = 0
    waiting = np.uint64(0)
    filled = 0
    for i in range(count):
        waiting = (waiting << np.uint64(bits)) | np.uint64(linear[i])
        filled += bits
        while filled >= 8:
            filled -= 8
            words[at] = np.uint8((waiting >> np.uint64(filled)) & np.uint64(0xFF))
            at += 1
    if filled:
        words[at] = np.uint8((waiting << np.uint64(8 - filled)) & np.uint64(0xFF))
        at += 1
    for i in range(at, row_bytes):
        words[i] = 0
    if big:
        for i in range(row_bytes):
            target[offset + i] = words[i]
    else:
        for i in range(row_bytes // 4):
            store32(target, offset + 4 * i, swap32(load32(words, 4 * i)))


@kernel
def _exchange_pairs(linear: Any, count: int) -> None:
    for i in range(0, count - 1, 2):
        first = linear[i]
        linear[i] = linear[i + 1]
        linear[i + 1] = first


@kernel
def _unpack_linear(
    source: Any,
    offset: int,
    row_bytes: int,
    count: int,
    packing: int,
    bits: int,
    shift: int,
    big: bool,
    reverse: bool,
    words: Any,
    linear: Any,
) -> int:
    """One row's samples in file order into ``linear``; nonzero if a padding bit is set."""
    stray = np.int64(0)
    if packing == BYTE:
        for i in range(count):
            linear[i] = source[offset + i]
    elif packing == WORD:
        low = np.uint16(shift)
        mask = np.uint16((1 << bits) - 1)
        padding = np.uint16(~np.uint16(mask << low))
        loose = np.uint16(0)
        for i in range(count):
            word = load16(source, offset + 2 * i)
            if big:
                word = swap16(word)
            loose |= word & padding
            linear[i] = (word >> low) & mask
        stray = np.int64(loose)
    elif packing == FILLED:
        first = np.uint32(shift if reverse else shift + 20)
        third = np.uint32(shift + 20 if reverse else shift)
        mid = np.uint32(shift + 10)
        mask32 = np.uint32(1023)
        loose32 = np.uint32(0)
        padding32 = np.uint32(~(np.uint32(0x3FFFFFFF) << np.uint32(shift)))
        groups = (count + 2) // 3
        for i in range(groups):
            word32 = load32(source, offset + 4 * i)
            if big:
                word32 = swap32(word32)
            loose32 |= word32 & padding32
            linear[3 * i] = (word32 >> first) & mask32
            linear[3 * i + 1] = (word32 >> mid) & mask32
            linear[3 * i + 2] = (word32 >> third) & mask32
        for i in range(count, 3 * groups):
            loose32 |= np.uint32(linear[i])
        stray = np.int64(loose32)
    elif packing == PACKED_HIGH:
        stray = _unpack_high(source, offset, row_bytes, count, bits, big, reverse, words, linear)
    else:
        total = row_bytes // 4
        if big:
            _swap_words32(source, offset, words, total)
        else:
            for i in range(row_bytes):
                words[i] = source[offset + i]
        mask64 = np.uint64((1 << bits) - 1)
        for i in range(count):
            position = i * bits
            linear[i] = (load64(words, position >> 3) >> np.uint64(position & 7)) & mask64
        used = count * bits
        for i in range(used >> 3, row_bytes):
            byte = np.int64(words[i])
            stray |= byte >> (used & 7) if i == used >> 3 else byte
    return stray


@kernel
def _pack_linear(
    target: Any,
    offset: int,
    row_bytes: int,
    count: int,
    packing: int,
    bits: int,
    shift: int,
    big: bool,
    reverse: bool,
    words: Any,
    linear: Any,
) -> None:
    """The inverse of `_unpack_linear`, with zero padding."""
    if packing == BYTE:
        for i in range(count):
            target[offset + i] = linear[i]
    elif packing == WORD:
        for i in range(count):
            word = np.uint16(linear[i] << np.uint16(shift))
            if big:
                word = swap16(word)
            store16(target, offset + 2 * i, word)
    elif packing == FILLED:
        first = np.uint32(shift if reverse else shift + 20)
        third = np.uint32(shift + 20 if reverse else shift)
        mid = np.uint32(shift + 10)
        groups = (count + 2) // 3
        for i in range(count, 3 * groups):
            linear[i] = 0
        for i in range(groups):
            word32 = np.uint32(
                (np.uint32(linear[3 * i]) << first)
                | (np.uint32(linear[3 * i + 1]) << mid)
                | (np.uint32(linear[3 * i + 2]) << third)
            )
            if big:
                word32 = swap32(word32)
            store32(target, offset + 4 * i, word32)
    elif packing == PACKED_HIGH:
        _pack_high(target, offset, row_bytes, count, bits, big, reverse, words, linear)
    else:
        for i in range(row_bytes + 8):
            words[i] = 0
        for i in range(count):
            position = i * bits
            value = load64(words, position >> 3)
            value |= np.uint64(linear[i]) << np.uint64(position & 7)
            store64(words, position >> 3, value)
        if big:
            for i in range(row_bytes // 4):
                store32(target, offset + 4 * i, swap32(load32(words, 4 * i)))
        else:
            for i in range(row_bytes):
                target[offset + i] = words[i]


@kernel
def unpack_rows(
    source: Any,
    offset: int,
    stride: int,
    row_bytes: int,
    rows: int,
    width: int,
    components: int,
    packing: int,
    bits: int,
    shift: int,
    big: bool,
    reverse: bool,
    planes: Any,
) -> int:
    """Unpack ``rows`` rows of ``source`` (uint8) into ``planes`` (of these components alone).

    The samples of row r are the ``row_bytes`` bytes at ``offset + r * stride``, exactly as many
    as they take; all of them must lie in ``source``. Returns nonzero if any bit of those that
    belongs to no sample is set.
    """
    stray = np.int64(0)
    if packing == FILLED and components == 3 and not reverse:
        for r in range(rows):
            p0 = planes[0, r]
            p1 = planes[1, r]
            p2 = planes[2, r]
            at = offset + r * stride
            stray |= _unpack_filled_rgb(source, at, width, shift, big, p0, p1, p2)
        return stray
    count = width * components
    linear = np.empty(count + 3, np.uint16)
    words = np.zeros(row_bytes + 16, np.uint8)
    for r in range(rows):
        at = offset + r * stride
        stray |= _unpack_linear(
            source, at, row_bytes, count, packing, bits, shift, big, reverse, words, linear
        )
        for c in range(components):
            plane = planes[c, r]
            for x in range(width):
                plane[PAD + x] = linear[x * components + c]
    return stray


@kernel
def pack_row(
    target: Any,
    offset: int,
    row_bytes: int,
    width: int,
    components: int,
    packing: int,
    bits: int,
    shift: int,
    big: bool,
    reverse: bool,
    planes: Any,
    r: int,
    words: Any,
    linear: Any,
) -> None:
    """Pack one row ``planes[component, r, PAD + x]`` into ``target`` (uint8) at byte ``offset``.

    ``row_bytes`` are written, exactly as many as the samples take. ``words`` is uint8 scratch
    of at least ``row_bytes + 16`` bytes and ``linear`` uint16 scratch of at least
    ``width * components + 3`` samples. Bits that belong to no sample become zero.
    """
    if packing == FILLED and components == 3 and not reverse:
        _pack_filled_rgb(
            target, offset, width, shift, big, planes[0, r], planes[1, r], planes[2, r]
        )
        return
    for c in range(components):
        row = planes[c, r]
        for x in range(width):
            linear[x * components + c] = row[PAD + x]
    _pack_linear(
        target,
        offset,
        row_bytes,
        width * components,
        packing,
        bits,
        shift,
        big,
        reverse,
        words,
        linear,
    )
