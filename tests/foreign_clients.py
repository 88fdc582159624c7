"""Clients that others have published, each in an environment of its own, for tests to run.

Every version is pinned by hash in ``tests/clients``. What was installed once stays below the user's
cache, so only a first run needs the registries; a test skips, with the reason, when they cannot be
reached. That what they send is not what was pinned, or cannot be installed, fails the test.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["CLIENTS", "node_client", "python_client"]

CLIENTS = Path(__file__).parent / "clients"
_INSTALL_S = 240
# How pip, npm and the resolver they use say that there is no way to a registry.
_UNREACHABLE = (
    "from versions: none",
    "Failed to establish a new connection",
    "Max retries exceeded",
    "Temporary failure in name resolution",
    "Read timed out",
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ECONNRESET",
    "ENETUNREACH",
    "ENOTFOUND",
    "ETIMEDOUT",
)


def python_client(requirements: str) -> Path:
    """The interpreter of an environment that has these requirements and nothing else."""
    pins = CLIENTS / requirements

    def install(directory: Path) -> None:
        _run([sys.executable, "-m", "venv", str(directory)])
        python = str(directory / "bin" / "python")
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "--no-input", "--require-hashes", "-r", str(pins)])

    made = _installed(pins.stem, pins.read_bytes() + sys.version.encode(), install)
    return made / "bin" / "python"


def node_client(name: str) -> Path:
    """A directory in which node finds the modules of a lock file."""
    locked = CLIENTS / name
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed (scripts/setup --test-tools)")

    def install(directory: Path) -> None:
        directory.mkdir()
        for file in ("package.json", "package-lock.json"):
            shutil.copy(locked / file, directory)
        npm = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
        _run(npm, cwd=directory)

    return _installed(name, (locked / "package-lock.json").read_bytes(), install)


def _installed(name: str, pins: bytes, install: Callable[[Path], None]) -> Path:
    """Where something is installed; two tests at once install it once, and whole or not at all."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pixfs-test-clients"
    cache.mkdir(parents=True, exist_ok=True)
    made = cache / f"{name}-{hashlib.sha256(pins).hexdigest()[:12]}"
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = made / ".installed"
        if not done.exists():
            # Left by an installation that was interrupted. A virtual environment cannot be
            # moved to its place afterwards: its scripts name it.
            shutil.rmtree(made, ignore_errors=True)
            try:
                install(made)
            except subprocess.TimeoutExpired:
                shutil.rmtree(made, ignore_errors=True)
                pytest.skip(f"{name}: the registry took longer than {_INSTALL_S} s")
            except subprocess.CalledProcessError as error:
                shutil.rmtree(made, ignore_errors=True)
                said = f"{error.stdout}\n{error.stderr}".strip()
                if not any(word in said for word in _UNREACHABLE):
                    pytest.fail(f"{name} cannot be installed: {said}")
                pytest.skip(f"{name}: the registry cannot be reached: {said.splitlines()[-1]}")
            done.touch()
    return made


def _run(command: Sequence[str], cwd: Path | None = None) -> None:
    subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True, timeout=_INSTALL_S)
