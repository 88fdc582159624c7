"""POSIX behaviour that docs/semantics.md promises, on a mount, with files of both kinds."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import mmap
import os
import random
import stat
import struct
import subprocess
from pathlib import Path

import pytest

from tests.frames import frame
from tests.fuse_session import Mounted, xattr

pytestmark = pytest.mark.fuse

AT_FDCWD = -100
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2


@pytest.fixture
def shot(manual_mount: Mounted) -> Path:
    """A compressed frame on a mount."""
    path = manual_mount.path / "shot.1001.dpx"
    path.write_bytes(frame())
    os.setxattr(path, "user.pixfs.state", b"compressed")
    assert manual_mount.state(path) == "compressed"
    return path


def as_nobody(code: str, *arguments: Path) -> str:
    """Run Python code as an unprivileged user; returns what it printed."""
    script = f"import os, sys\nos.setgroups([]); os.setgid(65534); os.setuid(65534)\n{code}"
    # Started inside the mount: another pytest that starts meanwhile closes the directory above,
    # which all of them share, to everybody else.
    inside = arguments[0] if arguments[0].is_dir() else arguments[0].parent
    names = [os.path.relpath(argument, inside) for argument in arguments]
    # -I keeps the interpreter from looking into directories that the user may not read.
    result = subprocess.run(
        ["/usr/bin/env", "python3", "-I", "-c", script, *names],
        cwd=inside,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_sizes_blocks_and_times_of_a_compressed_frame(manual_mount: Mounted, shot: Path) -> None:
    shown, stored = shot.stat(), (manual_mount.backing / shot.name).stat()
    assert shown.st_size == len(frame())
    assert shown.st_blocks == stored.st_blocks
    assert shown.st_mtime_ns == stored.st_mtime_ns
    assert int(xattr(shot, "size.stored")) == stored.st_size < shown.st_size
    assert float(xattr(shot, "ratio")) == pytest.approx(shown.st_size / stored.st_size, abs=0.01)


def test_reading_changes_no_access_time(manual_mount: Mounted, shot: Path) -> None:
    raw = manual_mount.path / "raw.dpx"
    raw.write_bytes(frame())
    for path in (raw, shot):
        # Older than the mtime: what a `relatime` mount would bring up to date.
        os.utime(path, ns=(1_000_000_001, path.stat().st_mtime_ns))
        assert path.read_bytes() == frame()
        assert (manual_mount.backing / path.name).stat().st_atime_ns == 1_000_000_001
        assert path.stat().st_atime_ns == 1_000_000_001


def test_conversion_keeps_everything_but_the_blocks(manual_mount: Mounted) -> None:
    path = manual_mount.path / "shot.1001.dpx"
    path.write_bytes(frame())
    os.setxattr(path, "user.note", b"graded")
    os.chmod(path, 0o640)
    os.utime(path, ns=(1_000_000_001, 2_000_000_002))
    parent = manual_mount.path.stat().st_mtime_ns
    before = path.stat()
    os.setxattr(path, "user.pixfs.state", b"compressed")
    after = path.stat()
    for field in ("st_ino", "st_mode", "st_uid", "st_gid", "st_nlink", "st_size", "st_mtime_ns"):
        assert getattr(after, field) == getattr(before, field), field
    assert os.getxattr(path, "user.note") == b"graded"
    assert manual_mount.path.stat().st_mtime_ns == parent


def test_writes_into_a_compressed_frame(manual_mount: Mounted, shot: Path) -> None:
    with open(shot, "r+b") as file:
        file.seek(100_000)
        file.write(b"painted over")
    expected = frame()[:100_000] + b"painted over" + frame()[100_012:]
    assert shot.read_bytes() == expected
    assert manual_mount.state(shot) == "raw"


def test_append_to_a_compressed_frame(shot: Path) -> None:
    with open(shot, "ab") as file:
        file.write(b"tail")
    assert shot.read_bytes() == frame() + b"tail"


@pytest.mark.parametrize("size", [0, 1, 2048, 100_000, 800_000, 5_000_000])
def test_truncate_of_a_compressed_frame(shot: Path, size: int) -> None:
    os.truncate(shot, size)
    assert shot.stat().st_size == size
    assert shot.read_bytes() == frame()[:size].ljust(size, b"\0")


def test_open_with_o_trunc_of_a_compressed_frame(shot: Path) -> None:
    shot.write_bytes(b"new")
    assert shot.read_bytes() == b"new"


def test_rename_of_an_open_file(manual_mount: Mounted, shot: Path) -> None:
    moved = manual_mount.path / "dir" / "moved.dpx"
    moved.parent.mkdir()
    with open(shot, "rb") as file:
        os.rename(shot, moved)
        assert file.read() == frame()
    assert moved.read_bytes() == frame()
    assert not shot.exists()
    assert manual_mount.state(moved) == "compressed"


def test_rename_over_an_open_file(manual_mount: Mounted, shot: Path) -> None:
    other = manual_mount.path / "other.dpx"
    other.write_bytes(b"other")
    with open(shot, "rb") as file:
        os.rename(other, shot)
        assert file.read() == frame()
    assert shot.read_bytes() == b"other"


def test_unlink_of_an_open_file(shot: Path) -> None:
    with open(shot, "rb") as file:
        shot.unlink()
        assert not shot.exists()
        assert file.read() == frame()
        assert os.fstat(file.fileno()).st_nlink == 0


def test_hard_links_share_one_file(manual_mount: Mounted, shot: Path) -> None:
    twin = manual_mount.path / "twin.dpx"
    os.link(shot, twin)
    assert shot.stat().st_ino == twin.stat().st_ino
    assert shot.stat().st_nlink == 2
    assert twin.read_bytes() == frame()
    with open(twin, "r+b") as file:
        file.write(b"both")
    assert shot.read_bytes() == twin.read_bytes() == b"both" + frame()[4:]
    shot.unlink()
    assert twin.stat().st_nlink == 1


def test_a_hard_linked_file_is_not_converted(manual_mount: Mounted) -> None:
    path, twin = manual_mount.path / "a.dpx", manual_mount.path / "b.dpx"
    path.write_bytes(frame())
    os.link(path, twin)
    with pytest.raises(OSError, match="busy") as caught:
        os.setxattr(path, "user.pixfs.state", b"compressed")
    assert caught.value.errno == errno.EBUSY
    assert "hard-linked" in xattr(path, "reason")
    result = manual_mount.pixfs("compress", path, status=1)
    assert "hard-linked" in result.stderr


def test_symbolic_links_and_directories(manual_mount: Mounted, shot: Path) -> None:
    link = manual_mount.path / "link"
    link.symlink_to(shot.name)
    assert os.readlink(link) == shot.name
    assert link.read_bytes() == frame()
    assert link.lstat().st_size == len(shot.name)
    folder = manual_mount.path / "folder"
    folder.mkdir()
    with pytest.raises(OSError, match="empty"):
        manual_mount.path.joinpath("folder").rmdir() if not (folder / "x").touch() else None
    (folder / "x").unlink()
    folder.rmdir()
    assert {entry.name for entry in manual_mount.path.iterdir()} == {"link", shot.name}


def test_a_large_directory_is_listed_whole_and_once(manual_mount: Mounted) -> None:
    folder = manual_mount.path / "many"
    folder.mkdir()
    expected = {f"frame.{number:05d}.dpx" for number in range(1200)}
    for name in expected:
        (folder / name).touch()
    listed = os.listdir(folder)
    assert len(listed) == len(expected)
    assert set(listed) == expected
    raw = subprocess.run(["ls", "-af", str(folder)], capture_output=True, text=True, check=True)
    assert raw.stdout.split()[:2] == [".", ".."]


def test_seeking_in_a_directory_comes_to_the_same_entries(manual_mount: Mounted) -> None:
    for number in range(500):
        (manual_mount.path / f"frame.{number:05d}.dpx").touch()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.opendir.restype = libc.readdir.restype = ctypes.c_void_p
    libc.telldir.restype = ctypes.c_long
    directory = ctypes.c_void_p(libc.opendir(os.fsencode(manual_mount.path)))

    def name() -> bytes | None:
        entry = libc.readdir(directory)
        # struct dirent64: number, offset, length and type stand before the name.
        return None if entry is None else ctypes.string_at(entry + 19)

    places: list[tuple[int, bytes]] = []
    position = libc.telldir(directory)
    while (found := name()) is not None:
        places.append((position, found))
        position = libc.telldir(directory)
    assert len(places) == 502
    random.Random(676).shuffle(places)
    for position, expected in places:
        libc.seekdir(directory, ctypes.c_long(position))
        assert name() == expected
    # And on from there to the end.
    places.sort()
    libc.seekdir(directory, ctypes.c_long(places[100][0]))
    assert [name() for _ in range(402)] == [found for _, found in places[100:]]
    assert name() is None
    libc.closedir(directory)


def test_a_directory_is_read_in_small_pieces_and_a_file_in_large_ones(
    manual_mount: Mounted,
) -> None:
    """opendir takes st_blksize for its buffer's size: with that of a file, whoever sought in a
    directory of thousands had all of them looked at for each entry."""
    folder, file = manual_mount.path / "folder", manual_mount.path / "file"
    folder.mkdir()
    file.touch()

    def sizes() -> list[int]:
        return [path.stat().st_blksize for path in (manual_mount.path, folder, file)]

    assert sizes() == [65536, 65536, 1048576]
    # A listing tells them, too.
    assert manual_mount.stop() == 0
    manual_mount.start("--manual")
    assert len(os.listdir(manual_mount.path)) == 2
    assert sizes() == [65536, 65536, 1048576]


def test_names_that_are_not_utf8(manual_mount: Mounted) -> None:
    name = os.fsencode(manual_mount.path) + b"/\xff\xfe frame.dpx"
    with open(name, "wb") as file:
        file.write(b"bytes")
    assert os.listdir(os.fsencode(manual_mount.path)) == [b"\xff\xfe frame.dpx"]
    with open(name, "rb") as file:
        assert file.read() == b"bytes"


def test_user_xattrs_survive_both_conversions(shot: Path) -> None:
    os.setxattr(shot, "user.shot", b"sq010")
    assert os.getxattr(shot, "user.shot") == b"sq010"
    for state in (b"raw", b"compressed"):
        os.setxattr(shot, "user.pixfs.state", state)
        assert os.getxattr(shot, "user.shot") == b"sq010"
        assert os.listxattr(shot) == ["user.shot"]
    with pytest.raises(FileExistsError):
        os.setxattr(shot, "user.shot", b"x", os.XATTR_CREATE)
    os.removexattr(shot, "user.shot")
    with pytest.raises(OSError, match="No data"):
        os.getxattr(shot, "user.shot")


def test_control_attributes_are_computed_and_not_listed(manual_mount: Mounted, shot: Path) -> None:
    assert os.listxattr(shot) == []
    assert os.listxattr(manual_mount.path) == []
    assert xattr(shot, "format").startswith("dpx 512x389 rgb 10-bit")
    assert len(xattr(shot, "hash")) == 32
    assert xattr(shot, "verify") == "ok"
    assert json.loads(xattr(manual_mount.path, "policy"))["mode"] == "manual"
    assert xattr(manual_mount.path, "backing") == str(manual_mount.backing)
    assert int(xattr(manual_mount.path, "pid")) == manual_mount.pid
    with pytest.raises(OSError, match="No data"):
        xattr(shot, "pid")


@pytest.mark.parametrize(
    "name",
    ["user.pixfs.hash", "user.pixfs.anything", "user.pixfs.pid", "trusted.pixfs.state"],
)
def test_control_attributes_cannot_be_forged(shot: Path, name: str) -> None:
    with pytest.raises(PermissionError) as caught:
        os.setxattr(shot, name, b"forged")
    assert caught.value.errno == errno.EPERM
    with pytest.raises(OSError, match="not permitted"):
        os.removexattr(shot, name)


def test_acls_are_refused_rather_than_ignored(shot: Path) -> None:
    # Version 2; rw for the owner, r for user 1000, group and others, mask r.
    entries = [(1, 6, -1), (2, 4, 1000), (4, 4, -1), (16, 4, -1), (32, 4, -1)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    for path, name in (
        (shot, "system.posix_acl_access"),
        (shot.parent, "system.posix_acl_default"),
    ):
        with pytest.raises(OSError, match="not supported") as caught:
            os.setxattr(path, name, acl)
        assert caught.value.errno == errno.ENOTSUP


def test_copies_carry_no_state(manual_mount: Mounted, shot: Path, tmp_path: Path) -> None:
    os.setxattr(shot, "user.shot", b"sq010")
    inside, outside = manual_mount.path / "copy.dpx", tmp_path / "copy.dpx"
    for target in (inside, outside):
        result = subprocess.run(
            ["cp", "-a", str(shot), str(target)], capture_output=True, text=True
        )
        assert (result.returncode, result.stderr) == (0, "")
        assert os.listxattr(target) == ["user.shot"]
        assert target.read_bytes() == frame()
    assert manual_mount.state(inside) == "raw"
    assert os.listxattr(manual_mount.backing / "copy.dpx") == ["user.shot"]


def test_statfs_is_the_backing_file_systems(manual_mount: Mounted) -> None:
    shown, stored = os.statvfs(manual_mount.path), os.statvfs(manual_mount.backing)
    assert shown.f_blocks == stored.f_blocks
    assert shown.f_frsize == stored.f_frsize
    assert shown.f_namemax == stored.f_namemax


def test_the_hidden_area_is_out_of_reach(manual_mount: Mounted) -> None:
    hidden = manual_mount.path / ".pixfs"
    assert (manual_mount.backing / ".pixfs").is_dir()
    assert ".pixfs" not in os.listdir(manual_mount.path)
    assert not hidden.exists()
    for attempt in (hidden.mkdir, hidden.touch):
        with pytest.raises(PermissionError):
            attempt()
    assert subprocess.run(["ls", str(hidden)], capture_output=True).returncode != 0


@pytest.mark.skipif(os.geteuid() != 0, reason="changing the user needs root")
class TestAsAnotherUser:
    """The kernel checks modes for whoever asks; conversions belong to the owner and root."""

    @pytest.fixture(autouse=True)
    def _open_the_way(self, manual_mount: Mounted, tmp_path: Path) -> None:
        for directory in (tmp_path, *tmp_path.parents):
            if directory.stat().st_uid == 0 and directory != Path("/"):
                os.chmod(directory, directory.stat().st_mode | 0o011)
        os.chmod(manual_mount.path, 0o1777)

    def test_modes_are_enforced(self, manual_mount: Mounted, shot: Path) -> None:
        os.chmod(shot, 0o600)
        code = "try: open(sys.argv[1], 'rb')\nexcept PermissionError: print('refused')"
        assert as_nobody(code, shot) == "refused"
        os.chmod(shot, 0o644)
        assert as_nobody("print(len(open(sys.argv[1], 'rb').read()))", shot) == str(len(frame()))
        code = "try: open(sys.argv[1], 'r+b')\nexcept PermissionError: print('refused')"
        assert as_nobody(code, shot) == "refused"

    def test_new_files_belong_to_their_maker(self, manual_mount: Mounted) -> None:
        made = manual_mount.path / "made"
        as_nobody("os.umask(0o027); open(sys.argv[1], 'wb').write(b'x')", made)
        found = made.stat()
        assert (found.st_uid, found.st_gid) == (65534, 65534)
        assert stat.S_IMODE(found.st_mode) == 0o640

    def test_only_owner_and_root_convert(self, manual_mount: Mounted, shot: Path) -> None:
        os.chmod(shot, 0o666)
        code = (
            "try: os.setxattr(sys.argv[1], 'user.pixfs.state', b'raw')\n"
            "except PermissionError: print('refused')"
        )
        assert as_nobody(code, shot) == "refused"
        assert manual_mount.state(shot) == "compressed"
        os.chown(shot, 65534, 65534)
        as_nobody("os.setxattr(sys.argv[1], 'user.pixfs.state', b'raw')", shot)
        assert manual_mount.state(shot) == "raw"

    def test_the_backing_path_is_nobodys_business(self, manual_mount: Mounted) -> None:
        code = (
            "try: os.getxattr(sys.argv[1], 'user.pixfs.backing')\n"
            "except PermissionError: print('refused')"
        )
        assert as_nobody(code, manual_mount.path) == "refused"

    def test_suid_is_cleared_by_a_write(self, manual_mount: Mounted) -> None:
        tool = manual_mount.path / "tool"
        tool.write_bytes(b"#!")
        os.chmod(tool, 0o6777)
        as_nobody("open(sys.argv[1], 'r+b').write(b'xx')", tool)
        assert stat.S_IMODE(tool.stat().st_mode) == 0o777


def test_rename_flags(manual_mount: Mounted, shot: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    other = manual_mount.path / "other"
    other.write_bytes(b"other")

    def rename(flags: int) -> int:
        names = os.fsencode(shot), os.fsencode(other)
        failed = libc.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], flags)
        return ctypes.get_errno() if failed else 0

    assert rename(RENAME_NOREPLACE) == errno.EEXIST
    assert rename(RENAME_EXCHANGE) == 0
    assert shot.read_bytes() == b"other"
    assert other.read_bytes() == frame()
    assert manual_mount.state(other) == "compressed"


def test_open_flags(manual_mount: Mounted, shot: Path) -> None:
    with pytest.raises(FileExistsError):
        os.open(shot, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    fd = os.open(shot, os.O_RDONLY | os.O_DIRECT)
    try:
        with mmap.mmap(-1, 8192) as buffer:
            assert os.preadv(fd, [buffer], 4096) == 8192
            assert buffer[:] == frame()[4096 : 4096 + 8192]
    finally:
        os.close(fd)
    path = manual_mount.path / "appended"
    for line in (b"one", b"two"):
        fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.lseek(fd, 0, os.SEEK_SET)
        os.write(fd, line)
        os.close(fd)
    assert path.read_bytes() == b"onetwo"


def test_a_shared_mapping_writes_into_a_compressed_frame(shot: Path) -> None:
    with open(shot, "r+b") as file, mmap.mmap(file.fileno(), 0) as pages:
        pages[5000:5004] = b"mmap"
        pages.flush()
    assert shot.read_bytes() == frame()[:5000] + b"mmap" + frame()[5004:]


def test_sparse_files_and_special_files(manual_mount: Mounted) -> None:
    sparse = manual_mount.path / "sparse"
    with open(sparse, "wb") as file:
        file.truncate(1 << 40)
        file.seek(1 << 39)
        file.write(b"island")
    assert sparse.stat().st_size == 1 << 40
    assert sparse.stat().st_blocks * 512 < 1 << 20
    with open(sparse, "rb") as file:
        file.seek((1 << 39) - 4)
        assert file.read(12) == b"\0\0\0\0island\0\0"
    fifo = manual_mount.path / "fifo"
    os.mkfifo(fifo)
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_locks_between_processes_of_one_host(shot: Path) -> None:
    with open(shot, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        refused = subprocess.run(["flock", "--nonblock", str(shot), "true"], check=False)
        assert refused.returncode == 1
        fcntl.flock(file, fcntl.LOCK_UN)
        subprocess.run(["flock", "--nonblock", str(shot), "true"], check=True)
