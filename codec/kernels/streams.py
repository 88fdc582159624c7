"""Bit fields appended to four streams at once, a stream a lane of a vector register."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LANES = 4
GROUP = 4 * LANES
"""Entries that `append_fields` takes in one step: its caller gives a multiple of these."""
LENGTH_AT = 27
"""Where an entry's length begins; its field lies below."""
POSITION = 0
WAITING = 1
FILLED = 2
STATE_ROWS = 3

_I8 = ir.IntType(8)
_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
_V32 = ir.VectorType(_I32, LANES)
_V64 = ir.VectorType(_I64, LANES)
_WORD_BITS = 64
_BYTE_BITS = 7
"""Bits that may wait in a stream before more are added."""


def _all(value: int) -> Any:
    return ir.Constant(_V64, [value] * LANES)


def _joined(builder: Any, low: Any, high: Any) -> Any:
    """One field, and its length, of the two that each lane has."""
    field = builder.or_(low[0], builder.shl(high[0], low[1]))
    return field, builder.add(low[1], high[1])


def _appended(builder: Any, out: Any, state: Any, addition: Any) -> Any:
    """The state after one field more in each lane, whose whole bytes are written."""
    position, waiting, filled = state
    waiting = builder.or_(waiting, builder.shl(addition[0], filled))
    filled = builder.add(filled, addition[1])
    for lane in range(LANES):
        place = builder.gep(out, [builder.extract_element(position, _I32(lane))])
        word = builder.extract_element(waiting, _I32(lane))
        builder.store(word, builder.bitcast(place, _I64.as_pointer()), align=1)
    position = builder.add(position, builder.lshr(filled, _all(3)))
    # At most 63 bits wait, so the shift by whole bytes is less than the word.
    waiting = builder.lshr(waiting, builder.and_(filled, _all(_WORD_BITS - 8)))
    return position, waiting, builder.and_(filled, _all(_BYTE_BITS))


def _entry_lanes(builder: Any, entries: Any, index: Any) -> list[Any]:
    """Fields and lengths of a group's entries, four vectors of each."""
    lanes = []
    for i in range(GROUP // LANES):
        place = builder.gep(entries, [builder.add(index, _I64(i * LANES))])
        raw = builder.load(builder.bitcast(place, _V32.as_pointer()), align=4)
        wide = builder.zext(raw, _V64)
        field = builder.and_(wide, _all((1 << LENGTH_AT) - 1))
        lanes.append((field, builder.lshr(wide, _all(LENGTH_AT))))
    return lanes


@intrinsic
def append_fields(typing_context: Any, entries: Any, count: Any, out: Any, state: Any) -> Any:
    """Append ``count`` fields, a multiple of `GROUP`, entry i to stream ``i % LANES``.

    ``entries`` (uint32) are ``field | length << LENGTH_AT`` where the field is less than
    ``1 << length``; those of length 0 add nothing. ``out`` (uint8, contiguous) holds all streams.
    ``state`` (uint64[STATE_ROWS, LANES]) is each stream's next byte in ``out``, the bits that
    wait for a whole byte, and how many they are (at most 7). Eight bytes are stored at the next
    byte, whatever waits; the caller guarantees the room, and nothing is checked.
    """
    signature = types.void(entries, types.int64, out, state)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def data(position: int, item: Any) -> Any:
            kind = signature.args[position]
            pointer = context.make_array(kind)(context, builder, args[position]).data
            return builder.bitcast(pointer, item.as_pointer())

        entry_data, out_data, state_data = data(0, _I32), data(2, _I8), data(3, _V64)
        places = [builder.gep(state_data, [_I64(i)]) for i in range(STATE_ROWS)]
        before = [builder.load(place, align=8) for place in places]
        entered = builder.block
        head = builder.append_basic_block("group.head")
        body = builder.append_basic_block("group.body")
        at_once = builder.append_basic_block("group.at_once")
        in_two = builder.append_basic_block("group.in_two")
        after = builder.append_basic_block("group.after")
        done = builder.append_basic_block("group.done")
        builder.branch(head)

        builder.position_at_end(head)
        index = builder.phi(_I64)
        state = [builder.phi(_V64) for _ in range(STATE_ROWS)]
        builder.cbranch(builder.icmp_signed("<", index, args[1]), body, done)

        builder.position_at_end(body)
        lanes = _entry_lanes(builder, entry_data, index)
        low = _joined(builder, lanes[0], lanes[1])
        high = _joined(builder, lanes[2], lanes[3])
        room = _all(_WORD_BITS - 1 - _BYTE_BITS)
        too_long = builder.icmp_unsigned(">", builder.add(low[1], high[1]), room)
        flags = builder.bitcast(too_long, ir.IntType(LANES))
        builder.cbranch(builder.icmp_unsigned("==", flags, flags.type(0)), at_once, in_two)

        builder.position_at_end(at_once)
        once = _appended(builder, out_data, state, _joined(builder, low, high))
        builder.branch(after)

        builder.position_at_end(in_two)
        twice = _appended(builder, out_data, state, low)
        twice = _appended(builder, out_data, twice, high)
        builder.branch(after)

        builder.position_at_end(after)
        merged = [builder.phi(_V64) for _ in range(STATE_ROWS)]
        index.add_incoming(_I64(0), entered)
        index.add_incoming(builder.add(index, _I64(GROUP)), after)
        for i in range(STATE_ROWS):
            merged[i].add_incoming(once[i], at_once)
            merged[i].add_incoming(twice[i], in_two)
            state[i].add_incoming(before[i], entered)
            state[i].add_incoming(merged[i], after)
        builder.branch(head)

        builder.position_at_end(done)
        for place, last in zip(places, state, strict=True):
            builder.store(last, place, align=8)
        return context.get_dummy_value()

    return signature, generate
