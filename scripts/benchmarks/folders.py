"""Where a benchmark keeps files that should cost no disk time."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def memory_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder on tmpfs where there is one: what goes through it costs memory copies only."""
    memory = Path("/dev/shm")
    base = memory if os.access(memory, os.W_OK) else None
    return tempfile.TemporaryDirectory(prefix="pixfs-bench-", dir=base)
