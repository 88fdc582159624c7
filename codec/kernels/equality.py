"""Whether bytes are the same: what was decoded against what the file has."""

from __future__ import annotations

from typing import Any

import numpy as np

from codec.kernels.jit import kernel

# So many are compared before a difference is looked for: the compiler has them done abreast.
_ABREAST = 4096


@kernel
def are_equal(one: Any, other: Any) -> bool:
    """Whether two arrays uint8[n] hold the same bytes."""
    if one.size != other.size:
        return False
    for start in range(0, one.size, _ABREAST):
        piece = one[start : start + _ABREAST]
        beside = other[start : start + _ABREAST]
        differing = np.uint8(0)
        for i in range(piece.size):
            differing = np.uint8(differing | np.uint8(piece[i] ^ beside[i]))
        if differing:
            return False
    return True
