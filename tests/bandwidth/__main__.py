"""A limit that is set, changed and kept through the REST interface, in a table.

usage: python -m tests.bandwidth [--seconds N] [--jobs N]

A mount, a server with a throttle on it, and jobs that copy from it. The kernel's own counts of what
the server's threads read are held against the limit: the mean of so many seconds, how long a
thread went without a piece, how long a change took, and the mean after the server was started anew.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

import codec
from tests.bandwidth.meter import metered
from tests.fuse_session import mounted
from tests.serve_command import WAIT_S, Serve, measured

if TYPE_CHECKING:
    from tests.bandwidth.meter import Meter

MB = 1_000_000
LIMIT, HIGHER, LOWER = 10 * MB, 25 * MB, 4 * MB
_FILE = 48 * MB
_PIECE = 256 << 10
_SETTLE_S = 3.0
# What the goals are: of a mean, of a wait, and of a change.
_ERROR, _WAIT_S, _CHANGE_S = 0.05, 2.0, 1.0


@dataclass
class Table:
    """Prints a line a figure; ``missed`` are those that lie beyond their goals."""

    missed: list[str] = field(default_factory=list)

    def line(self, what: str, figure: str, goal: str, *, is_met: bool) -> None:
        print(f"| {what} | {figure} | {goal} | {'yes' if is_met else 'NO'} |", flush=True)
        if not is_met:
            self.missed.append(what)

    def mean(self, what: str, meter: Meter, limit: int, begin: float, seconds: float) -> None:
        error = meter.rate(begin, begin + seconds) / limit - 1
        figure = f"{(1 + error) * limit / MB:.2f} MB/s ({error:+.1%})"
        self.line(what, figure, f"±{_ERROR:.0%}", is_met=abs(error) <= _ERROR)

    def wait(self, meter: Meter, begin: float, end: float) -> None:
        waited = meter.longest_wait(begin, end, _PIECE)
        what = f"longest that a thread waited for {_PIECE >> 10} KiB"
        self.line(what, f"{waited:.2f} s", f"{_WAIT_S:g} s", is_met=waited <= _WAIT_S)


class Client:
    """An administrator of a running server."""

    def __init__(self, server: Serve, password: str) -> None:
        self._http = httpx.Client(base_url=server.url, timeout=WAIT_S)
        self.post("/login", name="admin", password=password)

    def post(self, path: str, **form: object) -> dict[str, Any]:
        answer = self._http.post(path, data=form)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def limit(self, rate: int) -> float:
        """Sets the throttle; when the answer came."""
        form = {"storage": "mount", "direction": "read", "limit_bps": rate}
        self._http.put("/throttles", data=form).raise_for_status()
        return time.monotonic()

    def limit_now(self) -> int:
        (throttle,) = self._http.get("/throttles").json()["throttles"]
        return int(throttle["limit_now_bps"])

    def running(self) -> int:
        return len(self._http.get("/jobs", params={"state": "RUNNING"}).json()["jobs"])


def _submit(client: Client, base: Path, mount: Path, jobs: int, files: int) -> None:
    """Copies, each of files of its own."""
    client.post("/storages", name="mount", kind="pixfs", root=str(mount))
    (base / "target").mkdir()
    client.post("/storages", name="target", kind="directory", root=str(base / "target"))
    block = os.urandom(_FILE)
    for job in range(jobs):
        (mount / f"{job}").mkdir()
        for number in range(files):
            (mount / f"{job}" / f"{number:03}.bin").write_bytes(block)
    # Or the copies' fsyncs would wait for what we have written.
    os.sync()
    client.limit(LIMIT)
    for job in range(jobs):
        form = {"kind": "copy", "source": "mount", "sources": f"{job}", "target": "target"}
        # What is read back from the target would be counted as well.
        client.post("/jobs", **form, verify="size", quiet_s=0)


def _sleep_until(moment: float) -> None:
    time.sleep(max(moment - time.monotonic(), 0))


def _change(table: Table, client: Client, meter: Meter, old: int, new: int) -> None:
    """How long a change took, by what moved in some seconds around it."""
    begin = client.limit(new)
    # Long enough for pieces not to matter, and to see what comes of what had been saved up.
    span = 5.0
    _sleep_until(begin + span + 0.1)
    moved = meter.moved(begin, begin + span)
    late = (moved - new * span) / (old - new)
    what = f"change from {old // MB} to {new // MB} MB/s"
    table.line(what, f"{late:+.2f} s", f"{_CHANGE_S:g} s", is_met=abs(late) <= _CHANGE_S)


def _before_restart(table: Table, client: Client, meter: Meter, seconds: float, jobs: int) -> None:
    begin = time.monotonic() + _SETTLE_S
    for number in range(3):
        _sleep_until(begin + (number + 1) * seconds + 0.1)
        what = f"{seconds:g} s at {LIMIT // MB} MB/s, {jobs} jobs"
        table.mean(what, meter, LIMIT, begin + number * seconds, seconds)
    assert client.running() == jobs, "not every job was at work"
    table.wait(meter, begin, begin + 3 * seconds)
    for old, new in ((LIMIT, HIGHER), (HIGHER, LOWER), (LOWER, LIMIT)):
        _change(table, client, meter, old, new)


def _after_restart(table: Table, client: Client, meter: Meter, seconds: float, jobs: int) -> None:
    what = "the limit after a restart"
    table.line(what, f"{client.limit_now() / MB:g} MB/s", "", is_met=client.limit_now() == LIMIT)
    while client.running() < jobs:
        time.sleep(0.05)
    begin = time.monotonic() + _SETTLE_S
    _sleep_until(begin + seconds + 0.1)
    what = f"{seconds:g} s at {LIMIT // MB} MB/s after a restart"
    table.mean(what, meter, LIMIT, begin, seconds)
    table.wait(meter, begin, begin + seconds)


def main() -> int:
    """0 when every goal was met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--jobs", type=int, default=4)
    args = parser.parse_args()
    codec.warmup()
    # All that can move until the end, and half as much again.
    most = (6 * args.seconds + 20) * LIMIT + 5.0 * HIGHER
    files = int(1.5 * most / args.jobs / _FILE) + 1
    table = Table()
    with tempfile.TemporaryDirectory(prefix="pixfs-bandwidth-") as name:
        base = Path(name)
        with mounted(base, "--manual") as mount:
            print("| what | measured | goal | met |\n|---|---|---|---|", flush=True)
            with measured(base / "data") as server, metered(server.process.pid) as meter:
                password = server.password
                client = Client(server, password)
                _submit(client, base, mount.path, args.jobs, files)
                _before_restart(table, client, meter, args.seconds, args.jobs)
            with measured(base / "data") as server, metered(server.process.pid) as meter:
                client = Client(server, password)
                _after_restart(table, client, meter, args.seconds, args.jobs)
    print(f"\nmissed: {', '.join(table.missed) or 'nothing'}")
    return 1 if table.missed else 0


if __name__ == "__main__":
    sys.exit(main())
