"""Every system call the volume makes on the backing file system, and nothing else.

One module, so that a fault can be planted at each call and so that the rules are kept in one
place: names are resolved against a directory's descriptor and never through a symlink; a
descriptor that only names an inode (O_PATH) is reopened through /proc/self/fd; no path of more
than one component is ever used, except the root's own at start. All calls may block and raise
OSError; any thread may make them.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import struct
import sys
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from pixfs.volume.attributes import Buffer

# What a directory lists: a name, the inode's number, whether it is a regular file.
Found: TypeAlias = tuple[bytes, int, bool]

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2

_NAMES, _NAMES_ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
_AT_FDCWD = -100
_AT_SYMLINK_FOLLOW = 0x400
_AT_EMPTY_PATH = 0x1000
_UTIME_OMIT = (1 << 30) - 2
_FALLOC_FL_KEEP_SIZE = 1
_F_SETSIG = 10

_FS_IOC_FSGETXATTR = 0x801C581F
_FS_IOC_FSSETXATTR = 0x401C5820
_FSXATTR = struct.Struct("=IIIII8s")
# struct flock: type, whence, start, length, pid.
_FLOCK = struct.Struct("@hhqqi4x")

# statfs(2) names them; they know of nothing to tell when a descriptor is closed.
_LOCAL_FILE_SYSTEMS = frozenset(
    {
        0xEF53,  # ext2, ext3, ext4
        0x58465342,  # XFS
        0x9123683E,  # Btrfs
        0x01021994,  # tmpfs
    }
)

_libc = ctypes.CDLL(None, use_errno=True)


class _Timespec(ctypes.Structure):
    _fields_ = (("sec", ctypes.c_long), ("nsec", ctypes.c_long))


def _check(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _proc(fd: int) -> str:
    return f"/proc/self/fd/{fd}"


# Opening and closing


def open_root(path: bytes) -> int:
    """O_PATH descriptor of the backing root (the only full path ever opened)."""
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def open_path(dir_fd: int, name: bytes) -> int:
    """O_PATH descriptor of what ``name`` is in that directory; a symlink is not followed."""
    return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)


def open_listed(dir_fd: int, name: bytes) -> int:
    """Readable descriptor of a regular file just found in a directory.

    Should it have become something else meanwhile: a symlink is not followed, a fifo does not
    wait for its other end.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        return os.open(name, flags | os.O_NOATIME, dir_fd=dir_fd)
    except PermissionError:
        return os.open(name, flags, dir_fd=dir_fd)


def open_directory(dir_fd: int, name: bytes) -> int:
    """Readable descriptor of a directory inside another."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, dir_fd=dir_fd)


def reopen(fd: int, flags: int) -> int:
    """Opens the inode behind ``fd`` again with other flags.

    The access time is left alone where the file's owner allows that.
    """
    flags |= os.O_CLOEXEC
    try:
        return os.open(_proc(fd), flags | os.O_NOATIME)
    except PermissionError:
        return os.open(_proc(fd), flags)


def create(dir_fd: int, name: bytes) -> int:
    """Creates a regular file, mode 0600, open for reading and writing; EEXIST if it is there."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, 0o600, dir_fd=dir_fd)


def open_lockfile(dir_fd: int, name: bytes) -> int:
    """Opens, or creates with mode 0600, a file that exists to be locked."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, 0o600, dir_fd=dir_fd)


def dup(fd: int) -> int:
    """Another descriptor of the same open file."""
    return os.dup(fd)


def close(fd: int) -> None:
    """Closes a descriptor."""
    os.close(fd)


# Bytes


def pread(fd: int, size: int, offset: int) -> bytes:
    """Reads up to ``size`` bytes."""
    return os.pread(fd, size, offset)


def pread_into(fd: int, buf: memoryview, offset: int) -> int:
    """Fills ``buf`` until the file ends; returns the bytes read."""
    done = 0
    while done < len(buf):
        count = os.preadv(fd, [buf[done : done + (8 << 20)]], offset + done)
        if count == 0:
            break
        done += count
    return done


def pwrite(fd: int, buf: Buffer, offset: int) -> int:
    """Writes all of ``buf`` unless an error stops it; returns the bytes written.

    An error after the first byte is not raised but shows as a short count, as with write(2).
    """
    view = memoryview(buf).cast("B")
    done = 0
    while done < len(view):
        try:
            done += os.pwrite(fd, view[done:], offset + done)
        except OSError:
            if done:
                break
            raise
    return done


def pwrite_all(fd: int, buf: Buffer, offset: int) -> None:
    """Writes all of ``buf`` or raises."""
    view = memoryview(buf).cast("B")
    done = 0
    while done < len(view):
        done += os.pwrite(fd, view[done:], offset + done)


def ftruncate(fd: int, size: int) -> None:
    """Sets the size."""
    os.ftruncate(fd, size)


def preallocate(fd: int, size: int) -> None:
    """Reserves blocks for the first ``size`` bytes without changing bytes or size.

    Does nothing where the file system cannot.
    """
    result = _libc.fallocate(
        fd, _FALLOC_FL_KEEP_SIZE, ctypes.c_longlong(0), ctypes.c_longlong(size)
    )
    if result != 0 and ctypes.get_errno() not in (errno.EOPNOTSUPP, errno.ENOSYS):
        _check(result)


def fsync(fd: int) -> None:
    """Makes the bytes and attributes durable."""
    os.fsync(fd)


def fdatasync(fd: int) -> None:
    """Makes the bytes durable."""
    os.fdatasync(fd)


def flush(fd: int) -> None:
    """What close(2) would report now (a network file system reports late errors there)."""
    os.close(os.dup(fd))


# Attributes


def fstat(fd: int) -> os.stat_result:
    """Attributes of the inode behind ``fd``."""
    return os.fstat(fd)


def stat_at(dir_fd: int, name: bytes) -> os.stat_result:
    """Attributes of a directory entry; a symlink is not followed."""
    return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)


def chmod(fd: int, mode: int) -> None:
    """Sets the mode of the inode behind an O_PATH or ordinary descriptor."""
    os.chmod(_proc(fd), mode)


def fchmod(fd: int, mode: int) -> None:
    """The same for an ordinary descriptor."""
    os.fchmod(fd, mode)


def chown(fd: int, uid: int, gid: int) -> None:
    """Sets the owner; -1 leaves one as it is. Works on symlinks, too."""
    _check(
        _libc.fchownat(
            fd,
            b"",
            ctypes.c_uint32(uid & 0xFFFFFFFF),
            ctypes.c_uint32(gid & 0xFFFFFFFF),
            _AT_EMPTY_PATH,
        )
    )


def utimens(fd: int, atime_ns: int | None, mtime_ns: int | None) -> None:
    """Sets the times; None leaves one as it is."""
    times = (_Timespec * 2)()
    for slot, value in zip(times, (atime_ns, mtime_ns), strict=True):
        if value is None:
            slot.nsec = _UTIME_OMIT
        else:
            slot.sec, slot.nsec = divmod(value, 10**9)
    _check(_libc.utimensat(fd, b"", times, _AT_EMPTY_PATH))


def statvfs(fd: int) -> os.statvfs_result:
    """The file system's totals."""
    return os.statvfs(fd)


def is_local(fd: int) -> bool:
    """Whether the inode behind ``fd`` is on a file system of this host, whose open inodes are in
    memory: to ask for their attributes never waits for storage or a server."""
    buf = ctypes.create_string_buffer(256)
    _check(_libc.fstatfs(fd, buf))
    return ctypes.c_long.from_buffer(buf).value in _LOCAL_FILE_SYSTEMS


def get_fsxattr(fd: int) -> tuple[int, int] | None:
    """(inode flags, project id) by FS_IOC_FSGETXATTR, or None where unknown."""
    buf = bytearray(_FSXATTR.size)
    try:
        fcntl.ioctl(fd, _FS_IOC_FSGETXATTR, buf)
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            return None
        raise
    flags, _extent_size, _extents, project, _cow, _pad = _FSXATTR.unpack(buf)
    return int(flags), int(project)


def set_fsxattr(fd: int, flags: int, project: int) -> None:
    """Sets inode flags and project id; the rest of the structure stays as it is."""
    buf = bytearray(_FSXATTR.size)
    fcntl.ioctl(fd, _FS_IOC_FSGETXATTR, buf)
    _flags, extent_size, extents, _project, cow, pad = _FSXATTR.unpack(buf)
    fcntl.ioctl(
        fd, _FS_IOC_FSSETXATTR, _FSXATTR.pack(flags, extent_size, extents, project, cow, pad)
    )


def list_xattrs(fd: int) -> list[bytes]:
    """Names of the extended attributes of the inode behind any descriptor."""
    try:
        return [os.fsencode(name) for name in os.listxattr(_proc(fd))]
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return []
        raise


def get_xattr(fd: int, name: bytes) -> bytes:
    """Value of one extended attribute; ENODATA if it is not there."""
    return os.getxattr(_proc(fd), name)


def set_xattr(fd: int, name: bytes, value: bytes, flags: int = 0) -> None:
    """Sets an extended attribute (flags: os.XATTR_CREATE, os.XATTR_REPLACE)."""
    os.setxattr(_proc(fd), name, value, flags)


def remove_xattr(fd: int, name: bytes) -> None:
    """Removes an extended attribute; ENODATA if it is not there."""
    os.removexattr(_proc(fd), name)


def syncfs(fd: int) -> None:
    """Makes everything on the file system durable."""
    _check(_libc.syncfs(fd))


# Names


def read_link(fd: int) -> bytes:
    """Target of the symlink behind an O_PATH descriptor."""
    return os.readlink(b"", dir_fd=fd)


def list_directory(fd: int) -> list[bytes]:
    """Names in a directory, without . and .."""
    return [os.fsencode(name) for name in os.listdir(fd)]


def scan_directory(fd: int) -> list[Found]:
    """What is in a directory, as the directory itself tells; without . and .."""
    with os.scandir(fd) as entries:
        # As os.fsencode does, which costs more than the rest of this.
        return [
            (
                entry.name.encode(_NAMES, _NAMES_ERRORS),
                entry.inode(),
                entry.is_file(follow_symlinks=False),
            )
            for entry in entries
        ]


def mkdir(dir_fd: int, name: bytes, mode: int) -> None:
    """Creates a directory."""
    os.mkdir(name, mode, dir_fd=dir_fd)


def mknod(dir_fd: int, name: bytes, mode: int, rdev: int) -> None:
    """Creates a special or regular file."""
    os.mknod(name, mode, rdev, dir_fd=dir_fd)


def symlink(target: bytes, dir_fd: int, name: bytes) -> None:
    """Creates a symlink."""
    os.symlink(target, name, dir_fd=dir_fd)


def link(fd: int, dir_fd: int, name: bytes) -> None:
    """Gives the inode behind any descriptor one more name."""
    source = _proc(fd).encode()
    _check(_libc.linkat(_AT_FDCWD, source, dir_fd, name, _AT_SYMLINK_FOLLOW))


def unlink(dir_fd: int, name: bytes) -> None:
    """Removes a name of a file."""
    os.unlink(name, dir_fd=dir_fd)


def rmdir(dir_fd: int, name: bytes) -> None:
    """Removes an empty directory."""
    os.rmdir(name, dir_fd=dir_fd)


def rename(dir_fd: int, name: bytes, dir_fd2: int, name2: bytes, flags: int = 0) -> None:
    """renameat2(2)."""
    _check(_libc.renameat2(dir_fd, name, dir_fd2, name2, ctypes.c_uint(flags)))


# Locks between processes and hosts


def try_lock(fd: int, *, exclusive: bool) -> bool:
    """Takes a flock without waiting; False if another open file holds one against it."""
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock(fd: int) -> None:
    """Waits for the exclusive flock."""
    fcntl.flock(fd, fcntl.LOCK_EX)


def lease(fd: int) -> bool:
    """Takes a read lease on a file opened read-only; False if any process of this host has
    the file open for writing.

    Also True where there are no leases to be had (network file systems, foreign files of an
    unprivileged daemon): it is one safeguard more, not the only one. Given back by closing
    ``fd`` or by ``end_lease``; meanwhile another's opening for writing waits.
    """
    try:
        # The notice that somebody waits; the default signal would end the process.
        fcntl.fcntl(fd, _F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOLCK):
            return True
        raise
    return True


def end_lease(fd: int) -> None:
    """Gives a lease back, if there is one."""
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES, errno.EINVAL, errno.EOPNOTSUPP):
            raise


def unlock(fd: int) -> None:
    """Gives a flock back."""
    fcntl.flock(fd, fcntl.LOCK_UN)


def lock_byte(fd: int, offset: int) -> None:
    """Waits for the exclusive lock of one byte of a file open for writing.

    It belongs to the open file, not to the process (F_OFD_SETLKW): two volumes of one process
    exclude each other, and closing another descriptor of the file gives nothing back.
    """
    fcntl.fcntl(fd, fcntl.F_OFD_SETLKW, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, offset, 1, 0))


def unlock_byte(fd: int, offset: int) -> None:
    """Gives back what ``lock_byte`` took."""
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, offset, 1, 0))
