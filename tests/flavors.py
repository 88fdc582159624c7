"""Small frames for tests: every DPX flavor, and samples chosen to hurt."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from codec.synthetic import dpx_file, image

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHANNELS = {"rgb": 3, "rgba": 4, "luma": 1}
PACKINGS = {8: ("packed",), 10: ("filled-a", "filled-b", "packed"), 16: ("packed",)}
PACKINGS[12] = PACKINGS[10]
FLAVORS = [
    {"bits": bits, "packing": packing, "byte_order": order, "descriptor": descriptor}
    for bits in (8, 10, 12, 16)
    for packing, order, descriptor in itertools.product(PACKINGS[bits], ("be", "le"), CHANNELS)
]
SAMPLES = ("picture", "zero", "max", "noise", "ramp", "checker", "gray", "sparse", "impulses")


def flavor_id(flavor: dict[str, Any]) -> str:
    return "-".join(str(value) for value in flavor.values())


def samples(kind: str, height: int, width: int, channels: int, bits: int) -> NDArray[np.uint16]:
    """(height, width, channels) samples below 2**bits of one of `SAMPLES`."""
    top = (1 << bits) - 1
    shape = (height, width, channels)
    random = np.random.default_rng(7)
    if kind == "picture":
        return image(width, height, channels=channels, bits=bits, seed=3)
    if kind == "zero":
        return np.zeros(shape, np.uint16)
    if kind == "max":
        return np.full(shape, top, np.uint16)
    if kind == "noise":
        return random.integers(0, top + 1, shape).astype(np.uint16)
    if kind == "ramp":
        return (np.arange(height * width * channels).reshape(shape) * 3 % (top + 1)).astype("u2")
    if kind == "checker":
        board = np.indices((height, width)).sum(0) % 2 * top
        return np.repeat(board[..., None], channels, 2).astype(np.uint16)
    if kind == "gray":
        gray = image(width, height, channels=1, bits=bits, seed=5)
        return np.repeat(gray, channels, 2)
    if kind == "sparse":
        return (random.integers(0, (top >> 4) + 1, shape) << 4).astype(np.uint16)
    if kind == "impulses":
        flat = np.full(shape, top // 2, np.uint16)
        flat[random.random(shape) < 0.01] = top
        return flat
    raise ValueError(kind)


def frame(
    kind: str,
    width: int,
    height: int,
    flavor: dict[str, Any],
    **more: Any,  # noqa: ANN401
) -> bytes:
    """A DPX file of those samples."""
    channels = CHANNELS[flavor["descriptor"]]
    place = {k: v for k, v in flavor.items() if k != "descriptor"}
    return dpx_file(samples(kind, height, width, channels, flavor["bits"]), **place, **more)
