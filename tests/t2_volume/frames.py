"""Files to write: small film frames, and things that are none."""

from __future__ import annotations

import random
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
    return random.Random(size).randbytes(size)


@cache
def noisy_dpx() -> bytes:
    """A DPX frame of which every sample is noise, so that it does not get smaller."""
    frame = synthetic.dpx_frame(320, 256, bits=8)
    return frame[:2048] + noise(len(frame) - 2048)
