"""Series: files whose names differ in a number only, as the frames of a shot do.

The number is the last run of digits before the extension. In a series' name each of its digits is
a mark, so ``bg.1001.exr`` and ``bg.1002.exr`` are of the series ``bg.####.exr``. A million frames
are a few thousand series: what a pattern says of a series' name it says of all its files, unless
the pattern has digits that the number may or may not have.
"""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["MARK", "DigitRun", "names_with", "series_of"]

# No name in the catalogue has a control character.
MARK = "\x01"
_NUMBER = re.compile(r"[0-9]+(?=[^0-9]*\Z)")
_MARKS = re.compile(MARK + "+")


def series_of(name: str) -> str:
    """The name of the series that a file's name belongs to; without a number the name itself."""
    base, dot, extension = name.rpartition(".")
    if not dot:
        base, extension = name, ""
    found = _NUMBER.search(base)
    if found is None:
        return name
    start, end = found.span()
    return f"{base[:start]}{MARK * (end - start)}{base[end:]}{dot}{extension}"


class DigitRun(NamedTuple):
    """Digits of a pattern that stand next to each other.

    A number that holds them begins or ends with them where the pattern says what is beside them.
    """

    digits: str
    begins: bool
    ends: bool


def names_with(found: Iterable[str], runs: Sequence[DigitRun], most: int) -> list[str] | None:
    """The names of these series whose number holds one of the runs; None when they are more
    than ``most``, or more than that may be."""
    numbers: dict[int, set[str]] = {}
    names: list[str] = []
    for series in found:
        marks = _MARKS.search(series)
        if marks is None:
            continue
        start, end = marks.span()
        width = end - start
        if width not in numbers:
            if sum(_most_numbers(run, width) for run in runs) > most:
                return None
            numbers[width] = {number for run in runs for number in _numbers(run, width)}
        names += [series[:start] + number + series[end:] for number in numbers[width]]
        if len(names) > most:
            return None
    return names


def _offsets(run: DigitRun, width: int) -> range:
    """Where in a number of so many digits a run can be."""
    last = width - len(run.digits)
    if last < 0:
        return range(0)
    first = last if run.ends else 0
    return range(first, (0 if run.begins else last) + 1)


def _most_numbers(run: DigitRun, width: int) -> int:
    offsets = _offsets(run, width)
    return len(offsets) * 10 ** (width - len(run.digits)) if offsets else 0


def _numbers(run: DigitRun, width: int) -> Iterator[str]:
    for offset in _offsets(run, width):
        for others in product("0123456789", repeat=width - len(run.digits)):
            yield "".join((*others[:offset], run.digits, *others[offset:]))
