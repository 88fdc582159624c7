"""SGI images around pixels in memory, verbatim or in run lengths, checked against other readers."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Literal

import numpy as np

from codec.synthetic.packing import check_samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

SgiRows = Literal["planes", "rows", "rows down"]

HEADER_SIZE = 512
_MAX_TOKEN = 127


def sgi_file(
    pixels: NDArray[np.uint16],
    *,
    bits: int = 8,
    dimensions: int | None = None,
    run_lengths: SgiRows | None = None,
    share_rows: bool = False,
    gap: int = 0,
    trailing: bytes = b"",
) -> bytes:
    """Make an SGI file of pixels of (height, width, channels), 8 or 16 bits, the top row first.

    ``run_lengths`` says in which order coded rows lie: plane after plane, or the planes of each
    row together, from the bottom up or from the top down; ``gap`` bytes lie between them.
    With ``share_rows`` equal rows are written once.

    Raises:
        ValueError: other bits, or a sample that does not fit.
    """
    if bits not in (8, 16):
        raise ValueError(f"bits must be 8 or 16, not {bits}")
    check_samples(pixels, bits)
    height, width, channels = pixels.shape
    if dimensions is None:
        dimensions = 3 if channels > 1 else 2
    header = struct.pack(
        ">HBBHHHHII4x80sI",
        474,
        run_lengths is not None,
        bits // 8,
        dimensions,
        width,
        height,
        channels,
        0,
        (1 << bits) - 1,
        b"synthetic",
        0,
    ).ljust(HEADER_SIZE, b"\0")
    planes = pixels[::-1].transpose(2, 0, 1).astype("u1" if bits == 8 else ">u2")
    if run_lengths is None:
        return header + planes.tobytes() + trailing
    places = [(z, y) for z in range(channels) for y in range(height)]
    if run_lengths != "planes":
        rows = range(height) if run_lengths == "rows" else range(height - 1, -1, -1)
        places = [(z, y) for y in rows for z in range(channels)]
    starts = np.zeros((channels, height), ">u4")
    lengths = np.zeros((channels, height), ">u4")
    at = HEADER_SIZE + 2 * starts.nbytes
    parts: list[bytes] = []
    seen: dict[bytes, int] = {}
    for z, y in places:
        coded = sgi_row(planes[z, y].tolist(), bits // 8)
        lengths[z, y] = len(coded)
        starts[z, y] = at
        if share_rows and coded in seen:
            starts[z, y] = seen[coded]
            continue
        seen[coded] = at
        parts += [coded, b"\xee" * gap]
        at += len(coded) + gap
    return b"".join((header, starts.tobytes(), lengths.tobytes(), *parts, trailing))


def sgi_row(row: list[int], sample_bytes: int) -> bytes:
    """One row in run lengths, ended by a zero count, as SGI's own library wrote it.

    A literal goes on to the next three equal samples, or to two samples before the row's end;
    what follows is a run, even of one sample.
    """
    tokens: list[int] = []
    at = 0
    while at < len(row):
        start = at
        at += 2
        while at < len(row) and not (row[at - 2] == row[at - 1] == row[at]):
            at += 1
        at -= 2
        for first in range(start, at, _MAX_TOKEN - 1):
            literal = row[first : min(first + _MAX_TOKEN - 1, at)]
            tokens += [0x80 | len(literal), *literal]
        start = at
        while at < len(row) and row[at] == row[start]:
            at += 1
        for first in range(start, at, _MAX_TOKEN - 1):
            tokens += [min(_MAX_TOKEN - 1, at - first), row[start]]
    tokens.append(0)
    return np.array(tokens, ">u2" if sample_bytes == 2 else "u1").tobytes()
