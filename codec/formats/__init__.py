"""One module for each file format: where its samples are, and what stays verbatim."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codec.formats import dpx, exr, tiff

if TYPE_CHECKING:
    from codec.formats.base import Format

FORMATS: tuple[Format, ...] = (dpx, exr, tiff)
"""In the order they are asked: a format whose files look like another's comes before it."""
