"""Compile every kernel once, so that no reader or writer ever waits for the compiler."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING

import numpy as np

from codec.encode import decompress, encode
from codec.errors import VerifyError
from codec.kernels.jit import is_compiled
from codec.redo.warm import warm as warm_redo
from codec.synthetic import Descriptor, Packing, dpx_file, dpx_frame, image, pfm_file
from codec.synthetic.exr import Compression, ExrPart, exr_file
from codec.types import LEVELS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codec.types import Level

_BOTH: tuple[Level, ...] = ("balanced", "fast")
_FLAVORS: tuple[tuple[Descriptor, int, Packing], ...] = (
    ("rgb", 10, "filled-a"),
    ("luma", 10, "filled-b"),
    ("rgba", 12, "packed"),
    ("rgb", 16, "packed"),
    ("rgb", 8, "packed"),
)
_EXRS: tuple[tuple[Compression, tuple[int, int] | None], ...] = (
    ("none", None),
    ("none", (32, 32)),
    ("zips", None),
)


def _frames() -> Iterator[tuple[str, bytes, tuple[Level, ...]]]:
    """Small frames that between them need every kernel of the tiles, what they are, and levels.

    They are wide enough for tiles of mode 3.
    """
    for descriptor, bits, packing in _FLAVORS:
        yield (
            f"dpx {descriptor} {bits}-bit {packing}",
            dpx_frame(
                96,
                70,
                bits=bits,
                packing=packing,
                descriptor=descriptor,
                byte_order="be",
                padding_bits="random",
            ),
            _BOTH,
        )
    # Large enough that what the coding learns of it pays for its heads.
    yield "dpx at max", dpx_file(image(320, 200)), ("max",)
    picture = image(96, 70, channels=3, bits=8).astype(np.float16) / np.float16(64)
    channels = {name: picture[..., i] for i, name in enumerate("BGR")}
    for compression, tiles in _EXRS:
        part = ExrPart(channels, compression=compression, tiles=tiles)
        yield f"exr half {compression} {tiles}", exr_file(part), _BOTH
    yield "pfm", pfm_file(picture.astype(np.float32)), _BOTH


def _survive(levels: tuple[Level, ...]) -> Iterator[str]:
    """Encode and decode the frames of some levels; tells of each frame when it is done."""
    for name, frame, wanted in _frames():
        some = [level for level in wanted if level in levels]
        for level in some:
            if bytes(decompress(encode(frame, level=level).container)) != frame:
                raise VerifyError(f"{name} does not survive at level {level}")
        if some:
            yield name


def _share(index: int) -> None:
    """A part of what there is to compile, about as long as the others."""
    if index == len(LEVELS):
        warm_redo()
    else:
        for _ in _survive((LEVELS[index],)):
            pass


def warmup() -> int:
    """Encode and decode a small frame of each kind; the number of frames done.

    Takes three or four minutes on a new machine and next to nothing once the kernels are cached.
    Raises VerifyError if a kernel does not do what it should.
    """
    return sum(1 for _ in warmup_steps()) - 1


def warmup_steps() -> Iterator[str]:
    """`warmup` piece by piece, for a program that has better things to do in between; some ten
    milliseconds each once the kernels are cached. Tells of each piece what it was, when done.

    Raises VerifyError as `warmup` does.
    """
    warm_redo()
    yield "foreign compression"
    yield from _survive(LEVELS)


def warmup_abreast() -> int:
    """`warmup` on all cores, for programs that may start processes of their own.

    Two processes that compile one kernel at once may leave it out of the cache, so what is missing
    is compiled here in the end.
    """
    cores = os.cpu_count() or 1
    if cores > 1 and not is_compiled():
        with ProcessPoolExecutor(cores, get_context("spawn")) as pool:
            list(pool.map(_share, range(len(LEVELS) + 1)))
    return warmup()
