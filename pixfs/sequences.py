"""Numbered files grouped into frame sequences, and frame ranges written the film way.

``shot.1001.dpx ... shot.1240.dpx`` is one sequence, shown as ``shot.[1001-1240].dpx``. The
frame number is the last run of digits before the extension; padded and unpadded numbers of one
name form one sequence when they could have been written by one pattern (``%04d``).
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

_NUMBERED = re.compile(r"^(?P<head>.*?)(?P<number>\d+)(?P<tail>(?:\D*)(?:\.[^.]*)?)$", re.DOTALL)
_RANGE = re.compile(r"(?P<first>[0-9]{1,12})(?:-(?P<last>[0-9]{1,12})(?:x(?P<step>[0-9]{1,9}))?)?")

T = TypeVar("T")


@dataclass(frozen=True)
class FrameSequence(Generic[T]):
    """Numbered files of one name; a file without siblings is a sequence of one.

    Attributes:
        head, tail: the name before and after the frame number.
        width: digits the number is padded to, 0 when it is not.
        frames: (frame number, item), ascending; a file without a number has number None.
    """

    head: str
    tail: str
    width: int
    frames: tuple[tuple[int | None, T], ...]

    @property
    def name(self) -> str:
        """How the sequence is shown."""
        numbers = [number for number, _ in self.frames if number is not None]
        if not numbers:
            return self.head
        if len(numbers) == 1:
            return f"{self.head}{numbers[0]:0{self.width}d}{self.tail}"
        return f"{self.head}[{frame_range(numbers, self.width)}]{self.tail}"


def parse_frame_range(text: str) -> tuple[range, ...]:
    """The numbers a frame range such as ``1001-1100x2,1107`` stands for; ValueError.

    Nothing is expanded, so that ``1-999999999`` costs nothing.
    """
    ranges = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"{part!r} is no frame range; write 1001-1240, 1001-1240x2 or 1107")
        first = int(match["first"])
        last = int(match["last"] or first)
        step = int(match["step"] or 1)
        if step < 1 or last < first:
            raise ValueError(f"{part!r} counts backwards or not at all")
        ranges.append(range(first, last + 1, step))
    return tuple(ranges)


def frame_range(numbers: Iterable[int], width: int = 0) -> str:
    """Ascending numbers as a frame range: ``1001-1100x2,1107``; gaps are shown."""
    parts = []
    for first, last, step in _runs(sorted(set(numbers))):
        if first == last:
            parts.append(f"{first:0{width}d}")
        else:
            suffix = f"x{step}" if step > 1 else ""
            parts.append(f"{first:0{width}d}-{last:0{width}d}{suffix}")
    return ",".join(parts)


def _runs(numbers: list[int]) -> list[tuple[int, int, int]]:
    """(first, last, step) of the runs; two numbers make a run only when they are neighbours."""
    runs: list[tuple[int, int, int]] = []
    start = 0
    while start < len(numbers):
        step = numbers[start + 1] - numbers[start] if start + 1 < len(numbers) else 1
        end = start
        while end + 1 < len(numbers) and numbers[end + 1] - numbers[end] == step:
            end += 1
        if end == start or (end == start + 1 and step > 1):
            runs.append((numbers[start], numbers[start], 1))
            start += 1
        else:
            runs.append((numbers[start], numbers[end], step))
            start = end + 1
    return runs


def group(items: Iterable[tuple[str, T]]) -> list[FrameSequence[T]]:
    """Sequences of named items, in the order of their names."""
    numbered: dict[tuple[str, str, int], dict[int, T]] = defaultdict(dict)
    single: list[FrameSequence[T]] = []
    for name, item in items:
        match = _NUMBERED.match(name)
        if match is None:
            single.append(FrameSequence(name, "", 0, ((None, item),)))
            continue
        digits = match["number"]
        width = len(digits) if digits.startswith("0") and len(digits) > 1 else 0
        numbered[match["head"], match["tail"], width][int(digits)] = item
    _join_padded(numbered)
    sequences = [
        FrameSequence(head, tail, width, tuple(sorted(frames.items())))
        for (head, tail, width), frames in numbered.items()
    ]
    return sorted([*sequences, *single], key=lambda sequence: sequence.name)


def _join_padded(numbered: dict[tuple[str, str, int], dict[int, T]]) -> None:
    """Join ``0999`` and ``1000``: what shows no leading zero may be padded all the same."""
    for head, tail, width in sorted(numbered, reverse=True):
        plain = numbered.get((head, tail, 0))
        if width == 0 or not plain:
            continue
        for number in [n for n in plain if len(str(n)) >= width]:
            numbered[head, tail, width][number] = plain.pop(number)
        if not plain:
            del numbered[head, tail, 0]
