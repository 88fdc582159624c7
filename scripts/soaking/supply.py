"""What the users write: frames of a directory or made-up ones, and things that are no frames."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from codec.synthetic import dpx_frame

if TYPE_CHECKING:
    import random
    from pathlib import Path

_LARGEST = 64 << 20
_SYNTHETIC = ((512, 389), (960, 540), (2048, 1080))


@functools.cache
def _synthetic(number: int) -> bytes:
    width, height = _SYNTHETIC[number % len(_SYNTHETIC)]
    return dpx_frame(width, height, frame=1001 + number)


class Supply:
    """Contents to write, with a name's ending to go with them; any thread."""

    def __init__(self, frames: Path | None) -> None:
        """``frames``: a directory with frames, looked through to its depths."""
        found = sorted(frames.rglob("*")) if frames is not None else []
        self._frames = [p for p in found if p.is_file() and 0 < p.stat().st_size <= _LARGEST]
        if frames is not None and not self._frames:
            raise FileNotFoundError(f"{frames} holds no frames")

    def draw(self, dice: random.Random) -> tuple[str, bytes]:
        """An ending and a content: mostly whole frames, some of them broken."""
        ending, data = self._frame(dice)
        kind = dice.random()
        if kind < 0.05:
            return ".txt", dice.randbytes(dice.randrange(20000))
        if kind < 0.10:
            return ending, data[: dice.randrange(len(data))]
        if kind < 0.20:
            at = dice.randrange(len(data))
            return ending, data[:at] + dice.randbytes(64) + data[at + 64 :]
        return ending, data

    def _frame(self, dice: random.Random) -> tuple[str, bytes]:
        if not self._frames:
            return ".dpx", _synthetic(dice.randrange(12))
        path = dice.choice(self._frames)
        return path.suffix, path.read_bytes()
