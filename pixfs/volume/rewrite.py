"""Making a file raw: a container that is to be written to, or raw bytes that need a wrap.

The logical bytes are written beside, checked against the container's hash, fsynced and swapped
in; until the swap the container stands. One that is to have no bytes is emptied where it is. Called
with the file's ``mutex`` held.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import xxhash

import codec
from codec import CodecError
from pixfs.volume import backing, swap
from pixfs.volume.attributes import Signature
from pixfs.volume.contents import BadContent, ContainerContent, Content, RawContent
from pixfs.volume.errors import RestoreConflictError, from_codec, oserror
from pixfs.volume.heads import Head, Kind
from pixfs.volume.locks import exclusive, lock_shared, unlock
from pixfs.volume.metadata import copy_metadata, drop_privileges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pixfs.volume.area import Area, Temp
    from pixfs.volume.core import Core
    from pixfs.volume.files import LogicalFile
    from pixfs.volume.nodes import Node

_CHUNK = 8 << 20


def restore(core: Core, file: LogicalFile) -> RawContent:
    """Makes a compressed file raw, and it stays raw on any error.

    Raises OSError: EIO when the container is damaged, ENOSPC, ESTALE when the file has been
    replaced from outside, EBUSY when another process is writing to it.
    """
    content = file.content
    assert isinstance(content, ContainerContent)
    try:
        head = bytes(content.block(0))[: codec.HEAD_SIZE] if content.reader.blocks else b""
    except CodecError as error:
        raise from_codec(error, file.describe()) from error
    # What was wrapped because it begins like a container goes back into a wrap.
    restored = _rewrite(core, file, content, wrap_it=codec.is_container_head(head))
    core.stats.add("restores")
    return restored


def wrap(core: Core, file: LogicalFile) -> RawContent:
    """Puts a raw file behind the header of an open wrap. Raises OSError; the file stays."""
    content = file.content
    assert isinstance(content, RawContent)
    return _rewrite(core, file, content, wrap_it=True)


def empty(file: LogicalFile) -> None:
    """Makes a container an empty raw file, in place: like the native call, old bytes or none.
    Nothing is decoded, so it works on a damaged one, too. Raises OSError; the file stays."""
    wfd = backing.reopen(file.node.fd, os.O_RDWR)
    try:
        lock_shared(wfd)
        file.check_not_replaced(backing.fstat(wfd))
        drop_privileges(wfd, backing.fstat(wfd))
        rfd = backing.reopen(wfd, os.O_RDONLY)
        try:
            backing.ftruncate(wfd, 0)
        except BaseException:
            backing.close(rfd)
            raise
    except BaseException:
        backing.close(wfd)
        raise
    file.install(RawContent(rfd, wrap=False, wfd=wfd))


def _rewrite(core: Core, file: LogicalFile, old: Content, *, wrap_it: bool) -> RawContent:
    area = core.area
    if area is None:
        raise oserror(errno.EROFS)
    with _exclusive(file, old):
        signature = Signature.of(backing.fstat(old.fd))
        temp = area.create(signature.key)
        try:
            _fill(old, temp, wrap_it=wrap_it)
            copy_metadata(old.fd, temp.fd)
            core.on_step("restored")
            backing.fsync(temp.fd)
            core.on_step("restore-synced")
            return _place(core, area, file, temp, signature, wrap_it=wrap_it)
        except CodecError as error:
            raise from_codec(error, file.describe()) from error
        finally:
            temp.close()


@contextmanager
def _exclusive(file: LogicalFile, old: Content) -> Iterator[None]:
    """The exclusive flock of the old inode; our own writers' shared one gives way."""
    own = old.wfd if isinstance(old, RawContent) else -1
    fd = backing.reopen(file.node.fd, os.O_RDWR)
    try:
        if own >= 0:
            unlock(own)
        try:
            with exclusive(fd, without_locks=True) as taken:
                if not taken:
                    raise oserror(errno.EBUSY)
                yield
        finally:
            # Whatever stands there now, old or new, is open for writing.
            content = file.content
            if isinstance(content, RawContent) and content.wfd >= 0:
                lock_shared(content.wfd)
                if content is old and backing.fstat(fd).st_nlink == 0:
                    # Another volume may have converted it while no lock was held: what writes
                    # next has to open it anew, and finds that out.
                    content.close_writer()
    finally:
        backing.close(fd)


def _place(
    core: Core, area: Area, file: LogicalFile, temp: Temp, old: Signature, *, wrap_it: bool
) -> RawContent:
    node = file.node
    if backing.fstat(node.fd).st_nlink > 1:
        if isinstance(file.content, RawContent) and area.has_company():
            # Nothing tells its reader there that raw bytes have moved behind a header.
            raise oserror(errno.EBUSY)
        return _place_in_place(core, area, file, temp, wrap_it=wrap_it)
    content = _raw_content(temp.fd, wrap_it=wrap_it)
    try:
        # Before anybody else can find it under its name.
        lock_shared(content.wfd)
        if not _swap(core, node, temp, old, lambda: file.install(content)):
            file.fsync_failed = True
    except BaseException:
        if file.content is not content:
            content.retire()
        raise
    return content


def _swap(core: Core, node: Node, temp: Temp, old: Signature, placed: Callable[[], None]) -> bool:
    """Puts ``temp`` in the place of a file with one name or, open but unlinked, with none;
    returns whether that is durable."""
    try:
        return swap.place(core, node, temp, old, strict=False, placed=placed)
    except RestoreConflictError:
        if core.nodes.names(node) or backing.fstat(node.fd).st_nlink:
            raise
    swap.place_unnamed(core, node, temp)
    placed()
    return True


def _place_in_place(
    core: Core, area: Area, file: LogicalFile, temp: Temp, *, wrap_it: bool
) -> RawContent:
    with file.frozen():
        try:
            swap.place_in_place(core, area, file.node, temp)
        except BaseException:
            if not temp.is_named:
                # The record stands and the inode is half rewritten.
                reason = "a rewrite was cut off; the next start completes it"
                fd = backing.reopen(file.node.fd, os.O_RDONLY)
                file.install(BadContent(fd, Head(Kind.BAD, backing.fstat(fd).st_size, reason)))
            raise
        wfd = backing.reopen(file.node.fd, os.O_RDWR)
        try:
            content = _raw_content(wfd, wrap_it=wrap_it)
        finally:
            backing.close(wfd)
        file.install(content)
    return content


def _raw_content(fd: int, *, wrap_it: bool) -> RawContent:
    """Content with descriptors of its own on the open file ``fd``."""
    wfd = backing.reopen(fd, os.O_RDWR)
    try:
        return RawContent(backing.reopen(fd, os.O_RDONLY), wrap=wrap_it, wfd=wfd)
    except BaseException:
        backing.close(wfd)
        raise


def _fill(old: Content, temp: Temp, *, wrap_it: bool) -> None:
    base = 0
    if wrap_it:
        header = codec.make_wrap_header()
        backing.pwrite_all(temp.fd, header, 0)
        base = len(header)
    if isinstance(old, ContainerContent):
        _decode_into(old, temp.fd, base)
        return
    offset = 0
    while piece := old.read(offset, _CHUNK):
        backing.pwrite_all(temp.fd, piece, base + offset)
        offset += len(piece)


def _decode_into(content: ContainerContent, fd: int, base: int) -> None:
    digest = xxhash.xxh3_128()
    reader = content.reader
    for index in range(reader.blocks):
        block = content.decode(index)
        digest.update(block)
        backing.pwrite_all(fd, block, base + reader.block_range(index)[0])
    if digest.hexdigest() != reader.hash:
        raise codec.DamagedError("original", "the decoded bytes do not have its hash")
