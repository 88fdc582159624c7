"""The next frames of a sequence, decoded before they are asked for.

A compressed frame is decoded at the pace of the processor; a player wants it at once. When one
frame after another is read through, the frames that come next (`playback`) are decoded into the
block cache on as many threads as encode, nearest first and block by block. What is decoded ahead
takes half of the cache's budget at most. A block is decoded only if its frame is still expected
when its turn comes, so that a player that jumps is not kept waiting by what it left.

What is stored of them is asked of the storage at once, so that no thread that decodes waits for
it; of raw frames that is all there is to do.
"""

from __future__ import annotations

import logging
import re
import stat as modes
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, ParamSpec

from codec import CodecError
from pixfs.volume import backing, pagecache
from pixfs.volume.contents import ContainerContent
from pixfs.volume.playback import Playback

if TYPE_CHECKING:
    from collections.abc import Callable

    from pixfs.volume.core import Core
    from pixfs.volume.namespace import Namespace
    from pixfs.volume.nodes import Node

log = logging.getLogger(__name__)

P = ParamSpec("P")

_NUMBERED = re.compile(rb"(?P<head>.*?)(?P<number>\d{1,15})(?P<tail>\D*(?:\.[^.]*)?)", re.DOTALL)
_MOST_AHEAD = 8
_MOST_SEQUENCES = 16


class Pattern(NamedTuple):
    """Files of one directory whose names differ in a frame number only."""

    directory: Node
    head: bytes
    tail: bytes
    width: int

    def name(self, frame: int) -> bytes:
        """The name of a frame."""
        return b"%s%0*d%s" % (self.head, self.width, frame, self.tail)


def parse(directory: Node, name: bytes) -> tuple[Pattern, int] | None:
    """What sequence a name belongs to, and as which frame; None for a name without a number."""
    match = _NUMBERED.fullmatch(name)
    if match is None:
        return None
    digits = match["number"]
    # Padded, or just as long as that: 0999 is followed by 1000.
    return Pattern(directory, match["head"], match["tail"], len(digits)), int(digits)


class _Sequence:
    """A sequence being read: its readers, and what is to be decoded for them."""

    def __init__(self) -> None:
        self.playback = Playback()
        self.wanted: frozenset[int] = frozenset()
        self.under_way: set[int] = set()


class Prefetcher:
    """Watches what is read of one volume. Any thread may call anything; nothing blocks but
    `close`."""

    def __init__(self, core: Core, namespace: Namespace) -> None:
        self._core = core
        self._namespace = namespace
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._pending = 0
        self._sequences: OrderedDict[Pattern, _Sequence] = OrderedDict()
        self._closed = False
        # One that decides, so that no reader waits for the storage to tell which frames exist.
        self._watcher = ThreadPoolExecutor(1, thread_name_prefix="pixfs-prefetch")
        self._decoders = ThreadPoolExecutor(
            core.policy.encode_threads, thread_name_prefix="pixfs-decode"
        )

    def being_read(self, node: Node) -> None:
        """Somebody is reading through this file."""
        if self._closed or not self._core.policy.cache_bytes:
            return
        self._core.nodes.pin(node)
        if not self._submit(self._watcher, self._notice, node):
            self._core.nodes.unpin(node)

    def wait_idle(self, timeout_s: float | None = None) -> bool:
        """Waits until everything noticed has been seen to; False if that takes longer."""
        with self._idle:
            return self._idle.wait_for(lambda: not self._pending, timeout_s)

    def _submit(
        self,
        executor: ThreadPoolExecutor,
        work: Callable[P, None],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> bool:
        """Whether the work will be done: nothing is taken any more once we are closing."""
        try:
            future = executor.submit(work, *args, **kwargs)
        except RuntimeError:
            return False
        with self._lock:
            self._pending += 1
        future.add_done_callback(lambda _: self._done())
        return True

    def _done(self) -> None:
        with self._idle:
            self._pending -= 1
            self._idle.notify_all()

    def close(self) -> None:
        """Decodes nothing more; waits for the blocks that are being decoded."""
        self._closed = True
        with self._lock:
            for sequence in self._sequences.values():
                sequence.wanted = frozenset()
            self._sequences.clear()
        self._watcher.shutdown(wait=True)
        self._decoders.shutdown(wait=True)

    def _notice(self, node: Node) -> None:
        try:
            for directory, name in self._core.nodes.names(node)[:1]:
                found = parse(directory, name)
                if found is not None:
                    self._plan(*found, self._logical_size(node))
        except OSError as error:
            log.debug("nothing is decoded ahead of %r: %s", node, error)
        except Exception:
            log.exception("looking ahead of %r failed", node)
        finally:
            self._core.nodes.unpin(node)

    def _logical_size(self, node: Node) -> int:
        return node.file.stat().size if node.file is not None else 0

    def _plan(self, pattern: Pattern, frame: int, size: int) -> None:
        known: dict[int, bool] = {}

        def exists(number: int) -> bool:
            if number not in known:
                known[number] = number >= 0 and self._exists(pattern, number)
            return known[number]

        most = min(_MOST_AHEAD, self._core.policy.cache_bytes // 2 // max(size, 1))
        with self._lock:
            sequence = self._sequences.setdefault(pattern, _Sequence())
            self._sequences.move_to_end(pattern)
            while len(self._sequences) > _MOST_SEQUENCES:
                _, oldest = self._sequences.popitem(last=False)
                oldest.wanted = frozenset()
        player = sequence.playback.read(frame, exists)
        ahead = [number for number, _ in zip(player.ahead(exists), range(most), strict=False)]
        with self._lock:
            # What is being decoded of the frame at hand is wanted more than anything.
            sequence.wanted = frozenset((frame, *ahead))
            fresh = [number for number in ahead if number not in sequence.under_way]
            sequence.under_way.update(fresh)
        for number in fresh:
            self._ask_storage(pattern, number)
        for number in fresh:
            self._start(pattern, sequence, number)

    def _exists(self, pattern: Pattern, frame: int) -> bool:
        try:
            st = backing.stat_at(pattern.directory.fd, pattern.name(frame))
        except OSError:
            return False
        # A fifo or a device would notice being opened.
        return modes.S_ISREG(st.st_mode)

    def _ask_storage(self, pattern: Pattern, frame: int) -> None:
        try:
            fd = backing.open_listed(pattern.directory.fd, pattern.name(frame))
        except OSError as error:
            log.debug("frame %d is not read ahead: %s", frame, error)
            return
        try:
            pagecache.will_read(fd)
        finally:
            backing.close(fd)

    def _start(self, pattern: Pattern, sequence: _Sequence, frame: int) -> None:
        if not self._submit(self._decoders, self._fetch, pattern, sequence, frame):
            sequence.under_way.discard(frame)

    def _fetch(self, pattern: Pattern, sequence: _Sequence, frame: int) -> None:
        """Decodes a frame, sharing its blocks with whoever is free."""
        try:
            if frame in sequence.wanted:
                node = self._namespace.lookup(pattern.directory, pattern.name(frame))
                try:
                    self._fetch_node(node, sequence, frame)
                finally:
                    self._core.nodes.forget(node, 1)
        except (OSError, CodecError) as error:
            # Whoever really reads it meets the same error and is told.
            log.debug("frame %d is not decoded ahead: %s", frame, error)
        except Exception:
            log.exception("decoding frame %d ahead failed", frame)
        finally:
            with self._lock:
                sequence.under_way.discard(frame)

    def _fetch_node(self, node: Node, sequence: _Sequence, frame: int) -> None:
        if node.file is None:
            return
        with node.file.opened() as content:
            if not isinstance(content, ContainerContent):
                return
            for index in range(content.reader.blocks):
                if frame not in sequence.wanted:
                    return
                content.block(index)
            self._core.stats.add("frames_prefetched")
