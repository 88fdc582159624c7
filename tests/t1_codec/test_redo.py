"""Undoing and redoing the compression of rows."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec import redo
from codec.errors import DamagedError
from codec.types import Chunk
from tests.oracle import runs as oracle

if TYPE_CHECKING:
    from numpy.typing import NDArray

classic = pytest.mark.skipif(
    not all(c in ".0123456789" for c in zlib.ZLIB_RUNTIME_VERSION),
    reason=f"this Python's zlib is {zlib.ZLIB_RUNTIME_VERSION}, not the classic one",
)
ZIPPED = pytest.mark.parametrize("level", range(1, 10))


@dataclass(frozen=True)
class Case:
    """Rows, and a file that holds them compressed."""

    method: int
    rows: NDArray[np.uint8]
    file: bytes
    chunks: list[Chunk]
    detail: bytes = b""

    def undo(self) -> redo.Undone:
        """What `codec.redo` takes the chunks for."""
        row_bytes = self.rows.shape[1]
        return redo.undo(self.method, memoryview(self.file), self.chunks, row_bytes, self.detail)

    def compressed(self) -> bytes:
        """The bytes of all chunks."""
        first, last = self.chunks[0], self.chunks[-1]
        return self.file[first.offset : last.offset + last.length]

    def check(self) -> redo.Undone:
        """Undo, redo, compare."""
        undone = self.undo()
        assert undone.rows.tobytes() == self.rows.tobytes()
        assert undone.rows.shape == self.rows.shape
        whole = self.compressed()
        assert redo.redo(self.method, undone.rows, undone.parameters, len(whole)) == whole
        with pytest.raises(DamagedError):
            redo.redo(self.method, undone.rows, undone.parameters, len(whole) - 1)
        return undone


def picture(rows: int, row_bytes: int, seed: int = 1) -> NDArray[np.uint8]:
    """Rows with flat parts and grain."""
    rng = np.random.default_rng(seed)
    flat = np.repeat(rng.integers(0, 256, (rows, row_bytes // 5 + 1)), 5, axis=1)[:, :row_bytes]
    grain = rng.integers(0, 3, (rows, row_bytes)) * (np.arange(row_bytes) % 40 < 20)
    return (flat + grain).astype(np.uint8)


def case(method: int, rows: NDArray[np.uint8], parts: list[bytes], detail: bytes = b"") -> Case:
    """``parts`` in a file, between bytes that are not theirs; equal numbers of rows each."""
    each = -(-len(rows) // len(parts))
    file = b"before"
    chunks = []
    for i, part in enumerate(parts):
        count = min(each, len(rows) - i * each)
        chunks.append(Chunk(len(file), len(part), count))
        file += part
    return Case(method, rows, file + b"after", chunks, detail)


def sgi_case(row_bytes: int = 97) -> Case:
    rows = picture(12, row_bytes)
    parts = [bytes([*oracle.sgi(oracle.triples(row.tolist(), 126)), 0]) for row in rows]
    return case(redo.SGI_RLE8, rows, parts)


def exr_part(rows: NDArray[np.uint8], prefix: bytes, body: bytes) -> bytes:
    if len(body) >= rows.size:
        body = rows.tobytes()
    return prefix + struct.pack("<I", len(body)) + body


def exr_zip_case(level: int = 6, tiled: bool = False) -> Case:
    rows = picture(40, 500)
    rows[16:32] = np.random.default_rng(5).integers(0, 256, (16, 500), np.uint8)
    parts = []
    for y in range(0, 40, 8):
        band = rows[y : y + 8]
        prefix = struct.pack("<4i", y % 3, y // 3, 0, 0) if tiled else struct.pack("<i", 40 - y)
        body = zlib.compress(oracle.exr_split(band.tobytes()), level)
        parts.append(exr_part(band, prefix, body))
    return case(redo.EXR_ZIP, rows, parts, bytes([20 if tiled else 8]))


def tiff_case(level: int = 6, predictor: int = 2, sample: int = 2, order: str = "big") -> Case:
    rows = picture(30, 24 * sample)
    stored = rows.tobytes()
    if predictor > 1:
        filtered = oracle.horizontal if predictor == 2 else oracle.floating
        stored = b"".join(filtered(row.tobytes(), sample, 3, order) for row in rows)
    size = 10 * 24 * sample
    parts = [zlib.compress(stored[i : i + size], level) for i in range(0, len(stored), size)]
    detail = bytes([predictor, sample, 3, order == "big"])
    return case(redo.TIFF_DEFLATE, rows, parts, detail)


def test_sgi_rows() -> None:
    undone = sgi_case().check()
    assert len(undone.parameters) < 64


def test_sgi_rows_of_three_planes_in_turn() -> None:
    one = sgi_case(90)
    rows = one.rows.reshape(4, 270)
    lengths = [c.length for c in one.chunks]
    starts = [c.offset for c in one.chunks[::3]]
    joined = [Chunk(s, sum(lengths[3 * i : 3 * i + 3]), 1) for i, s in enumerate(starts)]
    Case(redo.SGI_RLE8, rows, one.file, joined, struct.pack("<I", 90)).check()


def test_sgi_rows_of_16_bits() -> None:
    values = picture(9, 60).astype(np.uint16) * 257
    parts = []
    for row in values:
        coded = [*oracle.sgi(oracle.pairs(row.tolist(), 127, False)), 0]
        parts.append(np.array(coded, ">u2").tobytes())
    rows = values.astype(">u2").view(np.uint8)
    case(redo.SGI_RLE16, rows, parts).check()


@pytest.mark.parametrize("whole", [False, True])
def test_packbits(whole: bool) -> None:
    rows = picture(12, 75)
    rows[:, -9:] = 7
    rows[:, :9] = 7
    parts = []
    for i in range(0, 12, 4):
        lines = [rows[i : i + 4].reshape(-1)] if whole else list(rows[i : i + 4])
        coded = [oracle.packbits(oracle.merging(line.tolist())) for line in lines]
        parts.append(bytes(b for line in coded for b in line))
    case(redo.TIFF_PACKBITS, rows, parts).check()


def test_exr_rle() -> None:
    rows = picture(12, 80)
    rows[3] = np.random.default_rng(9).integers(0, 256, 80, np.uint8)
    parts = []
    for y, row in enumerate(rows):
        split = list(oracle.exr_split(row.tobytes()))
        body = bytes(oracle.exr(oracle.greedy(split, 3, 3, 128, 127)))
        parts.append(exr_part(row, struct.pack("<i", y - 5), body))
    case(redo.EXR_RLE, rows, parts, b"\x08").check()


@classic
@ZIPPED
def test_exr_zip(level: int) -> None:
    exr_zip_case(level).check()


@classic
def test_exr_tiles() -> None:
    exr_zip_case(tiled=True).check()


@classic
@ZIPPED
def test_tiff_deflate(level: int) -> None:
    tiff_case(level, predictor=1).check()


@classic
@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize(("predictor", "sample"), [(2, 1), (2, 2), (2, 4), (3, 2), (3, 3), (3, 4)])
def test_tiff_predictors(predictor: int, sample: int, order: str) -> None:
    tiff_case(6, predictor, sample, order).check()


@classic
def test_black_frames_first_do_not_settle_the_level() -> None:
    rows = picture(40, 300)
    rows[:30] = 0
    parts = [zlib.compress(rows[y : y + 10].tobytes(), 7) for y in range(0, 40, 10)]
    case(redo.TIFF_DEFLATE, rows, parts).check()


@classic
def test_bytes_after_a_chunk_are_kept() -> None:
    plain = tiff_case()
    parts = [
        plain.file[c.offset : c.offset + c.length] + bytes(i) for i, c in enumerate(plain.chunks)
    ]
    parts[-1] += b"odd"
    case(redo.TIFF_DEFLATE, plain.rows, parts, plain.detail).check()


@classic
def test_another_deflate_is_refused() -> None:
    rows = picture(10, 300)
    stream = zlib.compressobj(6)
    body = stream.compress(rows[:5].tobytes()) + stream.flush(zlib.Z_FULL_FLUSH)
    body += stream.compress(rows[5:].tobytes()) + stream.flush()
    with pytest.raises(redo.CannotRedo, match="another library"):
        case(redo.TIFF_DEFLATE, rows, [body]).undo()


def test_an_encoder_of_its_own_is_refused() -> None:
    rows = np.full((1, 20), 9, np.uint8)
    with pytest.raises(redo.CannotRedo, match="no known encoder"):
        case(redo.SGI_RLE8, rows, [bytes([7, 9, 7, 9, 6, 9, 0])]).undo()


@classic
def test_malformed_chunks_are_refused() -> None:
    good = tiff_case()
    first = good.chunks[0]
    claims = [replace(first, rows=first.rows * 9), *good.chunks[1:]]
    gaps = [first, replace(good.chunks[1], offset=good.chunks[1].offset + 1)]
    beyond = [replace(first, length=len(good.file))]
    for chunks in (claims, gaps, beyond, [], [replace(first, rows=0)], [replace(first, length=0)]):
        with pytest.raises(redo.CannotRedo):
            replace(good, chunks=chunks).undo()
    huge = [replace(first, rows=1 << 40)]
    with pytest.raises(redo.CannotRedo, match="too short"):
        replace(good, chunks=huge).undo()


@pytest.mark.parametrize(
    ("method", "row_bytes", "detail"),
    [
        (0, 8, b""),
        (99, 8, b""),
        (redo.SGI_RLE8, 8, b"\x03"),
        (redo.SGI_RLE8, 8, bytes(5)),
        (redo.SGI_RLE8, 0, b""),
        (redo.SGI_RLE16, 7, b""),
        (redo.TIFF_PACKBITS, 8, b"\x01"),
        (redo.EXR_ZIP, 8, b""),
        (redo.EXR_ZIP, 8, b"\x09"),
        (redo.TIFF_DEFLATE, 8, bytes([2, 3, 1, 0])),
        (redo.TIFF_DEFLATE, 8, bytes([3, 4, 0, 0])),
        (redo.TIFF_DEFLATE, 9, bytes([2, 2, 1, 0])),
        (redo.TIFF_DEFLATE, 8, bytes([5, 1, 1, 0])),
        (redo.TIFF_DEFLATE, 8, bytes(5)),
    ],
)
def test_a_detail_that_is_none_is_refused(method: int, row_bytes: int, detail: bytes) -> None:
    with pytest.raises(redo.CannotRedo):
        redo.undo(method, memoryview(bytes(100)), [Chunk(0, 100, 1)], row_bytes, detail)


GOOD = [sgi_case(), *([exr_zip_case(), tiff_case()] if not classic.args[0] else [])]


@given(st.sampled_from(GOOD), st.data())
def test_no_file_breaks_undo(good: Case, data: st.DataObject) -> None:
    """Whatever is damaged, it is refused, or still redone exactly."""
    file = bytearray(good.file)
    for _ in range(data.draw(st.integers(1, 4))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    damaged = replace(good, file=bytes(file))
    try:
        undone = damaged.undo()
    except redo.CannotRedo:
        return
    whole = damaged.compressed()
    assert redo.redo(good.method, undone.rows, undone.parameters, len(whole)) == whole


@given(st.sampled_from(GOOD), st.data())
def test_no_parameters_break_redo(good: Case, data: st.DataObject) -> None:
    """Whatever is damaged, it is refused, or makes no more than it may."""
    undone = good.undo()
    parameters = bytearray(undone.parameters)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(parameters) - 1))
        parameters[place] = data.draw(st.integers(0, 255))
    limit = len(good.compressed())
    method = data.draw(st.sampled_from([good.method, *redo.NAMES]))
    try:
        made = redo.redo(method, undone.rows, bytes(parameters), limit)
    except DamagedError:
        return
    assert len(made) <= limit


@given(st.sampled_from(sorted(redo.NAMES)), st.binary(max_size=60), st.integers(1, 3))
def test_no_bytes_break_either(method: int, noise: bytes, rows: int) -> None:
    with pytest.raises(DamagedError):
        redo.redo(method, np.zeros((rows, 4), np.uint8), noise, 1000)
    detail = b"\x08" if method in (redo.EXR_RLE, redo.EXR_ZIP) else b""
    try:
        undone = redo.undo(method, memoryview(noise), [Chunk(0, len(noise), rows)], 4, detail)
    except redo.CannotRedo:
        return
    assert redo.redo(method, undone.rows, undone.parameters, len(noise)) == noise
