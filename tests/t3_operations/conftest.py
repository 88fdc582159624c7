"""Operations called directly, on a real volume, without a mount."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyfuse3
import pytest

from pixfs.fuse.operations import Operations
from pixfs.volume import Policy, Volume, check

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Context:
    """Who sends a request; pyfuse3's own class cannot be made in Python."""

    uid: int = os.geteuid()
    gid: int = os.getegid()
    pid: int = os.getpid()
    umask: int = 0o022


@dataclass
class Fields:
    """Which attributes setattr is to change."""

    update_size: bool = False
    update_mode: bool = False
    update_uid: bool = False
    update_gid: bool = False
    update_atime: bool = False
    update_mtime: bool = False


@dataclass
class ReplyBuffer:
    """What readdir answered, with room for so many entries a call."""

    room: int
    entries: list[tuple[bytes, int, int]] = field(default_factory=list)

    def add(self, name: bytes, attr: pyfuse3.EntryAttributes, next_id: int) -> bool:
        if len(self.entries) >= self.room:
            return False
        self.entries.append((name, attr.st_ino, next_id))
        return True


@pytest.fixture
def backing(tmp_path: Path) -> Path:
    path = tmp_path / "backing"
    path.mkdir()
    return path


@pytest.fixture
def volume(backing: Path) -> Iterator[Volume]:
    """A started volume whose backing directory is found sound after the test."""
    volume = Volume(backing, Policy(mode="manual", rescan=False))
    volume.start()
    try:
        yield volume
    finally:
        volume.close(drain=False)
    assert check(backing) == []


@pytest.fixture
async def operations(volume: Volume) -> Operations:
    return Operations(volume)


@pytest.fixture
def readdir_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a ReplyBuffer take the place of the kernel's buffer."""

    def reply(token: ReplyBuffer, name: bytes, attr: pyfuse3.EntryAttributes, next_id: int) -> bool:
        return token.add(name, attr, next_id)

    monkeypatch.setattr(pyfuse3, "readdir_reply", reply)
