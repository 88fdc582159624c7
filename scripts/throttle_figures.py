"""What a limited mount really does: rate, stalls, fairness. Measured through a real mount.

usage: .venv/bin/python scripts/throttle_figures.py [--seconds N]

For some limits, one client and four clients read or write files of their own for so long. Printed
are the rate against the limit, the longest that a client waited for its next piece, and the least
share of a client against the largest. A piece is 64 KiB, but never more than a 64th of what the
limit allows in a second: four clients that share 1 MiB a second get 64 KiB every 250 ms each, and
how long that takes would say nothing of stalls.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import threading
import time
from pathlib import Path

from soaking.daemon import Mount

KIB, MIB = 1 << 10, 1 << 20
_LARGEST_PIECE = 64 * KIB
_LIMITS = ("1M", "4M", "50M")
_UNITS = {"M": MIB}


class Client:
    """Reads or writes a file in pieces until told to stop, and notes when each was done."""

    def __init__(self, path: Path, piece: int, *, writes: bool) -> None:
        self._path = path
        self._piece = piece
        self._writes = writes
        self.times: list[float] = []

    def run(self, stopping: threading.Event) -> None:
        """In a thread of its own."""
        piece = os.urandom(self._piece)
        # Not more than fits, and never twice the same: pages once read are not read again.
        with open(self._path, "r+b" if not self._writes else "wb", buffering=0) as file:
            self.times.append(time.monotonic())
            while not stopping.is_set():
                moved = file.write(piece) if self._writes else len(file.read(self._piece))
                if not moved:
                    return
                self.times.append(time.monotonic())

    def moved_within(self, begin: float, end: float) -> int:
        """Bytes between two moments."""
        return self._piece * sum(begin < t <= end for t in self.times[1:])

    def longest_wait(self, end: float) -> float:
        """Seconds between two pieces."""
        times = [t for t in self.times if t <= end]
        return max(b - a for a, b in itertools.pairwise(times))


def measure(mount: Mount, limit: str, clients: int, seconds: float, *, writes: bool) -> str:
    """One line of figures."""
    rate = int(limit[:-1]) * _UNITS[limit[-1]]
    folder = mount.path / f"{limit}-{clients}-{writes}"
    folder.mkdir()
    mount.limit("unlimited", "unlimited")
    paths = [folder / f"{number}.bin" for number in range(clients)]
    for path in paths:
        path.write_bytes(os.urandom(int(rate * (seconds + 3)) // clients * 2 if not writes else 0))
        # What has been written lies in the page cache; it is to come from the daemon.
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    mount.limit(limit, limit)
    stopping = threading.Event()
    piece = min(_LARGEST_PIECE, rate // 64)
    users = [Client(path, piece, writes=writes) for path in paths]
    threads = [threading.Thread(target=user.run, args=(stopping,)) for user in users]
    begin = time.monotonic() + 1
    for thread in threads:
        thread.start()
    time.sleep(seconds + 1)
    end = time.monotonic()
    stopping.set()
    mount.limit("unlimited", "unlimited")
    for thread in threads:
        thread.join()
    moved = [user.moved_within(begin, end) for user in users]
    wait = max(user.longest_wait(end) for user in users)
    error = sum(moved) / (end - begin) / rate - 1
    what = "write" if writes else "read"
    return (
        f"{what:5} {limit:>4}/s {clients} clients: rate {error:+6.1%}, longest wait for"
        f" {piece // KIB} KiB {wait * 1000:4.0f} ms, least/most {min(moved) / max(moved):.2f}"
    )


def main() -> None:
    """Measure all, print a line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as name:
        mount = Mount(Path(name) / "soak")
        try:
            mount.pixfs("mount", mount.backing, mount.path, "--manual", "--log", mount.log)
            for writes in (False, True):
                for limit in _LIMITS:
                    for clients in (1, 4):
                        print(measure(mount, limit, clients, seconds, writes=writes), flush=True)
            mount.stop()
        finally:
            mount.clean_up()


if __name__ == "__main__":
    main()
