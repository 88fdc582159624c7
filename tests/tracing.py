"""What the kernel is asked by a process under test, as strace sees it."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["CONNECTS", "OPENS", "Untraceable", "opened_in", "tcp_connects_in", "traced"]

WAIT_S = 120
OPENS, CONNECTS = "open,openat,openat2", "connect"
# What -y shows of a call that succeeded: the descriptor and the path it stands for.
_OPENED = re.compile(r" = \d+<(/[^>]*)>$")
# A socket as -yy shows it. The resolver connects UDP sockets to every address it has found, only to
# sort them: nothing is sent over those.
_CONNECT = re.compile(
    r"connect\(\d+<(?P<protocol>[\w-]+):.*?>, \{sa_family=(?P<family>\w+)"
    r"(?:.*?port=htons\((?P<port>\d+)\))?(?:.*?\"(?P<address>[^\"]+)\")?"
)


class Untraceable(pytest.skip.Exception):
    """There is no strace, or it may not look at the process; a test that meets this is skipped."""


@contextmanager
def traced(pid: int, log: Path, calls: str) -> Iterator[None]:
    """These calls of a process and its threads, with what their descriptors stand for, in a file.

    Raises Untraceable.
    """
    if shutil.which("strace") is None:
        raise Untraceable("there is no strace")
    command = ["strace", "-f", "-yy", "-qq", "-e", f"trace={calls}", "-o", str(log), "-p", str(pid)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + WAIT_S
        while not _is_traced(pid):
            if tracer.poll() is not None:
                raise Untraceable(f"strace may not attach: {tracer.communicate()[1].strip()}")
            assert time.monotonic() < deadline, "strace does not attach"
            time.sleep(0.05)
        yield
        tracer.send_signal(signal.SIGINT)
        tracer.wait(WAIT_S)
    finally:
        tracer.kill()
        tracer.communicate()


def _is_traced(pid: int) -> bool:
    with open(f"/proc/{pid}/status") as status:
        return not re.search(r"^TracerPid:\s+0$", status.read(), re.MULTILINE)


def opened_in(log: Path) -> set[str]:
    """The paths of what was opened, links followed."""
    lines = log.read_text().splitlines()
    return {found[1] for line in lines if (found := _OPENED.search(line))}


def tcp_connects_in(log: Path) -> list[tuple[str, int]]:
    """(address, port) of every connection over the network that was begun, datagrams aside."""
    connects = []
    for line in log.read_text().splitlines():
        if "connect(" not in line or "resumed>" in line:
            continue
        found = _CONNECT.search(line)
        assert found, f"a connect that cannot be read: {line}"
        if found["family"] == "AF_UNIX" or found["protocol"].startswith("UDP"):
            continue
        assert None not in (found["address"], found["port"]), f"a connect of no address: {line}"
        connects.append((found["address"], int(found["port"])))
    return connects
