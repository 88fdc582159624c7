"""Daemons forked from a process that has everything imported and compiled: a mount in a tenth
of a second, for programs that need thousands of them.

The forking process must have one thread only.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING

import codec
from pixfs.cli.logs import log_to_stderr
from pixfs.config import MountSettings
from pixfs.fuse.mountinfo import mount_at
from pixfs.fuse.mountpoint import detach
from pixfs.fuse.session import serve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class ForkedDaemon:
    """One mount in a child process.

    Attributes:
        pid: the daemon's process id.
    """

    def __init__(
        self,
        backing: Path,
        mountpoint: Path,
        log: Path,
        *,
        prepare: Callable[[], None] = lambda: None,
        **settings: object,
    ) -> None:
        """Returns when the mount answers. ``prepare`` runs in the daemon before it starts, and
        ``settings`` are those of a mount's configuration file. RuntimeError with the log."""
        self._mountpoint = mountpoint
        reading, writing = os.pipe()
        values = {"backing": str(backing), "mountpoint": str(mountpoint), **settings}
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reading)
            _serve(MountSettings().merged(values), log, writing, prepare)
        os.close(writing)
        with os.fdopen(reading, "rb") as report:
            ready = report.read() == b"ready"
        if not ready:
            self.kill()
            raise RuntimeError(f"mount failed:\n{log.read_text(errors='replace')[-2000:]}")

    def stop(self) -> int:
        """Ends it with SIGTERM, as a service manager does; returns the exit status."""
        os.kill(self.pid, signal.SIGTERM)
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        self._clear()
        return os.waitstatus_to_exitcode(status)

    def kill(self) -> None:
        """Ends it as a crash would, and takes the dead mount away. Idempotent."""
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0
        self._clear()

    def _clear(self) -> None:
        while mount_at(str(self._mountpoint)) is not None:
            detach(str(self._mountpoint), lazy=True)


def _serve(settings: MountSettings, log: Path, report: int, prepare: Callable[[], None]) -> None:
    """The child's life; never returns."""
    status = 1
    try:
        fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(fd, 2)
        log_to_stderr(debug=False)
        # Compiled before the fork.
        codec.warmup_steps = lambda: iter(())
        prepare()

        def ready() -> None:
            os.write(report, b"ready")
            os.close(report)

        serve(settings, on_ready=ready)
        status = 0
    except BaseException:
        traceback.print_exc(file=sys.stderr)
        sys.stderr.flush()
    finally:
        os._exit(status)
