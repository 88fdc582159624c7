"""Tells whoever started this process how it is doing, by the sd_notify protocol."""

from __future__ import annotations

import logging
import os
import socket

log = logging.getLogger(__name__)


def notify(state: str) -> None:
    """Send ``state`` (``READY=1``, ``STOPPING=1``, ...) to NOTIFY_SOCKET, if there is one.

    Never blocks and never raises: a supervisor that does not listen is only worth a warning.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    flags = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    with socket.socket(socket.AF_UNIX, flags) as sender:
        try:
            sender.sendto(state.encode(), address)
        except OSError as error:
            log.warning("cannot tell the supervisor %s: %s", state, error)
