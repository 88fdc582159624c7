"""How each frame of a codec run comes to be: which file of the corpus, and what is made of it.

Made frames are kept in a cache, by name and recipe, so that runs are quick and equal.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import imagecodecs
import numpy as np

from benchmarks import bayer, dpx, exr, stills
from benchmarks.classes import (
    BAYER,
    CG,
    DPX_12,
    DPX_16,
    FILM,
    FILM_CROPS,
    GREY,
    HALF,
    SEQUENCES,
    SYNTHETIC,
    TIFF_16,
)
from benchmarks.pictures import Picture
from benchmarks.tiff import tiff_file
from codec.synthetic import dpx_file, dpx_frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

WIDTH, HEIGHT = 2048, 1556
_STILL_LIFE = "exr/oexr_ScanLines_StillLife.exr"
_TREE = "exr/oexr_ScanLines_Tree.exr"
_DESK = "exr/basisu_src_desk.exr"
_STILLS = (_DESK, _STILL_LIFE, _TREE)
_PHOTOS = ("photos16/libavif_weld_16bit.png", "photos16/libjxl_hdr_room.png")
_HALVES = (*_STILLS, "exr/oexr_Chromaticities_Rec709.exr")
_ACES = "sequences/exr_aces_ap0_graded/aces_1920x1080_graded.00010.exr"
_NIKON = "camera_raw/mushfiq_nikon14bit_DSC_1339_768x512_rggb.raw"
_PHANTOM = "camera_raw/pycine_chart1.cine"
_GRID = "exr/oiiots_out~5.exr"
_CG = ("dpx/openjph_dpx_1280x720_10bit_be_nuke11.dpx", "dpx/oiio_dpx_nuke_10bits_rgb.dpx")

# Part of the cached files' names: raise it when a recipe below changes.
_EDITION = 4


@dataclass(frozen=True, slots=True)
class Recipe:
    """A frame by name: what gives its file, and the picture in that file's bytes."""

    name: str
    file: Callable[[], bytes]
    picture: Callable[[bytes], Picture]


def cache_dir() -> Path:
    """Where made frames are kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "pixfs" / "bench"


def by_class(corpus: Path | None) -> dict[str, list[Recipe]]:
    """The recipes of every class, in the order of the report; synthetic ones alone without corpus.

    Files that the corpus lacks are passed over.
    """
    made = _Recipes(corpus)
    return {
        FILM: made.film(),
        FILM_CROPS: made.crops(),
        DPX_12: made.dpx_12(),
        DPX_16: made.dpx_16(),
        TIFF_16: made.tiff_16(),
        HALF: made.halves(),
        BAYER: made.mosaics(),
        CG: made.computer_made(),
        GREY: made.grey(),
        SEQUENCES: made.sequences(),
        SYNTHETIC: [
            Recipe("synthetic seed 0", partial(dpx_frame, WIDTH, HEIGHT), dpx.read_picture)
        ],
    }


class _Recipes:
    """The recipes that one corpus allows."""

    def __init__(self, corpus: Path | None) -> None:
        self._corpus = corpus

    def _present(self, *names: str) -> list[Path]:
        paths = [self._corpus / name for name in names] if self._corpus else []
        return [path for path in paths if path.exists()]

    def film(self) -> list[Recipe]:
        def whole(path: Path) -> bytes:
            linear = stills.mirrored(stills.read_linear(path), WIDTH, HEIGHT)
            return dpx_file(stills.cineon_codes(linear))

        return [_dpx(path, "2k", partial(whole, path)) for path in self._present(*_STILLS)]

    def crops(self) -> list[Recipe]:
        return [
            _dpx(path, "1k", lambda path=path: dpx_file(stills.cineon_codes(_centre(path))))
            for path in self._present(*_STILLS)
        ]

    def dpx_12(self) -> list[Recipe]:
        def still(path: Path) -> bytes:
            codes = stills.cineon_codes(_centre(path), 12)
            return dpx_file(codes, bits=12, packing="packed" if "Tree" in path.name else "filled-a")

        def photo(path: Path) -> bytes:
            return dpx_file(_photo(path) >> np.uint16(4), bits=12, packing="packed")

        made = [_dpx(path, "12", partial(still, path)) for path in self._present(*_STILLS)]
        return made + [_dpx(p, "12", partial(photo, p)) for p in self._present(_PHOTOS[0])]

    def dpx_16(self) -> list[Recipe]:
        def still(path: Path) -> bytes:
            return dpx_file(stills.cineon_codes(stills.dithered(_centre(path)), 16), bits=16)

        def photo(path: Path) -> bytes:
            return dpx_file(_photo(path), bits=16)

        made = [_dpx(p, "16", partial(still, p)) for p in self._present(_STILL_LIFE, _TREE)]
        return made + [_dpx(p, "16", partial(photo, p)) for p in self._present(_PHOTOS[0])]

    def tiff_16(self) -> list[Recipe]:
        def still(path: Path) -> NDArray[np.uint16]:
            return stills.display_codes(stills.dithered(_centre(path)))

        made = [_tiff(p, partial(still, p)) for p in self._present(_DESK)]
        return made + [_tiff(p, partial(_photo, p)) for p in self._present(*_PHOTOS)]

    def halves(self) -> list[Recipe]:
        made = [_exr(path) for path in self._present(*_HALVES)]
        # Cut to a megapixel, for the efforts that take seconds each.
        return made + [_exr(p, "--cut", "1280x720+320+180") for p in self._present(_ACES)]

    def mosaics(self) -> list[Recipe]:
        made = []
        for path in self._present(_NIKON):
            codes = bayer.read_nikon(path)
            made.append(_mosaic("nikon as .ari", bayer.log_12(codes), 12, bayer.ari_file))
            made.append(_mosaic("nikon 14-bit in 16-bit TIFF", codes, 16, _mosaic_tiff))
        for path in self._present(_PHANTOM):
            codes = np.ascontiguousarray(bayer.read_cine(path)[:, :2046])
            made.append(_mosaic("phantom as .rmf", codes, 10, bayer.rmf_file))
        return made

    def computer_made(self) -> list[Recipe]:
        def render(path: Path) -> bytes:
            return dpx_file(stills.cineon_codes(stills.read_linear(path)))

        made = [
            Recipe(path.stem, path.read_bytes, dpx.read_picture) for path in self._present(*_CG)
        ]
        return made + [_dpx(path, "10", partial(render, path)) for path in self._present(_GRID)]

    def grey(self) -> list[Recipe]:
        def scan(path: Path) -> bytes:
            return dpx_file(stills.cineon_codes(stills.grey(_centre(path))))

        return [_dpx(path, "grey", partial(scan, path)) for path in self._present(*_STILLS)]

    def sequences(self) -> list[Recipe]:
        paths = sorted((self._corpus / "derived").rglob("*.00001.dpx")) if self._corpus else []
        return [Recipe(path.stem, path.read_bytes, dpx.read_picture) for path in paths]


def _centre(path: Path) -> NDArray[np.float32]:
    return stills.centre(stills.read_linear(path))


def _photo(path: Path) -> NDArray[np.uint16]:
    """A 16-bit photograph's colours, cut to an even size."""
    pixels: NDArray[np.uint16] = np.asarray(imagecodecs.imread(str(path)))[:, :, :3]
    return pixels[: len(pixels) // 2 * 2, : pixels.shape[1] // 2 * 2]


def _kept(name: str, make: Callable[[], bytes]) -> Callable[[], bytes]:
    """``make``, but only once for all runs."""

    def load() -> bytes:
        target = cache_dir() / name
        if target.exists():
            return target.read_bytes()
        target.parent.mkdir(parents=True, exist_ok=True)
        file = make()
        # Renamed into place, so a run that is interrupted leaves no half frame for the next one.
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as temporary:
            temporary.write(file)
        os.replace(temporary.name, target)
        return file

    return load


def _dpx(source: Path, variant: str, make: Callable[[], bytes]) -> Recipe:
    kept = _kept(f"{source.stem}-{variant}-r{_EDITION}.dpx", make)
    return Recipe(f"{source.stem} {variant}", kept, dpx.read_picture)


def _tiff(source: Path, make: Callable[[], NDArray[np.uint16]]) -> Recipe:
    kept = _kept(f"{source.stem}-r{_EDITION}.tif", lambda: tiff_file(make()))

    def picture(file: bytes) -> Picture:
        samples = np.asarray(imagecodecs.tiff_decode(file), np.uint16)
        return Picture(samples, 16, samples.nbytes)

    return Recipe(f"{source.stem} tif", kept, picture)


def _exr(source: Path, *cut: str) -> Recipe:
    def make() -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "half.exr"
            plain = ["-d", "half", "--compression", "none", "-o", str(out)]
            stills.run_oiiotool(str(source), *cut, *plain)
            return out.read_bytes()

    kept = _kept(f"{source.stem}-half-r{_EDITION}.exr", make)
    return Recipe(f"{source.stem} half", kept, exr.read_picture)


def _mosaic(
    name: str, codes: NDArray[np.uint16], bits: int, write: Callable[[NDArray[np.uint16]], bytes]
) -> Recipe:
    file = write(codes)
    # The depth that the peers are told is that of the values.
    depth = 14 if bits == 16 else bits
    size = codes.size * {10: 32 / 3, 12: 12, 16: 16}[bits] / 8
    picture = Picture(codes[:, :, None], depth, int(size), "bayer")
    return Recipe(name, lambda: file, lambda _: picture)


def _mosaic_tiff(codes: NDArray[np.uint16]) -> bytes:
    return tiff_file(codes[:, :, None], mosaic=True)
