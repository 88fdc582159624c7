"""Clients that have stopped reading are cut off; those that read at all are not.

A write to a client waits until the client has made room, however long that takes: a slow download
is a good download. Whether anything still moves only the kernel knows: it counts the bytes that
the other side has not acknowledged.
"""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import stat
import struct
import termios
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Readers", "accepted_at"]

log = logging.getLogger(__name__)

Address = tuple[str, int]


@dataclass(slots=True, eq=False)
class _Write:
    """A message on its way: since when, and what was unacknowledged when that last changed."""

    client: Address
    since: float
    unread: int = -1


class Readers:
    """The writes under way; all calls from the trio thread.

    Attributes:
        stall_s: for so long a client may read nothing.
    """

    def __init__(self, stall_s: float = 120.0) -> None:
        self.stall_s = stall_s
        self._writes: set[_Write] = set()

    @contextmanager
    def writing(self, client: Address) -> Iterator[None]:
        """A message is being written to this client for the length of the block."""
        write = _Write(client, trio.current_time())
        self._writes.add(write)
        try:
            yield
        finally:
            self._writes.discard(write)

    async def watch(self, port: int) -> None:
        """Cuts off who has stopped reading at a port, until it is cancelled."""
        while True:
            await trio.sleep(self.stall_s / 4)
            stalled = self._stalled(port)
            for connection, peer in accepted_at(port) if stalled else ():
                if peer in stalled:
                    log.info("a client that has stopped reading is cut off")
                    connection.shutdown(socket.SHUT_RDWR)

    def _stalled(self, port: int) -> set[Address]:
        """The clients that have read nothing for too long."""
        now = trio.current_time()
        # Most writes are over long before anybody looks at them.
        old = {w.client: w for w in self._writes if now - w.since > self.stall_s / 4}
        if not old:
            return set()
        for connection, peer in accepted_at(port):
            if peer in old:
                self.note(old[peer], _unacknowledged(connection), now)
        return {client for client, write in old.items() if now - write.since > self.stall_s}

    def note(self, write: _Write, unread: int, now: float) -> None:
        """What a client has not acknowledged yet; any change means that it reads."""
        if write.unread not in (-1, unread):
            write.since = now
        write.unread = unread


def accepted_at(port: int) -> Iterator[tuple[socket.socket, Address]]:
    """Each connection accepted at a port, as a duplicate that is closed when the next is asked
    for, and the address at its other end.

    The sockets are the HTTP server's own and it hands them to nobody, hence the look through the
    process's descriptors.
    """
    for name in os.listdir("/proc/self/fd"):
        try:
            fd = os.dup(int(name))
        except OSError:  # the listing's own descriptor, closed again by now
            continue
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            os.close(fd)
            continue
        with socket.socket(fileno=fd) as connection:
            peer = _peer(connection, port)
            if peer is not None:
                yield connection, peer


def _peer(connection: socket.socket, port: int) -> Address | None:
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    try:
        host, peer_port = connection.getpeername()[:2]
    except OSError:  # a listening socket, or a peer that has gone
        return None
    return (host, peer_port) if connection.getsockname()[1] == port else None


def _unacknowledged(connection: socket.socket) -> int:
    answer = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))
    return int(struct.unpack("i", answer)[0])
