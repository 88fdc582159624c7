"""Doing a batch: opening its storages and running its action on one file after another."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from server.work.batch import Outcome
from server.work.beneath import split
from server.work.directory import CHUNK, Directory
from server.work.errors import FileError, StorageError, Unannounced, WorkError
from server.work.mounted import PixfsMount
from server.work.overlap import refuse_own_backing
from server.work.transfer import copy, failed

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Collection, Iterable, Iterator

    from server.work.batch import Batch, File, StorageSpec
    from server.work.flow import Flow
    from server.work.storage import Entry, Storage

__all__ = ["announcing", "clear", "open_storage", "run"]


def open_storage(spec: StorageSpec, stop: threading.Event | None = None) -> Storage:
    """The storage, open for one batch. StorageError when it cannot be reached.

    Where it is far away its calls raise StoppedError once ``stop`` is set.
    """
    if spec.kind == "directory":
        return Directory(spec.root, spec.reach)
    if spec.kind == "pixfs":
        return PixfsMount(spec.root, backing=spec.settings.get("backing"), reach=spec.reach)
    # Only who uses buckets waits for boto3.
    from server.work.s3.bucket import Bucket

    return Bucket(spec.root, spec.settings, stop)


def run(batch: Batch, flow: Flow) -> Iterator[Outcome]:
    """Works on the batch's files in their order and tells what became of each.

    Ends early, between two files, when the flow's time is over. StoppedError, StorageError:
    the files not told of have not been finished, and can be tried again.
    """
    with ExitStack() as storages:
        source = open_storage(batch.source, flow.stop)
        storages.callback(source.close)
        if batch.action == "copy":
            if batch.target is None:
                raise StorageError("a copy without a destination")
            refuse_own_backing(batch.source, batch.target)
            target = open_storage(batch.target, flow.stop)
            storages.callback(target.close)
            with announcing(target, _folders(batch), batch.announced, flow):
                yield from copy(batch, source, target, flow)
            return
        with announcing(source, _folders(batch), batch.announced, flow):
            yield from _each(batch, source, flow)


def _folders(batch: Batch) -> set[str]:
    """The folders that the batch's files go to."""
    return {split(file.target)[0] for file in batch.files if file.target}


@contextmanager
def announcing(
    target: Storage, folders: Iterable[str], announced: Collection[str] | None, flow: Flow
) -> Iterator[None]:
    """Lets folders be made in the block, which tells ``flow`` which were. Unannounced when some
    are missing that are not ``announced`` (None: any may be made)."""
    wanted = list(folders)
    if announced is not None:
        absent = target.missing(wanted)
        if not set(announced).issuperset(absent):
            raise Unannounced(absent)
    try:
        yield
    finally:
        flow.made = tuple(target.made)
        if announced:
            with suppress(OSError, WorkError):
                left = {*target.made, *target.missing(wanted)}
                flow.found = tuple(_above(wanted).intersection(announced) - left)


def _above(folders: Iterable[str]) -> set[str]:
    """These folders and all above them."""
    found: set[str] = set()
    for folder in folders:
        while folder and folder not in found:
            found.add(folder)
            folder = split(folder)[0]
    return found


def _each(batch: Batch, source: Storage, flow: Flow) -> Iterator[Outcome]:
    act = _ACTIONS[batch.action]
    folders: set[str] = set()
    outcomes: list[Outcome] = []
    try:
        for file in batch.files:
            if not flow.has_time():
                break
            flow.check()
            try:
                outcome = act(batch, source, file, flow)
            except (OSError, FileError) as error:
                outcome = failed(file, error)
            if batch.action in ("delete", "unlink-source"):
                folders.add(split(file.path)[0])
                outcomes.append(outcome)
            else:
                yield outcome
    finally:
        _sync_present(source, folders)
    yield from outcomes


def _sync_present(source: Storage, folders: set[str]) -> None:
    for folder in sorted(folders):
        try:
            source.sync([folder])
        except FileNotFoundError:
            continue


def _compress(batch: Batch, source: Storage, file: File, flow: Flow) -> Outcome:
    return _convert(source, file, flow, "compressed")


def _restore(batch: Batch, source: Storage, file: File, flow: Flow) -> Outcome:
    return _convert(source, file, flow, "raw")


def _convert(source: Storage, file: File, flow: Flow, state: str) -> Outcome:
    if file.kind == "link":
        return Outcome(file.number, "skipped", code="link", reason="it is a symbolic link")
    flow.read(file.size)
    after = source.set_state(file.path, "compressed" if state == "compressed" else "raw")
    flow.landed(file.size)
    if after == "error":
        raise FileError("damaged", "the mount finds the file damaged")
    if after == "verbatim" and state == "compressed":
        reason = "the file is kept as it is: it is no frame PixFS understands, or gains nothing"
        return Outcome(file.number, "skipped", size=file.size, code="verbatim", reason=reason)
    return Outcome(file.number, "done", size=file.size, stored=file.size)


def _verify(batch: Batch, source: Storage, file: File, flow: Flow) -> Outcome:
    if file.kind == "link":
        return Outcome(file.number, "skipped", code="link", reason="it is a symbolic link")
    flow.read(file.size)
    found = source.find_damage(file.path)
    flow.landed(file.size)
    if found.damages:
        raise FileError("damaged", "; ".join(found.damages)[:1000])
    return Outcome(file.number, "done", size=file.size, stored=file.size, is_proven=found.is_proven)


def _index(batch: Batch, source: Storage, file: File, flow: Flow) -> Outcome:
    """Reads all of a file, and tells its size, time and SHA-1."""
    algorithm, _, expected = batch.options.expected.get(file.path, "").partition(":")
    digests = {
        name: hashlib.new(name, usedforsecurity=False) for name in ("sha1", algorithm or "sha1")
    }
    size = 0
    with source.open(file.path, stored=False) as opened:
        flow.read(min(CHUNK, opened.size))
        while data := opened.read(CHUNK):
            for digest in digests.values():
                digest.update(data)
            size += len(data)
            flow.landed(len(data))
            flow.read(len(data))
        opened.check()
        mtime_ns = opened.entry.mtime_ns
    if expected and digests[algorithm].hexdigest() != expected:
        raise FileError("hash-mismatch", "its hash is not the one that its package names")
    found = digests["sha1"].hexdigest()
    return Outcome(file.number, "done", size=size, stored=size, mtime_ns=mtime_ns, digest=found)


def _delete(batch: Batch, source: Storage, file: File, flow: Flow) -> Outcome:
    """Removes a file that still is what it was when the job was planned."""
    return _remove(batch, source, file, check_version=False)


def _unlink_source(batch: Batch, source: Storage, file: File, flow: Flow) -> Outcome:
    """Removes a file whose copy has been verified, if nobody has written to it since."""
    return _remove(batch, source, file, check_version=True)


def _rename(batch: Batch, source: Storage, file: File, flow: Flow) -> Outcome:
    """Moves a file within its storage, at once."""
    done = Outcome(file.number, "done", size=file.size)
    try:
        entry = source.stat(file.path)
    except FileNotFoundError:
        # An attempt that was not heard of again has done it.
        if batch.lost and _is_planned(source.stat(file.target), file):
            return done
        raise
    overwrite = batch.options.overwrite
    try:
        there = source.stat(file.target)
    except FileNotFoundError:
        pass
    else:
        if there.kind == "folder":
            raise FileError("exists", "a folder of that name is there already")
        if overwrite == "fail":
            raise FileError("exists", "another file of that name is there already")
        if overwrite == "skip" or (overwrite == "newer" and entry.mtime_ns <= there.mtime_ns):
            reason = "another file of that name was there already"
            return Outcome(file.number, "skipped", size=file.size, code="exists", reason=reason)
    source.rename(file.path, file.target, replace=overwrite in ("replace", "newer"))
    source.sync(sorted({split(file.path)[0], split(file.target)[0]}))
    return done


def _is_planned(entry: Entry, file: File) -> bool:
    return (entry.kind, entry.size, entry.mtime_ns) == (file.kind, file.size, file.mtime_ns)


def _remove(batch: Batch, source: Storage, file: File, *, check_version: bool) -> Outcome:
    try:
        entry = source.stat(file.path)
    except FileNotFoundError:
        if batch.lost or check_version:
            return Outcome(file.number, "done", size=file.size)
        raise
    is_same = entry.kind == file.kind and (
        (entry.mtime_ns, entry.size) == (file.mtime_ns, file.size)
        or (file.kind == "link" and entry.mtime_ns == file.mtime_ns)
    )
    if entry.version and entry.version == file.version:
        is_same = True
    elif check_version and entry.version:
        is_same = False
    if not is_same:
        raise FileError("changed", "it changed since the job looked at it, and was kept")
    source.remove(file.path)
    return Outcome(file.number, "done", size=file.size)


def clear(batch: Batch, flow: Flow) -> None:
    """Removes what attempts at the batch's files have left, when none will follow.

    OSError, FileError, StorageError and StoppedError: something may be left.
    """
    if batch.target is None:
        return
    target = open_storage(batch.target, flow.stop)
    try:
        for file in batch.files:
            flow.check()
            for attempt in batch.lost:
                target.clear_part(file.target, batch.part(file, attempt), resumes=False)
    finally:
        target.close()


_ACTIONS: dict[str, Callable[[Batch, Storage, File, Flow], Outcome]] = {
    "compress": _compress,
    "restore": _restore,
    "verify": _verify,
    "index": _index,
    "delete": _delete,
    "unlink-source": _unlink_source,
    "rename": _rename,
}
