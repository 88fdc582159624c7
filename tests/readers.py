"""What programs that others wrote read in a file: for comparison, where they are installed."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def oiiotool(path: Path) -> NDArray[np.uint16]:
    """A picture as (height, width, channels) of 16 bits, from the top down, by OpenImageIO.

    Through SGI, whose 512-byte header and bottom-up planes need no library to read.
    """
    out = path.with_name(path.name + ".out.sgi")
    _run("oiiotool", str(path), "-d", "uint16", "-o", str(out))
    file = out.read_bytes()
    width, height, channels = (int(n) for n in np.frombuffer(file, ">u2", 3, 6))
    planes = np.frombuffer(file, ">u2", offset=512).reshape(channels, height, width)
    return planes[:, ::-1].transpose(1, 2, 0).astype(np.uint16)


def ffmpeg(path: Path, shape: tuple[int, int, int], bits: int) -> NDArray[np.uint16]:
    """A picture of that shape as FFmpeg decodes it, samples of 8 or 16 bits."""
    names = {1: "gray", 3: "rgb24" if bits == 8 else "rgb48", 4: "rgba" if bits == 8 else "rgba64"}
    name = names[shape[2]] if bits == 8 else {1: "gray16"}.get(shape[2], names[shape[2]]) + "le"
    how = ("-f", "rawvideo", "-pix_fmt", name, "-")
    raw = _run("ffmpeg", "-v", "error", "-f", "image2", "-i", str(path), *how)
    return np.frombuffer(raw, "<u2" if bits > 8 else "u1").reshape(shape).astype(np.uint16)


def ffmpeg_floats(path: Path, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """A picture of that shape, 1 or 3 channels, as FFmpeg decodes it to 32-bit floats."""
    name = "grayf32le" if shape[2] == 1 else "gbrpf32le"
    how = ("-f", "rawvideo", "-pix_fmt", name, "-")
    raw = _run("ffmpeg", "-v", "error", "-f", "image2", "-i", str(path), *how)
    planes = np.frombuffer(raw, "<f4").reshape(shape[2], shape[0], shape[1])
    order = [0] if shape[2] == 1 else [2, 0, 1]
    return planes[order].transpose(1, 2, 0).astype(np.float32)


def dcraw(path: Path) -> NDArray[np.uint16]:
    """All photosites of a camera's raw file, through dcraw's curve for that camera."""
    raw = _run("dcraw", "-E", "-4", "-t", "0", "-c", str(path))
    _, size, _, rows = raw.split(b"\n", 3)
    width, height = map(int, size.split())
    return np.frombuffer(rows, ">u2").reshape(height, width).astype(np.uint16)


def _run(program: str, *arguments: str) -> bytes:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    return subprocess.run([program, *arguments], capture_output=True, check=True).stdout
