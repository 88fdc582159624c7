"""Giving freed memory back to the system.

The C library keeps what is freed, in an arena for nearly every thread: a daemon that has converted
and decoded frames in many threads holds hundreds of MiB that nothing uses, and the amount creeps
up for as long as threads come to arenas they have not used yet. A few arenas, whose free pages
are given back now and then, hold it where the use of it is. Elsewhere than with glibc nothing
is done.
"""

from __future__ import annotations

import ctypes

# mallopt's name for the number of arenas.
_M_ARENA_MAX = -8
# Threads allocate little at a time, and large buffers seldom: they hardly ever wait for an arena.
_ARENAS = 4
# How often to give back, in seconds.
TRIM_EVERY_S = 20.0
_libc = ctypes.CDLL(None)


def keep_few_arenas() -> None:
    """Limit the arenas of this process; before it starts its threads."""
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(_M_ARENA_MAX, _ARENAS)


def trim() -> None:
    """Give the free pages of all arenas back; takes milliseconds, in which an allocation may have
    to wait. Any thread but trio's."""
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)
