"""Files and directories with all they contain, copied or moved."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pixfs.errors import TargetError
from pixfs.transfer.errors import AliasError, TransferError
from pixfs.transfer.file import FileCopier, remove_moved
from pixfs.transfer.places import HIDDEN_AREA, Place, is_same_or_within
from pixfs.volume import backing
from pixfs.volume.metadata import copy_metadata

if TYPE_CHECKING:
    from collections.abc import Callable

    from pixfs.throttle import Limiter
    from pixfs.volume.attributes import Signature

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Options:
    """How to go about it.

    Attributes:
        limiter: what every byte waits for.
        move: delete each source once its copy has been verified and is durable.
        overwrite: replace what is in the way and differs.
        thorough: take a file for copied already only after comparing every byte; a move
            always does.
        progress: called with numbers of bytes done.
        report: called with every entry's outcome as soon as it is known.
    """

    limiter: Limiter
    move: bool = False
    overwrite: bool = False
    thorough: bool = False
    progress: Callable[[int], None] = lambda _: None
    report: Callable[[Outcome], None] = lambda _: None


@dataclass(frozen=True)
class Outcome:
    """What became of one entry.

    Attributes:
        source, target: paths as the user sees them.
        result: ``copied``, ``moved``, ``present`` (was there already) or ``failed``.
        size: bytes moved, as they are stored.
        notes: why it failed; what else is worth knowing.
    """

    source: str
    target: str
    result: str
    size: int = 0
    notes: tuple[str, ...] = ()


@dataclass
class _Directory:
    """One pair of directories, with descriptors of both, while its entries are worked on.

    Attributes:
        visible_fd: the source directory as its users see it; the same as ``source_fd``
            where there is no mount.
        done: files that are copied and may be deleted when the target's names are durable.
    """

    source_fd: int
    visible_fd: int
    target_fd: int
    done: list[tuple[Outcome, bytes, Signature | None]] = field(default_factory=list)


class Transfer:
    """Copies or moves one source to one destination, file by file; one thread at a time.

    Started again after an interruption it leaves alone what is done and goes on with the file
    it was at.
    """

    def __init__(self, source: Place, target: Place, options: Options) -> None:
        """Raises AliasError, TargetError when the two places do not make sense together."""
        self._options = options
        self._source = source
        self._target = target
        self.stored = source.root is not None and target.root is not None
        for place in (source, target):
            if not self.stored and place.root is not None and place.mountpoint is None:
                raise TargetError(
                    f"{place.path} is in a volume that is not mounted: mount it to copy between"
                    " it and a plain directory"
                )
        if self.stored and target.mountpoint and _is_read_only(target.mountpoint):
            raise TargetError(f"{target.mountpoint} is mounted read-only")
        if not os.path.lexists(self._data(source)):
            raise TargetError(f"{source.path} does not exist")
        self._refuse_aliases()
        self._files = FileCopier(
            options.limiter, options.progress, stored=self.stored, overwrite=options.overwrite
        )

    def _data(self, place: Place) -> str:
        return place.stored if self.stored else place.path

    def _refuse_aliases(self) -> None:
        source, target = self._data(self._source), self._data(self._target)
        if os.path.lexists(target) and os.path.samestat(os.lstat(source), os.lstat(target)):
            raise AliasError(f"{self._source.path} and {self._target.path} are the same file")
        if stat.S_ISDIR(os.lstat(source).st_mode) and is_same_or_within(target, source):
            raise AliasError(f"{self._target.path} lies inside of {self._source.path}")
        if self._options.move and self._is_root(self._source):
            raise TargetError(f"{self._source.path} is a whole volume; move what is in it")

    def run(self) -> bool:
        """Does it; True when nothing failed. Failures are reported entry by entry."""
        self._failed = False
        if self._options.move and self._rename():
            return True
        with ExitStack() as held:
            directory = self._open_parents(held)
            self._entry(directory, self._source, self._target)
            self._settle(directory)
        return not self._failed

    def _rename(self) -> bool:
        """Moves within one file system without copying; False when that cannot be."""
        if (self._source.root, self._source.mountpoint) != (
            self._target.root,
            self._target.mountpoint,
        ):
            return False
        with ExitStack() as held:
            parents = []
            for place in (self._source, self._target):
                parents.append(os.open(os.path.dirname(place.path), _DIRECTORY))
                held.callback(os.close, parents[-1])
            flags = 0 if self._options.overwrite else backing.RENAME_NOREPLACE
            names = self._source.name, self._target.name
            try:
                backing.rename(parents[0], names[0], parents[1], names[1], flags)
            except FileExistsError:
                raise TargetError(f"{self._target.path} exists; see --overwrite") from None
            except OSError as error:
                if error.errno in (errno.EXDEV, errno.EINVAL):
                    return False
                raise
            for fd in parents:
                backing.fsync(fd)
        self._report(Outcome(self._source.path, self._target.path, "moved"))
        return True

    def _open_parents(self, held: ExitStack) -> _Directory:
        def opened(path: str) -> int:
            fd = os.open(os.path.dirname(path), _DIRECTORY)
            held.callback(backing.close, fd)
            return fd

        return _Directory(
            source_fd=opened(self._data(self._source)),
            visible_fd=opened(self._source.path),
            target_fd=opened(self._data(self._target)),
        )

    def _entry(self, within: _Directory, source: Place, target: Place) -> None:
        """One entry of a source directory, whatever it is."""
        name = self._name(source)
        try:
            mode = backing.stat_at(within.source_fd, name).st_mode
            if stat.S_ISREG(mode):
                self._file(within, name, source, target)
            elif stat.S_ISDIR(mode):
                self._directory(within, name, source, target)
            else:
                self._special(within, name, mode, source, target)
        except (OSError, TransferError) as error:
            reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            self._report(Outcome(source.path, target.path, "failed", 0, (reason,)))

    def _file(self, within: _Directory, name: bytes, source: Place, target: Place) -> None:
        thorough = self._options.move or self._options.thorough
        copied = self._files.copy(
            within.source_fd, name, within.target_fd, target, thorough=thorough
        )
        result = "copied" if copied.size or not copied.signature.size else "present"
        outcome = Outcome(source.path, target.path, result, copied.size, copied.notes)
        if self._options.move:
            within.done.append((outcome, name, copied.signature))
        else:
            self._report(outcome)

    def _special(
        self, within: _Directory, name: bytes, mode: int, source: Place, target: Place
    ) -> None:
        """A symbolic link or a FIFO; nothing else can be taken along."""
        if stat.S_ISLNK(mode):
            text = os.readlink(name, dir_fd=within.source_fd)
            try:
                backing.symlink(text, within.target_fd, target.name)
            except FileExistsError:
                if os.readlink(target.name, dir_fd=within.target_fd) != text:
                    raise
        elif stat.S_ISFIFO(mode):
            try:
                backing.mknod(within.target_fd, target.name, mode, 0)
            except FileExistsError:
                there = backing.stat_at(within.target_fd, target.name).st_mode
                if not stat.S_ISFIFO(there):
                    raise
        else:
            raise TransferError("neither a file, a directory, a link nor a FIFO; left out")
        self._carry_special(within, name, target)
        outcome = Outcome(source.path, target.path, "copied")
        if self._options.move:
            within.done.append((outcome, name, None))
        else:
            self._report(outcome)

    def _carry_special(self, within: _Directory, name: bytes, target: Place) -> None:
        st = backing.stat_at(within.source_fd, name)
        fd = backing.open_path(within.target_fd, target.name)
        try:
            if os.geteuid() == 0:
                backing.chown(fd, st.st_uid, st.st_gid)
            backing.utimens(fd, st.st_atime_ns, st.st_mtime_ns)
        finally:
            backing.close(fd)

    def _directory(self, within: _Directory, name: bytes, source: Place, target: Place) -> None:
        with ExitStack() as held:

            def opened(dir_fd: int, entry: bytes) -> int:
                fd = os.open(entry, _DIRECTORY, dir_fd=dir_fd)
                held.callback(backing.close, fd)
                return fd

            source_fd = opened(within.source_fd, name)
            # Now: deleting what has been moved changes them.
            times = backing.fstat(source_fd)
            created = self._make_directory(within.target_fd, target.name, source_fd)
            inner = _Directory(
                source_fd=source_fd,
                visible_fd=opened(within.visible_fd, os.fsencode(os.path.basename(source.path))),
                target_fd=opened(within.target_fd, target.name),
            )
            for entry in sorted(backing.list_directory(source_fd)):
                if os.fsdecode(entry) != HIDDEN_AREA or not self._is_root(source):
                    inner_name = os.fsdecode(entry)
                    self._entry(inner, source.inside(inner_name), target.inside(inner_name))
            if created:
                backing.utimens(inner.target_fd, times.st_atime_ns, times.st_mtime_ns)
            self._settle(inner)
        if self._options.move:
            try:
                backing.rmdir(within.visible_fd, name)
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:
                    raise

    def _name(self, source: Place) -> bytes:
        # The name of a whole volume is another on the mount than on the backing.
        return os.fsencode(os.path.basename(self._data(source)))

    def _is_root(self, source: Place) -> bool:
        return source.root is not None and source.stored == os.path.normpath(source.root)

    def _make_directory(self, dir_fd: int, name: bytes, source_fd: int) -> bool:
        try:
            backing.mkdir(dir_fd, name, 0o700)
        except FileExistsError:
            return False
        fd = os.open(name, _DIRECTORY, dir_fd=dir_fd)
        try:
            # At once: a transfer that is started again finds the directory and leaves it alone.
            copy_metadata(source_fd, fd)
        finally:
            backing.close(fd)
        return True

    def _settle(self, directory: _Directory) -> None:
        """Makes the names in the target durable, and only then deletes what has been moved."""
        backing.fsync(directory.target_fd)
        for outcome, name, signature in directory.done:
            try:
                if signature is None:
                    backing.unlink(directory.visible_fd, name)
                else:
                    remove_moved(directory.source_fd, name, directory.visible_fd, signature)
            except (OSError, TransferError) as error:
                self._report(
                    Outcome(outcome.source, outcome.target, "failed", outcome.size, (str(error),))
                )
            else:
                self._report(
                    Outcome(outcome.source, outcome.target, "moved", outcome.size, outcome.notes)
                )

    def _report(self, outcome: Outcome) -> None:
        self._failed |= outcome.result == "failed"
        self._options.report(outcome)


def _is_read_only(mountpoint: str) -> bool:
    return bool(os.statvfs(mountpoint).f_flag & os.ST_RDONLY)
