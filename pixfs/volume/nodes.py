"""Nodes and the table that keeps one of them for each backing inode in use.

A node is what a kernel inode is to the volume: it is found by (device, inode), knows the names it
was looked up under, counts the lookups its users hold and ends when they are forgotten. A
conversion moves a node to another backing inode without anybody noticing.

Most nodes are merely listed, and there may be a million of them, so a node opens its O_PATH
descriptor when it is first needed: by one of its names, and only if that still leads to the inode.
While it has one, the inode cannot be freed and its number cannot come back as another file; before
a name is removed through the volume its node is therefore made to have one. What happens to a
node without a descriptor behind the volume's back is found out when it is next used: ESTALE, which
makes the kernel look the name up again.
"""

from __future__ import annotations

import os
import stat
import threading
from typing import TYPE_CHECKING

from pixfs.volume import backing
from pixfs.volume.attributes import Key
from pixfs.volume.descriptors import Descriptor, Kept, Unowned, unless_kept
from pixfs.volume.errors import StaleNodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence
    from contextlib import AbstractContextManager

    from pixfs.volume.files import LogicalFile

    Name = tuple["Node", bytes]


# What going by a name raises when the name, or the directory it was in, is no longer there.
LOST = (FileNotFoundError, NotADirectoryError, StaleNodeError)

# Of a mode; a call for it would cost as much as the rest of looking at a node that is known.
_KIND_BITS = 0o170000


class Node:
    """A file, directory or special file of the volume; opaque to its users.

    There may be a million of them: what nearly all have (one name, the number they were first seen
    with) takes no object of its own.

    Attributes:
        kind: the file type bits of st_mode (``stat.S_IFREG`` ...).
        ino: the backing inode number when the node was first seen; kept for its life.
        device, number: of the backing inode that is behind it now.
        known_file: the file behind a regular node if anybody has asked for it yet.
    """

    __slots__ = (
        "_name",
        "_other_names",
        "_parent",
        "_table",
        "descriptor",
        "device",
        "gone",
        "holds",
        "ino",
        "kind",
        "known_file",
        "lookups",
        "number",
        "pins",
    )

    def __init__(
        self,
        table: NodeTable,
        device: int,
        number: int,
        kind: int,
        parent: Node | None,
        name: bytes,
    ) -> None:
        """With one lookup; known as ``name`` in ``parent``, or by no name where that is None."""
        self._table = table
        self.kind = kind
        self.ino = number
        self.device = device
        self.number = number
        self.lookups = 1
        self.pins = 0
        self.holds = 0
        self._parent = parent
        self._name = name
        self._other_names: tuple[Name, ...] = ()
        self.known_file: LogicalFile | None = None
        self.descriptor: Descriptor | None = None
        self.gone = False

    @property
    def key(self) -> Key:
        """The backing inode that is behind it now."""
        return Key(self.device, self.number)

    @property
    def names(self) -> tuple[Name, ...]:
        """The names it is known by: parents, and names in them."""
        if self._parent is None:
            return ()
        return ((self._parent, self._name), *self._other_names)

    def set_names(self, names: Sequence[Name]) -> None:
        """What `names` is from now on; for the table, under its lock."""
        self._parent, self._name = names[0] if names else (None, b"")
        self._other_names = tuple(names[1:])

    def is_known_as(self, parent: Node | None, name: bytes) -> bool:
        """Whether it has that name."""
        if parent is not None and self._parent is parent and self._name == name:
            return True
        return bool(self._other_names) and (parent, name) in self._other_names

    def is_listed_as(self, parent: Node, name: bytes, mode: int) -> bool:
        """Whether that is the first of its names, and it is of the kind that ``mode`` tells."""
        return self._parent is parent and self._name == name and self.kind == mode & _KIND_BITS

    @property
    def fd(self) -> int:
        """The O_PATH descriptor, opened if need be. ESTALE if no name leads to the inode any
        more. Pass it on, do not store it as a plain number (`Descriptor`)."""
        descriptor = self.descriptor
        return descriptor if descriptor is not None else self._table.open(self)

    @property
    def file(self) -> LogicalFile | None:
        """The file behind a regular node, None for everything else."""
        if self.known_file is not None or self.kind != stat.S_IFREG:
            return self.known_file
        return self._table.file_of(self)

    def may_drop_descriptor(self) -> bool:
        """Whether nothing rests on the descriptor: it can be opened again by name, and neither
        a handle nor a conversion is at the file."""
        if self.holds > 0 or self._parent is None:
            return False
        if self.kind == stat.S_IFDIR:
            # Its pins are children that know it as their parent.
            return True
        return self.pins == 0 and (self.known_file is None or self.known_file.is_idle())

    @property
    def is_dir(self) -> bool:
        return self.kind == stat.S_IFDIR

    @property
    def is_regular(self) -> bool:
        return self.kind == stat.S_IFREG

    def __repr__(self) -> str:
        return f"<Node ino={self.ino} kind={self.kind:#o} lookups={self.lookups}>"


class NodeTable:
    """All nodes in use. Its lock is the innermost: nothing else is waited for under it.

    ``lookups`` are references of the volume's users, ``pins`` those of the volume itself (an
    open handle, a queued conversion, a child that knows the node as its parent). A node with
    neither is closed.
    """

    def __init__(
        self, new_file: Callable[[Node], LogicalFile], kept_descriptors: int | None = None
    ) -> None:
        """``kept_descriptors`` bounds how many idle nodes keep theirs."""
        self._lock = threading.Lock()
        # By number where they are on the first one's device, as nearly all are.
        self._nodes: dict[int | Key, Node] = {}
        self._device: int | None = None
        self._new_file = new_file
        self._kept = Kept(kept_descriptors)

    def adopt(self, fd: int, parent: Node | None, name: bytes) -> Node:
        """The node of the inode behind ``fd`` (taken over), known as ``name`` in ``parent``;
        one lookup more."""
        with unless_kept(Descriptor(fd)) as found:
            st = backing.fstat(found.descriptor)
            while True:
                with self._lock:
                    node = self._nodes.get(self._place(st.st_dev, st.st_ino))
                    if node is None:
                        node = self._make(st, parent, name)
                        self._keep(node, found)
                        return node
                    if _is_known_as(node, st, parent, name):
                        self._count(node, parent, name)
                        if node.descriptor is None:
                            self._keep(node, found)
                        return node
                self._identify(node)

    def adopt_listed(
        self, parent: Node, names: Sequence[bytes], stats: Sequence[os.stat_result]
    ) -> list[Node | None]:
        """The nodes of entries just found in a directory, without opening them; one lookup more
        of each. None for one that `adopt` has to be asked for. The caller holds the lock of the
        directory."""
        nodes: list[Node | None] = []
        with self._lock:
            for name, st in zip(names, stats, strict=True):
                node = self._nodes.get(self._place(st.st_dev, st.st_ino))
                if node is None:
                    node = self._make(st, parent, name)
                elif node.is_listed_as(parent, name, st.st_mode):
                    # As nearly all are that were listed before.
                    node.lookups += 1
                elif _is_known_as(node, st, parent, name):
                    self._count(node, parent, name)
                else:
                    node = None
                nodes.append(node)
        return nodes

    def _place(self, device: int, number: int) -> int | Key:
        """Where in the table the node of a backing inode stands."""
        return number if device == self._device else Key(device, number)

    def _take_out(self, node: Node) -> None:
        """Takes a node out of its place, unless another one has come to stand there."""
        place = self._place(node.device, node.number)
        if self._nodes.get(place) is node:
            del self._nodes[place]

    def _make(self, st: os.stat_result, parent: Node | None, name: bytes) -> Node:
        """A node of a backing inode that has none yet, with one lookup."""
        if self._device is None:
            self._device = st.st_dev
        # One object for all of them, not one each.
        device = self._device if st.st_dev == self._device else st.st_dev
        node = Node(self, device, st.st_ino, st.st_mode & _KIND_BITS, parent, name)
        if parent is not None:
            parent.pins += 1
        self._nodes[self._place(device, st.st_ino)] = node
        return node

    def _count(self, node: Node, parent: Node | None, name: bytes) -> None:
        """One lookup more of a node, by a name that it may not be known by yet."""
        node.lookups += 1
        if parent is not None:
            self._add_name(node, parent, name)

    def _identify(self, node: Node) -> None:
        """Makes a node without a descriptor have one, or takes it out of the table: it bears the
        number of an inode that has gone."""
        try:
            self.open(node)
        except OSError:
            with self._lock:
                if node.descriptor is None:
                    self._take_out(node)

    def open(self, node: Node) -> Descriptor:
        """The node's descriptor, opened by one of its names. ESTALE."""
        for parent, name in self.names(node):
            try:
                fd = backing.open_path(parent.fd, name)
            except LOST:
                continue
            with unless_kept(Descriptor(fd)) as found:
                st = backing.fstat(found.descriptor)
                with self._lock:
                    if node.descriptor is not None:
                        return node.descriptor
                    if not node.gone and _is_inode(node, st):
                        self._keep(node, found)
                        return found.descriptor
        with self._lock:
            if node.descriptor is not None:
                return node.descriptor
        raise StaleNodeError

    def stat(self, node: Node) -> os.stat_result:
        """Attributes of the backing inode; does not open it for that."""
        if node.descriptor is None:
            for parent, name in self.names(node)[:1]:
                try:
                    st = backing.stat_at(parent.fd, name)
                except LOST:
                    break
                if _is_inode(node, st):
                    return st
        return backing.fstat(node.fd)

    def open_to_read(self, node: Node) -> int:
        """A readable descriptor of a regular node, for the caller to close; the node does not
        come to keep one. ESTALE, EACCES."""
        if node.descriptor is None:
            for parent, name in self.names(node)[:1]:
                try:
                    fd = backing.open_listed(parent.fd, name)
                except LOST:
                    break
                try:
                    if _is_inode(node, backing.fstat(fd)):
                        return fd
                except BaseException:
                    backing.close(fd)
                    raise
                backing.close(fd)
        return backing.reopen(node.fd, os.O_RDONLY)

    def held(self, node: Node) -> AbstractContextManager[None]:
        """The node has a descriptor and keeps it meanwhile, whatever becomes of its names; none
        if it has lost its inode before. The caller has a lookup or a pin of the node."""
        return _Held(self._lock, node)

    def file_of(self, node: Node) -> LogicalFile:
        """The one file of a regular node, made when it is first asked for."""
        with self._lock:
            if node.known_file is None:
                node.known_file = self._new_file(node)
            return node.known_file

    def _keep(self, node: Node, found: Unowned) -> None:
        found.is_kept = True
        node.descriptor = found.descriptor
        for idle in self._kept.add(node):
            idle.descriptor = None

    def find(self, key: Key) -> Node | None:
        """The node of a backing inode if it is in use; adds one pin, to be unpinned."""
        with self._lock:
            node = self._nodes.get(self._place(*key))
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

    def pin_name(self, node: Node, but: Container[Name]) -> Name | None:
        """One of ``names`` that is not in ``but``, with a pin of its parent, to be unpinned: a
        directory that its last known file leaves would be closed while it is gone by."""
        with self._lock:
            for parent, name in node.names:
                if (parent, name) not in but:
                    parent.pins += 1
                    return parent, name
            return None

    def path(self, node: Node) -> bytes:
        """Path inside the volume under one of the node's names; empty for the root."""
        with self._lock:
            parts: list[bytes] = []
            seen = {node}
            while node.names:
                node, name = node.names[0]
                parts.append(name)
                if node in seen:
                    break
                seen.add(node)
            return b"/".join(reversed(parts))

    def describe(self, node: Node) -> str:
        """The node's path, quoted, for the log."""
        path = self.path(node)
        return repr(os.fsdecode(path)) if path else f"a file without a name ({node!r})"

    def move(self, node: Node, fd: int, key: Key) -> None:
        """Puts another backing inode (O_PATH ``fd``, taken over) behind the node.

        Whoever uses its descriptor meanwhile sees the one inode or the other. The caller holds
        the lock of the directory, so no lookup comes between.
        """
        found = Unowned(Descriptor(fd))
        with self._lock:
            self._take_out(node)
            node.device, node.number = key
            self._nodes[self._place(*key)] = node
            self._keep(node, found)

    def files(self) -> list[LogicalFile]:
        """The files of all nodes in use that anybody has asked for."""
        with self._lock:
            return [node.known_file for node in self._nodes.values() if node.known_file]

    def count(self) -> int:
        """Nodes in use."""
        with self._lock:
            return len(self._nodes)

    def close(self) -> None:
        """Closes every node, whoever still refers to it."""
        with self._lock:
            for node in self._nodes.values():
                self._end(node)
            self._nodes.clear()
            self._kept.clear()

    def _add_name(self, node: Node, parent: Node, name: bytes) -> None:
        if not node.is_known_as(parent, name):
            node.set_names((*node.names, (parent, name)))
            parent.pins += 1

    def _drop_name(self, node: Node, parent: Node, name: bytes) -> None:
        if node.is_known_as(parent, name):
            node.set_names([known for known in node.names if known != (parent, name)])
            parent.pins -= 1
            self._close_unused(parent)

    def _close_unused(self, node: Node) -> None:
        unused = [node]
        while unused:
            node = unused.pop()
            if node.lookups > 0 or node.pins > 0 or node.gone:
                continue
            self._take_out(node)
            self._kept.discard(node)
            for parent, _ in node.names:
                parent.pins -= 1
                unused.append(parent)
            self._end(node)

    def _end(self, node: Node) -> None:
        if node.descriptor is not None:
            node.descriptor.close()
        node.descriptor = None
        node.set_names(())
        node.gone = True


class _Held:
    """What `NodeTable.held` gives."""

    __slots__ = ("_lock", "_node")

    def __init__(self, lock: threading.Lock, node: Node) -> None:
        self._lock = lock
        self._node = node

    def __enter__(self) -> None:
        with self._lock:
            self._node.holds += 1
        try:
            _ = self._node.fd
        except StaleNodeError:
            return
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._node.holds -= 1


def _is_inode(node: Node, st: os.stat_result) -> bool:
    return (
        node.number == st.st_ino
        and node.device == st.st_dev
        and node.kind == stat.S_IFMT(st.st_mode)
    )


def _is_known_as(node: Node, st: os.stat_result, parent: Node | None, name: bytes) -> bool:
    """Whether the node with this inode's number is this inode: certainly so while it has a
    descriptor, else only by a name it is known by."""
    if node.descriptor is not None:
        return True
    return node.is_known_as(parent, name) and node.kind == stat.S_IFMT(st.st_mode)
