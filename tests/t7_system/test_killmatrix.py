"""Some cells of the kill matrix; ``python -m tests.killmatrix`` plays all of them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fuse_session import fuse_available
from tests.killmatrix.scene import play

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow


@pytest.fixture
def base() -> Iterator[Path]:
    """Not pytest's directory: a socket's path must be short, and what is left is looked at."""
    path = Path(tempfile.mkdtemp(prefix="pixfs-kill-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@pytest.mark.parametrize(
    ("victim", "phase"),
    [
        ("server", "deleting"),
        ("server", "notifying"),
        ("worker", "copying"),
        ("scheduler", "verifying"),
        pytest.param("mount", "renaming", marks=pytest.mark.fuse),
    ],
)
def test_a_move_survives(base: Path, victim: str, phase: str) -> None:
    """Nothing lost, nothing doubled, nothing left over, the books right, somebody told."""
    if victim == "mount" and (reason := fuse_available()) is not None:
        pytest.skip(reason)
    job, told = play(base, victim, phase)
    assert job["state"] == "SUCCEEDED"
    assert told == (2 if phase == "notifying" else 1)
