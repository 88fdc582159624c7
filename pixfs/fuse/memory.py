"""Giving freed memory back to the system.

The C library keeps what is freed, in an arena for nearly every thread: a daemon that has converted
and decoded frames in many threads holds hundreds of MiB that nothing uses, and the amount creeps
up for as long as threads come to arenas they have not used yet. Three things hold it where the use
of it is: a few arenas; large buffers kept out of them, as decoded blocks are, which stay and would
pin the holes between them (`pixfs.volume.pages`); and the free pages of the arenas given back now
and then. Elsewhere than with glibc nothing is done.
"""

from __future__ import annotations

import ctypes

MIB = 1 << 20

# mallopt's names.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
# Threads allocate little at a time, and large buffers seldom: they hardly ever wait for an arena.
_ARENAS = 4
# From this size on a buffer has pages of its own, which are gone when it is freed. Left to itself
# the C library raises the threshold to 32 MiB as soon as buffers of that size have been freed. It
# is just above the most that a request carries (1 MiB and the object around it): to have pages for
# every write cleared and taken away again costs as much as the write.
_OWN_PAGES_FROM = MIB + 4096
# Free memory at an arena's end that is not given back at once: the next buffers want it again.
_KEPT_AT_END = 8 * MIB
# How often to give back, in seconds.
TRIM_EVERY_S = 20.0
_libc = ctypes.CDLL(None)


def set_up() -> None:
    """Have the C library keep little of what is freed; before the process starts its threads."""
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(_M_ARENA_MAX, _ARENAS)
        _libc.mallopt(_M_MMAP_THRESHOLD, _OWN_PAGES_FROM)
        _libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_AT_END)


def trim() -> None:
    """Give the free pages of all arenas back; takes milliseconds, in which an allocation may have
    to wait. Any thread but trio's."""
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)
