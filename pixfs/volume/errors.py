"""How the volume says no, and the one place where the codec's errors become errno.

OSError                     what every public call raises, with the errno for the caller
ConversionRefusedError      a conversion that cannot happen (now); never leaves the volume
├── BusyError               EBUSY   open for writing, changed meanwhile, locked elsewhere
├── ClosingError            EBUSY   the volume closes and does not wait for it
├── NoSpaceError            ENOSPC  too little free space on the backing file system
├── MetadataError           ENOTSUP an attribute could not be carried over
└── UnconvertibleError      EBUSY   hard-linked, no known name, other file system ...
RestoreConflictError        the name no longer is the file that was to be replaced (ESTALE)
StaleNodeError              no name leads to the node's inode any more (ESTALE)
NameTakenError              another volume made a file under the name to be created (ESTALE)
OvertakenError              another volume changed the file in place: look again (ESTALE)
"""

from __future__ import annotations

import errno
import logging
import os

from codec import CodecError, DamagedError

log = logging.getLogger(__name__)


def oserror(code: int) -> OSError:
    """The OSError of an errno with its usual text."""
    return OSError(code, os.strerror(code))


class ConversionRefusedError(Exception):
    """A conversion did not happen; ``str()`` is the reason shown to the user."""

    errno = errno.EBUSY
    retry = False


class BusyError(ConversionRefusedError):
    """Somebody uses or changed the file; worth another try once it has settled."""

    retry = True


class ClosingError(ConversionRefusedError):
    """The volume is being closed and does not wait for the conversion to end."""

    def __init__(self) -> None:
        super().__init__("the volume is being closed")


class NoSpaceError(ConversionRefusedError):
    """The container would not fit beside the raw file and leave the reserve."""

    errno = errno.ENOSPC


class MetadataError(ConversionRefusedError):
    """Owner, mode, times, an ACL or an xattr cannot be carried over."""

    errno = errno.ENOTSUP


class UnconvertibleError(ConversionRefusedError):
    """The file is not one that may be replaced."""


class RestoreConflictError(OSError):
    """The file to be replaced is no longer the one behind its name."""

    def __init__(self) -> None:
        super().__init__(errno.ESTALE, os.strerror(errno.ESTALE))


class StaleNodeError(OSError):
    """A node lost its inode behind the volume's back; whoever holds it looks the name up again."""

    def __init__(self) -> None:
        super().__init__(errno.ESTALE, os.strerror(errno.ESTALE))


class NameTakenError(OSError):
    """Another volume made the name that was to be created: whoever asks looks it up again."""

    def __init__(self) -> None:
        super().__init__(errno.ESTALE, os.strerror(errno.ESTALE))


class OvertakenError(OSError):
    """Another volume emptied or rewrote in place what was being read as a container."""

    def __init__(self) -> None:
        super().__init__(errno.ESTALE, os.strerror(errno.ESTALE))


def from_codec(error: CodecError, what: str) -> OSError:
    """EIO for bytes that cannot be given back; logs which file and which part.

    Called where a read, restore or verification meets the error; ``what`` names the file
    for the log.
    """
    if isinstance(error, DamagedError):
        log.error("%s is damaged: %s", what, error)
    else:
        log.error("%s cannot be read: %s", what, error)
    return oserror(errno.EIO)
