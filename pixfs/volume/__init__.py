"""Storage core of PixFS: a backing directory of raw files and containers, seen as files.

Synchronous and thread-safe; knows neither FUSE nor an event loop.
"""

from __future__ import annotations

from pixfs.volume.attributes import Caller, Owner, Stat
from pixfs.volume.clock import Clock, SystemClock
from pixfs.volume.fsck import check
from pixfs.volume.handles import DirHandle, Handle
from pixfs.volume.nodes import Node
from pixfs.volume.policy import Policy
from pixfs.volume.volume import Volume

__all__ = [
    "Caller",
    "Clock",
    "DirHandle",
    "Handle",
    "Node",
    "Owner",
    "Policy",
    "Stat",
    "SystemClock",
    "Volume",
    "check",
]
