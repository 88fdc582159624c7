"""Putting a finished temporary in the place of the file it is made from: compare and swap.

The caller has written, checked and fsynced the temporary, holds the file's ``mutex`` and the
exclusive flock of the old inode. What happens here, in this order:

    1. under the directory's lock, which excludes other volumes, too: the name still is the old
       inode, with the old signature and no other link;
    2. name and temporary are exchanged in one step (renameat2 RENAME_EXCHANGE);
    3. what came out is the old inode, unchanged; if not, they are exchanged back;
    4. the node is moved to the new inode, the directory's mtime is put back;
    5. both directories are fsynced;
    6. the old inode is unlinked in the hidden area.

Killed before 2 the old file stands, after 2 the new one; the other is a leftover in the hidden
area whose name tells which of the two it is.
"""

from __future__ import annotations

import errno
import logging
import os
from typing import TYPE_CHECKING

from pixfs.volume import backing
from pixfs.volume.attributes import Key, Signature
from pixfs.volume.errors import RestoreConflictError
from pixfs.volume.nodes import LOST

if TYPE_CHECKING:
    from collections.abc import Callable

    from pixfs.volume.area import Area, Temp
    from pixfs.volume.core import Core
    from pixfs.volume.nodes import Node

log = logging.getLogger(__name__)

_NO_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


def place(
    core: Core,
    node: Node,
    temp: Temp,
    old: Signature,
    *,
    strict: bool,
    placed: Callable[[], None],
) -> bool:
    """Replaces the file under the node's name by ``temp``.

    ``placed`` is called once the new file stands under the name, before the old inode loses its
    last one: whoever has the file open has to be moved then, or would see a link count of 0.

    ``strict`` also compares the ctime, which a conversion needs: it holds nothing while it
    encodes. A restore holds the file's ``mutex`` from beginning to end, so that a changed ctime
    only means that the file was renamed meanwhile.

    Returns whether the new name is known to be durable. Raises RestoreConflictError when no
    name of the node leads to the old file as it was; OSError from the system calls. In both
    cases the old file stands.
    """
    replaced: set[tuple[Node, bytes]] = set()
    # A rename meanwhile leaves another name to try, or the same one again after two.
    while (untried := core.nodes.pin_name(node, replaced)) is not None:
        parent, name = untried
        try:
            if _exchange(core, node, temp, old, parent, name, replaced, strict=strict):
                placed()
                return _settle(core, temp, parent)
        finally:
            core.nodes.unpin(parent)
    raise RestoreConflictError


def place_unnamed(core: Core, node: Node, temp: Temp) -> None:
    """Moves the node of a file that has no name any more to ``temp``, which loses its own."""
    path_fd = temp.open_path()
    try:
        temp.unlink()
        st = backing.fstat(path_fd)
    except OSError:
        backing.close(path_fd)
        raise
    core.nodes.move(node, path_fd, Key(st.st_dev, st.st_ino))


def place_in_place(core: Core, area: Area, node: Node, temp: Temp) -> None:
    """Writes the temporary's bytes into the node's own inode, for a file with several names.

    A redo record in the hidden area (the finished bytes, and a link to the inode) makes it
    safe: from the moment the record is durable the rewrite will be completed, if need be by
    the recovery at the next start. Nobody may read the file meanwhile. On OSError before
    that moment the old bytes stand; after it the record stays.
    """
    wfd = backing.reopen(node.fd, os.O_RDWR)
    try:
        st = backing.fstat(wfd)
        data, target = area.redo_names()
        try:
            backing.preallocate(wfd, backing.fstat(temp.fd).st_size)
            _record(area, node, temp, data, target)
        except OSError:
            _give_back(wfd, st)
            raise
        temp.placed()
        core.on_step("redo-recorded")
        finish_redo(area.fd, data, target)
    finally:
        backing.close(wfd)


def finish_redo(area_fd: int, data: bytes, target: bytes) -> None:
    """Copies a redo record's bytes and mtime into its target and removes the record.

    May be cut off anywhere and run again. Raises OSError; the record then stands.
    """
    path_fd = backing.open_path(area_fd, data)
    try:
        source = backing.reopen(path_fd, os.O_RDONLY)
    finally:
        backing.close(path_fd)
    try:
        path_fd = backing.open_path(area_fd, target)
        try:
            sink = backing.reopen(path_fd, os.O_RDWR)
        finally:
            backing.close(path_fd)
        try:
            _copy(source, sink)
            backing.utimens(sink, None, backing.fstat(source).st_mtime_ns)
            backing.fsync(sink)
        finally:
            backing.close(sink)
    finally:
        backing.close(source)
    backing.unlink(area_fd, data)
    backing.fsync(area_fd)
    backing.unlink(area_fd, target)


def _copy(source: int, sink: int) -> None:
    offset = 0
    while piece := backing.pread(source, 8 << 20, offset):
        backing.pwrite_all(sink, piece, offset)
        offset += len(piece)
    backing.ftruncate(sink, offset)


def _record(area: Area, node: Node, temp: Temp, data: bytes, target: bytes) -> None:
    backing.link(node.fd, area.fd, target)
    try:
        temp.rename(data)
        area.sync()
    except OSError:
        backing.unlink(area.fd, target)
        raise


def _give_back(wfd: int, st: os.stat_result) -> None:
    """A rewrite in place that did not begin leaves no blocks behind the end and no new mtime."""
    try:
        backing.ftruncate(wfd, st.st_size)
        backing.utimens(wfd, None, st.st_mtime_ns)
    except OSError as error:
        log.warning("blocks reserved for a rewrite were not given back: %s", error)


def _exchange(
    core: Core,
    node: Node,
    temp: Temp,
    old: Signature,
    parent: Node,
    name: bytes,
    replaced: set[tuple[Node, bytes]],
    *,
    strict: bool,
) -> bool:
    """Steps 1 to 4; False if the name does not lead to the old inode.

    The node keeps such a name, which goes into ``replaced``: a file without names is one that
    was unlinked through the volume, not one that was replaced behind its back.
    """
    # Between the exchange and the move the name leads to an inode that is not yet the node's.
    with core.nodes.held(node), core.directories.changing(parent.key):
        if not _leads_to(parent, name, old, strict=strict):
            if (parent, name) in core.nodes.names(node):
                replaced.add((parent, name))
            return False
        core.on_step("checked")
        parent_mtime_ns = backing.fstat(parent.fd).st_mtime_ns
        path_fd = temp.open_path()
        try:
            new = backing.fstat(path_fd)
            _exchange_names(temp, parent, name, old)
        except BaseException:
            backing.close(path_fd)
            raise
        core.on_step("exchanged")
        core.nodes.move(node, path_fd, Key(new.st_dev, new.st_ino))
        try:
            backing.utimens(parent.fd, None, parent_mtime_ns)
        except OSError as error:
            # Only the directory's owner may set its times: a cosmetic loss.
            log.debug("the directory's mtime was not put back: %s", error)
    return True


def _leads_to(parent: Node, name: bytes, old: Signature, *, strict: bool) -> bool:
    try:
        st = backing.stat_at(parent.fd, name)
    except LOST:
        return False
    found = Signature.of(st)
    if found.key != old.key:
        return False
    if found[:4] != old[:4] or (strict and found != old) or st.st_nlink != 1:
        raise RestoreConflictError
    return True


def _is_there(parent: Node, name: bytes) -> bool:
    try:
        backing.stat_at(parent.fd, name)
    except FileNotFoundError:
        return False
    return True


def _exchange_names(temp: Temp, parent: Node, name: bytes, old: Signature) -> None:
    try:
        backing.rename(temp.dir_fd, temp.name, parent.fd, name, backing.RENAME_EXCHANGE)
    except FileNotFoundError:
        if _is_there(parent, name):
            raise
        raise RestoreConflictError from None
    except OSError as error:
        if error.errno not in _NO_EXCHANGE:
            raise
        backing.rename(temp.dir_fd, temp.name, parent.fd, name)
        temp.placed()
        return
    failure: OSError = RestoreConflictError()
    try:
        out = backing.stat_at(temp.dir_fd, temp.name)
        # The exchange itself sets the ctime; size and mtime would show a foreign write.
        if (out.st_dev, out.st_ino, out.st_size, out.st_mtime_ns) == old[:4]:
            return
    except OSError as error:
        failure = error
    try:
        backing.rename(temp.dir_fd, temp.name, parent.fd, name, backing.RENAME_EXCHANGE)
    except OSError:
        # What lies in the hidden area is not ours to delete.
        temp.placed()
        log.critical(
            "a file replaced from outside during a swap is in the hidden area as %r", temp.name
        )
        raise
    raise failure


def _settle(core: Core, temp: Temp, parent: Node) -> bool:
    try:
        fd = backing.reopen(parent.fd, os.O_RDONLY | os.O_DIRECTORY)
        try:
            backing.fsync(fd)
        finally:
            backing.close(fd)
        temp.area.sync()
    except OSError as error:
        # The old inode is kept: a crash may bring back the old name.
        temp.placed()
        log.error("a swap may not be durable: %s", error)
        return False
    core.on_step("durable")
    if temp.is_named:
        try:
            temp.unlink()
        except OSError as error:
            temp.placed()
            log.warning("a replaced file stays in the hidden area until the next start: %s", error)
    core.on_step("unlinked")
    return True
