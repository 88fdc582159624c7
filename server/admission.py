"""How many connections there may be at once, and which of them goes when there are too many.

A connection costs little but a descriptor, and without descriptors nobody's request can open a
file. So there is a limit, and beyond it a newcomer takes the place of the client that has been
silent for longest, of the network that holds the most: clients that are slow on purpose push out
one another, and nobody else. A client whose answer is being made is never pushed out.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import resource
from typing import TYPE_CHECKING, Protocol

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Admission", "Guest", "network_of", "room_for"]

log = logging.getLogger(__name__)

# Descriptors left to the database, the storages, the jobs and what is still being closed.
_OTHER_DESCRIPTORS = 512
# For so long a client may be silent once the server has been told to stop.
_LAST_PATIENCE_S = 2.0
_LOOK_S = 0.25
_TOLD_S = 60.0


class Guest(Protocol):
    """A connection, as far as it matters here.

    Attributes:
        network: who its client is, as `network_of` tells it.
        moved_at: trio's time when something last came from the client or was taken by it.
    """

    network: str
    moved_at: float

    @property
    def is_awaited(self) -> bool:
        """Whether it is the client's turn: to send what is missing, or to read."""

    def cut_off(self) -> None:
        """Ends it; what it was at ends on its own."""


class Admission:
    """The connections there are; all calls from the trio thread.

    Attributes:
        count: how many.
    """

    def __init__(self, most: int = 2000) -> None:
        self._most = most
        self._by_network: dict[str, set[Guest]] = {}
        self.count = 0
        self._told_at = -math.inf

    def admit(self, guest: Guest) -> bool:
        """Takes a connection in, perhaps in place of another; False when it must go itself."""
        if self.count >= self._most:
            self._tell()
            other = self._dispensable()
            if other is None:
                return False
            self.leave(other)
            other.cut_off()
        self._by_network.setdefault(guest.network, set()).add(guest)
        self.count += 1
        return True

    def leave(self, guest: Guest) -> None:
        """It has ended; says nothing of one that has left already."""
        guests = self._by_network.get(guest.network, set())
        if guest in guests:
            guests.remove(guest)
            self.count -= 1
            if not guests:
                del self._by_network[guest.network]

    async def see_off(self) -> None:
        """Cuts off, again and again until it is cancelled, whoever is silent though awaited:
        a request that does not get complete would only use up the time of the others."""
        while True:
            silent_since = trio.current_time() - _LAST_PATIENCE_S
            for guest in [g for g in self._all() if g.is_awaited and g.moved_at < silent_since]:
                self.leave(guest)
                guest.cut_off()
            await trio.sleep(_LOOK_S)

    def _all(self) -> Iterator[Guest]:
        for guests in self._by_network.values():
            yield from guests

    def _dispensable(self) -> Guest | None:
        """The one to go for a newcomer; None when all are being answered."""
        for guests in sorted(self._by_network.values(), key=len, reverse=True):
            awaited = [guest for guest in guests if guest.is_awaited]
            if awaited:
                return min(awaited, key=lambda guest: guest.moved_at)
        return None

    def _tell(self) -> None:
        now = trio.current_time()
        if now - self._told_at >= _TOLD_S:
            self._told_at = now
            network, guests = max(self._by_network.items(), key=lambda item: len(item[1]))
            log.warning(
                "all %d connections are taken, %d of them by %s; those silent for longest are"
                " closed for new ones",
                self.count,
                len(guests),
                network,
            )


def network_of(host: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 that one host may have to itself."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address) or address.ipv4_mapped:
        return str(getattr(address, "ipv4_mapped", None) or address)
    return str(ipaddress.ip_network((address, 64), strict=False))


def room_for(most: int) -> int:
    """``most`` connections, or as many as this process may have descriptors for, which is raised
    as far as it goes."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return most
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    room = min(most, max(hard // 2, hard - _OTHER_DESCRIPTORS))
    if room < most:
        log.warning("%d descriptors are room for %d connections, not %d", hard, room, most)
    return room
