"""The processes one cell of the matrix is played with, and what is found afterwards."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx

from tests.fuse_session import Mounted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VICTIMS = ("server", "worker", "scheduler", "mount")
PATIENCE_S = 300
FILES = 6


class Failed(AssertionError):
    """The scene did not play: nothing is said about the product."""


class Receiver:
    """Takes webhooks: the delivery number of each, in the order they came."""

    def __init__(self) -> None:
        self.deliveries: list[str] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                receiver.deliveries.append(self.headers["X-PixFS-Delivery"])
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        """Stops."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Scene:
    """A move from one storage to another, with a server, perhaps a cluster or a mount."""

    def __init__(self, base: Path, victim: str, phase: str) -> None:
        self.base = base
        self.victim = victim
        self.is_cluster = victim in ("worker", "scheduler")
        self.receiver = Receiver()
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self._drains: dict[int, threading.Thread] = {}
        self.mount: Mounted | None = None
        self._log = (base / "log").open("a")
        self._environment = os.environ | {
            "PIXFS_KILL_PHASE": phase,
            "PIXFS_KILL_DIR": str(base),
            "PIXFS_RUN_DIR": str(base / "run"),
        }
        self._client: httpx.Client | None = None
        self._address = ""
        self._password = ""
        self.url = ""
        self.source = base / "one"
        self.target = base / "two"
        self.files = {
            f"shot/{'sub/' * (number % 2)}f.{number}.dpx": bytes([number]) * 5000
            for number in range(FILES)
        }

    def set_up(self) -> None:
        """Fills the source and starts everybody."""
        for name, data in self.files.items():
            (self.source / name).parent.mkdir(parents=True, exist_ok=True)
            (self.source / name).write_bytes(data)
        self.target.mkdir()
        if self.victim == "mount":
            (self.base / "volume").mkdir()
            self.mount = Mounted(self.base / "volume", self.base / "run")
            self.mount.start("--manual")
            self.target = self.mount.path
        if self.is_cluster:
            self.start_scheduler()
            for name in ("a", "b"):
                self.start_worker(name)
        config = self.base / "server.toml"
        config.write_text(
            '[notifications]\nallow_networks = ["127.0.0.0/8"]\n'
            + (f'[jobs]\nscheduler = "{self._address}"\n' if self.is_cluster else "")
        )
        self.start_server()

    def close(self) -> None:
        """Ends everybody."""
        with ExitStack() as rest:
            rest.callback(self._log.close)
            rest.callback(self.receiver.close)
            rest.callback(self._hang_up)
            if self.mount is not None:
                rest.callback(self.mount.clean_up)
            for process in self.processes.values():
                rest.callback(self._end, process)

    def _end(self, process: subprocess.Popen[str]) -> None:
        process.kill()
        process.wait()
        if (drain := self._drains.pop(process.pid, None)) is not None:
            drain.join()
        assert process.stdout is not None
        process.stdout.close()

    def _start(self, name: str, command: list[str], ready: str) -> re.Match[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            stdout=subprocess.PIPE, stderr=self._log, text=True, env=self._environment,
        )  # fmt: skip
        self.processes[name] = process
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r"with the password (\S+)", line):
                self._password = found[1]
            if found := re.search(ready, line):
                # What it says later must not fill the pipe.
                self._drains[process.pid] = drain = threading.Thread(target=_drain, args=(process,))
                drain.start()
                return found
        raise Failed(f"{name} did not come up; see {self.base / 'log'}")

    def start_server(self) -> None:
        """A server that halts at the step."""
        arguments = ["--bind", "127.0.0.1:0", "--config", str(self.base / "server.toml")]
        command = ["tests.killmatrix.points", "serve", "--data", str(self.base / "data")]
        self.url = self._start("server", [*command, *arguments], r"serving on (\S+)/")[1]

    def start_worker(self, name: str) -> None:
        """A worker that halts at the step."""
        command = ["tests.killmatrix.points", "worker", "--scheduler", self._address]
        self._start(name, [*command, "--name", name, "--threads", "1"], f"worker {name}")

    def start_scheduler(self) -> None:
        """The scheduler; a second one takes the first one's port."""
        port = self._address.rpartition(":")[2] or "0"
        # It tells its address on its log, which is joined with what it says.
        command = [
            "-c",
            "import asyncio, distributed\n"
            "async def main():\n"
            f"    async with distributed.Scheduler(host='127.0.0.1', port={port},"
            " dashboard=False) as s:\n"
            "        print('scheduler at', s.address, flush=True)\n"
            "        await s.finished()\n"
            "asyncio.run(main())",
        ]
        process = subprocess.Popen(
            [sys.executable, *command],
            stdout=subprocess.PIPE, stderr=self._log, text=True, env=self._environment,
        )  # fmt: skip
        self.processes["scheduler"] = process
        assert process.stdout is not None
        if not (found := re.search(r"at (tcp://\S+)", process.stdout.readline())):
            raise Failed("the scheduler did not come up")
        self._address = found[1]

    def client(self) -> httpx.Client:
        """A client that is logged in: once with each server, because that is made to cost."""
        if self._client is None or self._client.base_url != f"{self.url}/pixmover/v1/":
            self._hang_up()
            client = httpx.Client(base_url=self.url + "/pixmover/v1", timeout=120)
            answer = client.post("/login", data={"name": "admin", "password": self._password})
            if answer.status_code != 200:
                client.close()
                raise Failed(answer.text)
            self._client = client
        return self._client

    def _hang_up(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def submit(self) -> int:
        """The job's number."""
        client = self.client()
        for name, kind, root in (
            ("one", "directory", self.source),
            ("two", "pixfs" if self.mount else "directory", self.target),
        ):
            form = {"name": name, "kind": kind, "root": str(root)}
            answer = client.post("/storages", data=form)
            if answer.status_code != 200:
                raise Failed(answer.text)
        form = {
            "kind": "move", "source": "one", "sources": "shot", "target": "two",
            "quiet_s": "0", "webhook": self.receiver.url,
        }  # fmt: skip
        answer = client.post("/jobs", data=form)
        if answer.status_code != 200:
            raise Failed(answer.text)
        return int(answer.json()["id"])

    def until(self, what: str, is_true: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Waits for it."""
        deadline = time.monotonic() + PATIENCE_S
        while not (found := is_true()):
            if time.monotonic() > deadline:
                raise Failed(f"waited in vain: {what}; see {self.base / 'log'}")
            time.sleep(0.05)
        return found

    def kill(self) -> None:
        """Kills the victim, and lets whoever halted go on where it still can."""
        reached = self.base / "reached"
        self.until("nobody reached the step", reached.exists)
        victim = self.victim
        if victim == "mount":
            assert self.mount is not None
            self.mount.kill()
        elif victim == "worker":
            pids = {self.processes[name].pid: name for name in ("a", "b")}
            # A step of the server's is no worker's: then any of them will do.
            victim = pids.get(int(reached.read_text()), "a")
        if victim != "mount":
            self.processes[victim].send_signal(signal.SIGKILL)
            self._end(self.processes[victim])
        self.check_nothing_lost()
        self.restart(victim)
        (self.base / "released").touch()

    def restart(self, victim: str) -> None:
        """Does what systemd would."""
        if victim == "server":
            self.start_server()
        elif victim == "scheduler":
            self.start_scheduler()
        elif victim == "mount":
            assert self.mount is not None
            self.mount.clean_up()
            self.mount.start("--manual")
        else:
            self.start_worker(victim)

    def job(self, number: int) -> dict[str, Any]:
        """The job as it is told."""
        answer: dict[str, Any] = self.client().get(f"/jobs/{number}").json()
        return answer

    def finish(self, number: int) -> dict[str, Any]:
        """Waits for the job's end, and for the message about it."""
        final = ("SUCCEEDED", "FAILED", "CANCELLED")
        job = self.until(
            "the job does not end",
            lambda: (found := self.job(number))["state"] in final and found,
        )
        self.until("nobody was told", lambda: self.receiver.deliveries)
        return dict(job)

    def check_nothing_lost(self) -> None:
        """At the moment of the kill: a source is gone only where its copy is whole."""
        for name, data in self.files.items():
            if not (self.source / name).exists():
                place = self.mount.backing if self.mount else self.target
                assert (place / name).read_bytes() == data, f"{name} is lost"

    def check_end(self, job: dict[str, Any]) -> None:
        """Nothing lost, nothing doubled, nothing left over, the books right."""
        found = {
            str(path.relative_to(self.target)): path.read_bytes()
            for path in self.target.rglob("*")
            if path.is_file()
        }
        assert found == self.files, f"at the target: {sorted(found)}"
        assert not list(self.source.rglob("*")), "the source is not empty"
        assert job["state"] == "SUCCEEDED", job
        counted = job["files_done"] + job["files_skipped"], job["files_failed"], job["files_total"]
        assert counted == (FILES, 0, FILES), job
        assert len(set(self.receiver.deliveries)) == 1, "one message has one number"


def _drain(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    process.stdout.read()


def play(base: Path, victim: str, phase: str) -> tuple[dict[str, Any], int]:
    """Plays one cell; the job at its end, and how often its message came. AssertionError."""
    scene = Scene(base, victim, phase)
    try:
        scene.set_up()
        number = scene.submit()
        scene.kill()
        job = scene.finish(number)
        scene.check_end(job)
        return job, len(scene.receiver.deliveries)
    finally:
        scene.close()
