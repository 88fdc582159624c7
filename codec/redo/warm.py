"""Compile what undoing and redoing need, so that no reader waits for the compiler."""

from __future__ import annotations

import numpy as np

from codec.kernels import rle
from codec.redo.filters import ExrSplit, Filter, FloatingPoint, Horizontal
from codec.redo.runs import RunCoder
from codec.redo.streams import DeflateCoder


def warm() -> None:
    """Run each kernel of `codec.redo` once on a few bytes."""
    data = (np.arange(96) // 5 % 7).astype(np.uint8)
    for style, wide in ((rle.SGI, False), (rle.SGI, True), (rle.PACKBITS, False)):
        runs = RunCoder(style, len(data), wide)
        setting = next(iter(runs.settings(data)))
        body = runs.encode(setting, data, 2 * len(data))
        if body is not None:
            runs.decode(body, len(data))
    filters: tuple[Filter, ...] = (
        ExrSplit(),
        FloatingPoint(96, 4, 3, True),
        *(Horizontal(96, sample, 1, False) for sample in (1, 2, 4, 8)),
    )
    for filtered in filters:
        filtered.backward(filtered.forward(data))
    streams = DeflateCoder()
    for setting in streams.settings(np.frombuffer(b"\x78\x9c", np.uint8)):
        streams.encode(setting, data, 2 * len(data))
