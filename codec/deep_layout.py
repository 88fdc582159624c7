"""What the encoder and the decoder of modes 4 and 6 both know of a plane's head."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from codec.kernels import class_predict, deep_tokens, serial_context, tans

if TYPE_CHECKING:
    from numpy.typing import NDArray

PLANE_HEAD = struct.Struct("<BBBBHBB")
"""Sets, flags, magnitude and activity shift, start magnitude, tokens, nought."""
MAPPED = 1
"""The flag of a plane that has a map of its own."""
MAX_SHIFT = 15


@dataclass(frozen=True, slots=True)
class Cut:
    """How rows are cut: into streams of tokens, and into runs of predictions.

    ``flat_planes``: a plane without tokens has no streams, as all its residuals are 0.
    """

    streams: int
    runs: int
    flat_planes: bool

    def stream_length(self, width: int) -> int:
        """Columns of each stream but the last ones, which have what is left (perhaps none)."""
        return int(class_predict.run_length(width, self.runs)) * (self.runs // self.streams)


FIRST_CUT = Cut(4, 4, flat_planes=False)
"""That of mode 4."""
CUT = Cut(deep_tokens.STREAMS, class_predict.RUNS, flat_planes=True)
"""That of mode 6."""


def ranks_of(used: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """How many of the values that occur are smaller, at most all but one."""
    smaller: NDArray[np.uint32] = np.cumsum(used, dtype=np.uint32) - used
    ranks: NDArray[np.uint16] = np.minimum(smaller, np.count_nonzero(used) - 1).astype(np.uint16)
    return ranks


def magnitude_bases(shift: int, weight: int) -> NDArray[np.uint64]:
    """`tans.token_bases` of a plane; ``weight`` is that of W's magnitude."""
    bases = np.zeros(tans.TOKENS, np.uint64)
    tans.token_bases(shift, serial_context.MAX_MAGNITUDE, weight, bases)
    return bases


def level_table(thresholds: NDArray[np.uint16]) -> NDArray[np.uint8]:
    table = np.zeros(serial_context.LEVELS, np.uint8)
    serial_context.context_table(thresholds, table)
    return table


def taps_of(p: int) -> int:
    """Stored taps of each coefficient set of the p-th plane coded."""
    references = min(p, class_predict.MAX_REFERENCES)
    return class_predict.OWN_TAPS + class_predict.REFERENCE_TAPS * references


def weights_of(p: int) -> int:
    """Stored weights of the p-th plane coded."""
    beside = min(p, serial_context.CROSS_PLANES)
    return serial_context.OWN_WEIGHTS + serial_context.CROSS_WEIGHTS * beside


def blocks_of(rows: int, width: int) -> tuple[int, int]:
    """Rows and columns of blocks."""
    side = class_predict.SIDE
    return -(-rows // side), -(-width // side)
