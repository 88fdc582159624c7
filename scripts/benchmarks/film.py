"""Film-like 10-bit log DPX frames, made from photographic OpenEXR stills.

Real scans cannot be shipped with a benchmark. A photographed still that keeps its sensor's noise,
exposed as it is (scene-linear 1.0 is white) and put through the Cineon curve (90 codes a stop,
black at 95, white at 685), is the nearest thing. Stills smaller than 2048x1556 are continued by
mirroring, never enlarged: enlarging would invent smooth pixels that compress too well. Each
repetition is exposed a little differently, so that no run of bytes returns that a dictionary
coder would find.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import imagecodecs
import numpy as np

from benchmarks.errors import MissingToolError
from codec.synthetic import dpx_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

STILLS = ("ScanLines_StillLife", "ScanLines_Tree", "basisu_src_desk")
WIDTH, HEIGHT = 2048, 1556

# Part of the cached files' names: raise it when the recipe below changes.
_RECIPE = 3
_STEP_STOPS = 1 / 12


def cache_dir() -> Path:
    """Where made frames are kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "pixfs" / "bench"


def film_frames(stills: Path) -> list[Path]:
    """Paths of the DPX frames made of the known stills in a directory, in name order.

    Raises:
        MissingToolError: oiiotool is needed and not installed.
        subprocess.CalledProcessError: oiiotool could not read a still.
    """
    sources = [
        path for path in sorted(stills.glob("*.exr")) if any(name in path.name for name in STILLS)
    ]
    return [_cached_frame(path) for path in sources]


def _cached_frame(source: Path) -> Path:
    target = cache_dir() / f"{source.stem}-{WIDTH}x{HEIGHT}-r{_RECIPE}.dpx"
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    file = dpx_file(cineon_codes(_fit(_read_linear(source))))
    # Renamed into place, so a run that is interrupted leaves no half frame for the next one.
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as temporary:
        temporary.write(file)
    os.replace(temporary.name, target)
    return target


def _read_linear(source: Path) -> NDArray[np.float32]:
    if shutil.which("oiiotool") is None:
        raise MissingToolError("oiiotool is needed to read OpenEXR: apt install openimageio-tools")
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "linear.tif"
        command = ["oiiotool", str(source), "--ch", "R,G,B", "-d", "float"]
        command += ["--compression", "none", "-o", str(plain)]
        subprocess.run(command, check=True, capture_output=True)
        return np.asarray(imagecodecs.imread(str(plain)), np.float32)


def _fit(linear: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = linear.shape[:2]
    bands = []
    for down in range(-(-HEIGHT // height)):
        tiles = []
        for across in range(-(-WIDTH // width)):
            gain = np.float32(2.0 ** (_STEP_STOPS * (across - 3 * down)))
            tile = linear[:: -1 if down % 2 else 1, :: -1 if across % 2 else 1]
            tiles.append(tile * gain)
        bands.append(np.concatenate(tiles, axis=1))
    return np.concatenate(bands)[:HEIGHT, :WIDTH]


def cineon_codes(linear: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Turn scene-linear light into 10-bit Cineon codes: 0 is 95, 1.0 is 685, 1023 the most."""
    light = np.nan_to_num(linear, nan=0.0, posinf=1e4, neginf=0.0).clip(0, 1e4)
    black = np.float32(10 ** ((95 - 685) / 300))
    codes = 685 + 300 * np.log10(light * (1 - black) + black)
    rounded: NDArray[np.uint16] = np.rint(codes.clip(0, 1023)).astype(np.uint16)
    return rounded
