"""Vidispine's own clients, unmodified, through a whole story each, on a real PixFS mount.

A storage on the mount; a DPX uploaded, found by wildcard, given a state, copied to a second
storage, imported, downloaded bit-exact and deleted.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.foreign_clients import CLIENTS, node_client, python_client
from tests.frames import frame
from tests.fuse_session import fuse_available, mounted
from tests.serve_command import serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

pytestmark = [pytest.mark.fuse, pytest.mark.slow, pytest.mark.timeout(600)]

STORY_S = 300


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A PixFS mount and a plain directory."""
    if reason := fuse_available():
        pytest.skip(reason)
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    with mounted(tmp_path / "first") as mount:
        yield mount.path, tmp_path / "second"


def tell(
    command: Sequence[str], place: tuple[Path, Path], tmp_path: Path, cwd: Path | None = None
) -> None:
    """Run a story to its end against a server of its own."""
    content = frame()
    (tmp_path / "frame.dpx").write_bytes(content)
    with serving(tmp_path / "data") as server:
        url = server.url.removesuffix("/pixmover/v1")
        arguments = [url, server.password, str(place[0]), str(place[1])]
        told = subprocess.run(
            [*command, *arguments, str(tmp_path / "frame.dpx")],
            cwd=cwd or tmp_path,
            env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
            capture_output=True,
            text=True,
            timeout=STORY_S,
            check=False,
        )
    assert told.returncode == 0, f"{told.stdout}\n{told.stderr}"
    assert told.stdout.endswith("told to the end\n")


def test_the_official_python_sdk(place: tuple[Path, Path], tmp_path: Path) -> None:
    python = python_client("vidispine-sdk.txt")
    tell([str(python), str(CLIENTS / "sdk_story.py")], place, tmp_path)


def test_the_adapter(place: tuple[Path, Path], tmp_path: Path) -> None:
    python = python_client("vidispine-adapter.txt")
    tell([str(python), str(CLIENTS / "adapter_story.py")], place, tmp_path)


def test_the_javascript_client(place: tuple[Path, Path], tmp_path: Path) -> None:
    modules = node_client("vdt-api")
    tell(["node", str(CLIENTS / "vdt_story.js")], place, tmp_path, cwd=modules)
