"""Frames made from photographs that keep their sensor's noise.

Real scans cannot be shipped with a benchmark. A photographed OpenEXR still, exposed as it is
(scene-linear 1.0 is white) and put through the Cineon curve (90 codes a stop of 10 bits, black at
95, white at 685), is the nearest thing. Where a frame must be larger than its still, the still is
continued by mirroring, never enlarged: enlarging would invent smooth pixels that compress too
well. Each repetition is exposed a little differently, so that no run of bytes returns that a
dictionary coder would find.

A half float has 1,024 steps a stop. That is finer than 12-bit codes, but would leave holes among
16-bit ones, which no scanner leaves: for those, each number is moved by a random part of its own
step first.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import imagecodecs
import numpy as np

from benchmarks.errors import MissingToolError

if TYPE_CHECKING:
    from numpy.typing import NDArray

STEP_STOPS = 1 / 12
_LUMA = (0.2126, 0.7152, 0.0722)


def run_oiiotool(*arguments: str) -> None:
    """Run oiiotool.

    Raises:
        MissingToolError: it is not installed.
        subprocess.CalledProcessError: it failed.
    """
    if shutil.which("oiiotool") is None:
        raise MissingToolError("oiiotool is needed to read OpenEXR: apt install openimageio-tools")
    subprocess.run(["oiiotool", *arguments], check=True, capture_output=True)


@cache
def read_linear(source: Path) -> NDArray[np.float32]:
    """Red, green and blue of an OpenEXR still: (height, width, 3), scene-linear."""
    with tempfile.TemporaryDirectory() as folder:
        plain = str(Path(folder) / "linear.tif")
        channels = ["--ch", "R,G,B", "-d", "float", "--compression", "none"]
        run_oiiotool(str(source), *channels, "-o", plain)
        pixels = np.asarray(imagecodecs.imread(plain), np.float32)
    pixels.flags.writeable = False
    return pixels


def mirrored(linear: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """The still continued by mirroring, each repetition exposed a little differently."""
    rows, columns = linear.shape[:2]
    bands = []
    for down in range(-(-height // rows)):
        tiles = []
        for across in range(-(-width // columns)):
            gain = np.float32(2.0 ** (STEP_STOPS * (across - 3 * down)))
            tile = linear[:: -1 if down % 2 else 1, :: -1 if across % 2 else 1]
            tiles.append(tile * gain)
        bands.append(np.concatenate(tiles, axis=1))
    return np.concatenate(bands)[:height, :width]


def centre(linear: NDArray[np.float32], side: int = 1024) -> NDArray[np.float32]:
    """The middle of a still, at most ``side`` pixels each way, even in both."""
    height, width = (min(length, side) // 2 * 2 for length in linear.shape[:2])
    top, left = (linear.shape[0] - height) // 2, (linear.shape[1] - width) // 2
    return linear[top : top + height, left : left + width]


def grey(linear: NDArray[np.float32]) -> NDArray[np.float32]:
    """Luminance in all three channels, as a colour scanner sees black-and-white stock."""
    luma = linear @ np.array(_LUMA, np.float32)
    return np.repeat(luma[:, :, None], 3, axis=2)


def dithered(linear: NDArray[np.float32]) -> NDArray[np.float32]:
    """Numbers that were half floats, each moved within its own step; the same each time."""
    step = np.spacing(np.abs(_light(linear)).astype(np.float16)).astype(np.float32)
    noise = np.random.default_rng(1).random(linear.shape, np.float32) - np.float32(0.5)
    return linear + noise * step


def cineon_codes(linear: NDArray[np.float32], bits: int = 10) -> NDArray[np.uint16]:
    """Scene-linear light as Cineon codes: of 10 bits, 0 is 95, 1.0 is 685, 1023 the most."""
    light = _light(linear).astype(np.float64 if bits > 12 else np.float32)
    black = light.dtype.type(10 ** ((95 - 685) / 300))
    codes = 685 + 300 * np.log10((light * (1 - black) + black).clip(1e-6))
    scaled = codes * (1 << (bits - 10))
    rounded: NDArray[np.uint16] = np.rint(scaled.clip(0, (1 << bits) - 1)).astype(np.uint16)
    return rounded


def display_codes(linear: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Scene-linear light as 16-bit codes for a display of gamma 2.4, clipped at white."""
    shown = np.rint(65535 * _light(linear).clip(0, 1) ** np.float32(1 / 2.4))
    codes: NDArray[np.uint16] = shown.astype(np.uint16)
    return codes


def _light(linear: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.nan_to_num(linear, nan=0.0, posinf=1e4, neginf=0.0).clip(0, 1e4)
