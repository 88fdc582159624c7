"""One module for each file format: where its samples are, and what stays verbatim."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codec.formats import arriraw, c500, cineon, dpx, exr, pnm, sgi, tiff, varicam

if TYPE_CHECKING:
    from codec.formats.base import Format

FORMATS: tuple[Format, ...] = (c500, dpx, cineon, exr, arriraw, sgi, tiff, pnm, varicam)
"""In the order they are asked: a format whose files look like another's comes before it, and
varicam, which has no magic, comes last."""
