"""When files are compressed: after they have settled, at start, or on demand."""

from __future__ import annotations

import errno
import logging
import os
import resource
import stat
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from codec import CodecError
from pixfs.throttle import Priority
from pixfs.volume import backing, verdict
from pixfs.volume.area import HIDDEN
from pixfs.volume.convert import Converter, Result
from pixfs.volume.errors import (
    BusyError,
    ConversionRefusedError,
    NoSpaceError,
    StaleNodeError,
)
from pixfs.volume.heads import Kind
from pixfs.volume.queue import ConversionQueue, Workers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pixfs.volume.core import Core
    from pixfs.volume.namespace import Namespace
    from pixfs.volume.nodes import Node

log = logging.getLogger(__name__)

_SPACE_RETRY_S = 60.0
_BUSY_RETRY_S = 1.0
_BUSY_ROUNDS = 5


class Scheduler:
    """Owns the queue, the converting threads and the walk at start.

    A waiting node is pinned from ``_enqueue`` until it leaves the queue.
    """

    def __init__(self, core: Core, namespace: Namespace, root: Node) -> None:
        self._core = core
        self._namespace = namespace
        self._root = root
        self._converter = Converter(core)
        # Each waiting node keeps a descriptor open: leave most of them to the users.
        soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        limit = max(64, min(soft // 4, 100_000))
        self.queue = ConversionQueue(core.clock, limit)
        # One more than may encode at once, which reads, writes and waits for the storage meanwhile.
        self._workers = Workers(self.queue, core.policy.encode_threads + 1, self._work)
        self._walker = threading.Thread(target=self._walk, name="pixfs-rescan", daemon=True)
        self._closing = threading.Event()
        self._started = False

    def start(self) -> None:
        """Starts the threads and, if the policy says so, the walk."""
        self._started = True
        self._workers.start()
        if self._core.policy.mode == "on-close":
            if self._core.policy.rescan:
                self.queue.walking(1)
            self._walker.start()

    def close(self, *, drain: bool) -> None:
        """Stops the walk, finishes or leaves what waits, joins the threads."""
        self._closing.set()
        for node in self.queue.close(drain=drain):
            self._core.nodes.unpin(node)
        if self._started:
            self._workers.join()
            if self._walker.ident is not None:
                self._walker.join()

    def abandon(self) -> None:
        """Leaves what waits and breaks off what has begun, also in a `close` under way."""
        self._core.abandoning.set()
        for node in self.queue.close(drain=False):
            self._core.nodes.unpin(node)

    # On close

    def settle(self, node: Node) -> None:
        """The node may have been written to: compress it once it has settled."""
        file = node.file
        if file is None or file.writers or self._core.policy.mode != "on-close":
            return
        if not self._core.nodes.names(node):
            return
        if self._core.policy.wants(self._core.nodes.path(node)):
            file.busy_rounds = 0
            self._enqueue(node, self._core.policy.settle_s)

    def renamed(self, node: Node) -> None:
        """The node lost a name or got another: there may be nothing to do any more, one link
        may be left at last, and what the policy wants may be another thing now."""
        if self._core.nodes.names(node):
            self.settle(node)
        elif self.queue.discard(node):
            self._core.nodes.unpin(node)

    def _enqueue(self, node: Node, delay_s: float) -> None:
        self._core.nodes.pin(node)
        if not self.queue.put(node, delay_s):
            self._core.nodes.unpin(node)

    def trim(self) -> None:
        """Gives memory back that no conversion has used since the last call. Any thread."""
        self._converter.trim()

    # On demand

    def convert_now(self, node: Node) -> Result:
        """Compresses a file in this thread.

        OSError: EBUSY, ENOSPC, ENOTSUP with the reason as its text when it cannot be now, EIO
        when the encoder failed its own check; the reason is kept with the file.
        """
        # Out of the queue first: a writer that closes the file meanwhile puts it back.
        waiting = self.queue.discard(node)
        if waiting:
            self._core.nodes.unpin(node)
        try:
            threads = self._core.policy.encode_threads
            return self._converter.convert(node, threads=threads, priority=Priority.DEMAND)
        except ConversionRefusedError as refusal:
            if waiting:
                self.settle(node)
            self._judge(node, "raw", str(refusal))
            raise OSError(refusal.errno, str(refusal)) from refusal
        except CodecError as error:
            self._fail(node, error)
            raise OSError(errno.EIO, str(error)) from error
        except OSError:
            # What waited still waits; should the background meet the error, too, it keeps that.
            if waiting:
                self.settle(node)
            raise

    def restore_now(self, node: Node) -> None:
        """Makes a file raw in this thread; it stays so until it is written to."""
        if self.queue.discard(node):
            self._core.nodes.unpin(node)
        if node.file is None:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        node.file.restore()
        self._judge(node, "raw", "restored on demand")

    # In the background

    def _work(self, node: Node) -> None:
        try:
            self._convert(node)
        except StaleNodeError:
            # Not a failure, and not what a network file system means by ESTALE.
            log.debug("gone before it was compressed: %r", node)
        except (OSError, CodecError) as error:
            self._fail(node, error)
        except BaseException:
            self._core.stats.add("failed")
            self._judge(node, "error", "internal error, see the log")
            raise
        finally:
            self._core.nodes.unpin(node)

    def _convert(self, node: Node) -> None:
        if not self._core.policy.wants(self._core.nodes.path(node)):
            return
        try:
            self._converter.convert(node)
        except NoSpaceError as refusal:
            self._judge(node, "raw", str(refusal))
            self._core.nodes.pin(node)
            if not self.queue.defer(node, _SPACE_RETRY_S):
                self._core.nodes.unpin(node)
        except BusyError as refusal:
            self._judge(node, "raw", str(refusal))
            self._retry(node)
        except ConversionRefusedError as refusal:
            log.debug("not compressed: %s", refusal)
            self._judge(node, "raw", str(refusal))

    def _retry(self, node: Node) -> None:
        file = node.file
        # An open writer queues it again when it is done; others may never be.
        if file is None or file.writers or file.busy_rounds >= _BUSY_ROUNDS:
            return
        if not self._core.nodes.names(node):
            return
        file.busy_rounds += 1
        self._enqueue(node, max(self._core.policy.settle_s, _BUSY_RETRY_S))

    def _fail(self, node: Node, error: Exception) -> None:
        self._core.stats.add("failed")
        name = node.file.describe() if node.file is not None else repr(node)
        log.error("%s was not compressed and stays as it is: %s", name, error)
        self._judge(node, "error", str(error))

    def _judge(self, node: Node, state: verdict.State, reason: str) -> None:
        # A file that cannot even be looked at has none to ask for its reason.
        with suppress(OSError):
            self._core.verdicts.put(backing.fstat(node.fd), state, reason)

    # At start

    def _walk(self) -> None:
        """At start if the policy says so, and whenever the queue could not take a file."""
        begun = self._core.policy.rescan
        while begun or self.queue.wait_overflowed():
            begun = False
            try:
                self._walk_tree()
            except OSError as error:
                log.warning("the walk for files that wait for compression ended: %s", error)
            finally:
                self.queue.walking(-1)

    def _walk_tree(self) -> None:
        for directory, names in self._directories():
            for name in names:
                if self._closing.is_set() or not self.queue.wait_for_room():
                    return
                self._look_at(directory, name)

    def _directories(self) -> Iterator[tuple[Node, list[bytes]]]:
        """Depth first, each directory's node held only while it is below or at it."""
        stack: list[tuple[Node, list[bytes]]] = []
        node = self._root
        self._core.nodes.add_lookup(node)
        try:
            while True:
                files, directories = self._list(node)
                stack.append((node, directories))
                yield node, files
                while stack and not stack[-1][1]:
                    self._core.nodes.forget(stack.pop()[0], 1)
                if not stack:
                    return
                try:
                    node = self._namespace.lookup(stack[-1][0], stack[-1][1].pop())
                except OSError:
                    continue
        finally:
            for held, _ in stack:
                self._core.nodes.forget(held, 1)

    def _list(self, node: Node) -> tuple[list[bytes], list[bytes]]:
        files, directories = [], []
        fd = backing.reopen(node.fd, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name in backing.list_directory(fd):
                if node is self._root and name == HIDDEN:
                    continue
                try:
                    mode = backing.stat_at(fd, name).st_mode
                except OSError:
                    continue
                if stat.S_ISDIR(mode):
                    directories.append(name)
                elif stat.S_ISREG(mode):
                    files.append(name)
        finally:
            backing.close(fd)
        return files, directories

    def _look_at(self, directory: Node, name: bytes) -> None:
        try:
            node = self._namespace.lookup(directory, name)
        except OSError:
            return
        try:
            delay_s = self._delay(node)
            if delay_s is not None:
                self._enqueue(node, delay_s)
        except OSError as error:
            log.info("not looked at for compression: %s", error)
        finally:
            self._core.nodes.forget(node, 1)

    def _delay(self, node: Node) -> float | None:
        """Seconds until a raw file found by the walk has settled; None to leave it."""
        policy = self._core.policy
        file = node.file
        if file is None or file.writers or not policy.wants(self._core.nodes.path(node)):
            return None
        st, head = file.look()
        if st.st_nlink != 1 or head.kind not in (Kind.RAW, Kind.WRAP):
            return None
        if head.kind is Kind.RAW:
            fd = backing.reopen(node.fd, os.O_RDONLY)
            try:
                if verdict.reason_to_leave(policy, fd, st) is not None:
                    return None
            finally:
                backing.close(fd)
        age_s = time.time() - st.st_mtime
        return max(0.0, policy.settle_s - max(0.0, age_s))
