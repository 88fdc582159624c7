"""Slow clients against a real server: what everybody else notices of them, in a table.

usage: python -m tests.slowclients [--connections N] [--seconds N] [--clients N]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import trio

from tests.serve_command import WAIT_S, Serve, measured
from tests.slowclients.attack import KINDS
from tests.slowclients.normal import NormalClients, Times

if TYPE_CHECKING:
    from collections.abc import Iterator

# More than twice the latency is what nobody may notice.
_BOUND = 2.0


@contextmanager
def _server(base: Path) -> Iterator[tuple[Serve, int, str]]:
    """A server, its port and the session cookie of its administrator."""
    with measured(base) as server:
        port = httpx.URL(server.url).port
        assert port is not None
        form = {"name": "admin", "password": server.password}
        with httpx.Client(base_url=server.url, timeout=WAIT_S) as client:
            client.post("/login", data=form).raise_for_status()
            cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        yield server, port, cookie


@contextmanager
def _attack(port: int, count: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.slowclients.attack", str(port), str(count)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.communicate(timeout=WAIT_S)


def _counts(attack: subprocess.Popen[str]) -> dict[str, int]:
    assert attack.stdin is not None
    assert attack.stdout is not None
    attack.stdin.write("\n")
    attack.stdin.flush()
    counts: dict[str, int] = json.loads(attack.stdout.readline())
    return counts


def _held(process: subprocess.Popen[str]) -> tuple[float, int]:
    """Resident MiB and descriptors of a process."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024, len(os.listdir(f"/proc/{process.pid}/fd"))


def _row(name: str, times: Times, held: tuple[float, int]) -> str:
    return (
        f"| {name} | {times.count} | {times.failed} | {times.quantile_ms(0.5):.1f} |"
        f" {times.quantile_ms(0.99):.1f} | {times.quantile_ms(1):.0f} |"
        f" {held[0]:.0f} | {held[1]} |"
    )


def main() -> int:
    """0 when nobody was failed, or kept waiting for twice as long as without them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=20)
    args = parser.parse_args()
    print("| slow clients | requests | failed | p50 ms | p99 ms | max ms | RSS MiB | open files |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="pixfs-slow-") as name, _server(Path(name)) as opened:
        server, port, cookie = opened
        normal = NormalClients(port, cookie, args.clients)
        trio.run(normal.ask, 5.0)  # whatever is made at the first request
        before = trio.run(normal.ask, args.seconds)
        print(_row("none", before, _held(server.process)), flush=True)
        with _attack(port, args.connections) as attack:
            assert attack.stdout is not None
            attack.stdout.readline()
            during = trio.run(normal.ask, args.seconds)
            print(_row(str(args.connections), during, _held(server.process)), flush=True)
            counts = _counts(attack)
        after = trio.run(normal.ask, 5.0)
        print(_row("none any more", after, _held(server.process)), flush=True)
    told = ", ".join(f"{kind} {counts.get(kind, 0)}" for kind in KINDS)
    print(f"\nopen at the end {counts['open']}; closed by the server: {told}")
    for why, count in during.failures.items():
        print(f"failed {count} times: {why}")
    ratios = [during.quantile_ms(q) / before.quantile_ms(q) for q in (0.5, 0.99)]
    print(f"latency with / without: p50 {ratios[0]:.2f}, p99 {ratios[1]:.2f}")
    return 0 if max(ratios) < _BOUND and not during.failed else 1


if __name__ == "__main__":
    sys.exit(main())
