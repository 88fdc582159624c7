"""Nodes and the table that keeps one of them for each backing inode in use.

A node is what a kernel inode is to the volume: it holds an O_PATH descriptor, is found by
(device, inode), counts the lookups its users hold and closes when they are forgotten. A
conversion moves a node to another backing inode without anybody noticing.
"""

from __future__ import annotations

import stat
import threading
from typing import TYPE_CHECKING

from pixfs.volume import backing
from pixfs.volume.attributes import Key

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from pixfs.volume.files import LogicalFile


class Node:
    """A file, directory or special file of the volume; opaque to its users.

    Attributes:
        kind: the file type bits of st_mode (``stat.S_IFREG`` ...).
        ino: the backing inode number when the node was first seen; kept for its life.
    """

    __slots__ = ("fd", "file", "ino", "key", "kind", "lookups", "names", "pins")

    def __init__(self, fd: int, st: os.stat_result) -> None:
        self.fd = fd
        self.kind = stat.S_IFMT(st.st_mode)
        self.key = Key(st.st_dev, st.st_ino)
        self.ino = st.st_ino
        self.lookups = 0
        self.pins = 0
        self.names: dict[tuple[Node, bytes], None] = {}
        self.file: LogicalFile | None = None

    @property
    def is_dir(self) -> bool:
        return self.kind == stat.S_IFDIR

    @property
    def is_regular(self) -> bool:
        return self.kind == stat.S_IFREG

    def __repr__(self) -> str:
        return f"<Node ino={self.ino} kind={self.kind:#o} lookups={self.lookups}>"


class NodeTable:
    """All nodes in use. Its lock is the innermost: nothing else is taken under it.

    ``lookups`` are references of the volume's users, ``pins`` those of the volume itself (an
    open handle, a queued conversion, a child that knows the node as its parent). A node with
    neither is closed.
    """

    def __init__(self, new_file: Callable[[Node], LogicalFile]) -> None:
        self._lock = threading.Lock()
        self._nodes: dict[Key, Node] = {}
        self._new_file = new_file

    def adopt(self, fd: int, parent: Node | None, name: bytes) -> Node:
        """The node of the inode behind ``fd`` (taken over), known as ``name`` in ``parent``;
        one lookup more."""
        try:
            st = backing.fstat(fd)
        except OSError:
            backing.close(fd)
            raise
        with self._lock:
            node = self._nodes.get(Key(st.st_dev, st.st_ino))
            if node is None:
                node = Node(fd, st)
                if node.is_regular:
                    node.file = self._new_file(node)
                self._nodes[node.key] = node
            else:
                backing.close(fd)
            node.lookups += 1
            if parent is not None:
                self._add_name(node, parent, name)
            return node

    def find(self, key: Key) -> Node | None:
        """The node of a backing inode if it is in use; adds one pin, to be unpinned."""
        with self._lock:
            node = self._nodes.get(key)
            if node is not None:
                node.pins += 1
            return node

    def add_lookup(self, node: Node) -> None:
        """One lookup more of a node at hand."""
        with self._lock:
            node.lookups += 1

    def forget(self, node: Node, count: int) -> None:
        """Gives back ``count`` lookups."""
        with self._lock:
            node.lookups -= count
            self._close_unused(node)

    def pin(self, node: Node) -> None:
        """Keeps a node that is in use from closing."""
        with self._lock:
            node.pins += 1

    def unpin(self, node: Node) -> None:
        """Ends what ``pin`` or ``find`` began."""
        with self._lock:
            node.pins -= 1
            self._close_unused(node)

    def add_name(self, node: Node, parent: Node, name: bytes) -> None:
        """The node is now known as ``name`` in ``parent``."""
        with self._lock:
            self._add_name(node, parent, name)

    def drop_name(self, node: Node, parent: Node, name: bytes) -> None:
        """The node is not known by that name any more."""
        with self._lock:
            self._drop_name(node, parent, name)

    def names(self, node: Node) -> list[tuple[Node, bytes]]:
        """(parent, name) pairs the node was last seen under; check before use."""
        with self._lock:
            return list(node.names)

    def path(self, node: Node) -> bytes:
        """Path inside the volume under one of the node's names; empty for the root."""
        with self._lock:
            parts: list[bytes] = []
            seen = {node}
            while node.names:
                node, name = next(iter(node.names))
                parts.append(name)
                if node in seen:
                    break
                seen.add(node)
            return b"/".join(reversed(parts))

    def move(self, node: Node, fd: int, key: Key) -> None:
        """Puts another backing inode (O_PATH ``fd``, taken over) behind the node.

        The descriptor keeps its number, so whoever uses it meanwhile sees one inode or the
        other. The caller holds the lock of the directory, so no lookup comes between.
        """
        with self._lock:
            try:
                backing.replace_fd(fd, node.fd)
            finally:
                backing.close(fd)
            if self._nodes.get(node.key) is node:
                del self._nodes[node.key]
            node.key = key
            self._nodes[key] = node

    def all(self) -> list[Node]:
        """Every node in use."""
        with self._lock:
            return list(self._nodes.values())

    def count(self) -> int:
        """Nodes in use."""
        with self._lock:
            return len(self._nodes)

    def close(self) -> None:
        """Closes every node, whoever still refers to it."""
        with self._lock:
            for node in self._nodes.values():
                backing.close(node.fd)
                node.fd = -1
                node.names.clear()
            self._nodes.clear()

    def _add_name(self, node: Node, parent: Node, name: bytes) -> None:
        if (parent, name) not in node.names:
            node.names[parent, name] = None
            parent.pins += 1

    def _drop_name(self, node: Node, parent: Node, name: bytes) -> None:
        if (parent, name) in node.names:
            del node.names[parent, name]
            parent.pins -= 1
            self._close_unused(parent)

    def _close_unused(self, node: Node) -> None:
        unused = [node]
        while unused:
            node = unused.pop()
            if node.lookups > 0 or node.pins > 0 or node.fd < 0:
                continue
            backing.close(node.fd)
            node.fd = -1
            if self._nodes.get(node.key) is node:
                del self._nodes[node.key]
            for parent, _ in node.names:
                parent.pins -= 1
                unused.append(parent)
            node.names.clear()
