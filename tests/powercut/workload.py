"""What is done on the mount until the power goes, and what was promised of it.

Every file is a small frame of a known picture with a stamp in its header: the number of the
version. A promise is noted, outside the image, when an fsync has returned and the cut had not
begun by then: "this file is at least at this version", or "is gone".
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from codec import synthetic

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable
    from pathlib import Path

PICTURES = 4
STAMP_AT = 36
STAMP = "stamp %010d"
_STAMP_SIZE = len(STAMP % 0)
REPLACED = [f"replaced.{number}.dpx" for number in range(6)]
STAMPED = [f"stamped.{number}.dpx" for number in range(4)]
REMOVED = [f"removed.{number}.dpx" for number in range(3)]
NAMES = [*REPLACED, *STAMPED, *REMOVED]
GONE = -1


def version(picture: int, number: int) -> bytes:
    """A whole frame: one of the pictures with a version's stamp."""
    frame = _pictures()[picture]
    stamp = (STAMP % number).encode()
    return frame[:STAMP_AT] + stamp + frame[STAMP_AT + len(stamp) :]


_made: list[bytes] = []


def _pictures() -> list[bytes]:
    if not _made:
        _made.extend(synthetic.dpx_frame(96, 64, seed=seed) for seed in range(PICTURES))
    return _made


def number_of(data: bytes) -> int | None:
    """The version these bytes are, or None if they are not all of one."""
    stamp = data[STAMP_AT : STAMP_AT + _STAMP_SIZE]
    prefix = (STAMP % 0)[:6].encode()
    if not stamp.startswith(prefix) or not stamp[len(prefix) :].isdigit():
        return None
    number = int(stamp[len(prefix) :])
    whole = any(data == version(picture, number) for picture in range(PICTURES))
    return number if whole else None


@dataclass
class Promises:
    """What the manifest says: by name, the version a file has at least (or GONE), and the
    highest that was ever begun."""

    kept: dict[str, int] = field(default_factory=dict)
    count: int = 0

    @staticmethod
    def read(manifest: Path) -> Promises:
        promises = Promises()
        for line in manifest.read_text().splitlines(keepends=True):
            if not line.endswith("\n"):
                continue
            name, number = line.split()
            promises.kept[name] = int(number)
            promises.count += 1
        return promises


class Worker:
    """Works on the mount in a process of its own until it is killed or its calls fail."""

    def __init__(self, mounted: Path, manifest: Path, cut: mmap.mmap, seed: int) -> None:
        """``cut``: its first byte is not 0 once the cut has begun, its second counts the
        promises made so far, up to 255."""
        self._mounted = mounted
        self._manifest = os.open(manifest, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._cut = cut
        self._random = random.Random(seed)
        self._number = 0

    def run(self) -> None:
        """OSError once the power is gone."""
        for name in STAMPED:
            self._write_new(name)
            self._convert(name)
        steps: list[Callable[[], None]] = [
            lambda: self._replace(self._random.choice(REPLACED)),
            lambda: self._stamp(self._random.choice(STAMPED)),
            lambda: self._convert(self._random.choice(NAMES)),
            lambda: self._remove_or_make(self._random.choice(REMOVED)),
        ]
        while True:
            self._random.choices(steps, weights=[3, 3, 3, 1])[0]()

    def _promise(self, name: str, number: int) -> None:
        # An fsync may return 0 after the power is gone; nothing is promised then.
        if self._cut[0]:
            raise OSError("the power is gone")
        os.write(self._manifest, b"%s %d\n" % (name.encode(), number))
        self._cut[1] = min(255, self._cut[1] + 1)

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _write_new(self, name: str) -> int:
        """The whole frame to a name that has none, synced, and its directory, too."""
        number = self._next()
        fd = os.open(self._mounted / name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
        try:
            os.write(fd, version(self._random.randrange(PICTURES), number))
            os.fsync(fd)
        finally:
            os.close(fd)
        self._sync_directory()
        self._promise(name, number)
        return number

    def _replace(self, name: str) -> None:
        """Beside, fsync, rename over, fsync of the directory: what programs that care do."""
        number = self._next()
        beside = self._mounted / f"{name}.new"
        fd = os.open(beside, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
        try:
            os.write(fd, version(self._random.randrange(PICTURES), number))
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(beside, self._mounted / name)
        self._sync_directory()
        self._promise(name, number)

    def _stamp(self, name: str) -> None:
        """A few bytes into a file that may be compressed: it is restored first."""
        number = self._next()
        fd = os.open(self._mounted / name, os.O_WRONLY)
        try:
            os.pwrite(fd, (STAMP % number).encode(), STAMP_AT)
            os.fsync(fd)
        finally:
            os.close(fd)
        self._promise(name, number)

    def _convert(self, name: str) -> None:
        """In the foreground, besides what the daemon converts by itself."""
        try:
            os.setxattr(self._mounted / name, "user.pixfs.state", b"compressed")
        except FileNotFoundError:
            return
        except OSError:
            # Open or changed: the daemon is at it.
            if self._cut[0]:
                raise

    def _remove_or_make(self, name: str) -> None:
        if (self._mounted / name).exists():
            (self._mounted / name).unlink()
            self._sync_directory()
            self._promise(name, GONE)
        else:
            self._write_new(name)

    def _sync_directory(self) -> None:
        fd = os.open(self._mounted, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
