"""One operation, one kind of fault, every call it makes."""

from __future__ import annotations

import contextlib
import enum
import errno
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from pixfs.volume import Policy, check
from tests.t2_volume.faults import Faults, fail_with, in_child
from tests.t2_volume.user import User

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faultsweep.operations import Operation, State

_POLICY = Policy(
    mode="manual", settle_s=0.0, encode_threads=1, reserve_bytes=0, rescan=False, min_size=4096
)
_MOST = 1000
_KILLED = 9
_SETTLING = ("reopen", "fsync")
# A directory may have grown, and a block of one attribute may have come.

_SPARE_BLOCKS = 32


class Kind(enum.Enum):
    """What happens at the chosen call."""

    EIO = "EIO"
    ENOSPC = "ENOSPC"
    KILL = "killed before"
    KILL_AFTER = "killed after"


@dataclass(frozen=True)
class Fault:
    """One fault and what came of it.

    Attributes:
        number, call: which call it met, and that one's name.
        end: ``old``, ``new`` or ``between``: what is there after the next start.
        told: the errno the caller got, None if the operation succeeded all the same.
        wrong: what is not as promised.
    """

    operation: str
    kind: Kind
    number: int
    call: str
    end: str
    told: int | None
    wrong: tuple[str, ...]


class Sweep:
    """Sweeps one operation in a directory of its own."""

    def __init__(self, operation: Operation, directory: Path) -> None:
        self._operation = operation
        self._directory = directory
        self._source = directory / "prepared"
        self._source.mkdir()
        with _volume(self._source) as user:
            operation.prepare(user)
            self._old = _state(user)
        done = self._copy("done")
        with _volume(done) as user:
            operation.act(user)
            self._new = _state(user)
        self._blocks = max(_blocks(self._source), _blocks(done)) + _SPARE_BLOCKS
        shutil.rmtree(done)

    def run(self, kind: Kind, every: int = 1) -> Iterator[Fault]:
        """A fault at every call (or every so manyth) until there is none left to meet."""
        for number in range(1, _MOST, every):
            backing = self._copy(f"{kind.name}-{number}")
            try:
                met = self._fail(kind, number, backing)
                if met is None:
                    return
                yield met
            finally:
                shutil.rmtree(backing)
        raise RuntimeError(f"{self._operation.name} has no end")

    def _copy(self, name: str) -> Path:
        """The prepared directory with its attributes and hard links."""
        target = self._directory / name
        target.mkdir()
        made: dict[int, Path] = {}
        for entry in sorted(self._source.iterdir()):
            if entry.is_dir():
                continue
            twin = made.get(entry.stat().st_ino)
            if twin is not None:
                os.link(twin, target / entry.name)
            else:
                made[entry.stat().st_ino] = target / entry.name
                shutil.copy2(entry, target / entry.name)
        return target

    def _fail(self, kind: Kind, number: int, backing: Path) -> Fault | None:
        wrong: list[str] = []
        if kind in (Kind.EIO, Kind.ENOSPC):
            call, told = self._with_error(getattr(errno, kind.name), number, backing, wrong)
        else:
            call, told = self._with_death(kind is Kind.KILL_AFTER, number, backing), None
        if call is None:
            return None
        end = self._look_over(backing, wrong)
        if kind in (Kind.EIO, Kind.ENOSPC) and told is None and end != "new":
            wrong.append(f"nobody was told, and the state is {end}")
        return Fault(self._operation.name, kind, number, call, end, told, tuple(wrong))

    def _with_error(
        self, code: int, number: int, backing: Path, wrong: list[str]
    ) -> tuple[str | None, int | None]:
        told = None
        faults = Faults(number, fail_with(code))
        descriptors = len(os.listdir("/proc/self/fd"))
        with _volume(backing) as user:
            with pytest.MonkeyPatch.context() as patch:
                faults.install(patch)
                try:
                    self._operation.act(user)
                except OSError as error:
                    told = error.errno
            user.volume.on_step = lambda step: None
            # That an exchange is not known to be durable is told by the next fsync, as EIO.
            expected = (code, errno.EIO) if faults.met in _SETTLING else (code,)
            if told is not None and told not in expected:
                wrong.append(f"told {errno.errorcode.get(told or 0)} instead")
            # At once, in the volume that met it. A rewrite in place that was cut off is the one
            # thing that has to wait for the next start, and reads as EIO until then.
            with contextlib.suppress(OSError):
                found = _state(user)
                if self._name(found) is None:
                    wrong.append("neither old nor new at once")
        if len(os.listdir("/proc/self/fd")) != descriptors:
            wrong.append("descriptors left open")
        return faults.met, told

    def _with_death(self, after: bool, number: int, backing: Path) -> str | None:
        reading, writing = os.pipe()

        def work() -> int:
            user = User(backing, _POLICY)
            user.volume.start()
            with pytest.MonkeyPatch.context() as patch:

                def die() -> None:
                    os.write(writing, (faults.met or "").encode())
                    os.kill(os.getpid(), _KILLED)

                faults = Faults(number, die, after=after)
                faults.install(patch)
                self._operation.act(user)
            return 0

        status = in_child(work)
        os.close(writing)
        with os.fdopen(reading) as report:
            call = report.read()
        if status not in (0, -_KILLED):
            raise RuntimeError(f"{self._operation.name}: exit status {status}")
        return call or None

    def _look_over(self, backing: Path, wrong: list[str]) -> str:
        """The next start, a look at everything, and the operation once more."""
        with _volume(backing) as user:
            found = _state(user)
        end = self._name(found)
        if end is None:
            wrong.append(f"neither old nor new after the next start: {_sizes(found)}")
        problems = check(backing)
        left = [problem for problem in problems if self._operation.is_left(problem)]
        wrong += [f"fsck: {problem}" for problem in problems if problem not in left]
        wrong += [f"left over: {path.name}" for path in (backing / ".pixfs/tmp").iterdir()]
        if _blocks(backing) > self._blocks:
            wrong.append(f"{_blocks(backing)} blocks used, {self._blocks} expected at most")
        if end != "new":
            with _volume(backing) as user:
                self._operation.act(user)
                if _state(user) != self._new:
                    wrong.append("the same again does not succeed")
            wrong += [f"still there: {problem}" for problem in left if problem in check(backing)]
        return end or "neither"

    def _name(self, found: State) -> str | None:
        if found == self._new:
            # A conversion changes no logical byte: for it, old and new are the same.
            return "new"
        if found == self._old:
            return "old"
        return "between" if self._operation.between(found) else None


@contextlib.contextmanager
def _volume(backing: Path) -> Iterator[User]:
    user = User(backing, _POLICY)
    user.volume.start()
    try:
        yield user
    finally:
        user.volume.close(drain=False)


def _state(user: User) -> State:
    return {name.decode(): user.read(name) for name in user.names()}


def _sizes(state: State) -> dict[str, int]:
    return {name: len(data) for name, data in state.items()}


def _blocks(directory: Path) -> int:
    """512-byte blocks of everything below, each inode once."""
    seen: dict[int, int] = {}
    for path in directory.rglob("*"):
        st = path.lstat()
        seen[st.st_ino] = st.st_blocks
    return sum(seen.values())


def sweep(
    operation: Operation, directory: Path, kinds: list[Kind], every: int = 1
) -> Iterator[Fault]:
    """Every kind of fault at every call of one operation, below an empty directory."""
    swept = Sweep(operation, directory)
    for kind in kinds:
        yield from swept.run(kind, every)
