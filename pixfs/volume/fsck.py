"""Looking over a backing directory that no volume has open, without changing anything."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import codec
from codec import CodecError
from pixfs.volume import backing
from pixfs.volume.area import HIDDEN, LOCK, LOST_FOUND, TMP
from pixfs.volume.heads import Kind, read_head

if TYPE_CHECKING:
    from collections.abc import Iterator


def check(backing_path: str | bytes | os.PathLike[str]) -> list[str]:
    """Problems of a backing directory, one line each; empty when it is sound.

    Finds leftover temporaries, files kept in lost+found, containers whose header, index,
    checksums or hash do not hold. Decodes everything. Raises OSError.
    """
    root_fd = os.open(os.fsencode(backing_path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return [*_check_area(root_fd), *_check_tree(root_fd, b"")]
    finally:
        backing.close(root_fd)


def _check_tree(fd: int, path: bytes) -> Iterator[str]:
    for name in sorted(backing.list_directory(fd)):
        if not path and name == HIDDEN:
            continue
        inner = path + b"/" + name if path else name
        entry_fd = backing.open_path(fd, name)
        try:
            mode = backing.fstat(entry_fd).st_mode
            if stat.S_ISREG(mode):
                yield from _check_file(entry_fd, inner)
            elif stat.S_ISDIR(mode):
                inner_fd = backing.open_directory(fd, name)
                try:
                    yield from _check_tree(inner_fd, inner)
                finally:
                    backing.close(inner_fd)
        finally:
            backing.close(entry_fd)


def _check_file(path_fd: int, path: bytes) -> Iterator[str]:
    shown = os.fsdecode(path)
    fd = backing.reopen(path_fd, os.O_RDONLY)
    try:
        _, head = read_head(fd)
        if head.kind is Kind.BAD:
            yield f"{shown}: {head.reason}"
        elif head.kind is Kind.CONTAINER:
            try:
                damages = codec.Reader(fd).verify()
            except CodecError as error:
                yield f"{shown}: {error}"
                return
            for damage in damages:
                yield f"{shown}: {damage}"
    finally:
        backing.close(fd)


def _check_area(root_fd: int) -> Iterator[str]:
    try:
        hidden_fd = backing.open_directory(root_fd, HIDDEN)
    except FileNotFoundError:
        return
    try:
        for name in backing.list_directory(hidden_fd):
            if name == LOCK:
                continue
            inner_fd = backing.open_directory(hidden_fd, name)
            try:
                yield from _check_hidden(inner_fd, name)
            finally:
                backing.close(inner_fd)
    finally:
        backing.close(hidden_fd)


def _check_hidden(fd: int, name: bytes) -> Iterator[str]:
    for entry in backing.list_directory(fd):
        shown = os.fsdecode(name + b"/" + entry)
        if name == LOST_FOUND:
            yield f".pixfs/{shown}: kept by an earlier start"
        elif name == TMP:
            yield f".pixfs/{shown}: temporaries of a volume that runs or was killed"
        else:
            yield f".pixfs/{shown}: not known"
