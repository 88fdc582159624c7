"""Inode numbers as the kernel sees them, and how often it has looked each one up.

A number belongs to the logical file: it is the backing inode number at first sight where that
is free, and stays while the kernel remembers the file, also when a conversion moves the file to
another backing inode. A number already in use (a freed backing number that came back while its
former owner kept it, or a second device below the root) is replaced by one from a range no
backing file system hands out.

Every entry gets a generation of its own, so that a file handle exported over NFS can never name
a later file that happens to bear the same number.
"""

from __future__ import annotations

import errno
import itertools
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pixfs.volume import Node

ROOT_NUMBER = 1
# 2^62 upwards: XFS and ext4 stay far below, and the number still fits a signed 64-bit ino_t.
FIRST_SPARE_NUMBER = 1 << 62


@dataclass(slots=True, eq=False)
class Inode:
    """One file the kernel knows.

    Attributes:
        number: what st_ino shows.
        generation: differs for every entry ever made under this number.
        node: the volume's file behind it; holds ``nlookup`` references.
        nlookup: the kernel's lookup count.
        closing: releases of its handles that are under way; for the trio thread only.
        parent: number of the directory it was last found in ("..", for directories).
    """

    number: int
    generation: int
    node: Node
    nlookup: int
    parent: int = ROOT_NUMBER
    closing: int = 0


class InodeTable:
    """All inodes the kernel knows. Thread-safe; no call blocks."""

    def __init__(self, root: Node) -> None:
        self._lock = threading.Lock()
        self._generations = itertools.count(1)
        self._spare_numbers = itertools.count(FIRST_SPARE_NUMBER)
        # The root is never looked up and never forgotten; the volume owns its reference.
        self._root = Inode(ROOT_NUMBER, 0, root, nlookup=0)
        self._by_number = {ROOT_NUMBER: self._root}
        self._by_node = {root: self._root}

    def __len__(self) -> int:
        return len(self._by_number)

    def get(self, number: int) -> Inode:
        """The inode of this number; raises OSError(ESTALE) when it was forgotten."""
        try:
            return self._by_number[number]
        except KeyError:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE)) from None

    def find(self, node: Node) -> Inode | None:
        """The inode of this node, or None when the kernel does not know it."""
        return self._by_node.get(node)

    def remember(self, node: Node, backing_number: int, parent: int | None) -> Inode:
        """Count one lookup of node, which carries one volume reference for it.

        parent is None when it was found by "." or "..", which say nothing new about it.
        """
        with self._lock:
            inode = self._by_node.get(node)
            if inode is None:
                number = backing_number
                if number <= ROOT_NUMBER or number in self._by_number:
                    number = next(self._spare_numbers)
                inode = Inode(number, next(self._generations), node, nlookup=1)
                self._by_number[number] = inode
                self._by_node[node] = inode
            else:
                inode.nlookup += 1
            if parent is not None:
                inode.parent = parent
            return inode

    def forget(self, number: int, count: int) -> tuple[Node, int] | None:
        """Take back count lookups; returns the volume references to release, if any."""
        with self._lock:
            inode = self._by_number.get(number)
            if inode is None or inode is self._root:
                return None
            released = min(count, inode.nlookup)
            inode.nlookup -= released
            if inode.nlookup == 0:
                del self._by_number[number]
                del self._by_node[inode.node]
            return inode.node, released

    def drain(self) -> list[tuple[Node, int]]:
        """Forget everything but the root: the kernel sends no forget at unmount."""
        with self._lock:
            held = [(i.node, i.nlookup) for i in self._by_number.values() if i is not self._root]
            self._by_number = {ROOT_NUMBER: self._root}
            self._by_node = {self._root.node: self._root}
            return held
