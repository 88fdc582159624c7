"""One user of the mount: writes, reads, renames, patches, converts, deletes in a directory."""

from __future__ import annotations

import errno
import os
import random
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from soaking.ledger import ABSENT, Ledger, digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from soaking.supply import Supply

# The daemon is dead, or died while it was to answer.
DEAD = (errno.ENOTCONN, errno.ECONNABORTED)
_PIECE = 1 << 20
_MOST_FILES = 24


class Gate:
    """Keeps the users away while the mount is made anew: before that, its directory is bare."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._inside = 0
        self._open = True

    def __enter__(self) -> None:
        with self._condition:
            self._condition.wait_for(lambda: self._open)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._condition:
            self._inside -= 1
            self._condition.notify_all()

    def close(self) -> None:
        """Let nobody in, and return when nobody is inside."""
        with self._condition:
            self._open = False
            self._condition.wait_for(lambda: self._inside == 0)

    def open(self) -> None:
        """Let them in again."""
        with self._condition:
            self._open = True
            self._condition.notify_all()


class Worker:
    """A user with a directory of its own; `run` in a thread, the rest when that has ended.

    Attributes:
        failures: what was not as it must be.
        done: how many of each action were acknowledged.
    """

    def __init__(self, directory: Path, supply: Supply, gate: Gate, seed: int) -> None:
        self._directory = directory
        self._supply = supply
        self._gate = gate
        self._dice = random.Random(seed)
        self._ledger = Ledger()
        self._last = 0
        # Cut off by a kill: looked at before anything else is done.
        self._unsure = False
        self.failures: list[str] = []
        self.done: Counter[str] = Counter()
        self.bytes_moved = 0

    def run(self, stopping: threading.Event) -> None:
        """Act until told to stop."""
        actions: list[tuple[Callable[[], None], int]] = [
            (self._write, 5), (self._read, 6), (self._rename, 2), (self._patch, 1),
            (self._compress, 2), (self._restore, 1), (self._delete, 1),
        ]  # fmt: skip
        calls, weights = zip(*actions, strict=True)
        while not stopping.is_set() and len(self.failures) < 10:
            with self._gate:
                self._guarded(self._look if self._unsure else self._dice.choices(calls, weights)[0])

    def check(self) -> None:
        """Read everything and compare; the mount is quiet."""
        self._guarded(self._look)

    def files(self) -> int:
        """How many files there are."""
        return len(self._ledger.names())

    def _guarded(self, action: Callable[[], None]) -> None:
        name = action.__name__.lstrip("_")
        try:
            action()
        except OSError as error:
            if error.errno not in DEAD:
                self.failures.append(f"{self._directory.name}: {name}: {error}")
            self._unsure = True
        else:
            self.done[name] += 1

    # Actions

    def _write(self) -> None:
        if self.files() >= _MOST_FILES:
            self._delete()
        self._last += 1
        ending, data = self._supply.draw(self._dice)
        fresh = self._dice.random() < 0.7 or not self.files()
        name = f"shot.{self._last:06}{ending}" if fresh else self._dice.choice(self._ledger.names())
        temporary = self._directory / f".{self._last}.part"
        with open(temporary, "wb", buffering=0) as file:
            for at in range(0, len(data), _PIECE):
                file.write(data[at : at + _PIECE])
            os.fsync(file.fileno())
        self._ledger.may_become(name, digest(data))
        temporary.rename(self._directory / name)
        self._ledger.has_become(name, digest(data))
        self.bytes_moved += len(data)

    def _read(self) -> None:
        if name := self._any():
            self._compare(name)

    def _rename(self) -> None:
        if not (name := self._any()):
            return
        self._last += 1
        other = f"take.{self._last:06}{Path(name).suffix}"
        content = self._ledger.only(name)
        self._ledger.may_become(name, ABSENT)
        self._ledger.may_become(other, content)
        (self._directory / name).rename(self._directory / other)
        self._ledger.has_become(name, ABSENT)
        self._ledger.has_become(other, content)

    def _patch(self) -> None:
        """Change some bytes in place: a compressed file has to be made raw for it."""
        if not (name := self._any()):
            return
        path = self._directory / name
        data = bytearray(path.read_bytes())
        if not data:
            return
        at, new = self._dice.randrange(len(data)), self._dice.randbytes(64)
        data[at : at + 64] = new
        self._ledger.may_become(name, digest(data))
        with open(path, "r+b", buffering=0) as file:
            file.seek(at)
            file.write(new)
            os.fsync(file.fileno())
        self._ledger.has_become(name, digest(data))

    def _compress(self) -> None:
        self._convert(b"compressed")

    def _restore(self) -> None:
        self._convert(b"raw")

    def _convert(self, state: bytes) -> None:
        if not (name := self._any()):
            return
        try:
            os.setxattr(self._directory / name, "user.pixfs.state", state)
        except OSError as error:
            # It is being converted already, or held.
            if error.errno not in (errno.EBUSY, errno.EAGAIN):
                raise

    def _delete(self) -> None:
        if not (name := self._any()):
            return
        self._ledger.may_become(name, ABSENT)
        (self._directory / name).unlink()
        self._ledger.has_become(name, ABSENT)

    # Looking

    def _any(self) -> str | None:
        names = self._ledger.names()
        return self._dice.choice(names) if names else None

    def _content(self, name: str) -> str:
        try:
            data = (self._directory / name).read_bytes()
        except FileNotFoundError:
            return ABSENT
        self.bytes_moved += len(data)
        return digest(data)

    def _compare(self, name: str) -> None:
        content = self._content(name)
        if not self._ledger.allows(name, content):
            what = "is gone" if content == ABSENT else "has other bytes than were written"
            self.failures.append(f"{self._directory.name}/{name} {what}")
        self._ledger.has_become(name, content)

    def _look(self) -> None:
        """Find out what came of what was cut off, and that all else is as it was."""
        there = set(os.listdir(self._directory))
        for name in self._ledger.names():
            self._compare(name)
        known = set(self._ledger.names())
        for name in there - known:
            if not name.endswith(".part"):
                self.failures.append(f"{self._directory.name}/{name} has come from nowhere")
            (self._directory / name).unlink(missing_ok=True)
        self._unsure = False
