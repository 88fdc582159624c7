"""Memory for what stays a while among what comes and goes."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Below, the rest of the last page and the call would cost more than they save; and a process may
# have some 65,000 mappings.
_FROM = 64 << 10


def own_pages(size: int) -> NDArray[np.uint8] | None:
    """``size`` bytes with pages of their own, taken from the system at once and given back to it as
    soon as nobody refers to them; None where that is not worth it. Any thread.

    A decoded block may stay in the cache for hours. In the C library's heap it would stand between
    buffers that live for a request, and each one that is freed would leave a hole of its own.
    """
    if size < _FROM:
        return None
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    return np.frombuffer(mmap.mmap(-1, size, flags=flags), np.uint8)
