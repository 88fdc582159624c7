"""How far a scrub has come: kept in a file, so that the next run goes on.

The file stands in ``$PIXFS_STATE_DIR``, else ``/var/lib/pixfs/scrub`` for root, else
``~/.local/state/pixfs/scrub``. Losing it costs a pass from the beginning.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import quote


@dataclass
class ScrubPass:
    """One pass over everything at or below a path; the owner saves it after each file.

    Attributes:
        path: what is scrubbed, absolute.
        started, finished: ISO 8601, UTC; ``finished`` is empty while the pass goes on.
        last: path of the last file that was checked.
        files, bytes: how many have been checked, as stored.
        damaged: (path, what is wrong), of this pass.
    """

    path: str
    started: str
    finished: str = ""
    last: str = ""
    files: int = 0
    bytes: int = 0
    damaged: list[tuple[str, str]] = field(default_factory=list)

    def is_past(self, path: str) -> bool:
        """Whether the pass has checked this file: directories are walked in byte order."""
        return bool(self.last) and order_of(path) <= order_of(self.last)

    def save(self) -> None:
        """Writes it in one step. OSError."""
        path = _state_path(self.path)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(asdict(self)))
        temporary.replace(path)


def load(path: str) -> ScrubPass | None:
    """The latest pass over a path; None when there is none that can be read."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        values = json.loads(_state_path(path).read_text())
        values["damaged"] = [(name, what) for name, what in values["damaged"]]
        return ScrubPass(**values)
    return None


def order_of(path: str) -> list[bytes]:
    """What paths are sorted by when a tree is walked depth first, entries by their bytes."""
    return os.fsencode(path).split(b"/")


def _state_path(path: str) -> Path:
    if named := os.environ.get("PIXFS_STATE_DIR"):
        directory = Path(named)
    elif os.geteuid() == 0:
        directory = Path("/var/lib/pixfs/scrub")
    else:
        state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
        directory = Path(state, "pixfs", "scrub")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = quote(os.fsencode(path), safe="")
    return directory / f"{name[-200:]}.json"
