"""The files a command works on: through a mount, or in a volume no daemon holds.

Both speak of files by the path the user gave and of states by control attributes, so the verbs
need not know which it is.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pixfs import runfiles
from pixfs.errors import TargetError
from pixfs.fuse.mountinfo import mount_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pixfs.volume import Caller, Node, Volume

HIDDEN_AREA = ".pixfs"
PREFIX = "user.pixfs."


@dataclass(frozen=True)
class FrameFile:
    """One regular file, as the volume shows it.

    Attributes:
        path: as the user would type it.
        size: logical bytes.
        stored: bytes it takes on the storage.
        inode: its number; names of one file share it.
    """

    path: str
    size: int
    stored: int
    inode: int

    @staticmethod
    def of(path: str, st: os.stat_result) -> FrameFile:
        """From the attributes a mount shows."""
        return FrameFile(path, st.st_size, st.st_blocks * 512, st.st_ino)


class Tree(Protocol):
    """Regular files below one path and their control attributes; all calls may block."""

    def files(self) -> Iterator[FrameFile]:
        """Every regular file at or below the path; symbolic links are not followed."""

    def get(self, file: FrameFile, name: str) -> str | None:
        """A control attribute by its short name, None when the file has none; OSError."""

    def set(self, file: FrameFile, name: str, value: str) -> None:
        """Set a control attribute; OSError."""


class MountedTree:
    """Files below a path on a PixFS mount."""

    def __init__(self, path: str) -> None:
        self._path = path

    def files(self) -> Iterator[FrameFile]:
        found = os.lstat(self._path)
        if stat.S_ISREG(found.st_mode):
            yield FrameFile.of(self._path, found)
        elif stat.S_ISDIR(found.st_mode):
            yield from self._below(self._path)

    def _below(self, directory: str) -> Iterator[FrameFile]:
        with os.scandir(directory) as listing:
            entries = sorted(listing, key=lambda entry: os.fsencode(entry.name))
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from self._below(entry.path)
            elif entry.is_file(follow_symlinks=False):
                yield FrameFile.of(entry.path, entry.stat(follow_symlinks=False))

    def get(self, file: FrameFile, name: str) -> str | None:
        try:
            return os.fsdecode(os.getxattr(file.path, PREFIX + name, follow_symlinks=False))
        except OSError as error:
            if error.errno == errno.ENODATA:
                return None
            raise

    def set(self, file: FrameFile, name: str, value: str) -> None:
        os.setxattr(file.path, PREFIX + name, value.encode(), follow_symlinks=False)


class StoredTree:
    """Files below a path in a backing directory, by way of a volume of our own."""

    def __init__(self, volume: Volume, root: str, path: str, shown: str) -> None:
        self._volume = volume
        self._root = root
        self._path = path
        self._shown = shown

    def files(self) -> Iterator[FrameFile]:
        with self._found(self._path) as node:
            yield from self._below(node, self._shown)

    def _below(self, node: Node, shown: str) -> Iterator[FrameFile]:
        if node.is_regular:
            st = self._volume.stat(node)
            yield FrameFile(shown, st.size, st.blocks * 512, st.ino)
        if not node.is_dir:
            return
        for name in self._names(node):
            child = self._volume.lookup(node, name)
            try:
                yield from self._below(child, os.path.join(shown, os.fsdecode(name)))
            finally:
                self._volume.release_refs(child, 1)

    def _names(self, node: Node) -> list[bytes]:
        directory = self._volume.opendir(node)
        names = []
        try:
            for name, _, child, *_ in directory.entries(0):
                if child is not None:
                    self._volume.release_refs(child, 1)
                    names.append(name)
        finally:
            directory.release()
        return sorted(names)

    @contextmanager
    def _found(self, path: str) -> Iterator[Node]:
        """The node of an absolute path below the root, referenced while it is used."""
        with ExitStack() as references:
            node = self._volume.root
            for name in os.fsencode(os.path.relpath(path, self._root)).split(b"/"):
                if name != b".":
                    node = self._volume.lookup(node, name)
                    references.callback(self._volume.release_refs, node, 1)
            yield node

    def _path_of(self, file: FrameFile) -> str:
        return self._path + file.path.removeprefix(self._shown)

    def get(self, file: FrameFile, name: str) -> str | None:
        with self._found(self._path_of(file)) as node:
            try:
                value = self._volume.getxattr(node, (PREFIX + name).encode(), _caller())
            except OSError as error:
                if error.errno == errno.ENODATA:
                    return None
                raise
            return os.fsdecode(value)

    def set(self, file: FrameFile, name: str, value: str) -> None:
        with self._found(self._path_of(file)) as node:
            attribute = (PREFIX + name).encode()
            self._volume.setxattr(node, attribute, value.encode(), 0, _caller())


def _caller() -> Caller:
    from pixfs.volume import Caller

    return Caller(uid=os.geteuid(), gid=os.getegid())


@contextmanager
def opened_trees(paths: Sequence[str], *, level: str | None = None) -> Iterator[list[Tree]]:
    """The trees of some paths; volumes opened for them are closed at the end.

    Raises TargetError for a path that is neither on a mount nor in a volume, or in a volume
    that a daemon holds. level is the encoder's effort in volumes opened here.
    """
    with ExitStack() as volumes:
        opened: dict[str, Volume] = {}
        trees: list[Tree] = []
        for path in paths:
            real = _real(path)
            mount = mount_of(real)
            if mount is not None and mount.is_pixfs:
                trees.append(MountedTree(path))
                continue
            root = _volume_root(path, real)
            if root not in opened:
                opened[root] = _open_volume(root, real, level)
                volumes.callback(opened[root].close)
            trees.append(StoredTree(opened[root], root, real, path))
        yield trees


def _real(path: str) -> str:
    if not os.path.lexists(path):
        raise TargetError(f"{path} does not exist")
    return os.path.realpath(path)


def _volume_root(path: str, real: str) -> str:
    """The nearest directory at or above real that has a volume's hidden area."""
    current = real
    while True:
        if os.path.isdir(os.path.join(current, HIDDEN_AREA)):
            return current
        parent = os.path.dirname(current)
        if parent == current:
            raise TargetError(
                f"{path} is neither on a PixFS mount nor in a backing directory that has been"
                " mounted before; mount it first with: pixfs mount BACKING MOUNTPOINT"
            )
        current = parent


def _open_volume(root: str, real: str, level: str | None) -> Volume:
    from pixfs.config import MountSettings
    from pixfs.volume import Volume

    daemon = runfiles.daemon_of(os.stat(root))
    if daemon is not None:
        seen = os.path.normpath(os.path.join(daemon.mountpoint, os.path.relpath(real, root)))
        raise TargetError(
            f"{root} is mounted at {daemon.mountpoint} (pid {daemon.pid}); use {seen}"
        )
    settings = MountSettings().merged({"mode": "manual", "rescan": False})
    if level is not None:
        settings = settings.merged({"level": level})
    volume = Volume(root, settings.policy)
    volume.start()
    return volume
