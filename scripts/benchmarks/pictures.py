"""A frame's samples, as the peers are given them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Kind = Literal["colour", "half", "bayer"]


@dataclass(frozen=True, slots=True)
class Picture:
    """Samples of (height, width, channels), each below 2**bits, and their bytes in the file.

    ``half`` samples are the bit patterns of IEEE half floats; a ``bayer`` picture is the mosaic,
    one channel.
    """

    samples: NDArray[np.uint16]
    bits: int
    size_bytes: int
    kind: Kind = "colour"


def sites(mosaic: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """The four colour sites of a mosaic (even height, even width, 1) as channels."""
    flat = mosaic[:, :, 0]
    return np.stack([flat[y::2, x::2] for y in (0, 1) for x in (0, 1)], axis=2)


def in_order(patterns: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Half floats' bit patterns as integers that grow with the number, one for one.

    Without negative numbers they do so already and stay as they are.
    """
    if not (patterns >> np.uint16(15)).any():
        return patterns
    negative = patterns >> np.uint16(15) != 0
    return np.where(negative, ~patterns, patterns | np.uint16(0x8000))
