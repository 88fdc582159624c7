"""Daemons with one durability rule broken: a rig that does not catch them proves nothing."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from pixfs.volume import backing

if TYPE_CHECKING:
    from collections.abc import Callable

_fsync, _fdatasync = backing.fsync, backing.fdatasync


def _skip(is_skipped: Callable[[int], bool]) -> Callable[[], None]:
    def install() -> None:
        def fsync(fd: int) -> None:
            if not is_skipped(fd):
                _fsync(fd)

        def fdatasync(fd: int) -> None:
            if not is_skipped(fd):
                _fdatasync(fd)

        backing.fsync, backing.fdatasync = fsync, fdatasync

    return install


def _is_directory(fd: int) -> bool:
    return stat.S_ISDIR(os.fstat(fd).st_mode)


def _is_temporary(fd: int) -> bool:
    return not _is_directory(fd) and "/.pixfs/tmp/" in os.readlink(f"/proc/self/fd/{fd}")


MUTANTS: dict[str, Callable[[], None]] = {
    "none": lambda: None,
    "no-fsync": _skip(lambda fd: not _is_directory(fd)),
    "no-directory-fsync": _skip(_is_directory),
    # The container changes places with the original before its bytes are durable.
    "exchange-before-fsync": _skip(_is_temporary),
}
"""What is done to a daemon before it starts, by name; ``none`` leaves it right."""
