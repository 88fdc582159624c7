"""What a backing file is, told from its first bytes.

A file is a container, or an open wrap, if and only if it begins with a PXF header; anything
else is raw. A head that is a header no more (a flipped bit, a version of the future) makes the
file bad: its bytes are nobody's pixels and are never given out.
"""

from __future__ import annotations

import enum
import threading
import time
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import codec
from codec import CodecError
from pixfs.volume import backing

if TYPE_CHECKING:
    import os

    from pixfs.volume.attributes import Buffer, Signature

_REMEMBERED = 1 << 17
# When there are too many, a sixteenth of them goes.
_EVICTED_SHARE = 16
# How long ago a file must have changed for a further change to show in its time stamps. Theirs are
# as coarse as two seconds on some file systems; where one is no multiple of what any of those
# counts in, it comes from a clock that ticks every ten milliseconds or faster, and the rest is for
# the clocks of hosts that differ.
_SETTLED_NS = 2 * 10**9
_SETTLED_FINE_NS = 2 * 10**8
_COARSE_NS = 10**7

MIN_SIZE = 8
"""Bytes below which a file is raw whatever is in it: it cannot hold the magic."""


class Kind(enum.Enum):
    """What stands on the backing file system."""

    RAW = "raw"
    WRAP = "wrap"
    CONTAINER = "container"
    BAD = "bad"


# Finding an enum's member is slow beside the rest of telling what a listed file is.
_RAW, _CONTAINER = Kind.RAW, Kind.CONTAINER


class Head(NamedTuple):
    """A file's kind, its logical length in bytes and, if bad, why."""

    kind: Kind
    length: int
    reason: str = ""


def classify(head: bytes, size: int) -> Head:
    """From the first ``codec.HEAD_SIZE`` bytes (fewer if the file is shorter) and the size."""
    try:
        found = codec.peek_header(head)
    except CodecError as error:
        return Head(Kind.BAD, size, str(error))
    if found is None:
        return Head(_RAW, size)
    kind, length = found
    if kind == "wrap":
        if size < codec.WRAP_SIZE:
            return Head(Kind.BAD, size, "the wrap's header is cut off")
        return Head(Kind.WRAP, size - codec.WRAP_SIZE)
    return Head(_CONTAINER, length)


def read_head(fd: int) -> tuple[os.stat_result, Head]:
    """Attributes and head of the backing file behind ``fd``. Raises OSError."""
    st = backing.fstat(fd)
    return st, classify(backing.pread(fd, codec.HEAD_SIZE, 0), st.st_size)


def begins_like_container(fd: int, size: int, offset: int, buf: Buffer) -> bool:
    """Whether the raw file behind ``fd`` would begin like a container once it is ``size`` bytes
    long and ``buf`` stands at ``offset``. Raises OSError."""
    head = bytearray(min(size, codec.HEAD_SIZE))
    stored = backing.pread(fd, len(head), 0)
    head[: len(stored)] = stored
    if offset < len(head):
        piece = memoryview(buf).cast("B")[: len(head) - offset]
        head[offset : offset + len(piece)] = piece
    return codec.is_container_head(bytes(head))


class Remembered(NamedTuple):
    """A head, and the state of the file that it was read in."""

    signature: Signature
    head: Head

    def is_of(self, st: os.stat_result) -> bool:
        """Whether a file with these attributes is in that state."""
        return self.signature == (
            st.st_dev,
            st.st_ino,
            st.st_size,
            st.st_mtime_ns,
            st.st_ctime_ns,
        )


class HeadCache:
    """Heads by signature, so that listing a directory of frames again reads no file; the ones
    remembered longest ago make room. Any thread may call anything."""

    def __init__(self, limit: int = _REMEMBERED) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._heads: dict[tuple[int, int], Remembered] = {}

    def remembered(self, dev: int, ino: int) -> Remembered | None:
        """What is remembered of an inode, perhaps in another state than it is in now."""
        return self._heads.get((dev, ino))

    def get(self, signature: Signature) -> Head | None:
        """The head of the file with exactly this signature, if remembered."""
        remembered = self._heads.get(signature[:2])
        if remembered is None or remembered.signature != signature:
            return None
        return remembered.head

    def put(self, signature: Signature, head: Head) -> None:
        """Remembers a head, unless the file changed so lately that it could change again
        within the same tick of its time stamps, which the signature would not show."""
        age = time.time_ns() - signature.ctime_ns
        if age < (_SETTLED_FINE_NS if signature.ctime_ns % _COARSE_NS else _SETTLED_NS):
            return
        with self._lock:
            self._heads[signature[:2]] = Remembered(signature, head)
            if len(self._heads) > self._limit:
                # Many at once: a dict looks for its first entry past all that were deleted there.
                for oldest in list(islice(self._heads, 1 + self._limit // _EVICTED_SHARE)):
                    del self._heads[oldest]
