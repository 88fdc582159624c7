"""Files to write: small film frames, and things that are none."""

from __future__ import annotations

from functools import cache

import codec
from codec import synthetic


@cache
def dpx(seed: int = 0, width: int = 96, height: int = 64) -> bytes:
    """A DPX frame of about 24 KB that compresses."""
    return synthetic.dpx_frame(width, height, seed=seed)


@cache
def container(seed: int = 0) -> bytes:
    """A whole container, as a user's file."""
    return bytes(codec.compress(dpx(seed)))


@cache
def noise(size: int = 20_000) -> bytes:
    """Bytes no format is known of."""
    state, out = 1, bytearray()
    while len(out) < size:
        state = state * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
        out += (state >> 24).to_bytes(5, "little")
    return bytes(out[:size])
