"""``python -m tests.golden.make``: add golden containers for cases that have none yet.

What is there is never replaced: a golden container is what a released version wrote, and decodes
for ever. INDEX names each with the digests of the container and of the file in it. A case that
changes gets a new name.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import codec
from codec import redo
from codec.redo.filters import ExrSplit
from codec.redo.methods import method
from codec.synthetic import (
    arriraw_file,
    c500_file,
    cineon_file,
    dpx_file,
    image,
    mosaic,
    pfm_file,
    pnm_file,
    sgi_file,
    varicam_file,
)
from codec.synthetic.exr import ExrPart, exr_file
from codec.synthetic.tiff import TiffPage, tiff_file
from tests.flavors import CHANNELS, FLAVORS, flavor_id, frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

FOLDER = Path(__file__).parent / "v1"
INDEX = FOLDER / "index.json"
WRAP = "wrap"


def calm(width: int, height: int, channels: int = 3, bits: int = 10) -> NDArray[np.uint16]:
    """(height, width, channels): waves, and a little noise that takes a bit or so a sample."""
    y, x, c = np.indices((height, width, channels))
    wave = 0.45 + 0.2 * np.sin(x / 17 + c / 5) + 0.15 * np.cos(y / 7)
    noise = np.random.default_rng(bits).integers(0, 2, y.shape)
    return (np.floor(wave * (1 << bits)) + noise).astype(np.uint16)


RGB10 = calm(44, 26)
RGB8 = calm(64, 44, bits=8)
GRAY12 = calm(70, 40, 1, 12)
WIDE = calm(40, 24, bits=16)
HALF = {name: (RGB10[..., i] / 513 - 0.5).astype("f2") for i, name in enumerate("RGB")}
QUADS = {name: (calm(81, 30)[..., i % 3] / 513 - 0.5).astype("f2") for i, name in enumerate("ABGR")}
HALVES = {
    name: (image(83, 30)[..., i % 3] / 513 - 0.5).astype("f2") for i, name in enumerate("ABGR")
}
FLOAT = {name: (WIDE[..., i] / 20000 - 0.5).astype("f4") for i, name in enumerate("RGB")}


def letters(width: int, height: int, bits: int, noisy: int = 0) -> NDArray[np.uint16]:
    """(height, width, 3): the same few shapes again and again, and some pixels that differ."""
    random = np.random.default_rng(bits)
    cell = np.full((32, 96, 3), 1, np.uint16)
    cell[:8, :12] = random.integers(0, 1 << bits, (8, 12, 1))
    picture = np.tile(cell, (-(-height // 32), -(-width // 96), 1))[:height, :width]
    at = random.integers(0, height * width, noisy)
    picture.reshape(-1, 3)[at] ^= np.arange(noisy, dtype=np.uint16)[:, None] % (1 << bits)
    return picture


def leaning(width: int, height: int, bits: int = 10) -> NDArray[np.uint16]:
    """(height, width, 3): slopes left, stripes right, and a little noise."""
    y, x, c = np.indices((height, width, 3))
    wave = np.where(x < width // 2, 0.2 + x / width + y / 999, 0.5 + 0.3 * np.sin(y / 3 + c))
    noise = np.random.default_rng(bits).integers(0, 3, y.shape)
    return (np.floor(wave * (1 << (bits - 1))) + noise).astype(np.uint16)


def thirds(width: int, height: int) -> NDArray[np.uint16]:
    """12-bit samples of which the last component's are all multiples of three."""
    picture = leaning(width, height, 12)
    noise = np.random.default_rng(3).integers(0, 9, (height, width, 3)).astype(np.uint16)
    picture += noise
    picture[..., 2] = picture[..., 2] // 3 * 3
    return picture


def slanted(width: int, height: int, bits: int) -> NDArray[np.uint16]:
    """(height, width, 3): fields of waves along rows, columns and slopes, and a little noise."""
    y, x, c = np.indices((height, width, 3))
    along = np.where((x // 48 + y // 40) % 3 == 0, x + y, x)
    along = np.where((x // 48 + y // 40) % 3 == 1, y, along)
    noise = np.random.default_rng(bits).integers(0, 3, y.shape)
    return (np.floor((0.5 + 0.3 * np.sin(along / 2 + c / 9)) * (1 << bits)) + noise).astype("u2")


def leaning_mosaic() -> NDArray[np.uint16]:
    """12-bit sites that lean differently in their parts, the colours apart."""
    picture = leaning(144, 96, 12)[..., 0]
    picture[::2, ::2] += 200
    picture[1::2, 1::2] += 400
    return picture


def with_matte(picture: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """A noisy picture, part of which is flat."""
    picture[20:50, 64:] = 64
    return picture


def calm_dpx(flavor: dict[str, Any]) -> bytes:
    """A frame of a flavor, its padding bits not zero."""
    channels = CHANNELS[flavor["descriptor"]]
    place = {k: v for k, v in flavor.items() if k != "descriptor"}
    picture = calm(45, 21 if channels > 1 else 50, channels, flavor["bits"])
    return dpx_file(picture, **place, padding_bits="ones")


def patched(half: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """A picture on an even ground: most column blocks are not coded."""
    out = np.full((40, 300, 3), 64, np.uint16)
    out[5 : 5 + half.shape[0], 120 : 120 + half.shape[1]] = half
    return out


def varicam() -> NDArray[np.uint16]:
    """A frame of the one size there is, nearly all of whose rows repeat those above."""
    return np.resize(mosaic(1920, 1080, bits=10)[:2], (1080, 1920))


def exr_rle(channels: dict[str, NDArray[Any]]) -> bytes:
    """A scanline OpenEXR file with RLE compression, its noise cut so that there are runs."""
    plain = exr_file(ExrPart({k: v.astype("f2") for k, v in channels.items()}))
    how = method(redo.EXR_RLE, 1, b"\x08")
    setting = next(iter(how.coder.settings(np.zeros(0, np.uint8))))
    head = plain.replace(
        b"compression\0compression\0\1\0\0\0\0", b"compression\0compression\0\1\0\0\0\1"
    )
    assert head != plain
    rows = next(iter(channels.values())).shape[0]
    (first,) = struct.unpack_from("<Q", _table(plain, rows))
    chunks, at = [], first
    for _ in range(rows):
        line, size = struct.unpack_from("<iI", plain, at)
        data = np.frombuffer(plain, np.uint8, size, at + 8)
        body = how.coder.encode(setting, ExrSplit().forward(data), 2 * size)
        assert body is not None
        if len(body) >= size:
            body = data
        chunks.append(struct.pack("<iI", line, len(body)) + body.tobytes())
        at += 8 + size
    places = np.cumsum([first, *map(len, chunks[:-1])]).astype("<u8")
    return head[: first - 8 * rows] + places.tobytes() + b"".join(chunks)


def _table(plain: bytes, rows: int) -> bytes:
    """The offsets of an uncompressed file's chunks: they stand before the first of them."""
    for at in range(len(plain) - 8 * rows):
        (first,) = struct.unpack_from("<Q", plain, at)
        if first == at + 8 * rows:
            return plain[at:first]
    raise ValueError("no table of chunks")


def cases() -> dict[str, tuple[Callable[[], bytes], codec.Level]]:
    """Each golden container's name, the file in it and the level."""
    made: dict[str, tuple[Callable[[], bytes], codec.Level]] = {}

    def add(name: str, file: Callable[[], bytes], level: codec.Level = "balanced") -> None:
        made[name] = (file, level)

    for level in ("fast", "balanced", "max"):
        add(f"dpx-rgb10-{level}", lambda: dpx_file(image(40, 30)), level)
        add(f"dpx-rgb16-{level}", lambda: dpx_file(WIDE, bits=16), level)
        add(f"exr-half-{level}", lambda: exr_file(ExrPart(HALF)), level)
        add(f"dpx-letters-{level}", lambda: dpx_file(letters(384, 64, 10)), level)
        add(f"dpx-letters8-{level}", lambda: dpx_file(letters(384, 64, 8), bits=8), level)
        add(f"dpx-speckled-{level}", lambda: dpx_file(letters(384, 64, 10, 120)), level)
    for flavor in FLAVORS:
        if (flavor["descriptor"] == "luma") == (flavor["byte_order"] == "be"):
            name = f"dpx-{flavor_id(flavor)}"
            add(name, lambda f=flavor: calm_dpx(f))
    add("dpx-patched", lambda: dpx_file(patched(RGB10), trailing=b"after the picture"))
    add("dpx-sparse", lambda: frame("sparse", 40, 35, FLAVORS[-1]))
    add("dpx-quads", lambda: dpx_file(calm(100, 30)), "fast")
    add("dpx-quads16", lambda: dpx_file(image(70, 24, bits=16), bits=16), "fast")
    add("dpx-quads-patched", lambda: dpx_file(patched(image(44, 26))), "fast")
    add("exr-quads", lambda: exr_file(ExrPart(QUADS)), "fast")
    add("dpx-halves", lambda: dpx_file(image(101, 30)), "fast")
    add("dpx-halves16", lambda: dpx_file(image(70, 24, bits=16), bits=16), "fast")
    add("dpx-halves-flat", lambda: dpx_file(with_matte(image(132, 40))), "fast")
    add("exr-halves", lambda: exr_file(ExrPart(HALVES)), "fast")
    add("dpx-gray", lambda: frame("gray", 40, 35, FLAVORS[-1]))
    add("dpx-noise", lambda: frame("noise", 20, 40, FLAVORS[12]))
    add("dpx-deep", lambda: dpx_file(leaning(176, 112)), "max")
    add("dpx-deep-ranks", lambda: dpx_file(thirds(144, 96), bits=12, packing="packed"), "max")
    add("dpx-deep-2", lambda: dpx_file(slanted(125, 81, 12), bits=12, packing="packed"), "max")
    add("dpx-deep-2-ranks", lambda: dpx_file(thirds(145, 97), bits=12, packing="packed"), "max")
    add("dpx-deep-2-gray", lambda: dpx_file(image(121, 90, bits=16)[..., [0, 0, 0]], bits=16))
    add("arriraw-deep", lambda: arriraw_file(leaning_mosaic()))
    add("cineon-line", lambda: cineon_file(RGB10, interleave="line", line_padding=4))
    add("cineon-channel", lambda: cineon_file(RGB10, packing=0, interleave="channel"))
    for name, parts in {
        "float": (ExrPart(FLOAT),),
        "mixed": (ExrPart({**HALF, "Z": HALF["R"].astype("f4")}),),
        "tiles": (ExrPart(HALF, tiles=(16, 16), levels="mip"),),
        "parts": (ExrPart(HALF, name="a"), ExrPart({"Y": FLOAT["G"]}, name="b", decreasing=True)),
        "zip": (ExrPart(FLOAT, compression="zip"),),
        "zips": (ExrPart(FLOAT, compression="zips"),),
    }.items():
        add(f"exr-{name}", lambda p=parts: exr_file(*p))
    add("exr-rle", lambda: exr_rle({k: np.round(v * 20) / 16 for k, v in HALF.items()}))
    page = TiffPage(WIDE, rows=7)
    add("tiff-strips", lambda: tiff_file(page))
    add("tiff-big-be", lambda: tiff_file(page, byte_order="be", big=True))
    add("tiff-planar", lambda: tiff_file(replace(page, planar=True)))
    add("tiff-tiles", lambda: tiff_file(replace(page, rows=None, tiles=(16, 16))))
    add("tiff-14-bit", lambda: tiff_file(TiffPage(WIDE >> 2, bits=14, rows=7)))
    add("tiff-4-bit", lambda: tiff_file(TiffPage((calm(99, 70, bits=8) >> 4).astype("u1"), bits=4)))
    add("tiff-float", lambda: tiff_file(TiffPage((WIDE / 20000 - 0.5).astype("f4"))))
    for predictor in (1, 2):
        small = TiffPage(calm(90, 50, bits=8).astype("u1"), rows=7, compression="deflate")
        deflate = replace(small, predictor=predictor)
        add(f"tiff-deflate-{predictor}", lambda p=deflate: tiff_file(p, byte_order="be"))
    bits = TiffPage((calm(80, 40, bits=8) & 0xF0).astype("u1"), rows=7, compression="packbits")
    add("tiff-packbits", lambda: tiff_file(bits))
    add("ppm-8", lambda: pnm_file(RGB8, comment=b"said"))
    add("pgm-12", lambda: pnm_file(GRAY12, maxval=4095))
    add("pam-10", lambda: pnm_file(RGB10, maxval=1023, kind="pam"))
    add("pfm", lambda: pfm_file((RGB10 / 1023).astype("f4")))
    add("sgi-16", lambda: sgi_file(RGB10, bits=16))
    add("sgi-rle8", lambda: sgi_file(RGB8 & 0xF0, run_lengths="planes"))
    add("sgi-rle16", lambda: sgi_file(calm(64, 44) & 0x3C0, bits=16, run_lengths="rows"))
    add("arriraw", lambda: arriraw_file(mosaic(72, 36)))
    add("c500", lambda: c500_file(mosaic(96, 64, bits=10)))
    add("varicam", lambda: varicam_file(varicam(), packing="10-low"))
    add("verbatim", lambda: b"no frame that is known\n" * 40)
    add("empty", lambda: b"")
    add("flat", lambda: dpx_file(np.zeros((40, 60, 3), np.uint16), trailing=bytes(999)))
    add(WRAP, lambda: b"an ordinary file behind the header of a wrap\n")
    return made


def container_of(name: str, file: bytes, level: codec.Level) -> bytes:
    """What is kept for a case."""
    if name == WRAP:
        return codec.make_wrap_header() + file
    return codec.compress(file, level=level)


def main() -> int:
    """Add what is missing; the exit code."""
    index = json.loads(INDEX.read_text()) if INDEX.exists() else {}
    FOLDER.mkdir(exist_ok=True)
    added = 0
    for name, (make, level) in cases().items():
        path = FOLDER / f"{name}.pxf"
        if name in index or path.exists():
            continue
        file = make()
        container = container_of(name, file, level)
        index[name] = {
            "container": hashlib.sha256(container).hexdigest(),
            "level": level,
            "original": hashlib.sha256(file).hexdigest(),
            "size": len(file),
        }
        path.write_bytes(container)
        INDEX.write_text(json.dumps(index, indent=1, sort_keys=True) + "\n")
        added += 1
        print(f"{name}: {len(file)} bytes in {len(container)}")  # noqa: T201
    print(f"{added} added, {len(index)} in all")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
