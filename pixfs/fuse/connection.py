"""The daemon's end of the kernel's connection: whether the mount is still there.

pyfuse3 tells nobody that the kernel has ended the connection (umount, an abort): its loop waits
until every request is answered. Requests that are held back on purpose have to be let go then.
"""

from __future__ import annotations

import os
import select

_DEVICE = "/dev/fuse"


class Connection:
    """The open /dev/fuse of this process; look for it after the mount has been made."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._requests = select.poll()
        self.found = False
        for entry in os.listdir("/proc/self/fd"):
            try:
                is_device = os.readlink(f"/proc/self/fd/{entry}") == _DEVICE
            except FileNotFoundError:
                # The listing's own descriptor.
                continue
            if is_device:
                self._poll.register(int(entry), 0)
                self._requests.register(int(entry), select.POLLIN)
                self.found = True

    def is_over(self) -> bool:
        """Whether the kernel has ended the connection; never blocks."""
        return any(events & (select.POLLERR | select.POLLNVAL) for _, events in self._poll.poll(0))

    def has_request(self) -> bool:
        """Whether the kernel has a request that nobody has taken yet; never blocks."""
        return bool(self._requests.poll(0))
