"""Unmount, and return when the daemon is gone, which takes some seconds at most.

Frames that wait for compression are left to the next mount (they stay raw, complete and readable);
with --drain they are compressed first, which can take a while. A mount with open files is left
alone; --lazy detaches it all the same and waits until the files are closed.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from pixfs import runfiles
from pixfs.configfile import mountpoint_in
from pixfs.errors import ConfigError, MountError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

NAME = "umount"
HELP = "unmount, leaving what waits for compression to the next mount"

# Who looks at a mount (df, a file browser) holds it for an instant.
_BUSY_RETRIES = 20
_BUSY_PAUSE_S = 0.05
# A daemon that takes no longer to end is not worth a word.
_SILENT_S = 1.0
_DRAIN = "user.pixfs.drain"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this verb's own arguments."""
    parser.add_argument("mountpoint", nargs="?", help="where it is mounted")
    parser.add_argument("--config", metavar="FILE", help="take the mount point from this file")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--drain", action="store_true", help="compress all that waits before the daemon ends"
    )
    how.add_argument(
        "--force", action="store_true", help="end the daemon at once, also when files are open"
    )
    parser.add_argument("--lazy", action="store_true", help="detach also when files are open")
    parser.add_argument(
        "--stale",
        action="store_true",
        help="only clear away what a dead daemon left; nothing to clear is no error",
    )


def run(args: argparse.Namespace) -> int:
    """Unmount; 0 when the mount and its daemon are gone."""
    from pixfs.fuse.mountinfo import mount_at, resolve_parent

    path = resolve_parent(_mountpoint(args))
    mount = mount_at(path)
    daemon = runfiles.daemon_at(path)
    if args.stale:
        return _clear_stale(path, is_mounted=mount is not None and mount.is_pixfs, daemon=daemon)
    if daemon is None and mount is None:
        raise MountError(f"{path} is not mounted")
    if mount is not None and not mount.is_pixfs:
        raise MountError(f"{path} is a mount of type {mount.fstype}, not PixFS; use umount")
    if daemon is not None and args.force:
        os.kill(daemon.pid, signal.SIGQUIT)
    elif mount is not None:
        with _drain_asked_for(path) if args.drain and daemon is not None else nullcontext():
            _detach(path, lazy=args.lazy or daemon is None)
    if daemon is not None:
        _wait_gone(daemon, draining=args.drain)
    return 0


def _mountpoint(args: argparse.Namespace) -> str:
    if args.mountpoint:
        return str(args.mountpoint)
    if args.config:
        return mountpoint_in(args.config)
    raise ConfigError("which mount? give MOUNTPOINT or --config")


def _clear_stale(path: str, *, is_mounted: bool, daemon: runfiles.Daemon | None) -> int:
    from pixfs.fuse.mountpoint import detach

    if daemon is not None:
        raise MountError(f"the daemon of {path} (pid {daemon.pid}) is alive; use pixfs umount")
    if is_mounted:
        detach(path, lazy=True)
        print(f"detached the dead mount at {path}")
    return 0


@contextmanager
def _drain_asked_for(path: str) -> Iterator[None]:
    """The daemon is told to finish its queue when the mount ends; not so if it does not end."""
    before = os.getxattr(path, _DRAIN)
    os.setxattr(path, _DRAIN, b"yes")
    try:
        yield
    except BaseException:
        os.setxattr(path, _DRAIN, before)
        raise


def _detach(path: str, *, lazy: bool) -> None:
    from pixfs.fuse.mountpoint import detach

    for attempt in range(_BUSY_RETRIES):
        try:
            detach(path, lazy=lazy)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            if attempt + 1 == _BUSY_RETRIES:
                raise MountError(
                    f"{path} is in use (fuser -vm {path} tells by whom): close the files, or"
                    " detach it with --lazy"
                ) from None
            time.sleep(_BUSY_PAUSE_S)
        else:
            return


def _wait_gone(daemon: runfiles.Daemon, *, draining: bool) -> None:
    """Wait for the daemon; the user may stop waiting, the daemon goes on."""
    try:
        if not daemon.is_gone_within(_SILENT_S):
            what = "all frames that wait" if draining else "what is being compressed"
            print(f"waiting for the daemon to finish {what} ...", file=sys.stderr)
            if not draining and not daemon.is_gone_within(runfiles.ENDING_S):
                print(
                    "it still serves the mount: files are open, or a container (another mount"
                    " namespace) has the mount, too",
                    file=sys.stderr,
                )
            daemon.is_gone_within(None)
    except KeyboardInterrupt:
        print(
            f"pixfs umount: the daemon (pid {daemon.pid}) goes on; end it with"
            f" pixfs umount --force {daemon.mountpoint}",
            file=sys.stderr,
        )
        raise
