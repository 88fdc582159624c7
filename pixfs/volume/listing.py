"""Looking at what a directory lists: many files at a time, and no descriptor kept for any.

A directory of frames is listed far more often than its frames are opened, so an entry costs what
the kernel has to be told (attributes, logical size) and a node; the size of a file that has not
been seen in this state before takes a look at its first bytes.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, NamedTuple

from pixfs.volume import backing
from pixfs.volume.attributes import Signature
from pixfs.volume.heads import MIN_SIZE, read_head

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from pixfs.volume.core import Core
    from pixfs.volume.nodes import Node

BATCH = 64
"""Entries looked at at once: they are looked at under the directory's lock, and some of them for
nothing when the reply is full."""


class Entry(NamedTuple):
    """One entry of a directory.

    Attributes:
        name: its name.
        cookie: where to go on after it.
        node: None for "." and "..".
        st: attributes of what is stored.
        length: the logical size in bytes.
    """

    name: bytes
    cookie: int
    node: Node | None = None
    st: os.stat_result | None = None
    length: int = 0


class Lister:
    """Looks at entries of one volume's directories; any thread."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def look(self, directory: Node, found: Sequence[backing.Found], first: int) -> list[Entry]:
        """The entries of what was found at ``first`` in a directory; one lookup more of each
        node. What has gone meanwhile is left out. Raises OSError."""
        with self._core.directories.holding(directory.key):
            names, cookies, stats, lengths = self._look_at(directory, found, first)
            # All of them first, so that every lookup is given back if something fails.
            nodes = self._core.nodes.adopt_listed(directory, names, stats)
            entries = list(map(Entry, names, cookies, nodes, stats, lengths))
            try:
                self._complete(directory, entries)
            except BaseException:
                self.release(entries)
                raise
        return entries

    def release(self, entries: Iterable[Entry]) -> None:
        """Gives back the lookups of entries that nobody wants."""
        for entry in entries:
            if entry.node is not None:
                self._core.nodes.forget(entry.node, 1)

    def _look_at(
        self, directory: Node, found: Sequence[backing.Found], first: int
    ) -> tuple[list[bytes], list[int], list[os.stat_result], list[int]]:
        """Names, cookies, attributes and logical sizes of those that are still there."""
        fd, device, remembered = directory.fd, directory.key.dev, self._core.heads.remembered
        names, cookies, stats, lengths = [], [], [], []
        for cookie, (name, number, is_file) in enumerate(found, first + 1):
            known = remembered(device, number) if is_file else None
            try:
                # One of them, not both, for nearly every file.
                if is_file and known is None:
                    st, length = self._open(fd, name)
                else:
                    st = backing.stat_at(fd, name)
                    length = st.st_size
                    if known is not None and known.is_of(st):
                        length = known.head.length
                    elif length >= MIN_SIZE and stat.S_ISREG(st.st_mode):
                        st, length = self._open(fd, name)
            except FileNotFoundError:
                continue
            names.append(name)
            cookies.append(cookie)
            stats.append(st)
            lengths.append(length)
        return names, cookies, stats, lengths

    def _open(self, fd: int, name: bytes) -> tuple[os.stat_result, int]:
        try:
            file_fd = backing.open_listed(fd, name)
        except FileNotFoundError:
            raise
        except OSError:
            # It is no file any more, or one that an unprivileged daemon may not look into.
            st = backing.stat_at(fd, name)
            return st, st.st_size
        try:
            st, head = read_head(file_fd)
        finally:
            backing.close(file_fd)
        if not stat.S_ISREG(st.st_mode):
            return st, st.st_size
        self._core.heads.put(Signature.of(st), head)
        return st, head.length

    def _complete(self, directory: Node, entries: list[Entry]) -> None:
        """Sees to what takes more than a look: files that are open, numbers that have changed
        hands."""
        gone = []
        for index in [i for i, entry in enumerate(entries) if _may_change(entry.node)]:
            name, cookie, node, _, _ = entries[index]
            try:
                if node is None:
                    fd = backing.open_path(directory.fd, name)
                    node = self._core.nodes.adopt(fd, directory, name)
                    entries[index] = Entry(name, cookie, node)
                st, length = self._of_node(node)
                entries[index] = Entry(name, cookie, node, st, length)
            except FileNotFoundError:
                gone.append(index)
        for index in reversed(gone):
            self.release([entries.pop(index)])

    def _of_node(self, node: Node) -> tuple[os.stat_result, int]:
        if node.file is None:
            st = self._core.nodes.stat(node)
            return st, st.st_size
        st, head = node.file.look()
        return st, head.length


def _may_change(node: Node | None) -> bool:
    """Whether more than a look is needed to tell what an entry's node shows."""
    if node is None:
        return True
    file = node.known_file
    return file is not None and file.is_open
