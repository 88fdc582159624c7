"""Panasonic VariCam Raw ``.vrw``: found by its structure, since nobody published its format.

Facts
    One frame a file, of the Bayer mosaic of a 4096x2160 sensor (and crops of it). Neither the
    magic, nor the header's length, nor the depth or packing of the codes are public, and no real
    file was at hand. So nothing is read from a header. A file is taken for such a frame if

    - it is as long as the mosaic of a known size in a known packing, with at most
      `MAX_HEADER` bytes before it, and
    - rows sampled all over the picture, unpacked so, look like a mosaic (`bayer.resemblance`):
      each site like the next but one, less like its neighbours, in both directions.

    Of the packings that pass, the one with the smoothest result is taken. A wrong guess costs
    size, never bytes: what the samples do not cover is kept beside.

    This is the last format asked, because it has no magic. Files of other cameras with the same
    mosaic are coded just as well, so the name given says what was found and not whose it is.

What stays verbatim
    Whatever does not pass: the file is then not of a format that is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from codec.formats import bayer
from codec.formats.base import PROBE_SIZE, NotUnderstood
from codec.types import Layout, Packing, Segment

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_HEADER = 1 << 16
SIZES = ((4096, 2160), (3840, 2160), (2048, 1080), (1920, 1080))
"""Mosaics looked for: the whole sensor of the VariCam 35, and its crops."""
_SAMPLED_PAIRS = 16
_UNKNOWN = "unsupported: not a frame format that is known"
_BOTH = (True, False)


@dataclass(frozen=True, slots=True)
class _Packed:
    """A way to pack codes, and the name it gets."""

    name: str
    segment: Segment

    def row_bytes(self, width: int) -> int:
        """Bytes of a row of so many codes."""
        if self.segment.packing is Packing.FILLED:
            return -(-width // 3) * 4
        if self.segment.packing is Packing.WORD:
            return 2 * width
        return width * self.segment.bits // 8


def _packings() -> Iterator[_Packed]:
    for big in _BOTH:
        end = "be" if big else "le"
        yield _Packed(f"16-bit {end}", Segment(2, 16, Packing.WORD, big_endian=big))
        for bits in (10, 12, 14):
            for packing, side in ((Packing.PACKED_HIGH, "high"), (Packing.PACKED, "low")):
                name = f"{bits}-bit packed-{side} {end}"
                yield _Packed(name, Segment(2, bits, packing, big_endian=big))
        for reverse in _BOTH:
            for shift, fill in ((2, "filled-a"), (0, "filled-b")):
                name = f"10-bit {fill} {end}" + " reversed" * reverse
                segment = Segment(
                    2, 10, Packing.FILLED, shift=shift, big_endian=big, reverse=reverse
                )
                yield _Packed(name, segment)
    yield _Packed(
        "12-bit packed-high le swapped", Segment(2, 12, Packing.PACKED_HIGH, reverse=True)
    )


_PACKINGS = tuple(_packings())


def recognises(head: bytes) -> bool:
    """Whether the file is long enough to ask about; there is no magic."""
    return len(head) >= PROBE_SIZE


def probe(head: bytes, size: int) -> str:
    """See `codec.formats.base.Format.probe`. Only the length can be looked at here."""
    for _, mosaic in _candidates(size):
        return f"bayer raw {mosaic.width}x{mosaic.height} by its length"
    raise NotUnderstood(_UNKNOWN)


def layout(file: memoryview) -> Layout:
    """See `codec.formats.base.Format.layout`."""
    best: tuple[float, str, bayer.Mosaic] | None = None
    for packed, mosaic in _candidates(len(file)):
        sites = bayer.sample_rows(file, mosaic, _SAMPLED_PAIRS)
        score = bayer.resemblance(sites)
        if score is not None and (best is None or score < best[0]):
            best = (score, packed.name, mosaic)
    if best is None:
        raise NotUnderstood(_UNKNOWN)
    _, packing, mosaic = best
    name = f"bayer raw {mosaic.width}x{mosaic.height} {packing}, found by structure"
    return Layout(name, (mosaic.element(),))


def _candidates(size: int) -> Iterator[tuple[_Packed, bayer.Mosaic]]:
    """Mosaics that may end a file of ``size`` bytes."""
    for width, height in SIZES:
        for packed in _PACKINGS:
            row_bytes = packed.row_bytes(width)
            header = size - height * row_bytes
            if 0 <= header <= MAX_HEADER:
                yield packed, bayer.Mosaic(header, width, height, row_bytes, packed.segment)
