"""One mount from start to end: volume, kernel session, signals, what is still being converted.

`serve` owns everything it starts and ends it in the reverse order. pyfuse3 keeps its session in
module globals, so there is one mount a process.

However the mount ends, the conversions that have begun are finished if that takes no longer than a
moment, and the queue is left to the next mount; with ``drain`` all of it is finished first.

Signals: SIGTERM and SIGINT unmount and exit; a second one, or SIGQUIT at any time, breaks off what
is being converted. SIGUSR1 writes every thread's stack to standard error.
"""

from __future__ import annotations

import faulthandler
import functools
import gc
import logging
import math
import os
import resource
import signal
import sys
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pyfuse3
import trio

import codec
from pixfs.errors import MountError
from pixfs.fuse import memory, mountinfo, mountpoint, xattrs
from pixfs.fuse.connection import Connection
from pixfs.fuse.heartbeat import Heartbeat
from pixfs.fuse.invalidation import Invalidator
from pixfs.fuse.operations import Operations
from pixfs.fuse.readahead import (
    READ_AHEAD_KIB,
    raise_read_ahead,
    set_read_ahead,
    window_kib,
)
from pixfs.fuse.sdnotify import ServiceManager, watchdog_interval_s
from pixfs.fuse.signals import StopSignals
from pixfs.fuse.warming import warm_when_quiet
from pixfs.runfiles import Daemon, LimitsFile, claim
from pixfs.throttle import Priority, format_rate, parse_rate
from pixfs.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Callable

    from pixfs.config import MountSettings
    from pixfs.fuse.pacing import Pacing
    from pixfs.throttle import Throttle

log = logging.getLogger(__name__)

# Tasks that wait for requests, and requests worked on at once. The kernel sends at most 12
# background reads plus one request per blocked thread. Each task reads requests into a buffer of
# its own of 1 MiB, and they take turns: with few of them the bytes to be written are still in the
# processor's cache when they are copied on. A request that a limit holds back keeps its task:
# there must be some left for everybody else.
MIN_TASKS = 1
MAX_TASKS = 512
_WATCH_S = 0.25
# A request waits for the interpreter as long as a thread may keep it that loads kernels or
# prepares a frame for encoding: 5 ms by default, many times what the request itself takes.
_SWITCH_S = 0.0005
# Nodes of a listing come by the ten thousand and make no cycles: look for some less often.
_GC_ALLOCATIONS = 20_000
# Conversions that have begun when the mount ends get so long, unless the queue is drained: most
# are done with then, and whoever waits to mount again need not wait much longer.
_FINISH_S = 2.0
_ENDING_STEP_S = 0.25
_EXTENSION_S = 60
_INVALIDATOR_STOP_S = 5.0


class Session:
    """The state of one mount while `serve` runs."""

    def __init__(
        self,
        settings: MountSettings,
        volume: Volume,
        signals: StopSignals,
        on_ready: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._volume = volume
        self._signals = signals
        self._on_ready = on_ready
        self._manager = ServiceManager()

    def run(self) -> None:
        """Mount, serve until unmounted or told to stop, unmount, end what converts. Main thread
        only."""
        operations = Operations(self._volume)
        invalidator = Invalidator(operations.inodes)
        heartbeat = Heartbeat(
            self._settings.mountpoint, xattrs.PID, self._manager, watchdog_interval_s()
        )
        self._mount(operations)
        self._volume.on_content_changed = invalidator.content_changed
        invalidator.start()
        try:
            trio.run(self._serve, operations, heartbeat)
        finally:
            self._manager.notify("STOPPING=1", "STATUS=unmounting")
            self._volume.on_content_changed = None
            self._unmount(invalidator, heartbeat)
            operations.release_everything()
        self._close_volume()

    def _mount(self, operations: Operations) -> None:
        settings = self._settings
        options, allow_other = mountpoint.fuse_options(settings.backing, settings.options)
        if not allow_other:
            log.info("only uid %d may use this mount (no allow_other)", os.geteuid())
        try:
            pyfuse3.init(operations, settings.mountpoint, options)
        except RuntimeError as error:
            raise MountError(
                f"mounting at {settings.mountpoint} was refused ({error});"
                " the line before this one has the reason"
            ) from None

    def _unmount(self, invalidator: Invalidator, heartbeat: Heartbeat) -> None:
        heartbeat.ask_to_stop()
        if invalidator.stop(_INVALIDATOR_STOP_S):
            pyfuse3.close(unmount=True)
        else:
            # It waits in the kernel for a page that only an aborted connection frees, inside a
            # call that uses the session: detach, and leave the session to the process's end.
            log.warning("an invalidation is stuck in the kernel; detaching the mount")
            mountpoint.detach(self._settings.mountpoint, lazy=True)
        heartbeat.join()

    async def _serve(self, operations: Operations, heartbeat: Heartbeat) -> None:
        token = trio.lowlevel.current_trio_token()
        connection = Connection()
        operations.threads.is_request_waiting = connection.has_request
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._announce, operations, heartbeat)
                nursery.start_soon(beat, operations, connection, heartbeat)
                if self._settings.policy.mode == "on-close":
                    nursery.start_soon(self._warm_kernels)
                nursery.start_soon(self._give_memory_back)
                nursery.start_soon(self._watch, connection, operations.pacing)
                self._signals.wake_with(lambda: token.run_sync_soon(self._terminate))
                await pyfuse3.main(min_tasks=MIN_TASKS, max_tasks=MAX_TASKS)
                nursery.cancel_scope.cancel()
        finally:
            # pyfuse3.terminate uses the session, which is closed next.
            self._signals.wake_with(None)

    def _terminate(self) -> None:
        self._let_go()
        pyfuse3.terminate()

    def _let_go(self) -> None:
        """Let requests pass that a limit holds back: the loop ends when all are answered."""
        self._volume.throttle.exempt(Priority.REQUEST, Priority.DEMAND)

    async def _watch(self, connection: Connection, pacing: Pacing) -> None:
        """See to what is held back: give it up when who waits is being killed, let all of it
        go once nobody could lift a pause any more."""
        while True:
            await trio.sleep(_WATCH_S)
            await pacing.give_up_killed()
            if connection.is_over() or await self._is_out_of_reach():
                self._let_go()
                return

    async def _is_out_of_reach(self) -> bool:
        """Whether the mount is paused and detached: its files are open, its root is gone."""
        if not self._volume.throttle.is_paused:
            return False
        return await trio.to_thread.run_sync(mountinfo.mount_at, self._mountpoint) is None

    async def _warm_kernels(self) -> None:
        """Load the codec's kernels before the first conversion; a mount that makes none by itself
        does without until it is asked for something compressed."""
        throttle = self._volume.throttle
        try:
            await warm_when_quiet(
                codec.warmup_steps(), lambda: throttle.read.moved + throttle.write.moved
            )
        except codec.CodecError:
            log.exception("the codec fails its own check: no frame will be compressed")
        gc.freeze()

    async def _give_memory_back(self) -> None:
        while True:
            await trio.sleep(memory.TRIM_EVERY_S)
            await trio.to_thread.run_sync(self._trim, abandon_on_cancel=True)

    def _trim(self) -> None:
        self._volume.trim()
        memory.trim()

    @property
    def _mountpoint(self) -> str:
        return self._settings.mountpoint

    async def _announce(self, operations: Operations, heartbeat: Heartbeat) -> None:
        await operations.initialized.wait()
        await trio.to_thread.run_sync(self._tune_kernel)
        mount = await trio.to_thread.run_sync(mountinfo.mount_at, self._mountpoint)
        await trio.to_thread.run_sync(heartbeat.start, mount.device if mount else "")
        log.info("%s is mounted at %s", self._settings.backing, self._mountpoint)
        self._manager.notify("READY=1", f"STATUS=serving {self._mountpoint}")
        self._on_ready()
        # What has been loaded stays for good: the collector need not go through it again.
        gc.freeze()

    def _tune_kernel(self) -> None:
        mount = mountinfo.mount_at(self._mountpoint)
        if mount is None:
            return
        window = window_kib(self._volume.throttle.read.limit)
        if window == READ_AHEAD_KIB:
            raise_read_ahead(mount.device)
        else:
            set_read_ahead(mount.device, window)

    def limits_changed(self) -> None:
        """Suit the kernel's read-ahead to the limit on reading. Any thread but trio's."""
        self._tune_kernel()

    def _close_volume(self) -> None:
        """Close the volume in a thread, so that a signal can still be acted on here, and tell the
        service manager that it takes its time."""
        drain = self._volume.drains and not self._volume.throttle.is_paused
        closing = threading.Thread(
            target=self._volume.close, kwargs={"drain": drain}, name="pixfs-closing"
        )
        patience = math.inf if drain else time.monotonic() + _FINISH_S
        closing.start()
        while not self._signals.abandoning.is_set() and time.monotonic() < patience:
            closing.join(_ENDING_STEP_S)
            if not closing.is_alive():
                return
            self._manager.notify(
                f"EXTEND_TIMEOUT_USEC={_EXTENSION_S * 1_000_000}",
                "WATCHDOG=1",
                f"STATUS=finishing {'the queue' if drain else 'what is being converted'}",
            )
        log.info("what is still being converted is left to the next mount")
        self._volume.abandon()
        closing.join()


async def beat(operations: Operations, connection: Connection, heartbeat: Heartbeat) -> None:
    """Tell the heartbeat that the loop goes round, and that requests are taken up if there are
    any."""
    while True:
        before = operations.taken
        await trio.sleep(heartbeat.every_s)
        if operations.taken != before or not connection.has_request():
            heartbeat.beat()


def serve(settings: MountSettings, on_ready: Callable[[], None] | None = None) -> None:
    """Mount what settings say and serve it until it is unmounted. Main thread of a process.

    on_ready is called once the mount answers. Raises MountError or OSError when the mount
    cannot be made; after a clean end, everything that was written is on the backing directory
    and what has not been converted is left raw to the next mount.
    """
    backing = os.path.realpath(settings.backing)
    target = mountinfo.resolve_parent(settings.mountpoint)
    mountpoint.check_device()
    mountpoint.prepare(backing, target, may_cover_files="nonempty" in settings.options)
    settings = settings.merged({"backing": backing, "mountpoint": target})
    if settings.is_read_only:
        settings = settings.merged({"mode": "manual", "rescan": False})
    _prepare_process()
    with ExitStack() as cleanup:
        found = os.stat(backing)
        daemon = Daemon(os.getpid(), target, backing, found.st_dev, found.st_ino, settings.log)
        cleanup.callback(claim(daemon).close)
        signals = cleanup.enter_context(StopSignals())
        volume = Volume(backing, settings.policy)
        # After a run this does nothing; after a failure it drops the queue.
        cleanup.callback(functools.partial(volume.close, drain=False))
        session = Session(settings, volume, signals, on_ready or (lambda: None))
        _keep_limits(volume.throttle, LimitsFile(target), session, cleanup)
        volume.start()
        session.run()


def _keep_limits(
    throttle: Throttle, file: LimitsFile, session: Session, cleanup: ExitStack
) -> None:
    """Take up the limits a killed daemon had, and note those that are set from now on."""
    limiters = {"read": throttle.read, "write": throttle.write}
    for name, text in (file.load() or {}).items():
        if name in limiters:
            limiters[name].limit = parse_rate(text)
            log.info("%s is limited to %s, as before the daemon was killed", name, text)

    def changed() -> None:
        file.save({name: format_rate(limiter.limit) for name, limiter in limiters.items()})

        session.limits_changed()

    throttle.on_change = changed
    cleanup.callback(file.remove)


def _prepare_process() -> None:
    """Process-wide state a file system daemon needs."""
    memory.set_up()
    # Modes arrive with the caller's umask; the daemon's own must not be applied on top.
    os.umask(0)
    os.chdir("/")
    sys.setswitchinterval(_SWITCH_S)
    gc.set_threshold(_GC_ALLOCATIONS)
    # Open files, and inodes in use: as many descriptors as the system lets us have.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if sys.stderr is not None:
        faulthandler.enable()
        faulthandler.register(signal.SIGUSR1, all_threads=True)
