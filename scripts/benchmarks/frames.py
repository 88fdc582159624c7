"""The frames a codec run measures, by class of content."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import film
from benchmarks.dpx import Picture, read_picture
from benchmarks.errors import UnreadableFrameError
from codec.synthetic import dpx_frame

if TYPE_CHECKING:
    from collections.abc import Iterator

FILM = "film-like 10-bit log"
SYNTHETIC = "synthetic 10-bit log"
SEQUENCE_10 = "10-bit sequences (from lossy video)"
SEQUENCE_OTHER = "8/12-bit sequences"
STILL_10 = "10-bit DPX stills"
STILL_OTHER = "8/12/16-bit DPX stills"
CLASSES = (FILM, SYNTHETIC, SEQUENCE_10, SEQUENCE_OTHER, STILL_10, STILL_OTHER)

# Smaller files measure the cost of a call, not of a frame.
_SMALLEST_STILL = 60_000
_LEAST_PICTURE = 0.9


@dataclass(frozen=True, slots=True)
class Frame:
    """One DPX file and the samples its peers are given."""

    name: str
    content: str
    file: bytes
    picture: Picture

    @property
    def megabytes(self) -> float:
        """The size that every speed and ratio is measured by: the DPX file's, in 10**6 bytes."""
        return len(self.file) / 1e6


def corpus_dir(explicit: Path | None) -> Path | None:
    """The corpus: as given, else $PIXFS_CORPUS, else ../shared/corpus; None if not there."""
    root = Path(__file__).resolve().parents[2]
    fallback = root.parent / "shared" / "corpus"
    chosen = explicit or Path(os.environ.get("PIXFS_CORPUS") or fallback)
    return chosen if chosen.is_dir() else None


def load_frames(corpus: Path | None, per_class: int) -> tuple[list[Frame], list[str]]:
    """All frames of a run, at most `per_class` of a class, and why others were left out."""
    frames: list[Frame] = []
    left_out: list[str] = []
    counts = dict.fromkeys(CLASSES, 0)
    for name, file, content in _candidates(corpus):
        try:
            picture = read_picture(file)
        except UnreadableFrameError as error:
            left_out.append(f"{name}: {error}")
            continue
        if picture.size_bytes < _LEAST_PICTURE * len(file):
            # The peers, which see the picture alone, would be credited with all the rest.
            left_out.append(f"{name}: only {picture.size_bytes} of {len(file)} bytes are picture")
            continue
        content = content or _class_of(name, picture.bits)
        if counts[content] >= per_class:
            continue
        counts[content] += 1
        frames.append(Frame(name, content, file, picture))
    frames.sort(key=lambda frame: CLASSES.index(frame.content))
    return frames, left_out


def _candidates(corpus: Path | None) -> Iterator[tuple[str, bytes, str]]:
    """Name, bytes and class (empty: by folder and depth) of everything that could be measured."""
    for seed in range(2):
        name = f"synthetic seed {seed}"
        yield name, dpx_frame(film.WIDTH, film.HEIGHT, seed=seed), SYNTHETIC
    if corpus is None:
        return
    for path in film.film_frames(corpus / "exr"):
        yield path.stem, path.read_bytes(), FILM
    for folder in ("derived", "sequences", "dpx"):
        for path in sorted((corpus / folder).rglob("*.dpx")):
            if path.stat().st_size >= _SMALLEST_STILL:
                yield f"{folder}/{path.name}", path.read_bytes(), ""


def _class_of(name: str, bits: int) -> str:
    if name.startswith("dpx/"):
        return STILL_10 if bits == 10 else STILL_OTHER
    return SEQUENCE_10 if bits == 10 else SEQUENCE_OTHER
