"""Tiles of mode 3, which only golden containers hold now: damage in them is noticed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.errors import DamagedError
from codec.reader import Reader
from codec.tile import MODE_QUICK, decode_tile
from tests.golden.make import FOLDER
from tests.oracle import container as oracle
from tests.t1_codec.test_halves import parts_of, rebuilt
from tests.t1_codec.test_tile import as_read

if TYPE_CHECKING:
    from codec.types import Element

FIRST = 4
"""Where the heads of the planes of an element of three components begin without maps."""


def golden_tile(name: str) -> tuple[bytes, Element]:
    """The first tile of a golden container, which holds the whole of its element."""
    reader = Reader((FOLDER / f"{name}.pxf").read_bytes())
    index = next(i for i in range(reader.blocks) if reader.is_tile(i))
    tile = bytes(reader.stored_payloads()[index])
    assert tile[0] == MODE_QUICK
    return tile, reader.elements[0]


@pytest.mark.parametrize("name", ["dpx-quads", "dpx-quads16", "exr-quads"])
def test_the_specification_decodes_what_is_kept_of_mode_3(name: str) -> None:
    tile, e = golden_tile(name)
    decoded = [rows.tobytes() for rows in decode_tile(tile, e.rows, e)]
    assert oracle.decode_tile(tile, e.rows, as_read(e)) == decoded


def test_heads_that_make_no_sense_are_damage() -> None:
    tile, e = golden_tile("dpx-quads16")
    head, body = parts_of(tile)
    assert head[:FIRST] == bytes(FIRST), "no shifts and no maps"
    decode_tile(rebuilt(tile, head, body), e.rows, e)
    k = FIRST + 12 + 8 + 60
    changes = {
        FIRST: 2,
        FIRST + 1: 2,
        FIRST + 2: 1,
        k: 16,
        k + 16: 6,
        k + 32: head[k + 32] ^ 1,
    }
    for at, value in changes.items():
        damaged = head[:at] + bytes([value]) + head[at + 1 :]
        with pytest.raises(DamagedError):
            decode_tile(rebuilt(tile, damaged, body), e.rows, e)
    for damaged in (head[:-1], head + b"\0", head[: FIRST + 20], head[:FIRST]):
        with pytest.raises(DamagedError):
            decode_tile(rebuilt(tile, damaged, body), e.rows, e)
    for damaged in (body[:-1], body + b"\0", body[1:], b""):
        with pytest.raises(DamagedError):
            decode_tile(rebuilt(tile, head, damaged), e.rows, e)


@settings(max_examples=200)
@given(data=st.data(), name=st.sampled_from(["dpx-quads", "dpx-quads16"]))
def test_damaged_tiles_give_rows_or_an_error(data: st.DataObject, name: str) -> None:
    tile, e = golden_tile(name)
    parts = [bytearray(part) for part in parts_of(tile)]
    for _ in range(data.draw(st.integers(1, 4))):
        part = parts[data.draw(st.integers(0, 1))]
        at = data.draw(st.integers(0, len(part) - 1))
        part[at] = data.draw(st.sampled_from([0, 1, 15, 127, 128, 255, part[at] ^ 1]))
    try:
        decoded = decode_tile(rebuilt(tile, *map(bytes, parts)), e.rows, e)
    except DamagedError:
        return
    lengths = [region.length(e.rows) for region in e.regions]
    assert [r.size for r in decoded] == lengths
