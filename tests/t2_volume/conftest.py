"""Volumes to test; each is closed and looked over after its test."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pixfs.volume import Policy, check
from tests.t2_volume.user import User

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pixfs.volume import Clock

POLICY = Policy(mode="manual", settle_s=0.0, encode_threads=1, reserve_bytes=0, rescan=False)


class Volumes:
    """Makes users of volumes and takes care of their end."""

    def __init__(self) -> None:
        self.users: list[User] = []
        self.expected_problems: set[Path] = set()
        # Extended attributes of every namespace and file handles: not on a memory file system.
        self.directory = Path(tempfile.mkdtemp(prefix="pixfs-t2-", dir="/var/tmp"))

    def make(self, name: str = "backing", clock: Clock | None = None, **policy: object) -> User:
        backing = self.directory / name
        backing.mkdir(exist_ok=True)
        user = User(backing, dataclasses.replace(POLICY, **policy), clock)
        user.volume.start()
        self.users.append(user)
        return user

    def expect_problems(self, user: User) -> None:
        """The backing directory is meant not to be sound at the end."""
        self.expected_problems.add(user.backing)

    def close(self) -> None:
        for user in self.users:
            user.volume.close()
        for backing in {user.backing for user in self.users}:
            assert bool(check(backing)) == (backing in self.expected_problems), check(backing)

    def remove(self) -> None:
        shutil.rmtree(self.directory)


@pytest.fixture
def volumes() -> Iterator[Volumes]:
    before = set(os.listdir("/proc/self/fd"))
    made = Volumes()
    try:
        yield made
        made.close()
        after = set(os.listdir("/proc/self/fd"))
        # The listing's own descriptor is in both.
        assert len(after) <= len(before), f"descriptors left open: {after - before}"
    finally:
        for user in made.users:
            user.volume.close(drain=False)
        made.remove()


@pytest.fixture
def user(volumes: Volumes) -> User:
    """A user of a started volume that compresses on demand only."""
    return volumes.make()
