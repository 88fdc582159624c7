"""The frames a codec run measures, by class of content."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import recipes
from benchmarks.errors import UnreadableFrameError

if TYPE_CHECKING:
    from benchmarks.pictures import Picture
    from benchmarks.recipes import Recipe

# The peers, which see the picture alone, would be credited with all the rest.
_LEAST_PICTURE = 0.9
_SMALLEST = 60_000


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame's file and the samples its peers are given."""

    name: str
    content: str
    file: bytes
    picture: Picture

    @property
    def megabytes(self) -> float:
        """The size that every speed and ratio is measured by: the file's, in 10**6 bytes."""
        return len(self.file) / 1e6


def corpus_dir(explicit: Path | None) -> Path | None:
    """The corpus: as given, else $PIXFS_CORPUS, else ../shared/corpus; None if not there."""
    root = Path(__file__).resolve().parents[2]
    fallback = root.parent / "shared" / "corpus"
    chosen = explicit or Path(os.environ.get("PIXFS_CORPUS") or fallback)
    return chosen if chosen.is_dir() else None


def load_frames(
    corpus: Path | None, per_class: int, only: list[str] | None = None
) -> tuple[list[Frame], list[str]]:
    """All frames of a run, at most ``per_class`` of a class, and why others were left out.

    With ``only``, those classes whose name contains one of its parts.
    """
    frames: list[Frame] = []
    left_out: list[str] = []
    for content, candidates in recipes.by_class(corpus).items():
        if only and not any(part in content for part in only):
            continue
        taken = 0
        for recipe in candidates:
            if taken == per_class:
                break
            try:
                frames.append(_load(recipe, content))
            except UnreadableFrameError as error:
                left_out.append(f"{recipe.name}: {error}")
            else:
                taken += 1
    return frames, left_out


def _load(recipe: Recipe, content: str) -> Frame:
    file = recipe.file()
    picture = recipe.picture(file)
    if len(file) < _SMALLEST:
        raise UnreadableFrameError("too small to time")
    if picture.size_bytes < _LEAST_PICTURE * len(file):
        raise UnreadableFrameError(f"only {picture.size_bytes} of {len(file)} bytes are picture")
    return Frame(recipe.name, content, file, picture)
