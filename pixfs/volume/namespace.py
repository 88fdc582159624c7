"""Names: looking them up, making, moving and removing them.

Every operation holds the locks of the directories it touches, so that no swap happens between
finding out what a name is and acting on it.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pixfs.volume import backing
from pixfs.volume.area import HIDDEN
from pixfs.volume.attributes import Key
from pixfs.volume.errors import NameTakenError, oserror
from pixfs.volume.handles import DirHandle, Handle
from pixfs.volume.listing import Lister

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pixfs.volume.attributes import Owner
    from pixfs.volume.core import Core
    from pixfs.volume.nodes import Node

log = logging.getLogger(__name__)

_FORBIDDEN_NAMES = (b".", b"..")


class Namespace:
    """The directory tree of one volume; any thread, all calls may block and raise OSError."""

    def __init__(self, core: Core, root: Node, on_renamed: Callable[[Node], None]) -> None:
        """``on_renamed`` hears of each node at hand that has lost a name or got another."""
        self._core = core
        self._root = root
        self._on_renamed = on_renamed
        self._lister = Lister(core)

    def lookup(self, parent: Node, name: bytes) -> Node:
        """The node of a name, with one lookup more. ENOENT, ENOTDIR."""
        if not parent.is_dir:
            raise oserror(errno.ENOTDIR)
        if name == b".":
            self._core.nodes.add_lookup(parent)
            return parent
        if name == b"..":
            return self._lookup_parent(parent)
        if self._is_hidden(parent, name):
            raise oserror(errno.ENOENT)
        with self._core.directories.holding(parent.key):
            return self._adopt(parent, name)

    def _lookup_parent(self, node: Node) -> Node:
        names = self._core.nodes.names(node)
        parent = names[0][0] if names else node
        self._core.nodes.add_lookup(parent)
        return parent

    def _adopt(self, parent: Node, name: bytes) -> Node:
        return self._core.nodes.adopt(backing.open_path(parent.fd, name), parent, name)

    # Making

    def create(
        self, parent: Node, name: bytes, mode: int, flags: int, owner: Owner
    ) -> tuple[Node, Handle]:
        """Creates and opens a regular file.

        A name that is there already is EEXIST with O_EXCL, else ESTALE: whoever made it
        since the caller looked, nobody has checked yet that the caller may open it.
        """
        self._check_new(parent, name)
        with self._core.directories.changing(parent.key):
            try:
                fd = backing.create(parent.fd, name)
            except FileExistsError:
                if flags & os.O_EXCL:
                    raise
                raise NameTakenError from None
            self._own_created(parent, name, fd, mode & ~owner.umask, owner)
            try:
                node = self._adopt(parent, name)
            except BaseException:
                backing.close(fd)
                self._unmake(parent, name)
                raise
        try:
            return node, Handle(self._core, node, flags, created_fd=fd)
        except BaseException:
            with self._core.directories.changing(parent.key):
                if self._still_there(node, parent, name):
                    self._unmake(parent, name)
                    self._core.nodes.drop_name(node, parent, name)
            self._core.nodes.forget(node, 1)
            raise

    def _unmake(self, parent: Node, name: bytes) -> None:
        """An open that fails leaves no file of its making behind."""
        try:
            backing.unlink(parent.fd, name)
        except OSError as error:
            log.warning("an empty file stays after an open that failed: %s", error)

    def _own_created(self, parent: Node, name: bytes, fd: int, mode: int, owner: Owner) -> None:
        try:
            self._give(parent, fd, owner)
            backing.fchmod(fd, stat.S_IMODE(mode))
        except BaseException:
            backing.close(fd)
            self._unmake(parent, name)
            raise

    def mknod(self, parent: Node, name: bytes, mode: int, rdev: int, owner: Owner) -> Node:
        """Creates a special file, or an empty regular one."""
        self._check_new(parent, name)
        mode &= ~owner.umask
        with self._core.directories.changing(parent.key):
            backing.mknod(parent.fd, name, mode, rdev)
            return self._adopt_made(parent, name, stat.S_IMODE(mode), owner, backing.unlink)

    def mkdir(self, parent: Node, name: bytes, mode: int, owner: Owner) -> Node:
        """Creates a directory; it inherits set-group-id."""
        self._check_new(parent, name)
        mode = stat.S_IMODE(mode & ~owner.umask)
        with self._core.directories.changing(parent.key):
            backing.mkdir(parent.fd, name, mode)
            if backing.fstat(parent.fd).st_mode & stat.S_ISGID:
                mode |= stat.S_ISGID
            return self._adopt_made(parent, name, mode, owner, backing.rmdir)

    def symlink(self, parent: Node, name: bytes, target: bytes, owner: Owner) -> Node:
        """Creates a symlink."""
        self._check_new(parent, name)
        with self._core.directories.changing(parent.key):
            backing.symlink(target, parent.fd, name)
            return self._adopt_made(parent, name, None, owner, backing.unlink)

    def _adopt_made(
        self,
        parent: Node,
        name: bytes,
        mode: int | None,
        owner: Owner,
        undo: Callable[[int, bytes], None],
    ) -> Node:
        try:
            node = self._adopt(parent, name)
            try:
                self._give(parent, node.fd, owner)
                if mode is not None:
                    backing.chmod(node.fd, mode)
            except BaseException:
                self._core.nodes.forget(node, 1)
                raise
        except BaseException:
            with contextlib.suppress(OSError):
                undo(parent.fd, name)
            raise
        return node

    def _give(self, parent: Node, fd: int, owner: Owner) -> None:
        """Makes the creator the owner; a set-group-id directory gives its own group."""
        directory = backing.fstat(parent.fd)
        gid = directory.st_gid if directory.st_mode & stat.S_ISGID else owner.gid
        st = backing.fstat(fd)
        if (st.st_uid, st.st_gid) != (owner.uid, gid):
            backing.chown(fd, owner.uid, gid)

    def link(self, node: Node, parent: Node, name: bytes) -> Node:
        """One more name for a node, with one lookup more."""
        self._check_new(parent, name)
        with contextlib.ExitStack() as stack:
            if node.file is not None:
                # A swap looks at the link count: it must not change between that and the swap.
                stack.enter_context(node.file.changing())
            stack.enter_context(self._core.directories.changing(parent.key))
            backing.link(node.fd, parent.fd, name)
            # Without looking at the new name, which could fail: it would stay all the same.
            self._core.nodes.add_lookup(node)
            self._core.nodes.add_name(node, parent, name)
            return node

    # Removing and moving

    def unlink(self, parent: Node, name: bytes) -> None:
        """Removes a name of anything but a directory; an open file lives on."""
        self._check_existing(parent, name)
        with self._core.directories.changing(parent.key), self._found(parent, name) as node:
            backing.unlink(parent.fd, name)
            self._lost(node, parent, name)

    def rmdir(self, parent: Node, name: bytes) -> None:
        """Removes an empty directory."""
        self._check_existing(parent, name)
        with self._core.directories.changing(parent.key), self._found(parent, name) as node:
            backing.rmdir(parent.fd, name)
            self._lost(node, parent, name)

    def rename(
        self, parent: Node, name: bytes, parent2: Node, name2: bytes, flags: int = 0
    ) -> None:
        """renameat2: flags 0, RENAME_NOREPLACE or RENAME_EXCHANGE."""
        self._check_existing(parent, name)
        self._check_existing(parent2, name2)
        if flags & ~(backing.RENAME_NOREPLACE | backing.RENAME_EXCHANGE):
            raise oserror(errno.EINVAL)
        with self._core.directories.changing(parent.key, parent2.key):
            # At hand even if nobody has looked it up: under its new name the policy may
            # want it compressed.
            node = self._adopt(parent, name)
            try:
                with self._core.nodes.held(node), self._found(parent2, name2) as node2:
                    backing.rename(parent.fd, name, parent2.fd, name2, flags)
                    self._moved(node, parent, name, parent2, name2)
                    if node2 is not None and node2 is not node:
                        if flags & backing.RENAME_EXCHANGE:
                            self._moved(node2, parent2, name2, parent, name)
                        else:
                            self._lost(node2, parent2, name2)
            finally:
                self._core.nodes.forget(node, 1)

    def _moved(self, node: Node, parent: Node, name: bytes, to: Node, name2: bytes) -> None:
        self._core.nodes.add_name(node, to, name2)
        if not self._still_there(node, parent, name):
            self._core.nodes.drop_name(node, parent, name)
        self._on_renamed(node)

    def _still_there(self, node: Node, parent: Node, name: bytes) -> bool:
        # rename(2) of two names of one inode onto each other does nothing.
        try:
            st = backing.stat_at(parent.fd, name)
        except OSError:
            return False
        return Key(st.st_dev, st.st_ino) == node.key

    def _lost(self, node: Node | None, parent: Node, name: bytes) -> None:
        if node is not None:
            self._core.nodes.drop_name(node, parent, name)
            self._on_renamed(node)

    @contextmanager
    def _found(self, parent: Node, name: bytes) -> Iterator[Node | None]:
        """The node of a name that is going to be removed or moved, if the node is in use: with
        a descriptor, so that it outlives its name and its number is not given away."""
        node = self._find(parent, name)
        if node is None:
            yield None
            return
        try:
            with self._core.nodes.held(node):
                yield node
        finally:
            self._core.nodes.unpin(node)

    def _find(self, parent: Node, name: bytes) -> Node | None:
        """The node of a name if it is in use, pinned."""
        try:
            st = backing.stat_at(parent.fd, name)
        except FileNotFoundError:
            return None
        return self._core.nodes.find(Key(st.st_dev, st.st_ino))

    # Listing

    def opendir(self, node: Node) -> DirHandle:
        """Opens a directory for listing."""
        hidden = frozenset({HIDDEN}) if node is self._root else frozenset()
        return DirHandle(node, self._lister, hidden)

    # The hidden area

    def _is_hidden(self, parent: Node, name: bytes) -> bool:
        return name == HIDDEN and parent is self._root

    def _check_new(self, parent: Node, name: bytes) -> None:
        if not parent.is_dir:
            raise oserror(errno.ENOTDIR)
        if name in _FORBIDDEN_NAMES:
            raise oserror(errno.EEXIST)
        if self._is_hidden(parent, name):
            raise oserror(errno.EPERM)

    def _check_existing(self, parent: Node, name: bytes) -> None:
        if not parent.is_dir:
            raise oserror(errno.ENOTDIR)
        if name in _FORBIDDEN_NAMES:
            raise oserror(errno.EINVAL)
        if self._is_hidden(parent, name):
            raise oserror(errno.EPERM)
