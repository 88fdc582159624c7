"""Loading the codec's kernels while nobody moves bytes through the mount.

A kernel is loaded when it is first needed, which costs the first reader of a compressed frame some
40 ms. Loading all of them ahead takes half a second, and whoever copies in or reads meanwhile is
at a third of his speed: it is done when the mount is quiet, in short steps, or not at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# How long no byte has to have moved: longer than a program needs from one frame to the next.
QUIET_S = 1.0


async def warm_when_quiet(steps: Iterator[object], moved: Callable[[], int]) -> None:
    """Takes the steps one after the other in a worker thread, none while ``moved`` grows.

    ``moved`` counts the bytes that users have read and written; it must not block. Raises what a
    step raises. Cancelled, it leaves the step under way behind: a kernel that is not cached takes
    seconds to compile.
    """
    before = moved()
    await trio.sleep(QUIET_S)
    while True:
        now = moved()
        if now != before:
            before = now
            await trio.sleep(QUIET_S)
        elif not await trio.to_thread.run_sync(_took, steps, abandon_on_cancel=True):
            return


def _took(steps: Iterator[object]) -> bool:
    """Take one step; whether there was one."""
    for _ in steps:
        return True
    return False
