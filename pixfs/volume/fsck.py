"""Looking over a backing directory that no volume has open, without changing anything.

`repair` is apart from it: what it does is what a volume's start does anyway.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import codec
from codec import CodecError
from pixfs.volume import backing, recovery
from pixfs.volume.area import HIDDEN, INCOMING, LOCK, LOST_FOUND, NAMES, TMP, Area
from pixfs.volume.heads import Kind, read_head

if TYPE_CHECKING:
    from collections.abc import Iterator

ProblemKind = Literal["damaged", "leftover", "unfinished", "kept", "unknown", "unreadable"]
REPAIRABLE: tuple[ProblemKind, ...] = ("leftover", "unfinished")


@dataclass(frozen=True)
class Problem:
    """Something that is not as a volume in good order has it.

    Attributes:
        path: relative to the backing directory.
        kind: ``damaged`` (a file whose bytes cannot all be given back), ``leftover``
            (temporaries of a volume that was killed), ``unfinished`` (what an interrupted
            ``pixfs cp`` or ``mv`` has left), ``kept`` (in lost+found), ``unknown`` (foreign to
            the hidden area), ``unreadable`` (could not be looked at).
        message: what is wrong with it.
    """

    path: str
    kind: ProblemKind
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def check(backing_path: str | bytes | os.PathLike[str]) -> list[str]:
    """Problems of a backing directory, one line each; empty when it is sound.

    Decodes everything. Raises OSError.
    """
    return [str(problem) for problem in examine(backing_path, decode=True)]


def examine(backing_path: str | bytes | os.PathLike[str], *, decode: bool) -> Iterator[Problem]:
    """Problems of a backing directory: leftovers in the hidden area, containers whose header
    or index do not hold and, with ``decode``, those whose checksums or hash do not.

    Raises OSError when the directory itself cannot be listed.
    """
    root_fd = os.open(os.fsencode(backing_path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield from _check_area(root_fd)
        yield from _check_tree(root_fd, b"", decode=decode)
    finally:
        backing.close(root_fd)


def repair(backing_path: str | bytes | os.PathLike[str]) -> int:
    """Clears away what is certain to be a leftover; returns how many files that were.

    Nothing outside the hidden area is touched, but for a rewrite that was cut off and is
    carried through. Only when no volume has the directory open. Raises OSError.
    """
    root_fd = backing.open_root(os.path.realpath(os.fsencode(backing_path)))
    try:
        area = Area(root_fd)
        try:
            with area.starting():
                cleared = recovery.recover(area).files
                return cleared + _clear_incoming(area)
        finally:
            area.close()
    finally:
        backing.close(root_fd)


def _clear_incoming(area: Area) -> int:
    """Deletes unfinished transfers nobody is at: their sources are whole."""
    try:
        incoming_fd = backing.open_directory(area.hidden_fd, INCOMING)
    except FileNotFoundError:
        return 0
    cleared = 0
    try:
        for name in backing.list_directory(incoming_fd):
            fd = backing.open_lockfile(incoming_fd, name)
            try:
                if backing.try_lock(fd, exclusive=True):
                    backing.unlink(incoming_fd, name)
                    cleared += 1
            finally:
                backing.close(fd)
    finally:
        backing.close(incoming_fd)
    with suppress(OSError):
        backing.rmdir(area.hidden_fd, INCOMING)
    return cleared


def _check_tree(fd: int, path: bytes, *, decode: bool) -> Iterator[Problem]:
    for name in sorted(backing.list_directory(fd)):
        if not path and name == HIDDEN:
            continue
        inner = path + b"/" + name if path else name
        try:
            entry_fd = backing.open_path(fd, name)
            try:
                mode = backing.fstat(entry_fd).st_mode
                if stat.S_ISREG(mode):
                    yield from _check_file(entry_fd, inner, decode=decode)
                elif stat.S_ISDIR(mode):
                    inner_fd = backing.open_directory(fd, name)
                    try:
                        yield from _check_tree(inner_fd, inner, decode=decode)
                    finally:
                        backing.close(inner_fd)
            finally:
                backing.close(entry_fd)
        except OSError as error:
            reason = error.strerror or str(error)
            yield Problem(os.fsdecode(inner), "unreadable", f"cannot be looked at: {reason}")


def _check_file(path_fd: int, path: bytes, *, decode: bool) -> Iterator[Problem]:
    shown = os.fsdecode(path)
    fd = backing.reopen(path_fd, os.O_RDONLY)
    try:
        _, head = read_head(fd)
        if head.kind is Kind.BAD:
            yield Problem(shown, "damaged", head.reason)
        elif head.kind is Kind.CONTAINER:
            for damage in _damages(fd, decode=decode):
                yield Problem(shown, "damaged", damage)
    finally:
        backing.close(fd)


def _damages(fd: int, *, decode: bool) -> list[str]:
    try:
        reader = codec.Reader(fd)
        if decode:
            return [str(damage) for damage in reader.verify()]
    except CodecError as error:
        return [str(error)]
    missing = reader.header.container_length - reader.stored_length
    return [f"{missing} bytes are missing at its end"] if missing > 0 else []


def _check_area(root_fd: int) -> Iterator[Problem]:
    try:
        hidden_fd = backing.open_directory(root_fd, HIDDEN)
    except FileNotFoundError:
        return
    try:
        for name in backing.list_directory(hidden_fd):
            if name in (LOCK, NAMES):
                continue
            try:
                inner_fd = backing.open_directory(hidden_fd, name)
            except NotADirectoryError:
                yield Problem(f".pixfs/{os.fsdecode(name)}", "unknown", "not known")
                continue
            try:
                yield from _check_hidden(inner_fd, name)
            finally:
                backing.close(inner_fd)
    finally:
        backing.close(hidden_fd)


def _check_hidden(fd: int, name: bytes) -> Iterator[Problem]:
    kinds: dict[bytes, tuple[ProblemKind, str]] = {
        LOST_FOUND: ("kept", "kept by an earlier start"),
        TMP: ("leftover", "temporaries of a volume that runs or was killed"),
        INCOMING: ("unfinished", "left by a transfer that was interrupted or still runs"),
    }
    kind, message = kinds.get(name, ("unknown", "not known"))
    for entry in backing.list_directory(fd):
        yield Problem(f".pixfs/{os.fsdecode(name + b'/' + entry)}", kind, message)
