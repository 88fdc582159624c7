"""Random operations on a volume and on a plain directory end the same, byte for byte.

The volume also converts, restores, drains and restarts in between, which the plain directory
knows nothing of.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

import codec
from pixfs.volume import check
from tests.t2_volume.conftest import POLICY
from tests.t2_volume.frames import container, dpx, noise
from tests.t2_volume.user import User, read_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from pixfs.volume import Handle

NAMES = ["a.dpx", "b.dpx", "c", "d/a.dpx", "d/e"]
names = st.sampled_from(NAMES)
DATA = {
    "frame": dpx(),
    "other-frame": dpx(1),
    "noise": noise(9000),
    "container": container(),
    "container-head": container()[:64],
    "magic": container()[:8],
    "magic-part": container()[:5],
    "magic-rest": container()[5:12],
    "text": b"some text",
    "zeros": bytes(5000),
    "nothing": b"",
}
data = st.sampled_from(sorted(DATA))
offsets = st.sampled_from([0, 1, 5, 8, 63, 64, 100, 2048, 4096, 9000, 24000, 40000])
access = st.sampled_from([os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR | os.O_APPEND])


class Machine(RuleBasedStateMachine):
    """One volume, one plain directory, and the same done to both."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="pixfs-t2-", dir="/var/tmp"))
        self.plain = self.directory / "plain"
        self.backing = self.directory / "backing"
        for path in (self.plain, self.backing):
            (path / "d").mkdir(parents=True)
        self.handles: list[tuple[Handle, int]] = []
        self.start("manual")

    def start(self, mode: str) -> None:
        self.user = User(self.backing, dataclasses.replace(POLICY, mode=mode, rescan=True))
        self.user.volume.start()

    def stop(self, *, drain: bool) -> None:
        for handle, fd in self.handles:
            handle.release()
            os.close(fd)
        self.handles.clear()
        self.user.volume.close(drain=drain)

    def teardown(self) -> None:
        try:
            self.stop(drain=True)
            assert check(self.backing) == []
        finally:
            for _, fd in self.handles:
                os.close(fd)
            shutil.rmtree(self.directory)

    def both(self, here: Callable[[], object], there: Callable[[], object]) -> None:
        """The same result or the same errno."""
        assert outcome(here) == outcome(there)

    @rule(name=names, what=data)
    def write_file(self, name: str, what: str) -> None:
        self.both(
            lambda: self.user.write(name, DATA[what]),
            lambda: write_plain(self.plain / name, DATA[what]),
        )

    @rule(name=names, flags=access, create=st.booleans(), truncate=st.booleans())
    def open(self, name: str, flags: int, create: bool, truncate: bool) -> None:
        if len(self.handles) >= 4:
            return
        flags |= os.O_CREAT if create else 0
        flags |= os.O_TRUNC if truncate and flags & os.O_ACCMODE else 0
        opened: list[Handle] = []
        fds: list[int] = []
        self.both(
            lambda: opened.append(self.user.open(name, flags)),
            lambda: fds.append(os.open(self.plain / name, flags, 0o644)),
        )
        self.handles += zip(opened, fds, strict=True)

    @rule(which=st.integers(0, 3), offset=offsets, what=data)
    def write(self, which: int, offset: int, what: str) -> None:
        if which < len(self.handles):
            handle, fd = self.handles[which]
            self.both(
                lambda: handle.write(offset, DATA[what]),
                lambda: os.pwrite(fd, DATA[what], offset),
            )

    @rule(which=st.integers(0, 3), offset=offsets, size=offsets)
    def read(self, which: int, offset: int, size: int) -> None:
        if which < len(self.handles):
            handle, fd = self.handles[which]
            self.both(lambda: bytes(handle.read(offset, size)), lambda: os.pread(fd, size, offset))

    @rule(which=st.integers(0, 3), size=offsets)
    def truncate_open(self, which: int, size: int) -> None:
        if which < len(self.handles):
            handle, fd = self.handles[which]
            self.both(lambda: handle.truncate(size), lambda: os.ftruncate(fd, size))

    @rule(which=st.integers(0, 3))
    def fsync(self, which: int) -> None:
        if which < len(self.handles):
            self.handles[which][0].fsync(False)

    @rule(which=st.integers(0, 3))
    def release(self, which: int) -> None:
        if which < len(self.handles):
            handle, fd = self.handles.pop(which)
            handle.release()
            os.close(fd)

    @rule(name=names, size=offsets)
    def truncate(self, name: str, size: int) -> None:
        self.both(
            lambda: self.user.truncate(name, size), lambda: os.truncate(self.plain / name, size)
        )

    @rule(name=names)
    def unlink(self, name: str) -> None:
        self.both(lambda: self.user.unlink(name), (self.plain / name).unlink)

    @rule(name=names, name2=names)
    def rename(self, name: str, name2: str) -> None:
        self.both(
            lambda: self.user.rename(name, name2),
            lambda: os.rename(self.plain / name, self.plain / name2),
        )

    @rule(name=names, name2=names)
    def link(self, name: str, name2: str) -> None:
        self.both(
            lambda: self.user.link(name, name2),
            lambda: os.link(self.plain / name, self.plain / name2),
        )

    # What only the volume does

    @rule(name=names)
    def compress(self, name: str) -> None:
        outcome(lambda: self.user.set_state(name, "compressed"))

    @rule(name=names)
    def restore(self, name: str) -> None:
        assert outcome(lambda: self.user.set_state(name, "raw")) in (None, 2)

    @rule()
    def wait(self) -> None:
        assert self.user.volume.wait_idle(60)

    @rule(mode=st.sampled_from(["manual", "on-close"]), drain=st.booleans())
    def restart(self, mode: str, drain: bool) -> None:
        self.stop(drain=drain)
        assert check(self.backing) == []
        self.start(mode)

    # What must always hold

    @invariant()
    def same_files(self) -> None:
        for name in NAMES:
            expected = outcome((self.plain / name).read_bytes)
            assert outcome(lambda name=name: self.user.read(name)) == expected
            if isinstance(expected, bytes):
                st = self.user.stat(name)
                assert (st.size, st.nlink) == (len(expected), (self.plain / name).stat().st_nlink)
        for directory in ("", "d"):
            expected_names = sorted(os.listdir(os.fsencode(self.plain / directory)))
            assert sorted(self.user.names(directory)) == expected_names

    @invariant()
    def same_open_files(self) -> None:
        for handle, fd in self.handles:
            size = os.fstat(fd).st_size
            assert self.user.volume.stat(handle.node).size == size
            expected = outcome(lambda fd=fd, size=size: os.pread(fd, size, 0))
            assert outcome(lambda handle=handle: read_all(handle)) == expected

    @invariant()
    def no_container_of_a_user_lies_bare(self) -> None:
        for name in NAMES:
            path = self.backing / name
            if path.exists():
                head = path.read_bytes()[: codec.HEAD_SIZE]
                if codec.is_container_head(head):
                    codec.parse_header(head)


def write_plain(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def outcome(call: Callable[[], object]) -> object:
    """What a call returns, or the errno it raises."""
    try:
        return call()
    except OSError as error:
        return error.errno


def run(examples: int, steps: int) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_short_runs() -> None:
    run(examples=25, steps=25)


@pytest.mark.slow
def test_long_runs() -> None:
    run(examples=60, steps=80)
