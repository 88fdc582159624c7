"""Undo the compression of a file's rows, and redo it to exactly the same bytes.

A file whose rows are compressed by a deterministic method can be stored as those rows (coded much
smaller) and a few parameters. `undo` gives both and has checked, by doing it, that `redo` makes
of them the bytes of the file. Nothing here depends on the version of a compression library:
every encoder that writes is this package's own. docs/format/redo-v1.md is the specification.
"""

from __future__ import annotations

from codec.redo.chunks import Undone, redo, undo
from codec.redo.errors import CannotRedo
from codec.redo.methods import (
    EXR_RLE,
    EXR_ZIP,
    NAMES,
    SGI_RLE8,
    SGI_RLE16,
    TIFF_DEFLATE,
    TIFF_PACKBITS,
)

__all__ = [
    "EXR_RLE",
    "EXR_ZIP",
    "NAMES",
    "SGI_RLE8",
    "SGI_RLE16",
    "TIFF_DEFLATE",
    "TIFF_PACKBITS",
    "CannotRedo",
    "Undone",
    "redo",
    "undo",
]
