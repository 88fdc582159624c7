r"""Which paths a client means: its text, with folders, wildcards and quoting, as conditions.

The delimiter is ``/`` everywhere. A text that ends in one means what is in that folder; a text
that does not means the path itself and, recursively, what is beneath it. ``.``, ``..`` and doubled
slashes are resolved first, by the text alone. With wildcards ``?`` is one character, ``*`` any
number of them, and ``\`` quotes the next; without, all three are ordinary characters.

In a recursive search a ``*`` goes across slashes (``*.exr`` finds every EXR file); otherwise it
stays within one name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from server.core.catalog.numbering import MARK, DigitRun
from server.core.errors import InvalidValue

if TYPE_CHECKING:
    from collections.abc import Iterable

    from server.core.catalog.model import PathMatch

__all__ = ["Glob", "Place", "resolve"]

_LONGEST = 4096
_MOST_WILDCARDS = 64

# A token is a character that stands for itself, or one of these.
_ONE, _ANY = object(), object()
_Token = str | object
_DIGITS = frozenset("0123456789")


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern over whole paths.

    Attributes:
        tokens: characters, and the two wildcards.
    """

    tokens: tuple[_Token, ...]

    def sqlite(self) -> str:
        """For SQLite's GLOB."""
        special = {_ONE: "?", _ANY: "*"}
        return "".join(
            special.get(token, f"[{token}]" if token in ("*", "?", "[") else str(token))
            for token in self.tokens
        )

    def like(self) -> str:
        r"""For LIKE with ``\`` as its escape character."""
        special = {_ONE: "_", _ANY: "%"}
        return "".join(
            special.get(token, f"\\{token}" if token in ("%", "_", "\\") else str(token))
            for token in self.tokens
        )

    def sqlite_of_series(self) -> str:
        """For SQLite's GLOB, for paths of series: a digit of the name is itself or a mark."""
        start = self._name_at
        return Glob(self.tokens[:start]).sqlite() + "".join(
            f"[{token}{MARK}]" if token in _DIGITS else Glob((token,)).sqlite()
            for token in self.tokens[start:]
        )

    def regex_of_series(self) -> str:
        """The same for PostgreSQL's regular expressions, which look for the middle of a pattern
        much faster than for all of it."""
        special = {_ONE: ".", _ANY: ".*"}
        tokens = list(self.tokens)
        start, end = "^", "$"
        if tokens and tokens[0] is _ANY:
            start = ""
            del tokens[0]
        if tokens and tokens[-1] is _ANY:
            end = ""
            del tokens[-1]
        parts = [
            special.get(token, f"[{token}{MARK}]" if token in _DIGITS else re.escape(str(token)))
            for token in tokens
        ]
        return f"{start}{''.join(parts)}{end}"

    @property
    def _name_at(self) -> int:
        """From which token on it may be about a file's name: behind its last slash."""
        return max((at + 1 for at, token in enumerate(self.tokens) if token == "/"), default=0)

    def digit_runs(self) -> list[DigitRun]:
        """The digits of names that it says outright, each run with whether it says what stands
        beside it."""
        runs: list[DigitRun] = []
        start = self._name_at
        for is_digits, group in groupby(
            enumerate(self.tokens), lambda t: t[0] >= start and t[1] in _DIGITS
        ):
            if not is_digits:
                continue
            found = list(group)
            first, last = found[0][0], found[-1][0]
            before = self.tokens[first - 1 : first] if first else ("/",)
            after = self.tokens[last + 1 : last + 2] or ("/",)
            runs.append(
                DigitRun(
                    "".join(str(digit) for _, digit in found),
                    begins=isinstance(before[0], str),
                    ends=isinstance(after[0], str),
                )
            )
        return runs

    def lower(self) -> Glob:
        """The same in small letters."""
        return Glob(tuple(t.lower() if isinstance(t, str) else t for t in self.tokens))

    def beneath(self) -> Glob:
        """What lies beneath a path that matches."""
        return Glob((*self.tokens, "/", _ANY))

    @property
    def is_open(self) -> bool:
        """Whether it ends in "*": what lies beneath a match then matches, too."""
        return bool(self.tokens) and self.tokens[-1] is _ANY

    @property
    def is_in_name(self) -> bool:
        """Whether a path that matches has all of it in its name, or else all of it in the folder:
        as ``*1042*`` does, and ``*.1042.exr``."""
        text = self.tokens[1:-1] if self.is_open else self.tokens[1:]
        if not self.tokens or self.tokens[0] is not _ANY:
            return False
        return all(isinstance(token, str) and token != "/" for token in text)

    @property
    def is_piece(self) -> bool:
        """Whether it says nothing but a piece of a name, as ``*1042*`` does: a path has it in its
        folder's names or in its own."""
        return self.is_open and self.is_in_name and bool(self.text)

    @property
    def text(self) -> str:
        """The characters that stand for themselves."""
        return "".join(token for token in self.tokens if isinstance(token, str))

    def regex(self) -> re.Pattern[str]:
        """For Python, wildcards going across slashes."""
        special = {_ONE: ".", _ANY: ".*"}
        text = "".join(special.get(token, re.escape(str(token))) for token in self.tokens)
        return re.compile(text, re.DOTALL)


@dataclass(frozen=True, slots=True)
class Place:
    """The paths of one storage that are meant; what is None does not restrict.

    Attributes:
        file: exactly this path, or, if ``folder`` is set too, also this path.
        folder: what lies in this folder, and, if ``deep``, beneath it.
        extensions: only names that end in one of them; of a pattern that says nothing else.
        glob: a pattern; ``beneath`` adds what lies beneath a match, ``depth`` is the number of
            slashes a path must have.
        ignorecase: of the pattern.
    """

    file: str | None = None
    folder: str | None = None
    deep: bool = True
    extensions: tuple[str, ...] | None = None
    glob: Glob | None = None
    beneath: bool = False
    depth: int | None = None
    ignorecase: bool = False

    def decides(self, names: Iterable[str]) -> bool:
        """Whether a file of any of these names matches, whatever folder it lies in."""
        glob = self.glob
        if glob is None or self.folder or self.depth is not None or self.ignorecase:
            return False
        if not glob.tokens or glob.tokens[0] is not _ANY:
            return False
        matches = glob.regex().fullmatch
        return all(matches(name) for name in names)


EVERYTHING = Place(folder="")


def resolve(match: PathMatch) -> Place:
    """What a client means. InvalidValue for a text that leads out of the storage."""
    if len(match.text) > _LONGEST or "\0" in match.text:
        raise InvalidValue("path", f"has {_LONGEST} characters at most and no NUL")
    segments, is_folder = _segments(match.text, wildcard=match.wildcard)
    tokens: list[_Token] = []
    for segment in segments:
        tokens += ["/", *segment] if tokens else segment
    is_pattern = any(not isinstance(token, str) for token in tokens)
    if not is_pattern and not (match.ignorecase and tokens):
        return _literal("".join(map(str, tokens)), is_folder=is_folder, recursive=match.recursive)
    if sum(not isinstance(token, str) for token in tokens) > _MOST_WILDCARDS:
        raise InvalidValue("path", f"has {_MOST_WILDCARDS} wildcards at most")
    return _pattern(segments, Glob(tuple(tokens)), is_folder=is_folder, match=match)


def _segments(text: str, *, wildcard: bool) -> tuple[list[list[_Token]], bool]:
    """The names of a path as tokens, and whether it means a folder's contents."""
    segments: list[list[_Token]] = []
    is_folder = True
    for raw in text.split("/"):
        is_folder = raw in ("", ".", "..")
        if raw == "..":
            if not segments:
                raise InvalidValue("path", "the path leads out of the storage")
            segments.pop()
        elif not is_folder:
            segments.append(_tokens(raw) if wildcard else list(raw))
    return segments, is_folder


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    characters = iter(text)
    for character in characters:
        if character == "\\":
            tokens.append(next(characters, "\\"))
        elif character == "?":
            tokens.append(_ONE)
        elif character == "*":
            if not tokens or tokens[-1] is not _ANY:
                tokens.append(_ANY)
        else:
            tokens.append(character)
    return tokens


def _literal(path: str, *, is_folder: bool, recursive: bool) -> Place:
    if is_folder:
        return Place(folder=path, deep=recursive)
    return Place(file=path, folder=path if recursive else None)


def _pattern(
    segments: list[list[_Token]], glob: Glob, *, is_folder: bool, match: PathMatch
) -> Place:
    folder = "" if match.ignorecase else _plain_folder(segments)
    if match.recursive and not is_folder:
        extension = _extension(segments, folder)
        if extension is not None:
            return Place(
                folder=folder,
                extensions=(extension,),
                glob=glob,
                beneath=True,
                ignorecase=match.ignorecase,
            )
    depth = None
    if not match.recursive:
        depth = len(segments) if is_folder else len(segments) - 1
    return Place(
        folder=folder,
        glob=glob.beneath() if is_folder else glob,
        beneath=match.recursive and not is_folder,
        depth=depth,
        ignorecase=match.ignorecase,
    )


def _plain_folder(segments: list[list[_Token]]) -> str:
    """The folder that all matches lie beneath: the names before the first wildcard."""
    plain: list[str] = []
    for segment in segments[:-1]:
        if any(not isinstance(token, str) for token in segment):
            break
        plain.append("".join(map(str, segment)))
    return "/".join(plain)


def _extension(segments: list[list[_Token]], folder: str) -> str | None:
    """The extension of a pattern that says nothing else, as ``plates/*.exr``."""
    last = segments[-1]
    depth = folder.count("/") + 1 if folder else 0
    if len(segments) != depth + 1 or len(last) < 3 or last[0] is not _ANY or last[1] != ".":
        return None
    rest = last[2:]
    if any(not isinstance(token, str) or token == "." for token in rest):
        return None
    return "".join(map(str, rest))
