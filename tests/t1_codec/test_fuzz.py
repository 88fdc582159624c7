"""The fuzzer notices what it is for, and a short run of each target finds nothing."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from codec.native import build

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent.parent
PATHS = [str(ROOT / "scripts"), str(ROOT)]
TARGETS = {"probe": 60, "container": 300, "tile": 600, "redo": 600, "native": 30}

pytestmark = pytest.mark.usefixtures("warm_kernels")


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The fuzzer's supervisor, whose workers find the fuzzer and these tests."""
    monkeypatch.syspath_prepend(PATHS[0])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(PATHS))
    from fuzzing import supervisor

    yield supervisor
    for name in [name for name in sys.modules if name.partition(".")[0] == "fuzzing"]:
        del sys.modules[name]


@pytest.mark.parametrize("target", TARGETS)
def test_a_short_run_finds_nothing(target: str, tmp_path: Path) -> None:
    if target == "native":
        try:
            build.python_parts()
        except build.BuildError as error:
            pytest.skip(str(error))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(PATHS)}
    environment["PIXFS_FUZZ_LIBRARY"] = str(tmp_path)
    cases = str(TARGETS[target])
    ran = subprocess.run(
        [sys.executable, "-m", "fuzzing", "--target", target, "--seed", "1", "--cases", cases,
         "--seconds", "1000", "--case-seconds", "120"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{target}: seed 1, {cases} cases" in ran.stdout


@pytest.mark.parametrize(
    ("target", "what"),
    [
        ("Raises", "KeyError at planted.py"),
        ("Crashes", "the worker died (-11): Fatal Python error: Segmentation fault"),
        ("Hangs", "nothing for 2 s"),
        ("Allocates", "MemoryError at planted.py"),
    ],
)
def test_what_goes_wrong_is_noticed_and_survived(supervisor: Any, target: str, what: str) -> None:  # noqa: ANN401
    limits = supervisor.Limits(seconds=1000, cases=60, megabytes=256, case_seconds=2)
    report = supervisor.fuzz(f"tests.planted:{target}", 5, 0, limits)
    assert report.cases == 60
    expected = []
    rngs = [random.Random(f"tests.planted:{target}/5/{n}") for n in range(60)]
    expected = [n for n, rng in enumerate(rngs) if rng.random() < 0.03]
    assert expected, "this seed plants nothing"
    assert [number for number, _ in report.findings] == expected
    assert all(what in said for _, said in report.findings)


def test_a_harmless_target_has_no_findings(supervisor: Any) -> None:  # noqa: ANN401
    limits = supervisor.Limits(seconds=1000, cases=50)
    report = supervisor.fuzz("tests.planted:Harmless", 1, 10, limits)
    assert (report.cases, report.findings) == (50, [])
    assert "Harmless: seed 1, 50 cases" in str(report)


def test_a_target_that_cannot_start_is_a_finding(supervisor: Any) -> None:  # noqa: ANN401
    report = supervisor.fuzz("tests.planted:Missing", 1, 0, supervisor.Limits(cases=5))
    assert report.cases == 0
    assert any("Missing" in said for _, said in report.findings)
