"""What the parts of one volume share."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pixfs.throttle import Throttle
from pixfs.volume.blockcache import BlockCache
from pixfs.volume.heads import HeadCache
from pixfs.volume.locks import DirectoryLocks
from pixfs.volume.stats import Stats
from pixfs.volume.verdict import Verdicts

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from pixfs.volume.area import Area
    from pixfs.volume.clock import Clock
    from pixfs.volume.nodes import Node, NodeTable
    from pixfs.volume.policy import Policy


def _nobody(node: Node) -> None:
    """Nobody wants to know."""


def _no_step(step: str) -> None:
    """Nobody watches."""


@dataclass
class Core:
    """One volume's shared state. Lock order, outermost first: a file's ``conversion``, a
    file's ``mutex``, directory locks, the node table's and other inner locks.

    Attributes:
        area: where temporaries live; None until the volume has started, and on a backing
            file system that is read-only.
        throttle: the limits that conversions keep to, and whoever serves users' requests.
        readahead: decodes blocks a sequential reader will want; None when not started.
        on_reading: called when somebody has begun to read through a file.
        drains: whether the queue is to be finished when the mount ends; as the policy says until
            somebody sets it.
        abandoning: set when the volume closes and conversions are not to be waited for.
        local_device: of the backing directory, if its file system is this host's own
            (`backing.is_local`).
        on_step: called with a step's name between the steps of a conversion, restore or swap
            (`docs/internals/volume.md` lists them).
    """

    policy: Policy
    clock: Clock
    nodes: NodeTable
    on_release: Callable[[Node], None]
    on_content_changed: Callable[[Node], None] | None = None
    area: Area | None = None
    local_device: int | None = None
    readahead: Executor | None = None
    on_reading: Callable[[Node], None] = _nobody
    on_step: Callable[[str], None] = _no_step
    abandoning: threading.Event = field(default_factory=threading.Event)
    stats: Stats = field(default_factory=Stats)
    heads: HeadCache = field(default_factory=HeadCache)
    verdicts: Verdicts = field(default_factory=Verdicts)
    directories: DirectoryLocks = field(default_factory=DirectoryLocks)
    drains: bool = field(init=False)
    cache: BlockCache = field(init=False)
    throttle: Throttle = field(init=False)

    def __post_init__(self) -> None:
        self.drains = self.policy.drain
        self.cache = BlockCache(self.policy.cache_bytes)
        self.throttle = Throttle(self.policy.throttle_read, self.policy.throttle_write)
