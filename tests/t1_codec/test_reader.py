"""Random access, and what damage does."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import codec
from codec import HEAD_SIZE
from tests.flavors import FLAVORS, frame

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

RGB10 = FLAVORS[6]
FILE = frame("picture", 2048, 400, {**RGB10, "descriptor": "rgb"}, trailing=b"tail" * 100)
CONTAINER = codec.compress(FILE)
SMALL = frame("picture", 60, 40, {**RGB10, "descriptor": "rgb"}, trailing=b"tail")


def test_a_directory_that_is_remembered_is_still_checked() -> None:
    assert codec.Reader(CONTAINER).blocks == codec.Reader(CONTAINER).blocks
    damaged = bytearray(CONTAINER)
    damaged[HEAD_SIZE + 20] ^= 1
    with pytest.raises(codec.DamagedError, match="directory"):
        codec.Reader(bytes(damaged))


@given(st.integers(0, len(FILE) + 10), st.integers(0, 300_000))
def test_any_range_reads_as_the_original(offset: int, size: int) -> None:
    assert codec.Reader(CONTAINER).read(offset, size) == FILE[offset : offset + size]


def test_the_header_decodes_no_tile() -> None:
    """Not even when a kernel reads 16 KiB ahead; the rows in those are not lost in a tile."""
    reader = codec.Reader(CONTAINER)
    assert reader.read(0, 16384) == FILE[:16384]
    assert reader.tiles_decoded == 0
    first = reader.block_range(1)[0]
    assert reader.read(first - 1, 2) == FILE[first - 1 : first + 1]
    assert reader.tiles_decoded == 1


def test_a_small_frame_keeps_all_its_rows_in_tiles() -> None:
    assert codec.Reader(codec.compress(SMALL)).block_range(1)[0] == 2048


def test_blocks_partition_the_original() -> None:
    reader = codec.Reader(CONTAINER)
    at = 0
    for index in range(reader.blocks):
        start, stop = reader.block_range(index)
        assert start == at
        assert reader.block_at(start) == reader.block_at(stop - 1) == index
        assert bytes(reader.decode_block(index)) == FILE[start:stop]
        at = stop
    assert at == len(FILE)
    assert reader.tiles == sum(reader.is_tile(i) for i in range(reader.blocks)) == 4
    with pytest.raises(IndexError):
        reader.block_at(len(FILE))


@pytest.mark.parametrize("container", [CONTAINER, codec.compress(b"no frame" * 9000)])
def test_a_block_is_decoded_into_a_buffer_of_the_callers(container: bytes) -> None:
    reader = codec.Reader(container)
    filled = 0
    for index in range(reader.blocks):
        start, stop = reader.block_range(index)
        room = np.zeros(stop - start, np.uint8)
        decoded = reader.decode_block(index, room)
        assert bytes(decoded) == bytes(reader.decode_block(index))
        assert reader.fills(index) == np.shares_memory(np.frombuffer(decoded, np.uint8), room)
        filled += reader.fills(index)
    assert filled == reader.tiles


def test_a_buffer_of_another_length_is_not_decoded_into() -> None:
    reader = codec.Reader(CONTAINER)
    index = next(filter(reader.fills, range(reader.blocks)))
    start, stop = reader.block_range(index)
    with pytest.raises(codec.DamagedError, match="another length"):
        reader.decode_block(index, np.zeros(stop - start - 1, np.uint8))


def test_a_file_is_read_by_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "frame.pxf"
    path.write_bytes(CONTAINER)
    with path.open("rb") as file:
        assert codec.Reader(file).read(5, 9000) == FILE[5:9005]
        assert codec.Reader(file.fileno()).verify() == []


def test_a_reader_keeps_the_file_it_was_given_open(tmp_path: Path) -> None:
    path = tmp_path / "frame.pxf"
    path.write_bytes(CONTAINER)

    def reader_of_a_file_nobody_else_holds() -> codec.Reader:
        file = path.open("rb")
        files.append(weakref.ref(file))
        return codec.Reader(file)

    files: list[weakref.ref[BinaryIO]] = []
    reader = reader_of_a_file_nobody_else_holds()
    gc.collect()
    file = files[0]()
    assert file is not None
    assert reader.read(0, 10) == FILE[:10]
    file.close()


def test_many_threads_read_at_once() -> None:
    reader = codec.Reader(CONTAINER)
    wrong: list[int] = []

    def read(seed: int) -> None:
        for i in range(8):
            at = (seed * 7919 + i * 104729) % len(FILE)
            if reader.read(at, 50_000) != FILE[at : at + 50_000]:
                wrong.append(at)

    threads = [threading.Thread(target=read, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def read_or_error(container: bytes) -> bytes | codec.CodecError:
    try:
        return bytes(codec.decompress(container))
    except codec.CodecError as error:
        return error


def test_every_single_bit_of_a_small_container() -> None:
    """A flipped bit is an error or is not noticed in what is read; never other bytes."""
    container = codec.compress(SMALL)
    assert codec.Reader(container).reason is None
    for bit in range(8 * len(container)):
        damaged = bytearray(container)
        damaged[bit >> 3] ^= 1 << (bit & 7)
        assert codec.is_container_head(damaged[:64]), bit
        found = read_or_error(bytes(damaged))
        assert isinstance(found, codec.CodecError), f"bit {bit} went unnoticed"


@given(st.integers(0, 8 * len(CONTAINER) - 1))
def test_a_flipped_bit_is_named_and_the_rest_still_reads(bit: int) -> None:
    damaged = bytearray(CONTAINER)
    damaged[bit >> 3] ^= 1 << (bit & 7)
    try:
        reader = codec.Reader(bytes(damaged))
    except codec.DamagedError:
        return
    damages = reader.verify()
    assert len(damages) == 1
    for index in range(reader.blocks):
        start, stop = reader.block_range(index)
        if start == damages[0].offset:
            with pytest.raises(codec.DamagedError, match="checksum"):
                reader.decode_block(index)
        else:
            assert bytes(reader.decode_block(index)) == FILE[start:stop]


def test_verify_names_the_tile() -> None:
    damaged = bytearray(CONTAINER)
    damaged[len(CONTAINER) // 2] ^= 16
    (damage,) = codec.Reader(bytes(damaged)).verify()
    assert str(damage).startswith("tile ")
    assert "rows" in str(damage)


@pytest.mark.parametrize("keep", [0, 1, 63, 64, 100, 500, len(CONTAINER) - 1])
def test_a_container_that_is_cut_short(keep: int) -> None:
    found = read_or_error(CONTAINER[:keep])
    assert isinstance(found, codec.CodecError)


def test_trailing_bytes_are_reported_but_do_not_matter() -> None:
    reader = codec.Reader(CONTAINER + b"x")
    assert reader.read(0, len(FILE)) == FILE
    assert [d.part for d in reader.verify()] == ["container"]
