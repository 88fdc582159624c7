"""Undo and redo of compressions that a file's own format uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from codec.types import Chunk


class CannotRedoError(Exception):
    """Redoing would not give the file's own bytes."""


class BadParametersError(Exception):
    """Parameters that no encoder wrote."""


@dataclass(frozen=True, slots=True)
class Undone:
    """Rows as they were before the file's format compressed them, and how to redo that."""

    rows: NDArray[np.uint8]
    parameters: bytes


def undo(
    method: int, file: memoryview, chunks: Sequence[Chunk], row_bytes: int, detail: bytes
) -> Undone:
    """Undo the chunks of a file. Raises CannotRedoError."""
    raise CannotRedoError(f"compression method {method} is not known")


def redo(method: int, rows: NDArray[np.uint8], parameters: bytes, limit: int) -> bytes:
    """The bytes of the file that `undo` was given. Raises BadParametersError."""
    raise BadParametersError(f"compression method {method} is not known")
