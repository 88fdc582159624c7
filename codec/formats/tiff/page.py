"""What one TIFF directory says of its picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from codec.formats.base import NotUnderstood

if TYPE_CHECKING:
    from typing import Final

    from codec.formats.tiff.ifd import Directory

STRIP_OFFSETS: Final = 273
STRIP_COUNTS: Final = 279
TILE_OFFSETS: Final = 324
TILE_COUNTS: Final = 325
MINISWHITE, MINISBLACK, RGB, PALETTE, YCBCR, CFA, LINEAR_RAW = 0, 1, 2, 3, 6, 32803, 34892
UNSIGNED, SIGNED, FLOAT, _UNDEFINED = 1, 2, 3, 4
COMPRESSIONS: Final = {
    1: "none",
    2: "CCITT",
    3: "CCITT-G3",
    4: "CCITT-G4",
    5: "LZW",
    6: "old-JPEG",
    7: "JPEG",
    8: "Deflate",
    32773: "PackBits",
    32946: "Deflate",
    34712: "JPEG2000",
    34925: "LZMA",
    50000: "Zstandard",
    50001: "WebP",
}
_PHOTOMETRICS: Final = {
    MINISWHITE: "luma",
    MINISBLACK: "luma",
    RGB: "rgb",
    PALETTE: "palette",
    5: "cmyk",
    YCBCR: "ycbcr",
    8: "lab",
    CFA: "bayer",
    LINEAR_RAW: "linear-raw",
}
_KINDS: Final = {UNSIGNED: "", SIGNED: " signed", FLOAT: " float"}
_MAX_SIDE: Final = 1 << 20
_MAX_SAMPLES: Final = 4096
"""Samples a pixel that a picture may have, planes apart or not."""
_WIDE_BITS: Final = (24, 32, 64)


@dataclass(frozen=True, slots=True)
class Page:
    """One picture, as its directory describes it.

    ``across`` and ``down`` are the width and height of a tile, or the width of the picture and
    the rows of a strip. ``obstacle`` says why its samples cannot be taken, whatever the
    compression; empty where they can.
    """

    width: int
    height: int
    samples: int
    bits: int
    kind: int
    photometric: int
    compression: str
    predictor: int
    planar: bool
    tiled: bool
    across: int
    down: int
    name: str
    obstacle: str

    @property
    def plane_samples(self) -> int:
        """Samples of a pixel that stand together."""
        return 1 if self.planar else self.samples

    @property
    def planes(self) -> int:
        """Planes kept apart."""
        return self.samples if self.planar else 1

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of a strip or tile, undone."""
        return -(-self.across * self.plane_samples * self.bits // 8)


def read_page(directory: Directory) -> Page:
    """The picture of a directory.

    Raises NotUnderstood where it does not describe any.
    """
    width, height = directory.value(256, 0), directory.value(257, 0)
    if not (1 <= width <= _MAX_SIDE and 1 <= height <= _MAX_SIDE):
        raise NotUnderstood(f"unsupported: TIFF of {width}x{height} pixels", "tiff")
    tiled = TILE_OFFSETS in directory.entries
    across = directory.value(322, 0) if tiled else width
    down = directory.value(323, 0) if tiled else min(directory.value(278, height), height)
    samples = directory.value(277, 1)
    if not 1 <= samples <= _MAX_SAMPLES:
        raise NotUnderstood(f"unsupported: TIFF of {samples} samples a pixel", "tiff")
    if not (1 <= across <= _MAX_SIDE and 1 <= down <= _MAX_SIDE):
        raise NotUnderstood("unsupported: TIFF without valid strips or tiles", "tiff")
    bits = _common(directory, 258, 1)
    kind = _common(directory, 339, UNSIGNED)
    number = directory.value(259, 1)
    compression = COMPRESSIONS.get(number, f"method {number}")
    photometric = directory.value(262, RGB if samples == 3 else MINISBLACK)
    what = _PHOTOMETRICS.get(photometric, f"photometric {photometric}")
    if photometric == RGB and samples > 3:
        what = "rgba"
    depth = f"{bits or 'mixed'}-bit{_KINDS.get(kind, '')}"
    shape = "tiles" if tiled else "strips"
    return Page(
        width=width,
        height=height,
        samples=samples,
        bits=bits,
        kind=kind,
        photometric=photometric,
        compression=compression,
        predictor=directory.value(317, 1),
        planar=directory.value(284, 1) == 2 and samples > 1,
        tiled=tiled,
        across=across,
        down=down,
        name=f"{width}x{height} {what} {depth} {compression} {shape}",
        obstacle=_obstacle(directory, bits, kind, photometric),
    )


def _common(directory: Directory, tag: int, otherwise: int) -> int:
    """What a field says of every sample, or 0 where it says different things of them."""
    found = set(directory.values(tag, _MAX_SAMPLES).tolist()) or {otherwise}
    return int(found.pop()) if len(found) == 1 else 0


def _obstacle(directory: Directory, bits: int, kind: int, photometric: int) -> str:
    if directory.value(266, 1) != 1:
        return "fill order 2"
    # Subsampling is what a YCbCr picture has where it says nothing of it.
    if photometric == YCBCR and directory.values(530, 3).tolist() != [1, 1]:
        return "subsampled colour"
    if bits == 0:
        return "samples of several depths"
    if bits > 16 and bits not in _WIDE_BITS:
        return f"{bits}-bit samples"
    if kind not in (UNSIGNED, SIGNED, FLOAT, _UNDEFINED):
        return "complex samples"
    return ""
