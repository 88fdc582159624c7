"""Which files a job works on: folders, files, globs and sequences with frame ranges.

    plates/sh010                    a folder and everything below it
    plates/sh010/bg.1001.dpx        one file
    plates/*/bg.*.dpx, plates/**    globs; * and ? stay within a name, ** stands for any folders
    plates/sh010/bg.[1001-1240].dpx frames of a sequence; also [1001-1100x2,1107]
    plates/sh010/bg.%04d.dpx        every frame of a sequence; also bg.####.dpx

A name that is there as it is written is that file, whatever it looks like.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from pixfs.sequences import parse_frame_range
from server.work.beneath import normalise, split
from server.work.errors import FileError, SelectionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from server.work.storage import Entry, Storage

__all__ = ["Chosen", "Selection", "matches", "select", "select_exactly"]

_RANGE = re.compile(r"\[([0-9][0-9x,\- ]*)\]")
_PRINTF = re.compile(r"%(0?)([1-9]?)d")
_HASHES = re.compile(r"#+")
_MOST_MISSING = 1000


@dataclass(frozen=True, slots=True)
class Chosen:
    """A file, link or folder a job works on, and where it belongs at the destination.

    Attributes:
        target: path below the job's destination folder.
    """

    entry: Entry
    target: str


@dataclass
class Selection:
    """What the sources of a job name.

    Attributes:
        files: files and links, each once, in the order of the sources.
        folders: folders that go along, outermost first.
        missing: paths of named frames that are not there.
        refused: (path, FileError) of what no job can work on.
    """

    files: list[Chosen] = field(default_factory=list)
    folders: list[Chosen] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    refused: list[tuple[str, FileError]] = field(default_factory=list)


def select(
    storage: Storage, sources: Sequence[str], check: Callable[[], None] = lambda: None
) -> Selection:
    """The files these sources name now. SelectionError when one names nothing, OSError.

    ``check`` is called before each file, and may raise what ends the search.
    """
    selection = Selection()
    seen: set[str] = set()
    for text in sources:
        is_found = False
        missing_before = len(selection.missing)
        for chosen in _chosen(storage, text, selection):
            check()
            is_found = True
            if chosen.entry.path not in seen:
                seen.add(chosen.entry.path)
                _add(selection, chosen)
        if not is_found and len(selection.missing) == missing_before:
            raise SelectionError(f"{text!r} names no file")
    return selection


def select_exactly(storage: Storage, sources: Sequence[str], *, may_be_gone: bool) -> Selection:
    """The files of these very paths; nothing in them is a pattern, and none may be a folder.

    SelectionError when one is not there, unless it may be gone; OSError.
    """
    selection = Selection()
    for text in dict.fromkeys(sources):
        try:
            entry = storage.stat(normalise(text))
        except FileNotFoundError:
            if not may_be_gone:
                raise SelectionError(f"{text!r} is not there") from None
            continue
        if entry.kind == "folder":
            raise SelectionError(f"{text!r} is a folder")
        _add(selection, Chosen(entry, split(entry.path)[1]))
    return selection


def _add(selection: Selection, chosen: Chosen) -> None:
    if chosen.entry.kind == "folder":
        selection.folders.append(chosen)
    elif chosen.entry.kind == "other":
        reason = FileError("not-a-file", "it is a device, socket or fifo")
        selection.refused.append((chosen.entry.path, reason))
    else:
        selection.files.append(chosen)


def _chosen(storage: Storage, text: str, selection: Selection) -> Iterator[Chosen]:
    try:
        path = normalise(text)
    except FileError as error:
        raise SelectionError(f"{text!r}: {error.reason}") from error
    try:
        entry = storage.stat(path)
    except FileNotFoundError:
        yield from _of_pattern(storage, path, text, selection)
        return
    yield from _with_contents(storage, entry, split(path)[1])


def _with_contents(storage: Storage, entry: Entry, target: str) -> Iterator[Chosen]:
    """An entry and, if it is a folder, everything below it."""
    if entry.path:
        yield Chosen(entry, target)
    if entry.kind == "folder":
        for below in storage.walk(entry.path):
            relative = below.path[len(entry.path) :].lstrip("/")
            yield Chosen(below, f"{target}/{relative}" if target else relative)


def _of_pattern(storage: Storage, path: str, text: str, selection: Selection) -> Iterator[Chosen]:
    folder, name = split(path)
    sequence = sequence_of(name)
    if sequence is not None and not _is_glob(folder):
        yield from _frames(storage, folder, sequence, selection)
    elif _is_glob(path):
        yield from _matching(storage, path)
    else:
        raise SelectionError(f"{text!r} does not exist")


@dataclass(frozen=True)
class FramePattern:
    """A sequence's name with a place for the frame number.

    Attributes:
        width: digits the number is padded to; 0 when it is not padded.
        ranges: the frames wanted; empty for all there are.
    """

    head: str
    tail: str
    width: int
    ranges: tuple[range, ...] = ()

    def number(self, name: str) -> int | None:
        """The frame number of a name of this sequence, None for other names."""
        if not (name.startswith(self.head) and name.endswith(self.tail)):
            return None
        digits = name[len(self.head) : len(name) - len(self.tail)]
        if not (digits.isascii() and digits.isdecimal()) or len(digits) > 18:
            return None
        number = int(digits)
        if f"{number:0{self.width}d}" != digits:
            return None
        return number

    def wants(self, number: int) -> bool:
        """Whether a frame is in the ranges."""
        return not self.ranges or any(number in wanted for wanted in self.ranges)

    def name(self, number: int) -> str:
        """The name of a frame."""
        return f"{self.head}{number:0{self.width}d}{self.tail}"


def sequence_of(name: str) -> FramePattern | None:
    """The sequence a name stands for, None when it stands for none. SelectionError."""
    if match := _RANGE.search(name):
        try:
            ranges = parse_frame_range(match[1])
        except ValueError as error:
            raise SelectionError(f"{name!r}: {error}") from None
        first = match[1].split("-")[0].split(",")[0].strip()
        width = len(first)
        return FramePattern(name[: match.start()], name[match.end() :], width, ranges)
    if match := _PRINTF.search(name):
        width = int(match[2] or 0) if match[1] else 0
        return FramePattern(name[: match.start()], name[match.end() :], width)
    if match := _HASHES.search(name):
        return FramePattern(name[: match.start()], name[match.end() :], len(match[0]))
    return None


def _frames(
    storage: Storage, folder: str, pattern: FramePattern, selection: Selection
) -> Iterator[Chosen]:
    found = {}
    for name in storage.names(folder):
        number = pattern.number(name)
        if number is not None and pattern.wants(number):
            found[number] = name
    for number in sorted(found):
        name = found[number]
        yield Chosen(storage.stat(f"{folder}/{name}" if folder else name), name)
    for wanted in pattern.ranges:
        for number in wanted:
            if len(selection.missing) >= _MOST_MISSING:
                return
            if number not in found:
                name = pattern.name(number)
                selection.missing.append(f"{folder}/{name}" if folder else name)


def _is_glob(path: str) -> bool:
    return any(sign in path for sign in "*?[")


def _matching(storage: Storage, pattern: str) -> Iterator[Chosen]:
    """Whatever a glob matches; a folder that matches comes with all that is in it."""
    parts = pattern.split("/")
    fixed = []
    while parts and not _is_glob(parts[0]):
        fixed.append(parts.pop(0))
    base = "/".join(fixed)
    try:
        yield from _descend(storage, base, parts, base)
    except (FileNotFoundError, NotADirectoryError):
        return


def _descend(storage: Storage, folder: str, parts: list[str], base: str) -> Iterator[Chosen]:
    part, rest = parts[0], parts[1:]
    if part == "**":
        if rest:
            yield from _descend(storage, folder, rest, base)
        for entry in _entries(storage, folder):
            if not rest:
                yield from _with_contents(storage, entry, _below(entry.path, base))
            elif entry.kind == "folder":
                yield from _descend(storage, entry.path, parts, base)
        return
    for entry in _entries(storage, folder, part):
        if not rest:
            yield from _with_contents(storage, entry, _below(entry.path, base))
        elif entry.kind == "folder":
            yield from _descend(storage, entry.path, rest, base)


def _entries(storage: Storage, folder: str, part: str = "*") -> Iterator[Entry]:
    for name in storage.names(folder):
        # As in a shell, a name that begins with a dot wants to be named.
        if name.startswith(".") and not part.startswith("."):
            continue
        if matches(name, part):
            yield storage.stat(f"{folder}/{name}" if folder else name)


def _below(path: str, base: str) -> str:
    return path[len(base) :].lstrip("/")


def matches(name: str, pattern: str) -> bool:
    """Whether one name matches a glob of ``*``, ``?`` and ``[abc]``.

    Never more than name times pattern steps: what stands between two stars is taken where it is
    first found, and no other place is tried again.
    """
    return _compiled(pattern).fullmatch(name) is not None


@lru_cache(maxsize=128)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = [""]
    for token in _tokens(pattern):
        if token == "*":
            parts.append("")
        else:
            parts[-1] += _expression(token)
    first, *others = parts
    if others:
        *middle, last = others
        # An atomic group gives nothing back once it has matched.
        first += "".join(f"(?>.*?{part})" for part in middle) + f".*{last}"
    return re.compile(first, re.DOTALL)


def _tokens(pattern: str) -> list[str]:
    """The pattern's parts: ``*``, ``?``, ``[...]``, or ``=`` and a character for itself."""
    tokens: list[str] = []
    at = 0
    while at < len(pattern):
        sign = pattern[at]
        end = pattern.find("]", at + 2) if sign == "[" else -1
        if end > 0:
            tokens.append(pattern[at : end + 1])
            at = end + 1
            continue
        if sign != "*":
            tokens.append(sign if sign == "?" else "=" + sign)
        elif not tokens or tokens[-1] != "*":
            tokens.append(sign)
        at += 1
    return tokens


def _expression(token: str) -> str:
    """One character's regular expression."""
    if token == "?":
        return "."
    if token[0] == "=":
        return re.escape(token[1:])
    members = token[1:-1]
    is_negated = members[0] in "!^"
    chosen = "".join(_members(members[1:] if is_negated else members))
    if not chosen:
        return "." if is_negated else "(?!)"
    return f"[{'^' if is_negated else ''}{chosen}]"


def _members(members: str) -> Iterator[str]:
    """What stands in a set; a range that runs backwards holds nothing."""
    at = 0
    while at < len(members):
        if at + 2 < len(members) and members[at + 1] == "-":
            low, high = members[at], members[at + 2]
            if low <= high:
                yield f"{re.escape(low)}-{re.escape(high)}"
            at += 3
        else:
            yield re.escape(members[at])
            at += 1
