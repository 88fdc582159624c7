"""One module for each file format: where its samples are, and what stays verbatim."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codec.formats import dpx

if TYPE_CHECKING:
    from codec.formats.base import Format

FORMATS: tuple[Format, ...] = (dpx,)
"""In the order they are asked: a format whose files look like another's comes before it."""
