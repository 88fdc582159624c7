"""Mount a backing directory and return when the mount answers.

The mount is served by a daemon in the background that logs to a file; with --foreground it is
served by this process, which logs to standard error and tells systemd when it is ready.
"""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from pixfs.cli.exits import EXIT_USAGE
from pixfs.cli.program import PROGRAM
from pixfs.configfile import default_log_path, paths_in
from pixfs.errors import ConfigError, MountError, PixfsError

if TYPE_CHECKING:
    import argparse

    from pixfs.config import MountSettings

NAME = "mount"
HELP = "mount a backing directory"

_READY = "ready"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this verb's own arguments."""
    parser.add_argument("backing", nargs="?", help="directory that holds the stored files")
    parser.add_argument("mountpoint", nargs="?", help="empty directory to mount at")
    parser.add_argument("--config", metavar="FILE", help="TOML file with any of the settings")
    parser.add_argument(
        "-o",
        "--option",
        dest="options",
        metavar="KEY=VALUE,...",
        action="append",
        default=[],
        help="settings by their configuration key, and mount options (ro, allow_other, ...)",
    )
    parser.add_argument("--settle", metavar="SECONDS", type=float, help="quiet time before")
    parser.add_argument("--level", metavar="LEVEL", help="fast, balanced or max")
    parser.add_argument("--manual", action="store_true", help="compress only when asked to")
    parser.add_argument("--include", metavar="GLOB", action="append", help="compress only these")
    parser.add_argument("--exclude", metavar="GLOB", action="append", help="never compress these")
    parser.add_argument("--list-xattrs", action="store_true", help="list user.pixfs.* attributes")
    parser.add_argument("--foreground", action="store_true", help="serve from this process")
    parser.add_argument("--log", metavar="FILE", help="log file of the daemon")
    parser.add_argument("--debug", action="store_true", help="log every detail")
    parser.add_argument("--ready-fd", type=int, help="descriptor to report to (used by pixfs)")


def run(args: argparse.Namespace) -> int:
    """Mount; 0 when the mount answers (or, in the foreground, after it was unmounted)."""
    if args.foreground:
        return _serve(args)
    return _start_daemon(args)


def read_settings(args: argparse.Namespace) -> MountSettings:
    """The settings of file, options and flags together; raises ConfigError."""
    from pixfs.config import MountSettings, parse_option_lists, read_config

    settings = read_config(args.config) if args.config else MountSettings()
    values, options = parse_option_lists(args.options)
    flags = {
        "backing": args.backing,
        "mountpoint": args.mountpoint,
        "settle_s": args.settle,
        "level": args.level,
        "mode": "manual" if args.manual else None,
        "include": args.include,
        "exclude": args.exclude,
        "list_xattrs": args.list_xattrs or None,
        "log": args.log,
    }
    values |= {key: value for key, value in flags.items() if value is not None}
    settings = settings.merged(values, options)
    _check_named(settings.backing, settings.mountpoint)
    return settings


def _check_named(backing: str, mountpoint: str) -> None:
    if not backing or not mountpoint:
        missing = "mountpoint" if backing else "backing"
        raise ConfigError(f"no {missing}: give BACKING and MOUNTPOINT, or a --config that has both")


def _serve(args: argparse.Namespace) -> int:
    settings = read_settings(args)
    # What is loaded stays: looking through it for garbage would take a tenth of the start.
    gc.disable()
    from pixfs.cli.logs import log_to_stderr, redirect_to_file

    if settings.log:
        redirect_to_file(settings.log)
    from pixfs.fuse.session import serve

    gc.enable()
    log_to_stderr(debug=args.debug)
    report = _Report(args.ready_fd)
    try:
        serve(settings, on_ready=lambda: report.send(_READY))
    except (PixfsError, OSError) as error:
        report.send(str(error))
        raise
    finally:
        report.close()
    return 0


class _Report:
    """The pipe to the process that started the daemon; silent when there is none."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd
        if fd is not None:
            os.set_inheritable(fd, False)

    def send(self, text: str) -> None:
        if self._fd is not None:
            # A starter that was interrupted is gone; the mount stands all the same.
            with contextlib.suppress(BrokenPipeError):
                os.write(self._fd, text.encode(errors="replace"))
        self.close()

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _start_daemon(args: argparse.Namespace) -> int:
    # The daemon reads all that it is told. Its paths are enough here: the rest would have the
    # volume and the codec loaded twice.
    paths = paths_in(args.config, args.options)
    backing = args.backing or paths.get("backing", "")
    mountpoint = args.mountpoint or paths.get("mountpoint", "")
    _check_named(backing, mountpoint)
    _tell_of_former(mountpoint)
    log_path = os.path.abspath(args.log or paths.get("log") or default_log_path(mountpoint))
    reading, writing = os.pipe()
    command = [*PROGRAM, *args.argv]
    command += ["--foreground", "--log", log_path, "--ready-fd", str(writing)]
    with open(reading, encoding="utf-8", errors="replace") as report:
        try:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # It says itself what is wrong with its settings, before it turns to its log.
                start_new_session=True,
                pass_fds=(writing,),
            )
        finally:
            os.close(writing)
        said = report.read()
    if said != _READY:
        status = child.wait()
        if not said and status == EXIT_USAGE:
            return EXIT_USAGE
        reason = said or "the daemon ended before it could say why"
        raise MountError(f"{reason} (log: {log_path})")
    _check_answers(mountpoint)
    print(f"{backing} is mounted at {mountpoint} (pid {child.pid}, log {log_path})")
    # The daemon outlives us on purpose; this keeps subprocess from warning about it.
    child.returncode = 0
    return 0


def _tell_of_former(mountpoint: str) -> None:
    """Say what the new daemon is going to wait for, if one is ending there."""
    from pixfs import runfiles
    from pixfs.fuse.mountinfo import mount_at, resolve_parent

    path = resolve_parent(mountpoint)
    former = runfiles.daemon_at(path)
    if former is not None and mount_at(path) is None:
        print(
            f"waiting for the former daemon (pid {former.pid}) to end, at most"
            f" {runfiles.ENDING_S:g} s ...",
            file=sys.stderr,
        )


def _check_answers(mountpoint: str) -> None:
    try:
        os.statvfs(mountpoint)
    except OSError as error:
        raise MountError(f"{mountpoint} is mounted but does not answer: {error.strerror}") from None
