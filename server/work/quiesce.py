"""Whether somebody is still writing what a job is about to take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xxhash

if TYPE_CHECKING:
    from server.work.selection import Selection

__all__ = ["fingerprint", "youngest"]


def fingerprint(selection: Selection) -> str:
    """Says of two looks at a selection whether a file came, went, grew or was touched."""
    digest = xxhash.xxh3_128()
    for chosen in selection.files:
        entry = chosen.entry
        line = f"{entry.path}\0{entry.size}\0{entry.mtime_ns}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    for path in selection.missing:
        digest.update(f"-{path}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def youngest(selection: Selection) -> tuple[int, str]:
    """(mtime_ns, path) of the file written last; (0, "") without files."""
    return max(
        ((chosen.entry.mtime_ns, chosen.entry.path) for chosen in selection.files),
        default=(0, ""),
    )
