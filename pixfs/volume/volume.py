"""The volume: a backing directory, a policy, and everything a file system layer calls."""

from __future__ import annotations

import errno
import logging
import os
import stat as stat_module
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING

from pixfs.throttle import Priority
from pixfs.volume import backing, recovery
from pixfs.volume.area import Area
from pixfs.volume.attributes import Stat
from pixfs.volume.clock import SystemClock
from pixfs.volume.control import Control
from pixfs.volume.core import Core
from pixfs.volume.errors import oserror
from pixfs.volume.files import LogicalFile
from pixfs.volume.handles import DirHandle, Handle
from pixfs.volume.namespace import Namespace
from pixfs.volume.nodes import Node, NodeTable
from pixfs.volume.policy import Policy
from pixfs.volume.prefetch import Prefetcher
from pixfs.volume.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable

    from pixfs.throttle import Throttle
    from pixfs.volume.attributes import Caller, Owner
    from pixfs.volume.clock import Clock

log = logging.getLogger(__name__)


class Volume:
    """One backing directory as its users see it.

    All methods are synchronous, may block on storage and raise OSError with the errno meant
    for the caller; any thread may call them. ``start`` before conversions can happen,
    ``close`` at the end; one owner does both.

    Names and link targets are bytes, one path component at a time. Every method that returns
    a node adds one lookup to it, which the caller gives back with ``release_refs``.
    """

    def __init__(
        self,
        backing_path: str | bytes | os.PathLike[str],
        policy: Policy | None = None,
        *,
        clock: Clock | None = None,
    ) -> None:
        """Opens the backing directory. OSError if that cannot be done."""
        self.policy = policy if policy is not None else Policy()
        self._lock = threading.Lock()
        self._closed = False
        self._recovered = recovery.Recovered()
        self._prefetcher: Prefetcher | None = None
        path = os.path.realpath(os.fsencode(backing_path))
        self._core = Core(
            policy=self.policy,
            clock=clock if clock is not None else SystemClock(),
            nodes=NodeTable(self._new_file),
            on_release=self._released,
        )
        self.root = self._core.nodes.adopt(backing.open_root(path), None, b"")
        if backing.is_local(self.root.fd):
            self._core.local_device = self.root.device
        self._namespace = Namespace(self._core, self.root, self._renamed)
        self._scheduler = Scheduler(self._core, self._namespace, self.root)
        self._control = Control(
            self._core,
            self.root,
            path,
            is_waiting=self._scheduler.queue.is_waiting,
            stats=self.stats,
            convert=self.convert_now,
            restore=self.restore_now,
        )

    def _new_file(self, node: Node) -> LogicalFile:
        return LogicalFile(self._core, node)

    def _released(self, node: Node) -> None:
        self._scheduler.settle(node)

    def _renamed(self, node: Node) -> None:
        self._scheduler.renamed(node)

    # Life

    def start(self) -> None:
        """Clears leftovers of a killed volume, starts the converting threads and the walk.

        A backing directory that cannot be written to serves reads, without conversions.
        """
        try:
            area = Area(self.root.fd)
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise
            log.warning("nothing will be compressed or restored: %s", error)
        else:
            self._core.area = area
            self._core.directories.share(area.names_fd)
            with area.starting():
                self._recovered = recovery.recover(area)
            if self._recovered.volumes:
                log.info("cleared up after a volume that was killed: %s", self._recovered)
        self._core.readahead = ThreadPoolExecutor(
            self.policy.encode_threads, thread_name_prefix="pixfs-readahead"
        )
        prefetcher = Prefetcher(self._core, self._namespace)
        self._prefetcher = prefetcher
        self._core.on_reading = prefetcher.being_read
        self._scheduler.start()

    def close(self, drain: bool = True) -> None:
        """Finishes the conversions that have begun and (or, without ``drain``, but not) those
        that are queued, and closes everything, handles still open included; idempotent. A paused
        volume leaves its queue in any case. The caller makes no other call any more but
        `abandon`."""
        drain = drain and not self.throttle.is_paused
        if not drain:
            # What has begun is finished, or a limit could keep the volume from closing.
            self.throttle.exempt(*Priority)
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._scheduler.close(drain=drain)
        if self._prefetcher is not None:
            self._prefetcher.close()
        if self._core.readahead is not None:
            self._core.readahead.shutdown(wait=True, cancel_futures=True)
        for file in self._core.nodes.files():
            file.shut()
        if self._core.area is not None:
            self._core.directories.share(-1)
            try:
                self._core.area.close()
            except OSError as error:
                log.warning("the hidden area was not cleared: %s", error)
        self._core.nodes.close()

    def abandon(self) -> None:
        """Before or during a `close`, in any thread: it leaves the rest of the queue and breaks
        off the conversions that have begun, each at its next step. Their files stay raw."""
        # A limit could hold them back from their next step.
        self.throttle.exempt(*Priority)
        self._scheduler.abandon()

    @property
    def on_content_changed(self) -> Callable[[Node], None] | None:
        """Called, in any thread, when a node's bytes were found changed behind the users'
        backs. Conversions change no bytes and do not call it."""
        return self._core.on_content_changed

    @on_content_changed.setter
    def on_content_changed(self, callback: Callable[[Node], None] | None) -> None:
        self._core.on_content_changed = callback

    @property
    def drains(self) -> bool:
        """Whether who ends the mount is to `close` with ``drain``: as the policy says, or as
        somebody has set ``user.pixfs.drain`` since."""
        return self._core.drains

    @property
    def on_step(self) -> Callable[[str], None]:
        """Called between the steps of conversions, restores and swaps, with the step's name
        and whatever locks that step holds (see docs/internals/volume.md)."""
        return self._core.on_step

    @on_step.setter
    def on_step(self, callback: Callable[[str], None]) -> None:
        self._core.on_step = callback

    @property
    def throttle(self) -> Throttle:
        """The volume's limits: conversions keep to them, whoever serves requests has to."""
        return self._core.throttle

    def stats(self) -> dict[str, object]:
        """Counters since the start, what the start had to clear up, the queue, the block cache
        and what moves at present; plain JSON values."""
        return {
            **self._core.stats.snapshot(),
            "leftovers_cleaned": self._recovered.files,
            "recovered": asdict(self._recovered),
            **self._scheduler.queue.snapshot(),
            "nodes": self._core.nodes.count(),
            "cache": self._core.cache.snapshot(),
            "throttle": self.throttle.snapshot(),
        }

    def is_idle(self) -> bool:
        """Whether nothing is queued, being converted or being looked for. Files that wait for
        free space do not count."""
        return self._scheduler.queue.is_idle()

    def trim(self) -> None:
        """Gives memory back that no conversion or decoded block has used since the last call."""
        self._scheduler.trim()
        self._core.cache.trim()

    def wait_idle(self, timeout_s: float | None = None) -> bool:
        """Waits until idle; False if that takes longer than ``timeout_s`` (real time)."""
        return self._scheduler.queue.wait_idle(timeout_s)

    def wait_prefetched(self, timeout_s: float | None = None) -> bool:
        """Waits until the frames that readers are expected to want next are decoded; False if
        that takes longer than ``timeout_s`` (real time)."""
        return self._prefetcher is None or self._prefetcher.wait_idle(timeout_s)

    def convert_now(self, node: Node) -> None:
        """Compresses a file and returns when that is done, or when it is known that the file
        stays verbatim. OSError (EBUSY, ENOSPC, ENOTSUP, EIO) with the reason."""
        self._scheduler.convert_now(node)

    def restore_now(self, node: Node) -> None:
        """Makes a compressed file raw; it stays raw until it is written to."""
        self._scheduler.restore_now(node)

    # Names

    def lookup(self, parent: Node, name: bytes) -> Node:
        """The node of a name. ENOENT, ENOTDIR."""
        return self._namespace.lookup(parent, name)

    def release_refs(self, node: Node, count: int) -> None:
        """Gives back ``count`` lookups (forget); the last closes the node."""
        self._core.nodes.forget(node, count)

    def create(
        self, parent: Node, name: bytes, mode: int, flags: int, owner: Owner
    ) -> tuple[Node, Handle]:
        """Creates and opens a regular file; EEXIST, or ESTALE without O_EXCL, if it is there."""
        return self._namespace.create(parent, name, mode, flags, owner)

    def mknod(self, parent: Node, name: bytes, mode: int, rdev: int, owner: Owner) -> Node:
        """Creates a fifo, socket, device or empty regular file."""
        return self._namespace.mknod(parent, name, mode, rdev, owner)

    def mkdir(self, parent: Node, name: bytes, mode: int, owner: Owner) -> Node:
        """Creates a directory."""
        return self._namespace.mkdir(parent, name, mode, owner)

    def symlink(self, parent: Node, name: bytes, target: bytes, owner: Owner) -> Node:
        """Creates a symlink."""
        return self._namespace.symlink(parent, name, target, owner)

    def link(self, node: Node, parent: Node, name: bytes) -> Node:
        """Gives a node one more name."""
        return self._namespace.link(node, parent, name)

    def unlink(self, parent: Node, name: bytes) -> None:
        """Removes a name; the file lives as long as it is open."""
        self._namespace.unlink(parent, name)

    def rmdir(self, parent: Node, name: bytes) -> None:
        """Removes an empty directory."""
        self._namespace.rmdir(parent, name)

    def rename(
        self, parent: Node, name: bytes, parent2: Node, name2: bytes, flags: int = 0
    ) -> None:
        """Renames; flags as in renameat2(2): 0, RENAME_NOREPLACE, RENAME_EXCHANGE."""
        self._namespace.rename(parent, name, parent2, name2, flags)

    def readlink(self, node: Node) -> bytes:
        """A symlink's target. EINVAL for anything else."""
        if not stat_module.S_ISLNK(node.kind):
            raise oserror(errno.EINVAL)
        return backing.read_link(node.fd)

    def opendir(self, node: Node) -> DirHandle:
        """Opens a directory for listing. ENOTDIR."""
        return self._namespace.opendir(node)

    # Files

    def open(self, node: Node, flags: int) -> Handle:
        """Opens a regular file; O_TRUNC, O_APPEND and the access mode count, O_DIRECT does
        not. EISDIR, EACCES, ESTALE (look the name up again), EBUSY."""
        return Handle(self._core, node, flags)

    def truncate(self, node: Node, size: int, handle: Handle | None = None) -> None:
        """Sets a file's logical size, through an open handle if there is one."""
        if size < 0 or node.file is None:
            raise oserror(errno.EISDIR if node.is_dir else errno.EINVAL)
        if handle is not None:
            handle.truncate(size)
        else:
            node.file.truncate(size)

    # Attributes

    def stat(self, node: Node) -> Stat:
        """Attributes as users see them: logical size, stored blocks. ESTALE for what another
        volume on the same directory has replaced or removed: look the name up again."""
        if node.file is not None:
            return node.file.stat()
        return self._stat_of(node, self._core.nodes.stat(node))

    def stat_at_once(self, node: Node) -> Stat | None:
        """The same if it takes no waiting for storage or locks, else None. ESTALE."""
        if node.device != self._core.local_device:
            return None
        if node.is_regular:
            return node.known_file.stat_at_once() if node.known_file is not None else None
        descriptor = node.descriptor
        return self._stat_of(node, backing.fstat(descriptor)) if descriptor is not None else None

    def _stat_of(self, node: Node, st: os.stat_result) -> Stat:
        if st.st_nlink == 0 and self._core.nodes.names(node):
            raise oserror(errno.ESTALE)
        return Stat.of(st, node.ino)

    def chmod(self, node: Node, mode: int) -> None:
        """Sets permission bits."""
        if node.file is None:
            backing.chmod(node.fd, stat_module.S_IMODE(mode))
            return
        with node.file.changing():
            backing.chmod(node.fd, stat_module.S_IMODE(mode))

    def chown(self, node: Node, uid: int, gid: int) -> None:
        """Sets owner and group; -1 leaves one as it is. Clears suid and sgid of files."""
        if node.file is None:
            backing.chown(node.fd, uid, gid)
            return
        with node.file.changing():
            backing.chown(node.fd, uid, gid)

    def utimens(self, node: Node, atime_ns: int | None, mtime_ns: int | None) -> None:
        """Sets times in nanoseconds; None leaves one as it is."""
        if node.file is None:
            backing.utimens(node.fd, atime_ns, mtime_ns)
            return
        with node.file.changing():
            backing.utimens(node.fd, atime_ns, mtime_ns)

    def statfs(self) -> os.statvfs_result:
        """Totals of the backing file system."""
        return backing.statvfs(self.root.fd)

    def getxattr(self, node: Node, name: bytes, caller: Caller) -> bytes:
        """Value of an xattr; those under ``user.pixfs.`` are computed. ENODATA."""
        return self._control.get(node, name, caller)

    def setxattr(self, node: Node, name: bytes, value: bytes, flags: int, caller: Caller) -> None:
        """Sets an xattr (flags XATTR_CREATE, XATTR_REPLACE); ``user.pixfs.state`` converts."""
        self._control.set(node, name, value, flags, caller)

    def listxattr(self, node: Node, caller: Caller) -> list[bytes]:
        """Names of the xattrs; the computed ones only if the policy lists them."""
        return self._control.list(node, caller)

    def removexattr(self, node: Node, name: bytes, caller: Caller) -> None:
        """Removes an xattr. ENODATA, EPERM."""
        self._control.remove(node, name, caller)
