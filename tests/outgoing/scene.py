"""Jobs whose ends are to be told to every target, and what came of it."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from tests.outgoing.network import Names, Trap, names_known, trap_set
from tests.outgoing.targets import NAMES, PUBLIC, TARGETS
from tests.serve_command import WAIT_S, Serve, measured
from tests.tracing import CONNECTS, tcp_connects_in, traced

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

__all__ = ["FACES", "Told", "complaints", "play"]


@dataclass(frozen=True, slots=True)
class Told:
    """What came of a target.

    Attributes:
        result: how its request, or its message, ended.
        reached: the addresses that were asked, in the order they were.
    """

    result: str
    reached: tuple[str, ...]


def play(face: str, base: Path) -> tuple[list[Told], list[tuple[str, int]]]:
    """Tries every target through a face; what came of each, and every connection the kernel was
    asked for.

    In a network of `wire`'s. Raises Untraceable.
    """
    names = Names(NAMES)
    log = base / "calls"
    # That it gives up messages it has to say.
    serving = measured(base / "data", tells=False)
    with names_known(names), trap_set((80, 443)) as trap, serving as server:
        submit = FACES[face](server, base)
        with traced(server.process.pid, log, CONNECTS):
            jobs: dict[int, int | None] = {}
            for is_later in (False, True):
                numbers = [n for n, target in enumerate(TARGETS) if target.is_later is is_later]
                jobs |= {number: submit(_marked(number)) for number in numbers}
                messages = _until_tried(base / "data", {*jobs.values()} - {None})
        told = [
            Told("refused at once" if job is None else messages[job], _reached(trap, number))
            for number, job in sorted(jobs.items())
        ]
    return told, tcp_connects_in(log)


def _marked(number: int) -> str:
    """The target's URL, which tells of which target it is."""
    url = TARGETS[number].url
    return f"{url}?target={number}" if "#" not in url else url.replace("#", f"?target={number}#")


def _reached(trap: Trap, number: int) -> tuple[str, ...]:
    mark = f"target={number}"
    return tuple(
        address.removeprefix("::ffff:")
        for address, path in trap.requests
        if urlsplit(path).query.partition("#")[0] == mark
    )


def _until_tried(data: Path, jobs: Collection[int | None]) -> dict[int, str]:
    """Waits until the message of each job was tried; how each has ended so far, by its job."""
    file = data / "pixfs.sqlite"
    deadline = time.monotonic() + WAIT_S
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        while True:
            query = "SELECT job_id, attempts, state, error FROM deliveries"
            rows = list(connection.execute(query))
            if {job for job, attempts, _, _ in rows if attempts} == jobs:
                return {job: error or state.lower() for job, _, state, error in rows}
            assert time.monotonic() < deadline, f"not tried: {jobs} {rows}"
            time.sleep(0.1)


def _pixmover(server: Serve, base: Path) -> Callable[[str], int | None]:
    client = httpx.Client(base_url=server.url, timeout=WAIT_S, trust_env=False)
    form = {"name": "admin", "password": server.password}
    client.post("/login", data=form).raise_for_status()
    root = base / "one"
    root.mkdir()
    (root / "file").write_bytes(b"x")
    form = {"name": "one", "kind": "directory", "root": str(root)}
    client.post("/storages", data=form).raise_for_status()

    def submit(url: str) -> int | None:
        job = {"kind": "verify", "source": "one", "sources": "file", "quiet_s": 0, "webhook": url}
        answer = client.post("/jobs", data=job)
        assert answer.status_code in (200, 400, 422), answer.text
        return answer.json()["id"] if answer.status_code == 200 else None

    return submit


def _vidispine(server: Serve, base: Path) -> Callable[[str], int | None]:
    client = httpx.Client(
        base_url=server.url.replace("/pixmover/v1", "/API"),
        auth=("admin", server.password),
        headers={"Accept": "application/json"},
        timeout=WAIT_S,
        trust_env=False,
    )

    def storage(name: str) -> str:
        (base / name).mkdir()
        method = {"uri": (base / name).as_uri() + "/", "read": True, "write": True}
        made = client.post("/storage", json={"type": "LOCAL", "method": [method]})
        made.raise_for_status()
        return str(made.json()["id"])

    first, second = storage("first"), storage("second")
    up = client.post(f"/storage/{first}/file/data", params={"path": "file"}, content=b"x")
    up.raise_for_status()

    def submit(url: str) -> int | None:
        answer = client.post(
            f"/file/{up.json()['id']}/storage/{second}", params={"notification": url}
        )
        assert answer.status_code in (200, 400), answer.text
        found = answer.json()
        return int(found["jobId"].removeprefix("VX-")) if answer.status_code == 200 else None

    return submit


FACES = {"pixmover": _pixmover, "vidispine": _vidispine}
"""By a face's name, what logs in there and gives what submits a job."""


def complaints(told: list[Told], connects: list[tuple[str, int]]) -> list[str]:
    """What should not have been; empty when all is well."""
    wrong = [f"connected to {address}:{port}" for address, port in connects if address != PUBLIC]
    if (PUBLIC, 80) not in connects:
        wrong.append("the trace has not seen a connection that there was")
    for target, came in zip(TARGETS, told, strict=True):
        if set(came.reached) != ({PUBLIC} if target.is_public else set()):
            wrong.append(f"{target.url!r} reached {came.reached}: {came.result}")
    return wrong
