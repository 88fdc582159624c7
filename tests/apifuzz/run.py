"""schemathesis over a face's document, and what it says."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.apifuzz.faces import Stage

__all__ = ["Found", "fuzz", "program"]

# All that it has, but:
_NOT_CHECKED = (
    # A request that the document allows may well name a storage or an address that is none. Both
    # faces answer 400 then, and name the field.
    "positive_data_acceptance",
    # The lock-out answers 429 after a few wrong passwords; tests/t6_api/test_strangers.py has it.
    "ignored_auth",
)
# A storage of which an administrator has said that it is somewhere where nothing is answers 503.
_SETTINGS = """\
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "503"]
"""


@dataclass(frozen=True, slots=True)
class Found:
    """What a run has come to.

    Attributes:
        requests: how many it made.
        failures: (title, operations) of each kind of failure.
        seconds: how long it took.
        said: all that it said, for people.
    """

    requests: int
    failures: tuple[tuple[str, tuple[str, ...]], ...]
    seconds: float
    said: str


def program() -> str | None:
    """The program, None where it is not installed."""
    return shutil.which("schemathesis", path=str(Path(sys.executable).parent))


def fuzz(
    stage: Stage,
    directory: Path,
    *,
    examples: int,
    seed: int,
    options: Sequence[str] = (),
    within_s: float | None = None,
) -> Found:
    """Asks everything of a face that its document allows, and more."""
    run = partial(_run, stage, directory, examples=examples, seed=seed, within_s=within_s)
    found = run((*stage.left_out, *options))
    stage.check()
    if not stage.last:
        return found
    last = run(stage.last)
    return Found(
        found.requests + last.requests,
        found.failures + last.failures,
        found.seconds + last.seconds,
        found.said + last.said,
    )


def _run(
    stage: Stage,
    directory: Path,
    options: Sequence[str],
    *,
    examples: int,
    seed: int,
    within_s: float | None,
) -> Found:
    command = program()
    assert command is not None
    report = directory / "report.json"
    (directory / "schemathesis.toml").write_text(_SETTINGS + stage.settings)
    asked = [command, "run", f"{stage.url}/openapi.json", *options]
    for header in stage.headers:
        asked += ["--header", header]
    asked += ["--checks", "all", "--exclude-checks", ",".join(_NOT_CHECKED), "--no-color"]
    asked += ["--max-examples", str(examples), "--seed", str(seed)]
    asked += ["--generation-database", "none", "--warnings", "off"]
    asked += ["--report", "json", "--report-json-path", str(report)]
    done = subprocess.run(
        asked,
        cwd=directory,  # it leaves a cache where it runs
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )
    said = done.stdout + done.stderr
    assert report.exists(), said
    told = json.loads(report.read_text())
    failures = [(each["title"], tuple(each["operations"])) for each in told["failures"]]
    if told["exit_code"] and not failures:
        failures = [("it could not be run to its end", ())]
    return Found(told["test_cases"]["generated"], tuple(failures), told["running_time"], said)
