"""Names behave as on the backing file system, and the hidden area is not there."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

import pytest

from pixfs.volume import Owner
from pixfs.volume.listing import Lister
from tests.t2_volume.frames import dpx
from tests.t2_volume.user import OWNER, read_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pixfs.volume import Node
    from pixfs.volume.backing import Found
    from pixfs.volume.listing import Entry
    from tests.t2_volume.user import User

RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2


def errno_of(raised: pytest.ExceptionInfo[OSError]) -> int | None:
    return raised.value.errno


def test_lookup_of_nothing_is_enoent(user: User) -> None:
    with pytest.raises(FileNotFoundError):
        user.node("nothing")


def test_lookup_below_a_file_is_enotdir(user: User) -> None:
    user.write("a", b"x")
    with pytest.raises(NotADirectoryError):
        user.node("a/b")


def test_same_inode_is_same_node(user: User) -> None:
    user.write("a", b"x")
    user.link("a", "b")
    first, second = user.node("a"), user.node("b")
    assert first is second
    user.volume.release_refs(first, 2)


def test_dot_and_dot_dot_name_the_node_and_its_parent(user: User) -> None:
    user.mkdir("d")
    node = user.node("d")
    assert user.volume.lookup(node, b".") is node
    assert user.volume.lookup(node, b"..") is user.volume.root
    user.volume.release_refs(node, 2)
    user.volume.release_refs(user.volume.root, 1)


def test_forgotten_nodes_are_closed(user: User) -> None:
    for number in range(20):
        user.write(f"f{number}", b"x")
    before = len(os.listdir("/proc/self/fd"))
    nodes = [user.node(f"f{number}") for number in range(20)]
    assert len(os.listdir("/proc/self/fd")) == before + 20
    for node in nodes:
        user.give_back(node)
    assert len(os.listdir("/proc/self/fd")) == before
    assert user.volume.stats()["nodes"] == 1


def test_a_child_keeps_its_parents_until_it_is_forgotten(user: User) -> None:
    user.mkdir("a")
    user.mkdir("a/b")
    user.write("a/b/c.dpx", dpx())
    node = user.node("a/b/c.dpx")
    assert user.volume.stats()["nodes"] == 4
    user.volume.convert_now(node)
    user.give_back(node)
    assert user.volume.stats()["nodes"] == 1
    assert user.state("a/b/c.dpx")[0] == "compressed"


def test_create_exclusive_of_an_existing_name_is_eexist(user: User) -> None:
    user.write("a", b"x")
    with pytest.raises(FileExistsError):
        user.open("a", os.O_RDWR | os.O_CREAT | os.O_EXCL)
    handle = user.open("a", os.O_RDWR | os.O_CREAT)
    assert handle.read(0, 10) == b"x"
    handle.release()


def test_create_never_opens_what_another_volume_has_made(user: User) -> None:
    # Who asks may not be allowed to: the kernel checks that for names it has looked up.
    (user.backing / "private").write_bytes(b"secret")
    with pytest.raises(OSError, match="Stale") as caught:
        user.volume.create(user.volume.root, b"private", 0o644, os.O_RDWR, Owner(7, 8, 0))
    assert caught.value.errno == errno.ESTALE
    assert user.volume.stats()["nodes"] == 1


def test_create_and_truncate_of_a_compressed_file(user: User) -> None:
    user.write("a.dpx", dpx())
    user.compress("a.dpx")
    user.write("a.dpx", b"new")
    assert user.read("a.dpx") == b"new"


def test_names_are_bytes(user: User) -> None:
    for name in (b"\xff\xfe.dpx", b"a\nb", b"x" * 255, " ünïcode ".encode()):
        user.write(name, b"data")
        assert user.read(name) == b"data"
    assert len(user.names()) == 4
    with pytest.raises(OSError, match="File name too long"):
        user.write(b"x" * 256, b"")


def test_set_group_id_directory_gives_its_group(user: User) -> None:
    user.mkdir("d")
    node = user.node("d")
    user.volume.chown(node, -1, 4242)
    user.volume.chmod(node, 0o2775)
    user.volume.release_refs(user.volume.mkdir(node, b"sub", 0o755, OWNER), 1)
    created, handle = user.volume.create(node, b"f", 0o644, os.O_RDWR, Owner(7, 8, 0))
    handle.release()
    assert (user.stat("d/f").uid, user.stat("d/f").gid) == (7, 4242)
    assert user.stat("d/sub").gid == 4242
    assert user.stat("d/sub").mode & stat.S_ISGID
    user.volume.release_refs(created, 1)
    user.give_back(node)


def test_symlink_is_read_and_never_followed(user: User) -> None:
    (user.backing.parent / "outside").write_bytes(b"secret")
    node = user.volume.symlink(user.volume.root, b"link", b"../outside", OWNER)
    assert user.volume.readlink(node) == b"../outside"
    assert stat.S_ISLNK(user.volume.stat(node).mode)
    with pytest.raises(OSError, match="Invalid argument"):
        user.volume.open(node, os.O_RDONLY)
    user.give_back(node)
    (user.backing / "planted").symlink_to("/etc")
    with pytest.raises(NotADirectoryError):
        user.node("planted/passwd")


def test_readlink_of_a_file_is_einval(user: User) -> None:
    user.write("a", b"x")
    node = user.node("a")
    with pytest.raises(OSError, match="Invalid argument"):
        user.volume.readlink(node)
    user.give_back(node)


def test_special_files(user: User) -> None:
    node = user.volume.mknod(user.volume.root, b"fifo", stat.S_IFIFO | 0o666, 0, OWNER)
    st = user.volume.stat(node)
    assert stat.S_ISFIFO(st.mode)
    assert stat.S_IMODE(st.mode) == 0o644
    user.volume.chmod(node, 0o600)
    user.volume.utimens(node, 1, 2)
    assert user.volume.stat(node).mtime_ns == 2
    user.give_back(node)
    made = user.volume.mknod(user.volume.root, b"plain", stat.S_IFREG | 0o600, 0, OWNER)
    assert user.volume.stat(made).size == 0
    user.give_back(made)


def test_rename_flags(user: User) -> None:
    user.write("a", b"A")
    user.write("b", b"B")
    with pytest.raises(FileExistsError):
        user.rename("a", "b", RENAME_NOREPLACE)
    user.rename("a", "b", RENAME_EXCHANGE)
    assert (user.read("a"), user.read("b")) == (b"B", b"A")
    with pytest.raises(OSError, match="Invalid argument"):
        user.rename("a", "b", 4)
    user.rename("a", "b")
    assert user.names() == [b"b"]
    assert user.read("b") == b"B"


@pytest.mark.parametrize("flags", [0, RENAME_EXCHANGE])
def test_renamed_file_can_still_be_converted_and_restored(user: User, flags: int) -> None:
    user.mkdir("d")
    user.write("a.dpx", dpx(1))
    user.write("d/b.dpx", dpx(2))
    first, second = user.node("a.dpx"), user.node("d/b.dpx")
    user.rename("a.dpx", "d/b.dpx", flags)
    user.volume.convert_now(first)
    assert user.read("d/b.dpx") == dpx(1)
    assert user.state("d/b.dpx")[0] == "compressed"
    if flags:
        user.volume.convert_now(second)
        assert user.state("a.dpx")[0] == "compressed"
    user.rename("d/b.dpx", "c.dpx")
    user.volume.restore_now(first)
    assert user.stored("c.dpx") == dpx(1)
    user.give_back(first)
    user.give_back(second)


def test_moved_directory_takes_its_files_along(user: User) -> None:
    user.mkdir("d")
    user.mkdir("e")
    user.write("d/a.dpx", dpx())
    node = user.node("d/a.dpx")
    user.rename("d", "e/f")
    user.volume.convert_now(node)
    assert user.state("e/f/a.dpx")[0] == "compressed"
    user.give_back(node)


def test_rename_of_two_links_of_one_file_does_nothing(user: User) -> None:
    user.write("a", b"x")
    user.link("a", "b")
    node = user.node("a")
    user.rename("a", "b")
    assert sorted(user.names()) == [b"a", b"b"]
    user.unlink("a")
    assert user.volume.stat(node).nlink == 1
    user.give_back(node)


def test_rmdir(user: User) -> None:
    user.mkdir("d")
    user.write("d/a", b"")
    with pytest.raises(OSError, match="not empty"):
        user.volume.rmdir(user.volume.root, b"d")
    user.unlink("d/a")
    user.volume.rmdir(user.volume.root, b"d")
    assert user.names() == []


def test_directory_operations_on_files_are_enotdir(user: User) -> None:
    user.write("a", b"x")
    node = user.node("a")
    for call in (
        lambda: user.volume.mkdir(node, b"d", 0o755, OWNER),
        lambda: user.volume.unlink(node, b"d"),
        lambda: user.volume.opendir(node),
    ):
        with pytest.raises(NotADirectoryError):
            call()
    user.give_back(node)


def test_opening_a_directory_as_a_file_is_eisdir(user: User) -> None:
    with pytest.raises(IsADirectoryError):
        user.volume.open(user.volume.root, os.O_RDONLY)
    with pytest.raises(IsADirectoryError):
        user.volume.truncate(user.volume.root, 0)


def test_hidden_area_is_invisible(user: User) -> None:
    root = user.volume.root
    assert (user.backing / ".pixfs").is_dir()
    assert user.names() == []
    with pytest.raises(FileNotFoundError):
        user.node(".pixfs")
    user.write("a", b"x")
    for call in (
        lambda: user.write(".pixfs", b""),
        lambda: user.mkdir(".pixfs"),
        lambda: user.rename("a", ".pixfs"),
        lambda: user.rename(".pixfs", "b"),
        lambda: user.link("a", ".pixfs"),
        lambda: user.unlink(".pixfs"),
        lambda: user.volume.rmdir(root, b".pixfs"),
        lambda: user.volume.symlink(root, b".pixfs", b"x", OWNER),
    ):
        with pytest.raises(PermissionError) as raised:
            call()
        assert errno_of(raised) == errno.EPERM
    user.mkdir("d")
    user.mkdir("d/.pixfs")
    assert user.names("d") == [b".pixfs"]


def test_hidden_area_is_private(user: User) -> None:
    assert stat.S_IMODE((user.backing / ".pixfs").stat().st_mode) == 0o700


def test_directory_listing_has_cookies_and_dots(user: User) -> None:
    for number in range(5):
        user.write(f"f{number}", b"")
    handle = user.volume.opendir(user.volume.root)
    seen = []
    cookie = 0
    while True:
        entry = next(handle.entries(cookie), None)
        if entry is None:
            break
        name, cookie, node, *_ = entry
        seen.append(name)
        if node is not None:
            user.volume.release_refs(node, 1)
        # What comes and goes meanwhile does not disturb the listing.
        user.write("zzz", b"")
    assert seen[:2] == [b".", b".."]
    assert sorted(seen[2:]) == [b"f0", b"f1", b"f2", b"f3", b"f4"]
    assert b"zzz" in [entry[0] for entry in drain(user, handle)]
    handle.fsync()
    handle.release()
    handle.release()
    with pytest.raises(OSError, match="Bad file descriptor"):
        next(handle.entries(0))


def test_who_seeks_in_a_directory_has_few_entries_looked_at(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each entry that was sought had a whole reply looked at: hundreds, for one that was wanted."""
    for number in range(100):
        user.write(f"f{number}", b"")
    handle = user.volume.opendir(user.volume.root)
    whole = take(user, handle.entries(0))
    look, looked_at = Lister.look, 0

    def counted(lister: Lister, directory: Node, found: Sequence[Found], first: int) -> list[Entry]:
        nonlocal looked_at
        looked_at += len(found)
        return look(lister, directory, found, first)

    monkeypatch.setattr(Lister, "look", counted)
    sought = take(user, handle.entries(40))
    assert 0 < len(sought) == looked_at < 20
    assert sought == whole[40 : 40 + len(sought)]
    # Whoever goes on from there gets all that fits.
    rest = take(user, handle.entries(sought[-1][1]))
    assert rest == whole[40 + len(sought) :]
    # There is more after those that have gone.
    for name, _ in whole[40:80]:
        user.unlink(os.fsdecode(name))
    assert take(user, handle.entries(40))[0] == whole[80]
    handle.release()


def take(user: User, entries: Iterator[Entry]) -> list[tuple[bytes, int]]:
    """Names and cookies; the lookups are given back."""
    taken = list(entries)
    for entry in taken:
        if entry.node is not None:
            user.volume.release_refs(entry.node, 1)
    return [(entry.name, entry.cookie) for entry in taken]


def drain(user: User, handle: object) -> list[Entry]:
    entries = list(handle.entries(0))  # type: ignore[attr-defined]
    for _, _, node, *_ in entries:
        if node is not None:
            user.volume.release_refs(node, 1)
    return entries


def test_entry_removed_during_a_listing_is_left_out(user: User) -> None:
    user.write("a", b"")
    user.write("b", b"")
    handle = user.volume.opendir(user.volume.root)
    entries = handle.entries(0)
    next(entries)
    user.unlink("a")
    user.unlink("b")
    assert [entry.name for entry in entries] == [b".."]
    handle.release()


def test_statfs_is_the_backings(user: User) -> None:
    assert user.volume.statfs().f_blocks == os.statvfs(user.backing).f_blocks


def test_chown_and_times(user: User) -> None:
    user.write("a", b"x")
    node = user.node("a")
    user.volume.chown(node, 5, -1)
    user.volume.chown(node, -1, 6)
    user.volume.utimens(node, 1_000_000_001, None)
    user.volume.utimens(node, None, 2_000_000_002)
    st = user.volume.stat(node)
    assert (st.uid, st.gid, st.atime_ns, st.mtime_ns) == (5, 6, 1_000_000_001, 2_000_000_002)
    user.give_back(node)


def test_hard_links_share_bytes(user: User) -> None:
    user.write("a", b"first")
    user.link("a", "b")
    handle = user.open("b", os.O_RDWR)
    handle.write(0, b"other")
    assert user.read("a") == b"other"
    assert read_all(handle) == b"other"
    handle.release()
    assert user.stat("a").nlink == 2


def test_foreign_replacement_of_an_open_for_write_is_estale(user: User) -> None:
    user.write("a", b"x")
    node = user.node("a")
    (user.backing / "a").unlink()
    (user.backing / "a").write_bytes(b"another")
    with pytest.raises(OSError, match="Stale") as raised:
        user.volume.open(node, os.O_RDWR)
    assert errno_of(raised) == errno.ESTALE
    user.give_back(node)
    assert user.read("a") == b"another"
