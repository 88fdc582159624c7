"""Batches for tests, and what became of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.work.actions import open_storage, run
from server.work.batch import Batch, File, Options, StorageSpec
from server.work.flow import Flow
from server.work.selection import select

if TYPE_CHECKING:
    from pathlib import Path

    from server.work.batch import Action, Outcome
    from server.work.selection import Selection


def directory(path: Path) -> StorageSpec:
    """A plain directory as a storage."""
    return StorageSpec("directory", str(path))


def selected(spec: StorageSpec, *sources: str) -> Selection:
    """What these sources name."""
    storage = open_storage(spec)
    try:
        return select(storage, sources)
    finally:
        storage.close()


def planned(
    action: Action,
    source: StorageSpec,
    target: StorageSpec | None,
    *sources: str,
    options: Options | None = None,
    lost: tuple[int, ...] = (),
    began_ns: int = 0,
) -> Batch:
    """One batch over all that the sources name."""
    files = tuple(
        File(
            number,
            chosen.entry.path,
            chosen.target,
            chosen.entry.size,
            chosen.entry.mtime_ns,
            "link" if chosen.entry.kind == "link" else "file",
            chosen.entry.version,
        )
        for number, chosen in enumerate(selected(source, *sources).files)
    )
    chosen = options or Options()
    return Batch("7-1", len(lost) + 1, action, source, target, chosen, files, lost, began_ns)


def done(batch: Batch, flow: Flow | None = None) -> list[Outcome]:
    """Runs a batch as a worker does."""
    return list(run(batch, flow or Flow()))


def tree(path: Path) -> dict[str, bytes]:
    """Every file below a directory, hidden ones too."""
    return {
        str(found.relative_to(path)): found.read_bytes()
        for found in sorted(path.rglob("*"))
        if found.is_file() and not found.is_symlink()
    }
