"""Fixtures of every layer."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

import codec
from tests.checklogs import expect_logs, log_check
from tests.fuse_session import Mounted, fuse_available, mounted

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["expect_logs", "log_check"]

# Compilation and a busy machine make any deadline a coin toss.
settings.register_profile("pixfs", deadline=None)
settings.load_profile("pixfs")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a mount where nothing can be mounted."""
    reason = fuse_available()
    for item in items:
        if reason is not None and item.get_closest_marker("fuse"):
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_collection_finish() -> None:
    """Leave what is imported by now out of the collections that follow each test."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _surface_leaks() -> Iterator[None]:
    """Collect garbage after each test, so that an unclosed file is that test's failure."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def corpus() -> Path:
    """Real frames; skips where there are none."""
    root = Path(__file__).resolve().parent.parent
    path = Path(os.environ.get("PIXFS_CORPUS") or root / "../shared/corpus").resolve()
    if not path.is_dir():
        pytest.skip(f"no corpus at {path}; set PIXFS_CORPUS")
    return path


@pytest.fixture(scope="session")
def warm_kernels() -> None:
    """Compile the codec before a daemon needs it, so that no timeout has to allow for that."""
    codec.warmup()


@pytest.fixture
def mount(tmp_path: Path, warm_kernels: None) -> Iterator[Mounted]:
    """A mount that compresses as soon as a file is closed."""
    with mounted(tmp_path) as mount:
        yield mount


@pytest.fixture
def manual_mount(tmp_path: Path, warm_kernels: None) -> Iterator[Mounted]:
    """A mount that compresses only when it is asked to."""
    with mounted(tmp_path, "--manual") as mount:
        yield mount
