"""The operations that are swept, and what may be there when one was cut off."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pixfs.transfer.partial import Partial
from pixfs.transfer.stored import StoredFiles, open_container
from pixfs.volume import backing
from tests.t2_volume.frames import container, dpx
from tests.t2_volume.user import ROOT, User

if TYPE_CHECKING:
    from collections.abc import Callable

FRAME = dpx()
OTHER = dpx(1)
CHANGED = FRAME[:3000] + b"changed" + FRAME[3007:]
NAME = "a.dpx"
# More than any file here has: what an attempt has left is not gone on with.
_NEVER = 1 << 40

State = dict[str, bytes]
"""The logical bytes of every file, by name."""


def never(found: State) -> bool:
    """Only the state before and the one after may be found."""
    return False


@dataclass(frozen=True)
class Operation:
    """``between`` says whether a state that is neither the old nor the new one may be found: an
    operation of several steps, or one that is not atomic natively either. ``is_left`` says of what
    fsck finds after a kill whether it may be there until the operation is done again."""

    name: str
    prepare: Callable[[User], None]
    act: Callable[[User], None]
    between: Callable[[State], bool] = never
    is_left: Callable[[str], bool] = lambda problem: False


def raw(user: User) -> None:
    user.write(NAME, FRAME)


def compressed(user: User) -> None:
    raw(user)
    user.compress(NAME)


def linked(user: User) -> None:
    compressed(user)
    user.link(NAME, "b.dpx")


def two(user: User) -> None:
    compressed(user)
    user.write("new.dpx", OTHER)


def nothing(user: User) -> None:
    """Starts with an empty directory."""


def _write_new(user: User) -> None:
    user.write("new.dpx", FRAME)


def _write_container(user: User) -> None:
    user.write("new", container())


def _save(user: User) -> None:
    """As programs that care save: beside, fsync, rename over, fsync of the directory."""
    handle = user.open("a.new", os.O_CREAT | os.O_WRONLY)
    try:
        handle.write(0, OTHER)
        handle.fsync(False)
    finally:
        handle.release()
    user.rename("a.new", NAME)
    directory = user.volume.opendir(user.volume.root)
    try:
        directory.fsync()
    finally:
        directory.release()


def _change(user: User) -> None:
    handle = user.open(NAME, os.O_RDWR)
    try:
        handle.write(3000, b"changed")
        handle.fsync(False)
    finally:
        handle.release()


def _overwrite(user: User) -> None:
    user.write(NAME, OTHER)


def _wrap(user: User) -> None:
    handle = user.open(NAME, os.O_RDWR)
    try:
        handle.write(0, container()[:64])
    finally:
        handle.release()


def _unlink_while_converting(user: User) -> None:
    def reached(step: str) -> None:
        if step == "synced":
            user.unlink(NAME)

    user.volume.on_step = reached
    try:
        user.set_state(NAME, "compressed")
    except OSError as error:
        # That is how it ends when nothing fails: what was to be compressed has gone.
        if "renamed or replaced" not in str(error) and "changed" not in str(error):
            raise


def _set_xattr(user: User) -> None:
    node = user.node(NAME)
    try:
        user.volume.setxattr(node, b"user.note", b"graded", 0, ROOT)
    finally:
        user.give_back(node)


def _chmod(user: User) -> None:
    node = user.node(NAME)
    try:
        user.volume.chmod(node, 0o600)
    finally:
        user.give_back(node)


def _copy_stored(user: User) -> None:
    """What jobs do with a container, on the directory itself; the next attempt removes what one
    that was killed has left."""
    files = StoredFiles(str(user.backing))
    try:
        source = files.open([NAME.encode()])
        assert source is not None
        try:
            incoming = files.incoming_fd
            earlier = backing.list_directory(incoming)
            name = b"%d" % len(earlier)
            partial = Partial.adopt(incoming, name, earlier, _NEVER) or Partial.create(
                incoming, name
            )
            try:
                partial.write(source.pread(source.size, 0))
                partial.sync()
                open_container(partial.fd)
                files.place(partial, [b"copy.dpx"], replace=False)
            finally:
                partial.discard()
                partial.close()
        finally:
            source.close()
        files.sync([])
    finally:
        files.close()


def _begun(name: str, data: bytes) -> Callable[[State], bool]:
    """A file that is being written has its first bytes."""
    return lambda found: set(found) <= {name} and data.startswith(found.get(name, b""))


def _of_a_transfer(problem: str) -> bool:
    return problem.startswith(".pixfs/incoming/")


def _saving(found: State) -> bool:
    return found[NAME] == FRAME and OTHER.startswith(found.get("a.new", b""))


OPERATIONS = [
    Operation("write a new frame", nothing, _write_new, _begun("new.dpx", FRAME)),
    Operation("write a new container", nothing, _write_container, _begun("new", container())),
    Operation("save over a compressed frame", compressed, _save, _saving),
    Operation("change a raw frame", raw, _change),
    Operation("change a compressed frame", compressed, _change),
    Operation("overwrite a compressed frame", compressed, _overwrite, _begun(NAME, OTHER)),
    Operation("truncate a raw frame", raw, lambda user: user.truncate(NAME, 5000)),
    Operation("truncate a compressed frame", compressed, lambda user: user.truncate(NAME, 5000)),
    Operation("empty a compressed frame", compressed, lambda user: user.truncate(NAME, 0)),
    Operation("make a raw file begin like a container", raw, _wrap),
    Operation("rename over a compressed frame", two, lambda u: u.rename("new.dpx", NAME)),
    Operation("link a compressed frame", compressed, lambda u: u.link(NAME, "b.dpx")),
    Operation("unlink a compressed frame", compressed, lambda user: user.unlink(NAME)),
    Operation("unlink while converting", raw, _unlink_while_converting),
    Operation("compress", raw, lambda user: user.set_state(NAME, "compressed")),
    Operation("restore", compressed, lambda user: user.set_state(NAME, "raw")),
    Operation("restore one of two names", linked, lambda user: user.set_state(NAME, "raw")),
    Operation("set an attribute", compressed, _set_xattr),
    Operation("change the mode", compressed, _chmod),
    Operation("copy stored bytes", compressed, _copy_stored, is_left=_of_a_transfer),
]
