"""Clearing away, at start, what a volume that was killed left in the hidden area.

Only leftovers of volumes that no longer run are touched: each running one holds the lock of
its directory. What a leftover is stands in its name (see ``area``):

* it is inode <own>: a temporary that never took its place. The file it was made from stands
  under its name, untouched. Deleted.
* it is inode <old>: the original after a finished exchange. An exchange happens only once the
  new file has been verified and fsynced, so what stands under the name is complete. Deleted,
  after the whole file system has been synced: a deletion must not become durable before the
  exchange it rests on.
* a redo record: the rewrite is carried through.
* anything else (a file that a process outside the volume put in the way of an exchange, an
  area copied to another disk) is moved to lost+found and logged.
"""

from __future__ import annotations

import errno
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pixfs.volume import backing, swap
from pixfs.volume.area import LOCK, LOST_FOUND, REDO_DATA, REDO_TARGET, open_or_make

if TYPE_CHECKING:
    from pixfs.volume.area import Area

log = logging.getLogger(__name__)

_NEW = re.compile(rb"new-\d+\Z")
_TEMP = re.compile(rb"t-([0-9a-f]+)-([0-9a-f]+)-\d+\Z")
_REDO = re.compile(rb"(redo-\d+)\.(data|target)\Z")


@dataclass
class Recovered:
    """What a start has found and dealt with.

    Attributes:
        volumes: volumes that had been killed, or could not clear up when they closed.
        interrupted: temporaries that had not taken their places; the conversions begin anew.
        superseded: originals whose places had been taken.
        rewrites: rewrites in place that were carried through, or had not begun.
        kept: files that are nobody's leftovers, moved to lost+found.
    """

    volumes: int = 0
    interrupted: int = 0
    superseded: int = 0
    rewrites: int = 0
    kept: int = 0

    @property
    def files(self) -> int:
        """How many leftovers there were."""
        return self.interrupted + self.superseded + self.rewrites + self.kept


def recover(area: Area) -> Recovered:
    """Clears the leftovers of dead volumes; returns what there was.

    Called once by a starting volume that holds the area's start lock. What cannot be cleared
    is logged and left; never raises OSError.
    """
    recovered = Recovered()
    for name in backing.list_directory(area.tmp_fd):
        if name == area.name:
            continue
        try:
            _clear_volume(area, name, recovered)
        except OSError as error:
            log.warning("leftovers in %r could not be cleared: %s", name, error)
    return recovered


def _clear_volume(area: Area, name: bytes, recovered: Recovered) -> None:
    try:
        fd = backing.open_directory(area.tmp_fd, name)
    except NotADirectoryError:
        _keep(area, area.tmp_fd, name)
        recovered.kept += 1
        return
    try:
        lock_fd = backing.open_lockfile(fd, LOCK)
        try:
            if not _is_dead(lock_fd):
                return
            _clear_entries(area, fd, recovered)
            backing.unlink(fd, LOCK)
            backing.rmdir(area.tmp_fd, name)
            recovered.volumes += 1
        finally:
            backing.close(lock_fd)
    finally:
        backing.close(fd)


def _is_dead(lock_fd: int) -> bool:
    try:
        return backing.try_lock(lock_fd, exclusive=True)
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            log.warning("the storage has no file locks: leftovers of other volumes stay")
            return False
        raise


def _clear_entries(area: Area, fd: int, recovered: Recovered) -> None:
    names = [name for name in backing.list_directory(fd) if name != LOCK]
    if names:
        backing.syncfs(fd)
    for name in sorted(names):
        if _REDO.match(name):
            continue
        inode = _whose(fd, name)
        if inode is None:
            _keep(area, fd, name)
            recovered.kept += 1
            continue
        backing.unlink(fd, name)
        if inode == "own":
            recovered.interrupted += 1
        else:
            recovered.superseded += 1
    for base in sorted({match[1] for name in names if (match := _REDO.match(name))}):
        _finish(area, fd, base, set(names), recovered)


def _whose(fd: int, name: bytes) -> Literal["own", "old"] | None:
    """Whether a leftover is the temporary itself or the original; None for a stranger's file."""
    if _NEW.match(name):
        return "own"
    match = _TEMP.match(name)
    if match is None:
        return None
    inode = backing.stat_at(fd, name).st_ino
    if inode == int(match[2], 16):
        return "own"
    return "old" if inode == int(match[1], 16) else None


def _finish(area: Area, fd: int, base: bytes, names: set[bytes], recovered: Recovered) -> None:
    data, target = base + REDO_DATA, base + REDO_TARGET
    if data not in names:
        # Either the record was never completed or its rewrite was.
        backing.unlink(fd, target)
        recovered.rewrites += 1
    elif target not in names:
        _keep(area, fd, data)
        recovered.kept += 1
    else:
        swap.finish_redo(fd, data, target)
        recovered.rewrites += 1
        log.warning("a rewrite that was cut off has been completed")


def _keep(area: Area, fd: int, name: bytes) -> None:
    kept_fd = open_or_make(area.hidden_fd, LOST_FOUND)
    try:
        kept = name
        for number in range(1, 1000):
            try:
                backing.rename(fd, name, kept_fd, kept, backing.RENAME_NOREPLACE)
            except FileExistsError:
                kept = name + b".%d" % number
                continue
            break
        else:
            raise OSError(errno.EEXIST, "lost+found is full of the same name")
    finally:
        backing.close(kept_fd)
    log.warning(
        "an unknown file was found among the temporaries and kept as .pixfs/lost+found/%s",
        kept.decode("utf-8", "backslashreplace"),
    )
