"""A damaged container gives EIO where its bytes are needed, and is named by verify."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from tests.frames import frame, tall_frame
from tests.fuse_session import Mounted, xattr

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.fuse

EXPECTED_LOG = r"(?i)damage|checksum|tile"


@pytest.fixture
def stored(manual_mount: Mounted) -> Path:
    """The container of a compressed frame, the daemon stopped."""
    path = manual_mount.path / "shot.1001.dpx"
    path.write_bytes(frame())
    os.setxattr(path, "user.pixfs.state", b"compressed")
    manual_mount.stop()
    manual_mount.expect_log(EXPECTED_LOG)
    return manual_mount.backing / path.name


def read_or_errno(path: Path) -> bytes | int | None:
    """The file's bytes, or the errno that reading it gave."""
    try:
        return path.read_bytes()
    except OSError as error:
        return error.errno


def flip_bit(path: Path, offset: int, bit: int = 3) -> None:
    """Flip one bit of a file in place, its times unchanged, as rot would."""
    found = path.stat()
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0] ^ (1 << bit)
        file.seek(offset)
        file.write(bytes([byte]))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def test_a_flipped_bit_in_a_tile(manual_mount: Mounted) -> None:
    path = manual_mount.path / "tall.dpx"
    path.write_bytes(tall_frame())
    os.setxattr(path, "user.pixfs.state", b"compressed")
    manual_mount.stop()
    stored = manual_mount.backing / path.name
    flip_bit(stored, stored.stat().st_size * 3 // 4)
    manual_mount.expect_log(EXPECTED_LOG)
    manual_mount.start("--manual")
    with pytest.raises(OSError, match="Input/output") as caught:
        path.read_bytes()
    assert caught.value.errno == errno.EIO
    # What does not need the damaged tile is still there.
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        assert os.pread(fd, 2048, 0) == tall_frame()[:2048]
    finally:
        os.close(fd)
    result = manual_mount.pixfs("verify", manual_mount.path, status=1)
    assert "tile" in result.stderr
    assert path.name in result.stderr
    assert xattr(path, "verify") != "ok"
    assert manual_mount.stats()["eio"] > 0
    # A write would hide the damage.
    with pytest.raises(OSError, match="Input/output"), open(path, "r+b", buffering=0) as file:
        file.write(b"x")
    path.unlink()


def test_every_region_of_a_container(manual_mount: Mounted, stored: Path) -> None:
    sound = stored.read_bytes()
    step = max(1, len(sound) // 24)
    offsets = [*range(0, 64, 5), *range(64, len(sound), step), len(sound) - 1]
    for number, offset in enumerate(offsets):
        copy = manual_mount.backing / f"rot.{number:04d}.dpx"
        copy.write_bytes(sound)
        flip_bit(copy, offset, bit=number % 8)
    manual_mount.expect_log("")
    manual_mount.start("--manual")
    damaged = 0
    for number in range(len(offsets)):
        data = read_or_errno(manual_mount.path / f"rot.{number:04d}.dpx")
        assert data in (errno.EIO, frame()), offsets[number]
        damaged += data == errno.EIO
    assert damaged > len(offsets) // 2
    result = manual_mount.pixfs("verify", manual_mount.path, status=1)
    assert f"{len(offsets)} damaged" in result.stdout


def test_verify_and_status_of_an_unmounted_volume(manual_mount: Mounted, stored: Path) -> None:
    assert "0 damaged" in manual_mount.pixfs("verify", manual_mount.backing).stdout
    flip_bit(stored, stored.stat().st_size // 2)
    result = manual_mount.pixfs("verify", stored, status=1)
    assert "tile" in result.stderr
    assert "compressed" in manual_mount.pixfs("status", manual_mount.backing).stdout
