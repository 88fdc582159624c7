"""What the figures were taken on."""

from __future__ import annotations

import mmap
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

_READY_BYTES = 640 << 20


def describe(packages: tuple[str, ...] = ()) -> dict[str, str]:
    """The machine and the versions that matter, as label and value."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    facts = {
        "processor": f"{_processor()}, {os.cpu_count()} cores, load {load} at the start",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "revision": _revision(),
    }
    if packages:
        facts["packages"] = ", ".join(f"{name} {version(name)}" for name in packages)
    return facts


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _revision() -> str:
    root = Path(__file__).resolve().parents[2]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=10"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown (not a git checkout)"


def ready_memory() -> None:
    """Have free memory at hand, as much as a measurement takes.

    The host of a virtual machine takes back what has lain idle for some seconds, and whoever uses
    it next waits for the host: forty times as long as it takes to copy a page.
    """
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    mmap.mmap(-1, _READY_BYTES, flags=flags).close()
