"""Short runs of the programs that prove a mount for hours: power cuts and the exerciser."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.powercut.image import FILE_SYSTEMS, unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.fuse

ROOT = Path(__file__).parent.parent.parent
TIMEOUT_S = 280
# What a cut needs to have something to lose.
SAVED = re.compile(r": (\d+) cycles, (\d+) promises, (\d+) cycles with violations")


def run(module: str, arguments: Sequence[str]) -> tuple[int, str]:
    """Exit status and everything it said."""
    ran = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
        env=os.environ | {"NUMBA_NUM_THREADS": "1"},
    )
    return ran.returncode, ran.stdout


@pytest.mark.slow
@pytest.mark.parametrize("fs", FILE_SYSTEMS)
def test_a_power_cut_takes_nothing_that_was_promised(fs: str, warm_kernels: None) -> None:
    if reason := unavailable(fs):
        pytest.skip(reason)
    status, said = run("tests.powercut", ["--fs", fs, "--cycles", "4"])
    assert status == 0, said
    (found,) = SAVED.findall(said)
    assert int(found[0]) == 4
    assert int(found[1]) > 0


@pytest.mark.slow
def test_a_daemon_that_does_not_sync_is_caught(warm_kernels: None) -> None:
    """Else the test before proves nothing. Stops at the first violation."""
    if reason := unavailable("ext4"):
        pytest.skip(reason)
    arguments = ["--fs", "ext4", "--mutant", "no-fsync", "--until-caught", "--cycles", "40"]
    status, said = run("tests.powercut", arguments)
    assert status == 0, said
    assert "torn" in said or "promised" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [["1500"], ["800", "--seeds", "2", "--jobs", "2"], ["6000", "--volume"]],
    ids=["mount", "mounts", "volume"],
)
def test_random_work_while_files_are_converted(arguments: list[str], warm_kernels: None) -> None:
    status, said = run("tests.exerciser", ["--seed", "7", "--operations", *arguments])
    assert status == 0, said
    conversions = re.search(r"(\d+) conversions, (\d+) restores", said)
    assert conversions is not None
    assert int(conversions[1]) > 0
