"""Which of a batch's storages an error speaks of."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from server.work.errors import StorageError

if TYPE_CHECKING:
    from server.work.batch import StorageSpec

__all__ = ["Side", "away_side"]

Side = Literal["", "source", "target"]


def away_side(error: Exception, source: StorageSpec, target: StorageSpec | None) -> Side:
    """The storage that cannot be used, "" when that cannot be told. Blocks."""
    if target is None:
        return "source"
    root = error.root if isinstance(error, StorageError) else ""
    is_source, is_target = (
        _is_of(root, spec) if root else _is_gone(spec) for spec in (source, target)
    )
    if is_source:
        return "source"
    return "target" if is_target else ""


def _is_of(root: str, spec: StorageSpec) -> bool:
    return root == spec.root or (spec.kind != "s3" and root == os.path.realpath(spec.root))


def _is_gone(spec: StorageSpec) -> bool:
    """Whether a directory is not there, or its mount has died; a bucket says so itself."""
    if spec.kind == "s3":
        return False
    try:
        os.stat(spec.root)
    except OSError:
        return True
    return False
