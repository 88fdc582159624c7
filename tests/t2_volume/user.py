"""A user of a volume, who thinks in paths."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from pixfs.volume import Caller, Owner, Volume

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pixfs.volume import Handle, Node, Policy, Stat
    from pixfs.volume.clock import Clock

ROOT = Caller(0, 0)
OWNER = Owner(os.getuid(), os.getgid(), 0o022)


class User:
    """Drives one volume by paths relative to its root; gives every lookup back."""

    def __init__(self, backing: Path, policy: Policy, clock: Clock | None = None) -> None:
        self.backing = backing
        self.volume = Volume(backing, policy, clock=clock)

    def node(self, path: str | bytes) -> Node:
        """The node of a path, with one lookup the caller gives back."""
        node = self.volume.root
        for index, part in enumerate(_parts(path)):
            found = self.volume.lookup(node, part)
            if index:
                self.volume.release_refs(node, 1)
            node = found
        return node

    def parent(self, path: str | bytes) -> tuple[Node, bytes]:
        parts = _parts(path)
        parent = self.node(b"/".join(parts[:-1]))
        return parent, parts[-1]

    def give_back(self, node: Node) -> None:
        if node is not self.volume.root:
            self.volume.release_refs(node, 1)

    def open(self, path: str | bytes, flags: int = os.O_RDONLY, mode: int = 0o644) -> Handle:
        """Opens; the handle keeps the node."""
        if flags & os.O_CREAT:
            parent, name = self.parent(path)
            try:
                node, handle = self.volume.create(parent, name, mode, flags, OWNER)
            except OSError as error:
                if error.errno != errno.ESTALE:
                    raise
            else:
                self.give_back(node)
                return handle
            finally:
                self.give_back(parent)
        node = self.node(path)
        try:
            return self.volume.open(node, flags & ~os.O_CREAT)
        finally:
            self.give_back(node)

    def write(self, path: str | bytes, data: bytes) -> None:
        """Writes a whole file, in pieces as the kernel would."""
        handle = self.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            for offset in range(0, len(data), 7000):
                piece = data[offset : offset + 7000]
                assert handle.write(offset, piece) == len(piece)
            handle.flush()
        finally:
            handle.release()

    def read(self, path: str | bytes) -> bytes:
        """All bytes of a file."""
        handle = self.open(path)
        try:
            return read_all(handle)
        finally:
            handle.release()

    def stat(self, path: str | bytes) -> Stat:
        node = self.node(path)
        try:
            return self.volume.stat(node)
        finally:
            self.give_back(node)

    def state(self, path: str | bytes) -> tuple[str, str]:
        """(state, reason)"""
        return self.control(path, "state"), self.control(path, "reason")

    def control(self, path: str | bytes, name: str, caller: Caller = ROOT) -> str:
        node = self.node(path)
        try:
            return self.volume.getxattr(node, b"user.pixfs." + name.encode(), caller).decode()
        finally:
            self.give_back(node)

    def set_state(self, path: str | bytes, state: str, caller: Caller = ROOT) -> None:
        node = self.node(path)
        try:
            self.volume.setxattr(node, b"user.pixfs.state", state.encode(), 0, caller)
        finally:
            self.give_back(node)

    def compress(self, path: str | bytes) -> None:
        self.set_state(path, "compressed")
        assert self.state(path)[0] == "compressed"

    def truncate(self, path: str | bytes, size: int) -> None:
        node = self.node(path)
        try:
            self.volume.truncate(node, size)
        finally:
            self.give_back(node)

    def unlink(self, path: str | bytes) -> None:
        parent, name = self.parent(path)
        try:
            self.volume.unlink(parent, name)
        finally:
            self.give_back(parent)

    def mkdir(self, path: str | bytes, mode: int = 0o755) -> None:
        parent, name = self.parent(path)
        try:
            self.give_back(self.volume.mkdir(parent, name, mode, OWNER))
        finally:
            self.give_back(parent)

    def rename(self, old: str | bytes, new: str | bytes, flags: int = 0) -> None:
        parent, name = self.parent(old)
        parent2, name2 = self.parent(new)
        try:
            self.volume.rename(parent, name, parent2, name2, flags)
        finally:
            self.give_back(parent)
            self.give_back(parent2)

    def link(self, old: str | bytes, new: str | bytes) -> None:
        node = self.node(old)
        parent, name = self.parent(new)
        try:
            self.give_back(self.volume.link(node, parent, name))
        finally:
            self.give_back(node)
            self.give_back(parent)

    def names(self, path: str | bytes = b"") -> list[bytes]:
        """Names in a directory, in its order, without . and .."""
        node = self.node(path)
        handle = self.volume.opendir(node)
        try:
            return [name for name, _ in self._entries(handle)]
        finally:
            handle.release()
            self.give_back(node)

    def _entries(self, handle: object) -> Iterator[tuple[bytes, int]]:
        for name, cookie, node, *_ in handle.entries(0):  # type: ignore[attr-defined]
            if node is not None:
                self.volume.release_refs(node, 1)
                yield name, cookie

    def stored(self, path: str) -> bytes:
        """What stands on the backing file system."""
        return (self.backing / path).read_bytes()


def read_all(handle: Handle, size: int = 10_000) -> bytes:
    """Reads in pieces to the end."""
    parts: list[bytes] = []
    offset = 0
    while piece := bytes(handle.read(offset, size)):
        parts.append(piece)
        offset += len(piece)
    return b"".join(parts)


def _parts(path: str | bytes) -> list[bytes]:
    return [part for part in os.fsencode(path).split(b"/") if part]
