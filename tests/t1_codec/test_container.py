"""The container's structure, and containers made to hurt."""

from __future__ import annotations

import dataclasses
import random
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import codec
from codec.container import (
    FEATURES,
    HEAD_SIZE,
    MAGIC,
    Directory,
    Header,
    checksum,
    parse_directory,
    parse_header,
)
from codec.formats.base import NotUnderstood
from codec.pieces import tile_rows
from codec.tile import decode_tile
from codec.types import Block, BlockKind, Element, Packing, Region, Segment
from tests.flavors import FLAVORS, frame

FILE = frame("picture", 60, 40, {**FLAVORS[6], "descriptor": "rgb"}, trailing=b"tail")
CONTAINER = codec.compress(FILE)


def forge(directory: Directory, payloads: bytes, original: int) -> bytes:
    """A container with every checksum right, whatever it claims."""
    packed = directory.pack()
    total = HEAD_SIZE + len(packed) + len(payloads)
    header = Header("container", original, total, len(packed), bytes(16), checksum(packed))
    return header.pack() + packed + payloads


def parts() -> tuple[Directory, bytes]:
    header = parse_header(CONTAINER[:HEAD_SIZE])
    stop = HEAD_SIZE + header.directory_length
    return parse_directory(CONTAINER[HEAD_SIZE:stop], header), CONTAINER[stop:]


def test_the_magic_breaks_visibly_under_text_transfers() -> None:
    assert MAGIC.replace(b"\r\n", b"\n") != MAGIC
    assert MAGIC.replace(b"\n", b"\r\n") != MAGIC
    assert bytes(b & 0x7F for b in MAGIC) != MAGIC


def test_a_later_version_is_refused_by_number() -> None:
    head = bytearray(CONTAINER[:56])
    head[8] = 2
    later = bytes(head) + checksum(bytes(head)) + CONTAINER[64:]
    with pytest.raises(codec.UnsupportedVersionError, match="version 2"):
        codec.Reader(later)


def test_a_peek_tells_what_parsing_does() -> None:
    wrap = codec.make_wrap_header()
    flipped = bytearray(CONTAINER[:HEAD_SIZE])
    flipped[30] ^= 4
    for head in (CONTAINER[:HEAD_SIZE], wrap[:HEAD_SIZE]):
        header = parse_header(head)
        assert codec.peek_header(head) == (header.kind, header.original_length)
    for raw in (b"", b"SDPX", FILE[:HEAD_SIZE]):
        assert codec.peek_header(raw) is None
    for bad in (bytes(flipped), CONTAINER[:20]):
        with pytest.raises(codec.DamagedError):
            codec.peek_header(bad)


def test_features_that_are_lacking_are_all_named() -> None:
    directory, payloads = parts()
    directory.features += ["wavelets-9", "dreams-1"]
    with pytest.raises(codec.UnsupportedFeatureError, match="wavelets-9, dreams-1"):
        codec.Reader(forge(directory, payloads, len(FILE)))
    assert set(parts()[0].features) <= FEATURES


def test_what_is_no_container_is_said_to_be_none() -> None:
    for raw in (b"", b"SDPX", FILE, b"\0" * 100):
        assert not codec.is_container_head(raw[:64])
        with pytest.raises(codec.NotAContainerError):
            codec.Reader(raw)


def test_a_wrap_reads_as_what_stands_behind_it() -> None:
    wrap = codec.make_wrap_header() + CONTAINER
    assert len(codec.make_wrap_header()) == codec.WRAP_SIZE
    assert codec.parse_header(wrap[:64]).kind == "wrap"
    reader = codec.Reader(wrap)
    assert reader.original_length == len(CONTAINER)
    assert reader.read(0, 1 << 20) == CONTAINER
    assert reader.verify() == []
    assert codec.Reader(codec.make_wrap_header()).read(0, 10) == b""


SEGMENT = Segment(3, 10, Packing.FILLED, 2, True)
REGION = Region(0, 16)
ELEMENT = Element(4, 4, (REGION,), (SEGMENT,), (1, 0, 2))


def changed(**change: Any) -> Element:  # noqa: ANN401
    """`ELEMENT` with fields of its own, its segment or its region changed."""
    parts = {Segment: SEGMENT, Region: REGION, Element: ELEMENT}
    for kind, part in parts.items():
        own = {f.name: change[f.name] for f in dataclasses.fields(part) if f.name in change}
        parts[kind] = dataclasses.replace(part, **own)
    if "regions" in change or "segments" in change:
        return parts[Element]
    return dataclasses.replace(parts[Element], regions=(parts[Region],), segments=(parts[Segment],))


@pytest.mark.parametrize(
    "change",
    [
        {"order": (0, 0, 2)},
        {"row_bytes": 15},
        {"rows": 0},
        {"shift": 3},
        {"bits": 12},
        {"width": 5},
        {"components": 4},
        {"offset": 16},
        {"start": 1},
        {"region": 1},
        {"band_header": 4},
        {"band_rows": 3, "band_header": 4},
        {"segments": ()},
        {"regions": ()},
        {"segments": (SEGMENT,) * 6, "order": tuple(range(18))},
        {"method": 250},
    ],
    ids=str,
)
def test_an_element_the_kernels_could_not_trust_is_damage(change: dict[str, Any]) -> None:
    block = Block(BlockKind.TILE, 0, 64, 0, 9, checksum(b"x" * 9), rows=4)
    directory = Directory(["tile-predicted-1", "redo-1"], {}, [changed(**change)], [block])
    with pytest.raises(codec.DamagedError):
        codec.decompress(forge(directory, b"x" * 9, 64))


def test_a_shared_block_without_its_tile_is_damage() -> None:
    element = dataclasses.replace(
        ELEMENT,
        regions=(REGION, Region(64, 16)),
        segments=(SEGMENT, dataclasses.replace(SEGMENT, region=1)),
        order=(0, 1, 2, 3, 4, 5),
    )
    stored = Block(BlockKind.STORED, 0, 64, 0, 64, checksum(bytes(64)))
    shared = Block(BlockKind.SHARED, 64, 128, 64, 64, checksum(b""), region=1, rows=4)
    directory = Directory(["tile-predicted-1"], {}, [element], [stored, shared])
    with pytest.raises(codec.DamagedError, match="shared block's tile is missing"):
        codec.decompress(forge(directory, bytes(64), 128))


def test_a_tile_of_very_many_shallow_samples_is_refused() -> None:
    """A quarter of a billion samples of one bit take 32 MiB in a file, and half a GiB decoded."""
    width, rows = 1 << 20, 1 << 8
    segment = Segment(1, 1, Packing.PACKED_HIGH, big_endian=True)
    element = Element(width, rows, (Region(0, width // 8),), (segment,), (0,))
    block = Block(BlockKind.TILE, 0, 1 << 25, 0, 9, checksum(b"x" * 9), rows=rows)
    with pytest.raises(codec.DamagedError, match="too many samples"):
        codec.Reader(
            forge(Directory(["tile-predicted-1"], {}, [element], [block]), b"x" * 9, 1 << 25)
        )
    assert tile_rows(element, 1 << 30) == 1 << 5
    with pytest.raises(NotUnderstood, match="rows are too long"):
        tile_rows(dataclasses.replace(element, regions=(Region(0, width // 8, 64),)), 1 << 30)


@pytest.mark.parametrize(
    ("width", "rows", "tiles"), [(2048, 1556, 12), (4096, 3112, 48), (1024, 700, 2), (64, 9, 1)]
)
def test_two_threads_share_the_tiles_evenly_and_the_last_is_smaller(
    width: int, rows: int, tiles: int
) -> None:
    segment = Segment(3, 8, Packing.BYTE)
    element = Element(width, rows, (Region(0, 3 * width),), (segment,), (0, 1, 2))
    step = tile_rows(element, 1 << 18)
    last = rows - (tiles - 1) * step
    assert 0 < last <= step
    assert tiles == 1 or step / 2 < last < step


def test_a_bomb_is_refused_before_it_takes_memory() -> None:
    """Lengths that claim terabytes: an error at once, in little memory."""
    huge = 1 << 31
    block = Block(BlockKind.FILL, 0, huge, 0, 1, checksum(b"\0"))
    deflated = zlib.compress(bytes(1 << 24))
    expands = Block(BlockKind.DEFLATE, 0, 1000, 0, len(deflated), checksum(deflated))
    bombs = [
        forge(Directory([], {}, [], [block] * 500), b"\0" * 500, 500 * huge),
        forge(Directory([], {}, [], [expands]), deflated, 1000),
        forge(Directory([], {}, [], []), b"", 1 << 40),
    ]
    tracemalloc.start()
    try:
        for bomb in bombs:
            with pytest.raises(codec.DamagedError):
                codec.decompress(bomb)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


@settings(max_examples=300)
@given(st.data())
def test_a_tile_of_any_bytes_yields_its_rows_or_an_error(data: st.DataObject) -> None:
    """Checksums right, payload hostile: the kernels stay inside their arrays."""
    directory, payloads = parts()
    block = next(b for b in directory.blocks if b.kind is BlockKind.TILE)
    base = HEAD_SIZE + len(CONTAINER) - len(payloads) - HEAD_SIZE
    payload = bytearray(payloads[block.stored_start - base : block.stored_stop - base])
    element = directory.elements[0]
    head_length = int.from_bytes(payload[4:8], "little")
    heads = bytearray(zlib.decompress(payload[16 : 16 + head_length]))
    rest = bytearray(payload[16 + head_length :])
    for target in (heads, rest):
        for _ in range(data.draw(st.integers(0, 6))):
            target[data.draw(st.integers(0, len(target) - 1))] = data.draw(st.integers(0, 255))
    packed = zlib.compress(bytes(heads))
    hostile = payload[:4] + len(packed).to_bytes(4, "little") + payload[8:16] + packed + rest
    try:
        (rows,) = decode_tile(bytes(hostile), block.rows, element)
    except codec.DamagedError:
        return
    assert rows.size == block.rows * element.regions[0].row_bytes


def test_a_thousand_hostile_directories() -> None:
    """Mutations under a right checksum: an error of ours or the original's length, no more."""
    random_bytes = random.Random(5)
    header = parse_header(CONTAINER[:HEAD_SIZE])
    stop = HEAD_SIZE + header.directory_length
    for _ in range(1000):
        packed = bytearray(CONTAINER[HEAD_SIZE:stop])
        for _ in range(random_bytes.randint(1, 4)):
            packed[random_bytes.randrange(len(packed))] = random_bytes.randrange(256)
        forged = dataclasses.replace(header, directory_checksum=checksum(bytes(packed)))
        try:
            out = codec.decompress(forged.pack() + bytes(packed) + CONTAINER[stop:])
        except codec.CodecError:
            continue
        assert out == FILE
