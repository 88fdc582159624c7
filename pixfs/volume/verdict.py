"""Why a file stands as it does on the backing, when it is not compressed."""

from __future__ import annotations

import json
import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import codec
from pixfs.volume import backing
from pixfs.volume.attributes import Signature

if TYPE_CHECKING:
    import os

    from pixfs.volume.attributes import Key
    from pixfs.volume.policy import Policy

log = logging.getLogger(__name__)

XATTR = b"user.pixfs.verdict"
_VERSION = 1
_LONGEST_REASON = 200

State = Literal["raw", "verbatim", "error"]


@dataclass(frozen=True)
class Verdict:
    """The outcome of looking at, or trying to compress, the file with this signature."""

    signature: Signature
    state: State
    reason: str


class Verdicts:
    """The latest verdict of each backing inode, for longer than its node lives.

    Bounded: the oldest are forgotten. A verdict counts only while its signature is the
    file's, so a reused inode number does no harm. Any thread.
    """

    def __init__(self, limit: int = 1 << 16) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._verdicts: OrderedDict[Key, Verdict] = OrderedDict()

    def get(self, st: os.stat_result) -> Verdict | None:
        """The verdict on the file as it is now."""
        signature = Signature.of(st)
        with self._lock:
            found = self._verdicts.get(signature.key)
        return found if found is not None and found.signature == signature else None

    def put(self, st: os.stat_result, state: State, reason: str) -> None:
        """Notes a verdict on the file as it is now."""
        signature = Signature.of(st)
        with self._lock:
            self._verdicts[signature.key] = Verdict(signature, state, reason)
            self._verdicts.move_to_end(signature.key)
            if len(self._verdicts) > self._limit:
                self._verdicts.popitem(last=False)


def reason_to_leave(policy: Policy, fd: int, st: os.stat_result) -> str | None:
    """Why compressing a raw file need not be tried; None if it has to be.

    ``fd`` reads the backing file. Cheap: looks at its first bytes and at what is remembered
    about it. Raises OSError.
    """
    if st.st_size < policy.min_size or st.st_size == 0:
        return "too small"
    probed = codec.probe(backing.pread(fd, codec.PROBE_SIZE, 0), st.st_size)
    if probed.reason is not None:
        return probed.reason
    if st.st_size > policy.encode_bytes:
        return "unsupported: too large to be compressed in memory"
    return _remembered(fd, st)


def remember(fd: int, reason: str) -> None:
    """Notes on the backing file that its bytes did not get smaller, so that the next start
    need not try again. A cache: whatever goes wrong here harms nothing."""
    st = backing.fstat(fd)
    note = {"version": _VERSION, "size": st.st_size, "mtime_ns": st.st_mtime_ns, "reason": reason}
    try:
        backing.set_xattr(fd, XATTR, json.dumps(note).encode())
    except OSError as error:
        log.debug("verdict not remembered: %s", error)


def _remembered(fd: int, st: os.stat_result) -> str | None:
    try:
        note = json.loads(backing.get_xattr(fd, XATTR))
    except (OSError, ValueError):
        return None
    if not isinstance(note, dict):
        return None
    expected = {"version": _VERSION, "size": st.st_size, "mtime_ns": st.st_mtime_ns}
    if any(note.get(key) != value for key, value in expected.items()):
        return None
    reason = note.get("reason")
    if not isinstance(reason, str) or not reason.isprintable():
        return None
    return reason[:_LONGEST_REASON]
