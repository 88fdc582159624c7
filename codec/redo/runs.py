"""Run-length codes: which encoders are known, and how they are told apart."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from codec.errors import DamagedError
from codec.kernels import rle
from codec.redo.errors import CannotRedo

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

_SETTING = struct.Struct("<7B")
_MAX_EQUAL = 16


@dataclass(frozen=True, slots=True)
class Rule:
    """How an encoder cuts data into tokens; `codec.kernels.rle` defines each field.

    ``whole`` says that rows are coded as one piece instead of each on its own.
    """

    rule: int
    min_run: int = 2
    min_inside: int = 2
    max_run: int = 127
    max_literal: int = 127
    terminated: bool = False
    whole: bool = False

    def pack(self) -> bytes:
        """The seven bytes of a setting."""
        limits = (self.min_run, self.min_inside, self.max_run, self.max_literal)
        return _SETTING.pack(self.rule, *limits, self.terminated, self.whole)


def _sgi_rules() -> tuple[Rule, ...]:
    """SGI's library and ImageMagick first, then FFmpeg, then plain greedy encoders."""
    rules = [Rule(rle.TRIPLES, max_run=n, max_literal=n) for n in (126, 127)]
    rules += [Rule(rle.PAIRS)]
    rules += [
        Rule(rle.GREEDY, run, inside, n, n)
        for n in (127, 126)
        for run, inside in ((3, 3), (2, 2), (2, 3), (3, 2))
    ]
    ended = [
        Rule(r.rule, r.min_run, r.min_inside, r.max_run, r.max_literal, terminated=True)
        for r in rules
    ]
    return (*ended, *rules)


def _packbits_rules() -> tuple[Rule, ...]:
    """libtiff first, then plain greedy encoders; by rows, then over all rows."""
    rules = [Rule(rle.MERGING, max_run=128, max_literal=128)]
    rules += [
        Rule(rle.GREEDY, run, inside, n, n)
        for n in (128, 127)
        for run, inside in ((2, 3), (3, 3), (2, 2), (3, 2))
    ]
    rules += [Rule(rle.PAIRS)]
    joined = [
        Rule(r.rule, r.min_run, r.min_inside, r.max_run, r.max_literal, whole=True) for r in rules
    ]
    return (*rules, *joined)


def _exr_rules() -> tuple[Rule, ...]:
    """OpenEXR first; others that its readers accept after it."""
    return tuple(
        Rule(rle.GREEDY, run, inside, most, literal, whole=True)
        for most, literal in ((128, 127), (127, 127), (128, 128))
        for run, inside in ((3, 3), (4, 3), (2, 2), (2, 3))
    )


_RULES = {rle.SGI: _sgi_rules(), rle.PACKBITS: _packbits_rules(), rle.EXR: _exr_rules()}
_MAX_RUN = {rle.SGI: 127, rle.PACKBITS: 128, rle.EXR: 128}


@dataclass(frozen=True, slots=True)
class RunCoder:
    """Run-length codes in one style (`codec.kernels.rle`).

    ``piece`` is how many bytes are coded on their own; ``wide`` says that elements are big-endian
    words of 16 bits.
    """

    style: int
    piece: int
    wide: bool = False

    @property
    def max_gain(self) -> int:
        """A run of 128 elements is two elements."""
        return 64

    def _elements(self, data: NDArray[np.uint8]) -> NDArray[np.unsignedinteger]:
        return data.view(">u2").astype(np.uint16) if self.wide else data

    def _bytes(self, elements: NDArray[np.unsignedinteger]) -> NDArray[np.uint8]:
        return elements.astype(">u2").view(np.uint8) if self.wide else elements.view(np.uint8)

    def decode(self, body: NDArray[np.uint8], size: int) -> tuple[NDArray[np.uint8], int]:
        """See `codec.redo.coder.Coder`."""
        unit = 2 if self.wide else 1
        source = self._elements(body[: len(body) // unit * unit])
        data = np.empty(size // unit, source.dtype)
        used = rle.decode_runs(source, self.piece // unit, self.style, data)
        if used == rle.MALFORMED:
            raise CannotRedo("a run-length code is malformed or ends too early")
        return self._bytes(data), used * unit

    def settings(self, body: NDArray[np.uint8]) -> Iterable[bytes]:
        """See `codec.redo.coder.Coder`."""
        return (rule.pack() for rule in _RULES[self.style])

    def check(self, setting: bytes) -> None:
        """See `codec.redo.coder.Coder`."""
        if len(setting) == _SETTING.size:
            rule, run, inside, max_run, max_literal, terminated, whole = _SETTING.unpack(setting)
            most = _MAX_RUN[self.style]
            equal = 2 <= run <= _MAX_EQUAL and 2 <= inside <= _MAX_EQUAL
            longest = 2 <= max_run <= most and 1 <= max_literal <= most
            if equal and longest and terminated <= 1 and whole <= 1 and rule <= rle.MERGING:
                merging = self.style == rle.PACKBITS and max_run == max_literal == most
                if rule != rle.MERGING or merging:
                    return
        raise DamagedError("redo parameters", "no run-length encoder is like this")

    def encode(
        self, setting: bytes, data: NDArray[np.uint8], capacity: int
    ) -> NDArray[np.uint8] | None:
        """See `codec.redo.coder.Coder`."""
        rule, *limits, terminated, whole = _SETTING.unpack(setting)
        unit = 2 if self.wide else 1
        piece = len(data) if whole else self.piece
        # No token is longer than what it says by more than one element, nor is any piece's end.
        most = min(capacity // unit, 2 * (len(data) // unit) + len(data) // piece)
        elements = self._elements(data)
        out = np.empty(most, elements.dtype)
        used = rle.encode_runs(
            elements, piece // unit, self.style, rule, *limits, bool(terminated), out
        )
        return None if used == rle.FULL else self._bytes(out[:used])

    def makes(self, setting: bytes, data: NDArray[np.uint8], body: NDArray[np.uint8]) -> bool:
        """See `codec.redo.coder.Coder`."""
        made = self.encode(setting, data, len(body))
        return made is not None and np.array_equal(made, body)

    def refusal(self, body: NDArray[np.uint8]) -> str:
        """See `codec.redo.coder.Coder`."""
        return "no known encoder cuts its rows into runs like this"
