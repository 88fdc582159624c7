"""Which files a command works on, and how an output comes into being: whole or not at all."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from codec import PROBE_SIZE, probe
from codec.cli.errors import Refused

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

SUFFIX = ".pxf"


@dataclass(frozen=True, slots=True)
class Input:
    """A file to work on and its size; one that cannot be looked at has a reason instead."""

    path: Path
    size: int
    reason: str | None = None


def gather(paths: Iterable[Path], *, recursive: bool, containers: bool) -> list[Input]:
    """The files that a command's arguments name, each directory's in the order of their names.

    A directory stands for the containers below it (``containers``), or for the frames: files
    that begin as one of the known formats does. Hidden files and symbolic links in it are left
    alone, so nothing is met twice.
    """
    found: list[Input] = []
    for path in paths:
        if not path.is_dir():
            found.append(_look(path))
        elif recursive:
            found += (one for one in _below(path) if _wanted(one, containers=containers))
        else:
            found.append(Input(path, 0, "is a directory: give --recursive for what is in it"))
    return found


def _below(directory: Path) -> Iterator[Input]:
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except OSError as error:
        yield Input(directory, 0, error.strerror or str(error))
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _below(Path(entry.path))
        elif entry.is_file(follow_symlinks=False):
            yield _look(Path(entry.path))


def _look(path: Path) -> Input:
    try:
        return Input(path, path.stat().st_size)
    except OSError as error:
        return Input(path, 0, error.strerror or str(error))


def _wanted(one: Input, *, containers: bool) -> bool:
    """Whether a file found in a directory is one for the command; unreadable ones are shown."""
    if one.reason is not None:
        return True
    if containers or one.path.suffix == SUFFIX:
        return containers and one.path.suffix == SUFFIX
    try:
        with one.path.open("rb") as opened:
            return probe(opened.read(PROBE_SIZE), one.size).format is not None
    except OSError:
        return True  # opening it again for the work itself gives the reason


def output_of(file: Path, options: argparse.Namespace, default: Path) -> Path:
    """Where a file's output goes.

    Raises Refused where that would replace something unasked.
    """
    target: Path = options.output or default
    if target.exists() and target.samefile(file):
        raise Refused("the output would replace the input: name another with --output")
    if target.exists() and not options.force:
        raise Refused(f"{target} exists: replace it with --force, or name another with --output")
    return target


def write_whole(target: Path, data: bytes | bytearray | memoryview) -> None:
    """Put ``data`` at ``target`` whole or not at all, and on the disk before returning.

    Whatever ends this early, Ctrl-C included, leaves nothing behind. Raises OSError.
    """
    with tempfile.NamedTemporaryFile(
        dir=target.parent, prefix=f".{target.name}.", delete=False
    ) as f:
        temporary = Path(f.name)
        try:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
            os.fchmod(f.fileno(), 0o666 & ~_umask())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
