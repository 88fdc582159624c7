"""What is fuzzed, and what each case must hold to."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import struct
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import codec
from codec import redo
from codec.container import (
    HEAD_SIZE,
    MAX_BLOCK,
    check_element,
    checksum,
    parse_directory,
    parse_header,
)
from codec.errors import CodecError, DamagedError
from codec.formats import FORMATS
from codec.formats.base import NotUnderstood
from codec.reader import redone_head, split_redone
from codec.tile import decode_tile
from codec.types import Block, BlockKind, Chunk, Element
from fuzzing.mutation import mutated

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

GOLDEN = Path(__file__).resolve().parent.parent.parent / "tests" / "golden" / "v1"
LARGEST_SEED = 120_000
MAX_OUTPUT = 64 << 20


class Finding(Exception):
    """A case that did not hold to its promise."""


class Target(Protocol):
    """Runs one case; raises Finding, or anything else that nobody foresaw."""

    def __call__(self, rng: random.Random) -> None: ...


def containers() -> list[bytes]:
    """The golden containers, in the order of their names."""
    found = [path.read_bytes() for path in sorted(GOLDEN.glob("*.pxf"))]
    if not found:
        raise FileNotFoundError(f"no golden containers in {GOLDEN}: python -m tests.golden.make")
    return found


def originals() -> list[bytes]:
    """The files in them, but for large ones."""
    found = [bytes(codec.decompress(container)) for container in containers()]
    return [file for file in found if file and len(file) <= LARGEST_SEED]


def _must(holds: bool, what: str) -> None:
    if not holds:
        raise Finding(what)


class Probes:
    """Format modules and the whole encoder on damaged files: any bytes come back."""

    def __init__(self) -> None:
        self.seeds = originals()

    def __call__(self, rng: random.Random) -> None:
        file = mutated(rng, rng.choice(self.seeds), rng.choice(self.seeds), 2048)
        size = rng.choice((len(file), rng.getrandbits(rng.randrange(1, 60))))
        probe = codec.probe(file[: codec.PROBE_SIZE], size)
        _must(bool(probe.format or probe.reason), "a probe says nothing")
        for module in FORMATS:
            if not module.recognises(file[: codec.PROBE_SIZE]):
                continue
            try:
                module.layout(memoryview(file))
            except NotUnderstood as verdict:
                _must(verdict.reason.startswith("unsupported"), f"reason {verdict.reason!r}")
        level = rng.choice(("fast", "balanced", "max"))
        encoded = codec.encode(file, level=level)
        _must(codec.decompress(encoded.container) == file, "a file does not come back")


class Containers:
    """Damaged containers, with checksums that hold in spite of it or not."""

    def __init__(self) -> None:
        self.seeds = [c for c in containers() if len(c) <= LARGEST_SEED]

    def __call__(self, rng: random.Random) -> None:
        seed = rng.choice(self.seeds)
        if rng.random() < 0.7:
            container = resealed(rng, seed, rng.choice(self.seeds))
        else:
            container = mutated(rng, seed, rng.choice(self.seeds), 600)
        try:
            reader = codec.Reader(container)
            if reader.original_length <= MAX_OUTPUT:
                reader.verify()
                for _ in range(3):
                    at = rng.randrange(reader.original_length + 1)
                    size = rng.randrange(1 << 16)
                    expected = max(min(size, reader.original_length - at), 0)
                    _must(len(reader.read(at, size)) == expected, "a read of another length")
                out = codec.decompress(container)
                _must(len(out) == reader.original_length, "a file of another length")
        except CodecError:
            return


def resealed(rng: random.Random, container: bytes, other: bytes) -> bytes:
    """A container damaged in one part, all its checksums made right; the hash of the whole not."""
    header = parse_header(container[:HEAD_SIZE])
    if header.kind != "container":
        return mutated(rng, container, other)
    stop = HEAD_SIZE + header.directory_length
    directory = parse_directory(container[HEAD_SIZE:stop], header)
    payloads = [container[b.stored_start : b.stored_stop] for b in directory.blocks]
    if payloads and rng.random() < 0.6:
        index = rng.randrange(len(payloads))
        payloads[index] = damaged_payload(rng, directory.blocks[index], payloads[index])
        at = 0
        for i, (block, payload) in enumerate(zip(directory.blocks, payloads, strict=True)):
            places = {"stored_start": at, "stored_stop": at + len(payload)}
            new = dataclasses.replace(block, checksum=checksum(payload), **places)
            directory.blocks[i] = new
            at += len(payload)
        packed = directory.pack()
    else:
        packed = mutated(rng, container[HEAD_SIZE:stop], other)
    length = HEAD_SIZE + len(packed) + sum(map(len, payloads))
    original = header.original_length
    if rng.random() < 0.1:
        original = rng.getrandbits(rng.randrange(1, 64))
    forged = dataclasses.replace(
        header,
        directory_length=len(packed),
        directory_checksum=checksum(packed),
        container_length=length,
        original_length=original,
    )
    return forged.pack() + packed + b"".join(payloads)


def damaged_payload(rng: random.Random, block: Block, payload: bytes) -> bytes:
    """A block's stored bytes, damaged; deflated parts and tiles mostly inside."""
    if block.kind is BlockKind.DEFLATE and rng.random() < 0.8:
        return zlib.compress(mutated(rng, zlib.decompress(payload)), 1)
    if block.kind is BlockKind.TILE and rng.random() < 0.8:
        try:
            return damaged_tile(rng, payload)
        except (struct.error, zlib.error):
            parameters, tile = split_redone(payload)
            return redone_head(bytes(parameters)) + damaged_tile(rng, bytes(tile))
    return mutated(rng, payload)


def damaged_tile(rng: random.Random, tile: bytes) -> bytes:
    """A tile damaged in its heads, gaps, body or residue, lengths made right again.

    Raises zlib.error or struct.error where it is no tile.
    """
    mode, packer, _, h, g, x = struct.unpack_from("<BBHIII", tile)
    stop = len(tile) - x
    parts = [tile[16 : 16 + h], tile[16 + h : 16 + h + g], tile[16 + h + g : stop], tile[stop:]]
    parts[0] = zlib.decompress(parts[0])
    deflated = {0}
    for index in (1, 2, 3):
        if index != 2 or (mode, packer) == (2, 1):
            parts[index] = zlib.decompress(parts[index]) if parts[index] else b""
            deflated.add(index)
    full = [index for index, part in enumerate(parts) if part]
    for _ in range(rng.randrange(1, 3)):
        index = rng.choice(full)
        parts[index] = mutated(rng, parts[index], focus=400)
    packed = [
        zlib.compress(part, 1) if index in deflated and (part or index == 0) else part
        for index, part in enumerate(parts)
    ]
    if rng.random() < 0.05:
        mode, packer = rng.randrange(5), rng.randrange(4)
    head = struct.pack("<BBHIII", mode, packer, 0, len(packed[0]), len(packed[1]), len(packed[3]))
    return head + b"".join(packed)


def damaged_element(rng: random.Random, e: Element) -> Element:
    """An element with other numbers that may still pass the checks."""
    field = rng.choice(("width", "rows", "order", "signed", "segments", "regions"))
    if field == "width":
        return dataclasses.replace(e, width=max(e.width + rng.randrange(-9, 9), 1))
    if field == "rows":
        return dataclasses.replace(e, rows=max(e.rows + rng.randrange(-9, 9), 1))
    if field == "order":
        return dataclasses.replace(e, order=tuple(rng.sample(e.order, len(e.order))))
    if field == "signed":
        return dataclasses.replace(e, signed=tuple(c for c in e.order if rng.random() < 0.5))
    if field == "segments":
        change = {
            "bits": rng.randrange(1, 17),
            "shift": rng.randrange(3),
            "big_endian": rng.random() < 0.5,
            "reverse": rng.random() < 0.5,
            "start": rng.randrange(5),
        }
        key = rng.choice(tuple(change))
        segments = tuple(dataclasses.replace(s, **{key: change[key]}) for s in e.segments)
        return dataclasses.replace(e, segments=segments)
    size = rng.randrange(100)
    regions = tuple(
        dataclasses.replace(r, row_bytes=r.row_bytes + size, band_rows=3, band_header=size % 7)
        for r in e.regions
    )
    return dataclasses.replace(e, regions=regions)


class Tiles:
    """Tiles whose bytes and elements are damaged: rows of the right length, or DamagedError."""

    def __init__(self) -> None:
        self.seeds: list[tuple[bytes, int, Element]] = []
        for container in containers():
            header = parse_header(container[:HEAD_SIZE])
            if header.kind != "container":
                continue
            stop = HEAD_SIZE + header.directory_length
            directory = parse_directory(container[HEAD_SIZE:stop], header)
            for block in directory.blocks:
                if block.kind is BlockKind.TILE and block.stop - block.start <= LARGEST_SEED:
                    tile = container[block.stored_start : block.stored_stop]
                    element = directory.elements[block.element]
                    if element.method:
                        tile = bytes(split_redone(tile)[1])
                    self.seeds.append((tile, block.rows, element))

    def __call__(self, rng: random.Random) -> None:
        tile, rows, element = rng.choice(self.seeds)
        if rng.random() < 0.3:
            element = damaged_element(rng, element)
            try:
                check_element(element)
            except ValueError:
                return
        damaged = damaged_tile(rng, tile) if rng.random() < 0.8 else mutated(rng, tile, focus=16)
        if sum(region.length(rows) for region in element.regions) > MAX_BLOCK:
            return
        try:
            regions = decode_tile(damaged, rows, element)
        except DamagedError:
            return
        sizes = [region.length(rows) for region in element.regions]
        _must([region.size for region in regions] == sizes, "rows of another length")


class Redo:
    """Parameters and compressed rows, damaged: what is undone can be redone, or a reason."""

    def __init__(self) -> None:
        self.parameters: list[tuple[int, bytes, NDArray[np.uint8], int]] = []
        self.chunks: list[tuple[int, bytes, int, int, bytes]] = []
        for container in containers():
            if codec.parse_header(container[:HEAD_SIZE]).kind == "container":
                self._take(container)

    def _take(self, container: bytes) -> None:
        header = parse_header(container[:HEAD_SIZE])
        stop = HEAD_SIZE + header.directory_length
        directory = parse_directory(container[HEAD_SIZE:stop], header)
        for block in directory.blocks:
            method = directory.elements[block.element].method if block.rows else 0
            if not method or block.kind is not BlockKind.TILE:
                continue
            element = directory.elements[block.element]
            stored = container[block.stored_start : block.stored_stop]
            parameters, tile = split_redone(stored)
            rows = decode_tile(tile, block.rows, element)[0]
            size = block.stop - block.start
            self.parameters.append((method, bytes(parameters), rows, size))
            made = redo.redo(method, rows, bytes(parameters), size)
            detail = bytes(parameters[12 : 12 + parameters[1]])
            self.chunks.append((method, made, element.regions[0].row_bytes, block.rows, detail))

    def __call__(self, rng: random.Random) -> None:
        if rng.random() < 0.5:
            self._redo(rng)
        else:
            self._undo(rng)

    def _redo(self, rng: random.Random) -> None:
        method, parameters, rows, size = rng.choice(self.parameters)
        at = 12 + parameters[1] + parameters[2]
        columns = zlib.decompress(parameters[at:])
        if rng.random() < 0.6:
            damaged = mutated(rng, parameters[:at]) + zlib.compress(mutated(rng, columns), 1)
        else:
            damaged = mutated(rng, parameters)
        limit = rng.choice((size, size + 100, rng.randrange(size)))
        method = rng.choice((method, method, method, rng.randrange(9)))
        try:
            made = redo.redo(method, rows, damaged, limit)
        except DamagedError:
            return
        _must(len(made) <= limit, "more is redone than may be")

    def _undo(self, rng: random.Random) -> None:
        method, made, row_bytes, rows, detail = rng.choice(self.chunks)
        file = mutated(rng, made, focus=40)
        if rng.random() < 0.1:
            method = rng.randrange(9)
        chunks = [Chunk(0, len(file), max(rows + rng.choice((0, 0, 0, 1, -1, 1 << 20)), 0))]
        try:
            undone = redo.undo(method, memoryview(file), chunks, row_bytes, detail)
        except redo.CannotRedo:
            return
        again = redo.redo(method, undone.rows, undone.parameters, len(file))
        _must(again == file, "what was undone is redone to other bytes")


class _Info(ctypes.Structure):
    """struct pixspan_process_info of codec/native/pixspan_memory.h."""

    _fields_ = (
        ("output", ctypes.POINTER(ctypes.c_ubyte)),
        ("output_size", ctypes.c_size_t),
        ("original_size", ctypes.c_size_t),
        ("compressed_size", ctypes.c_size_t),
        ("format", ctypes.c_char * 128),
        ("level", ctypes.c_char * 16),
        ("hash", ctypes.c_char * 40),
        ("message", ctypes.c_char * 512),
    )


class Native:
    """The C library, with files and containers of every kind and arguments of any."""

    def __init__(self) -> None:
        from codec.native import build

        folder = Path(os.environ.get("PIXFS_FUZZ_LIBRARY") or tempfile.mkdtemp(prefix="pxf-fuzz-"))
        path = folder / build.LIBRARY
        self.library = ctypes.CDLL(str(path if path.exists() else build.build(folder)))
        self.library.pixspan_process.argtypes = [
            ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p
        ]  # fmt: skip
        self.library.pixspan_free.argtypes = [ctypes.c_void_p]
        self.library.pixspan_free.restype = None
        self.stored = [c for c in containers() if len(c) <= LARGEST_SEED]
        self.files = originals()

    def __call__(self, rng: random.Random) -> None:
        if rng.random() < 0.5:
            data = resealed(rng, rng.choice(self.stored), rng.choice(self.stored))
        else:
            data = mutated(rng, rng.choice(self.files), rng.choice(self.stored), 2048)
        mode = rng.choice((0, 1, 2, 2, 3, -1, 1 << 31 - 1))
        licence = rng.choice((None, None, b"", rng.randbytes(20)))
        status, output = self._process(mode, licence, data)
        _must(0 <= status <= 7, f"status {status}")
        _must((output is None) == (status != 0), f"status {status} and its output disagree")
        if output is not None and codec.is_container_head(output[:HEAD_SIZE]):
            again, back = self._process(1, None, output)
            _must(again == 0 and back == data, "a file does not come back")

    def _process(self, mode: int, licence: bytes | None, data: bytes) -> tuple[int, bytes | None]:
        info = _Info()
        held = ctypes.create_string_buffer(data, len(data))
        where = ctypes.cast(held, ctypes.c_void_p)
        status = self.library.pixspan_process(
            mode, licence, where, len(data), ctypes.addressof(info)
        )
        output = ctypes.string_at(info.output, info.output_size) if info.output else None
        self.library.pixspan_free(ctypes.addressof(info))
        _must(held.raw == data, "the input was written to")
        return status, output


TARGETS: dict[str, Callable[[], Target]] = {
    "probe": Probes,
    "container": Containers,
    "tile": Tiles,
    "redo": Redo,
    "native": Native,
}
