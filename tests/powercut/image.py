"""A file system in a file, whose power can be cut."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import struct
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE_SYSTEMS = ("ext4", "xfs")

# _IOR('X', 125, __u32), which ext4 has from XFS; the log is not flushed.
_GOINGDOWN = 0x8004587D
_NO_LOG_FLUSH = struct.pack("I", 2)
_SIZES_MIB = {"ext4": 64, "xfs": 400}
# ext4 otherwise writes a file's data before the rename that puts it in another's place, which
# hides a missing fsync.
_OPTIONS = {"ext4": ["-o", "noauto_da_alloc"], "xfs": []}
_UMOUNT_PATIENCE_S = 60.0
_CLONE_NEWNS = 0x20000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_libc = ctypes.CDLL(None, use_errno=True)


def unavailable(fs: str) -> str | None:
    """Why power cannot be cut here, or None."""
    if os.geteuid() != 0:
        return "mounting a loop image needs root"
    for tool in (f"mkfs.{fs}", "losetup", "mount"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    for command in (["losetup", "-f"], ["unshare", "--mount", "true"]):
        found = subprocess.run(command, capture_output=True, text=True)
        if found.returncode:
            return f"{command[0]} is refused: {found.stderr.strip()}"
    return None


def leave_mount_namespace() -> None:
    """Mounts made from here on are this process's and its children's alone.

    A process that is started elsewhere with a copy of all mounts would keep a file system alive
    after it was unmounted here, and the next mount would not be one after a power cut.
    """
    for result in (
        _libc.unshare(_CLONE_NEWNS),
        _libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None),
    ):
        if result:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))


class Image:
    """One loop device with a file system; ``mounted_at`` is where it is mounted."""

    def __init__(self, fs: str, directory: Path) -> None:
        self.fs = fs
        self.mounted_at = directory / "backing"
        self._file = directory / "image"
        self._loop = ""
        self.mounted_at.mkdir()

    def make(self) -> None:
        """A new, empty file system."""
        with self._file.open("wb") as file:
            file.truncate(_SIZES_MIB[self.fs] << 20)
        force = "-f" if self.fs == "xfs" else "-F"
        _run(f"mkfs.{self.fs}", "-q", force, str(self._file))
        self._loop = _run("losetup", "-f", "--show", str(self._file)).strip()

    def mount(self) -> None:
        """Mounts, and so replays the journal."""
        _run("mount", "-t", self.fs, *_OPTIONS[self.fs], self._loop, str(self.mounted_at))

    def cut(self) -> None:
        """From now on nothing reaches the image any more; every call into it fails."""
        fd = os.open(self.mounted_at, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, _GOINGDOWN, _NO_LOG_FLUSH)
        finally:
            os.close(fd)

    def umount(self) -> None:
        """Waits for processes that were killed to let go of it."""
        deadline = time.monotonic() + _UMOUNT_PATIENCE_S
        while True:
            try:
                _run("umount", str(self.mounted_at))
            except subprocess.CalledProcessError as error:
                if "busy" not in error.stderr or time.monotonic() > deadline:
                    raise
                time.sleep(0.005)
            else:
                return

    def remove(self) -> None:
        """Unmounts if need be, and gives the loop device back."""
        subprocess.run(["umount", "-l", str(self.mounted_at)], capture_output=True)
        if self._loop:
            subprocess.run(["losetup", "-d", self._loop], capture_output=True)


@contextmanager
def image(fs: str, directory: Path) -> Iterator[Image]:
    """An image with an empty file system that is not mounted yet."""
    made = Image(fs, directory)
    try:
        made.make()
        yield made
    finally:
        made.remove()


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
