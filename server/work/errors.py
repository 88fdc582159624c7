"""Why work on one file, or on a whole batch, came to nothing."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class WorkError(Exception):
    """Base of what stops work on purpose."""


class FileError(WorkError):
    """One file could not be worked on; the others of its batch go on.

    Attributes:
        code: stable, for programs; one of those below and in ``_BY_ERRNO``.
        reason: for people; never a path of the server.
        is_transient: whether the same work may succeed if it is only tried again.
    """

    def __init__(self, code: str, reason: str, *, is_transient: bool = False) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.is_transient = is_transient

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross processes; the default would call the class with the reason alone.
        return (_file_error, (self.code, self.reason, self.is_transient))


def _file_error(code: str, reason: str, is_transient: bool) -> FileError:
    return FileError(code, reason, is_transient=is_transient)


class StorageError(WorkError):
    """A storage as a whole cannot be reached or used; every file on it waits for it.

    Attributes:
        kept: something was left on it that a later attempt goes on with.
        root: the root of the storage, as its StorageSpec has it; "" when nobody can tell.
    """

    kept = False

    def __init__(self, message: str, *, root: str = "") -> None:
        super().__init__(message)
        self.root = root


class Unannounced(WorkError):
    """Folders are not there, and whoever gave the batch wants to know before they are made.

    Attributes:
        absent: outermost first.
    """

    def __init__(self, absent: Sequence[str]) -> None:
        super().__init__("folders are to be made")
        self.absent = tuple(absent)


class OverlapError(StorageError):
    """Source and destination are one place, or one lies in the other; the text says how."""


class SelectionError(WorkError):
    """A source that names nothing, or that cannot be understood; the text says why."""


class StoppedError(WorkError):
    """The batch was told to stop; what it had finished stays finished.

    Attributes:
        kept: something was left on the target that a later attempt goes on with.
    """

    kept = False


_BY_ERRNO = {
    errno.ENOENT: ("not-found", "it does not exist"),
    errno.ENOTDIR: ("not-found", "a part of its path is not a folder"),
    errno.EEXIST: ("exists", "a file of that name is there already"),
    errno.EACCES: ("permission", "the server may not touch it"),
    errno.EPERM: ("permission", "the server may not do this to it"),
    errno.EROFS: ("read-only", "the storage is read-only"),
    errno.ENOSPC: ("no-space", "the storage is full"),
    errno.EDQUOT: ("no-space", "the quota is used up"),
    errno.EXDEV: ("outside", "its path leads out of the storage"),
    errno.ELOOP: ("outside", "a symbolic link stands in its path"),
    errno.ENAMETOOLONG: ("bad-path", "its path is too long"),
    errno.EISDIR: ("not-a-file", "it is a folder"),
    errno.ENOTEMPTY: ("not-empty", "the folder is not empty"),
    errno.EBUSY: ("busy", "it is in use"),
    errno.EIO: ("io", "the storage could not read or write it"),
    errno.ENOTCONN: ("storage-gone", "the mount is gone"),
    errno.ESTALE: ("stale", "it was replaced meanwhile"),
    errno.EFBIG: ("no-space", "it is larger than the storage takes"),
}
_TRANSIENT = frozenset({errno.EBUSY, errno.ESTALE, errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT})
# What no other file of the storage will escape either.
STORAGE_GONE = frozenset({errno.ENOTCONN, errno.ECONNABORTED, errno.EHOSTDOWN})


def file_error(error: OSError) -> FileError:
    """The reason a person is told for what a system call said; a FileError stays itself."""
    number = error.errno or errno.EIO
    code, reason = _BY_ERRNO.get(number, ("io", os.strerror(number)))
    return FileError(code, reason, is_transient=number in _TRANSIENT)
