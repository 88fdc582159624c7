"""Messages to the service manager (sd_notify's protocol: datagrams to NOTIFY_SOCKET)."""

from __future__ import annotations

import logging
import os
import socket

log = logging.getLogger(__name__)


class ServiceManager:
    """Where to report to, if anywhere. Any thread; a datagram is sent without waiting."""

    def __init__(self, address: str | None = None) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET") if address is None else address

    def notify(self, *lines: str) -> None:
        """Send lines such as READY=1; a manager that does not listen is only logged."""
        if not self._address:
            return
        # A leading @ stands for the NUL byte of the abstract name space.
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.connect(address)
                sock.send("\n".join(lines).encode())
        except OSError as error:
            log.warning("cannot notify the service manager at %s: %s", self._address, error)


def watchdog_interval_s() -> float | None:
    """Half of what the service manager waits for a sign of life, None without a watchdog."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    text = os.environ.get("WATCHDOG_USEC", "")
    return int(text) / 2_000_000 if text.isdigit() and int(text) > 0 else None
