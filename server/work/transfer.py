"""Copying the files of a batch so that each appears whole, verified and durable, or not at all.

Files are copied in small groups: the bytes of all are written under hidden names, then all are
made durable (by one syncfs where that is as good, else the first fsync waits and the others find
their bytes on disk), read back and compared with the hash of what was read, and only then renamed;
one fsync a folder ends the group. A crash leaves hidden files that the next attempt removes by
their names, or goes on with where they are large.
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import xxhash

from pixfs.transfer.content import pour
from server.work.batch import Outcome
from server.work.beneath import split
from server.work.errors import STORAGE_GONE, FileError, StoppedError, StorageError, file_error
from server.work.overlap import is_same_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.work.batch import Batch, File
    from server.work.flow import Flow
    from server.work.storage import Entry, Source, Storage, Target

log = logging.getLogger(__name__)

CHUNK = 1 << 20
_GROUP_FILES = 128
_GROUP_BYTES = 128 << 20
# The time stamps of a file system lag behind the clock, by a timer's tick at most.
_TICK_NS = 10_000_000


def copy(batch: Batch, source: Storage, target: Storage, flow: Flow) -> Iterator[Outcome]:
    """Copies the files of a batch in their order, for as long as the flow has time.

    Raises StoppedError and StorageError; what was told before stays true.
    """
    files = list(batch.files)
    while files and flow.has_time():
        group: list[_Copy | Outcome] = []
        try:
            with _turn():
                _write_group(batch, source, target, flow, files, group)
            yield from _land_group(batch, target, flow, group)
        except (StoppedError, StorageError) as error:
            kept = [m.target.keep() for m in group if isinstance(m, _Copy)]
            # A storage that is gone cannot be tidied either: what comes next has to.
            error.kept = error.kept or any(kept) or isinstance(error, StorageError)
            raise
        finally:
            for member in group:
                if isinstance(member, _Copy):
                    member.target.abandon()


_TURN = threading.Lock()
_TURN_S = 0.05


@contextmanager
def _turn() -> Iterator[None]:
    """Lets the batches of this process do their many short system calls one after the other.

    Each call gives the interpreter's lock away and takes it back; two threads at it spend more
    time on handing it over than on files. While one waits for the disk the other has its turn. It
    is never waited for long: whoever has it may be held up by a slow storage or by a limit.
    """
    has_it = _TURN.acquire(timeout=_TURN_S)
    try:
        yield
    finally:
        if has_it:
            _TURN.release()


class _Copy:
    """A file whose bytes have been written under a hidden name."""

    def __init__(self, file: File, source: Source, target: Target) -> None:
        self.file = file
        self.entry = source.entry
        self.target = target
        self.digest = ""
        self.stored = 0

    def outcome(self) -> Outcome:
        return Outcome(
            self.file.number,
            "done",
            size=self.entry.size,
            stored=self.stored,
            mtime_ns=self.entry.mtime_ns,
            version=self.entry.version,
            digest=self.digest,
        )


def failed(file: File, error: OSError | FileError) -> Outcome:
    """The outcome of a file that could not be worked on; StorageError when none can."""
    if isinstance(error, OSError) and error.errno in STORAGE_GONE:
        raise StorageError(f"a storage is gone: {error.strerror}") from error
    why = error if isinstance(error, FileError) else file_error(error)
    return Outcome(
        file.number, "failed", code=why.code, reason=why.reason, is_transient=why.is_transient
    )


def _write_group(
    batch: Batch,
    source: Storage,
    target: Storage,
    flow: Flow,
    files: list[File],
    group: list[_Copy | Outcome],
) -> None:
    """Takes files off the front until the group is full or the time is over."""
    size = 0
    while files and len(group) < _GROUP_FILES and size < _GROUP_BYTES and flow.has_time():
        file = files[0]
        try:
            member = _begin(batch, source, target, flow, file)
        except (OSError, FileError) as error:
            member = failed(file, error)
            # What comes next, if anything, is another task under other names.
            _clear(batch, target, file)
        files.pop(0)
        group.append(member)
        size += file.size


def _clear(batch: Batch, target: Storage, file: File) -> None:
    """Removes what earlier attempts have left of a file that this one does not go on with."""
    for attempt in batch.lost:
        with suppress(OSError, FileError):
            target.clear_part(file.target, batch.part(file, attempt), resumes=False)


def _begin(
    batch: Batch, source: Storage, target: Storage, flow: Flow, file: File
) -> _Copy | Outcome:
    for attempt in batch.lost:
        target.clear_part(file.target, batch.part(file, attempt), resumes=True)
    if file.kind == "link":
        return _copy_link(batch, source, target, file)
    stored = batch.options.stored and target.takes_containers
    with source.open(file.path, stored=stored) as opened:
        settled = _settled(batch, source, target, file, opened, flow)
        if settled is not None:
            _clear(batch, target, file)
            return settled
        return _write(batch, target, flow, file, opened)


def _write(batch: Batch, target: Storage, flow: Flow, file: File, opened: Source) -> _Copy:
    landing = target.create(
        file.target,
        opened.attributes,
        part=batch.part(file),
        stored=opened.is_stored,
        earlier=[batch.part(file, attempt) for attempt in batch.lost],
    )
    member = _Copy(file, opened, landing)
    try:
        member.digest, member.stored = pour(opened, landing, flow)
        if member.stored != opened.size:
            raise FileError("changed", "it changed while it was read", is_transient=True)
        opened.check()
        landing.written()
    except (StoppedError, StorageError) as error:
        error.kept = landing.keep()
        raise
    except OSError as error:
        if error.errno in STORAGE_GONE:
            gone = StorageError(f"a storage is gone: {error.strerror}")
            gone.kept = landing.keep()
            raise gone from error
        landing.abandon()
        raise
    except BaseException:
        landing.abandon()
        raise
    return member


def _settled(
    batch: Batch, source: Storage, target: Storage, file: File, opened: Source, flow: Flow
) -> Outcome | None:
    """The outcome where the target's name is taken and is not to be replaced."""
    try:
        there = target.stat(file.target)
    except FileNotFoundError:
        return None
    if there.kind == "folder":
        raise FileError("exists", "a folder of that name is there already")
    _refuse_same(source, file, target)
    overwrite = batch.options.overwrite
    if _is_copy(batch, source, target, file, opened.entry, there, flow):
        is_ours = _landed_before(batch, there)
        return Outcome(
            file.number,
            "done" if is_ours else "skipped",
            size=opened.entry.size,
            stored=opened.size if is_ours else 0,
            mtime_ns=opened.entry.mtime_ns,
            version=opened.entry.version,
        )
    if overwrite == "replace":
        return None
    if overwrite == "newer" and opened.entry.mtime_ns > there.mtime_ns:
        return None
    if overwrite == "fail":
        raise FileError("exists", "another file of that name is there already")
    reason = "another file of that name was there already"
    return Outcome(file.number, "skipped", size=opened.entry.size, code="exists", reason=reason)


def _refuse_same(source: Storage, file: File, target: Storage) -> None:
    """FileError when the name that is taken is the source's own: a file is its own whole copy,
    and a move would then delete it."""
    if is_same_file(source, file.path, target, file.target):
        raise FileError("same-file", "source and destination are the same file")


def _landed_before(batch: Batch, there: Entry) -> bool:
    """Whether a copy that is there is the work of an attempt that was cut off before it could
    tell of it: what came under that name, or changed, after the first one had begun."""
    return bool(batch.lost) and there.changed_ns >= batch.began_ns - _TICK_NS


def _is_copy(
    batch: Batch,
    source: Storage,
    target: Storage,
    file: File,
    entry: Entry,
    there: Entry,
    flow: Flow,
) -> bool:
    """Whether the target already is this very file, as after an attempt that was cut off.

    Size and mtime in nanoseconds decide whether it is worth comparing; with verification by hash
    both are read: a move deletes its source on the strength of this answer.
    """
    if there.kind != "file" or there.size != entry.size:
        return False
    # A bucket or a foreign file system may keep coarser times.
    if there.mtime_ns != entry.mtime_ns and there.mtime_ns != entry.mtime_ns // 10**9 * 10**9:
        return False
    if batch.options.verify != "hash":
        return True
    with target.open(file.target, stored=False) as landed:
        digest = _digest(landed, flow)
    with source.open(file.path, stored=False) as original:
        return digest == _digest(original, flow)


def _digest(opened: Source, flow: Flow) -> str:
    digest = xxhash.xxh3_128()
    flow.read(min(CHUNK, opened.size))
    while data := opened.read(CHUNK):
        digest.update(data)
        flow.read(len(data))
    return digest.hexdigest()


def _copy_link(batch: Batch, source: Storage, target: Storage, file: File) -> Outcome:
    """Copies a symbolic link as the link it is, provided it stays within its storage."""
    link = source.read_link(file.path)
    folder = split(file.path)[0]
    depth = len([part for part in folder.split("/") if part])
    for part in link.split("/"):
        depth += 0 if part in ("", ".") else -1 if part == ".." else 1
        if depth < 0 or link.startswith("/"):
            raise FileError("outside", "the link leads out of the storage")
    with suppress(FileNotFoundError):
        _refuse_same(source, file, target)
    target.make_link(file.target, link, replace=batch.options.overwrite == "replace")
    entry = source.stat(file.path)
    return Outcome(file.number, "done", mtime_ns=entry.mtime_ns, version=entry.version)


def _land_group(
    batch: Batch, target: Storage, flow: Flow, group: list[_Copy | Outcome]
) -> Iterator[Outcome]:
    """Makes the group durable, verifies, renames, and tells what became of each file.

    Told to stop in between, it still tells of those that have taken their names: a file that
    landed and was not told of would be met as somebody else's by the next attempt.
    """
    outcomes: list[Outcome] = []
    interruption: StoppedError | StorageError | None = None
    folders: set[str] = set()
    _settle(batch, target, group)
    with _turn():
        for member in group:
            if isinstance(member, Outcome):
                outcomes.append(member)
                continue
            try:
                outcome = _land(batch, flow, member)
            except (StoppedError, StorageError) as error:
                interruption = error
                break
            if outcome.state == "done":
                folders.add(split(member.target.path)[0])
            outcomes.append(outcome)
    target.sync(sorted(folders))
    yield from outcomes
    if interruption is not None:
        raise interruption


def _settle(batch: Batch, target: Storage, group: list[_Copy | Outcome]) -> None:
    """Makes the whole group durable at once, where the storage can, and begins to read it back."""
    prepared = []
    for member in group:
        if isinstance(member, _Copy):
            # One that cannot be prepared says so again when it is its turn to land.
            with suppress(OSError, FileError):
                member.target.prepare()
                prepared.append(member.target)
    target.settle(prepared)
    if batch.options.verify == "hash":
        for each in prepared:
            each.fetch()


def _land(batch: Batch, flow: Flow, member: _Copy) -> Outcome:
    """Makes one file durable, verifies it and gives it its name. StoppedError, StorageError."""
    flow.check()
    try:
        member.target.prepare()
        member.target.finish()
        if batch.options.verify == "hash" and member.target.digest(flow.check) != member.digest:
            raise FileError("verify-failed", "what landed is not what was read", is_transient=True)
        # The last look: after this the file is visible.
        flow.check()
        member.target.commit(replace=batch.options.overwrite in ("replace", "newer"))
    except (OSError, FileError) as error:
        outcome = failed(member.file, error)
        member.target.abandon()
        return outcome
    return member.outcome()
