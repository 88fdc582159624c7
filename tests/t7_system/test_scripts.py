"""The scripts a newcomer runs: quiet when there is nothing to do, clear when they cannot go on."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SCRIPTS = [
    ROOT / "scripts" / name
    for name in (
        "setup",
        "run",
        "test",
        "check",
        "lock",
        "picture",
        "soak",
        "install-units",
    )
]


def bare_path(folder: Path, *without: str) -> str:
    """A PATH with the system's programs except some."""
    folder.mkdir()
    for directory in ("/usr/sbin", "/usr/bin", "/sbin", "/bin"):
        for program in Path(directory).iterdir():
            link = folder / program.name
            if program.name not in without and not link.is_symlink():
                link.symlink_to(program)
    return str(folder)


def run(script: str, *arguments: str, tree: Path = ROOT, **environment: str) -> tuple[int, str]:
    """Exit status and standard error of a script."""
    ran = subprocess.run(
        [str(tree / script), *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )
    return ran.returncode, ran.stderr


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what the set-up needs, in which nothing has been set up."""
    tree = tmp_path / "a tree"
    (tree / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "setup", tree / "scripts" / "setup")
    shutil.copy(ROOT / "pyproject.toml", tree)
    shutil.copytree(ROOT / "requirements", tree / "requirements")
    return tree


@pytest.mark.skipif(
    not (ROOT / ".venv" / ".stamp-warm").exists(), reason=".venv was not made by scripts/setup"
)
def test_a_second_set_up_does_nothing() -> None:
    status, errors = run("scripts/setup")  # catches up with what has changed since
    assert status == 0, errors
    stamps = {path: path.stat().st_mtime_ns for path in (ROOT / ".venv").glob(".stamp-*")}
    assert run("scripts/setup") == (0, "")
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_an_unknown_option_prints_the_usage() -> None:
    status, errors = run("scripts/setup", "--fast")
    assert status == 2
    assert "usage: scripts/setup [--dev]" in errors


def test_an_unfit_python_is_refused(tree: Path, tmp_path: Path) -> None:
    old = tmp_path / "python2"
    old.write_text("#!/bin/sh\necho Python 2.7.18; exit 1\n")
    old.chmod(0o755)
    status, errors = run("scripts/setup", tree=tree, PYTHON=str(old))
    assert status == 1
    assert "needs Python 3.11, 3.12 or 3.13" in errors
    assert "Python 2.7.18" in errors
    assert not (tree / ".venv").exists()


def test_missing_packages_are_named_when_they_cannot_be_installed(
    tree: Path, tmp_path: Path
) -> None:
    path = bare_path(tmp_path / "bin", "fusermount3", "cc", "apt-get", "sudo")
    status, errors = run("scripts/setup", tree=tree, PATH=path, PYTHON="/usr/bin/python3")
    assert status == 1
    assert "apt-get install" in errors
    assert "fuse3" in errors
    assert "gcc" in errors
    assert not (tree / ".venv").exists()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_are_posix_shell_and_executable(script: Path) -> None:
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/bin/sh\n")
    subprocess.run(["sh", "-n", str(script)], check=True)


def test_ci_runs_the_test_script_and_nothing_else() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    commands = [line for line in lines if line and not line.startswith(("#", "set "))]
    assert commands == ['exec "$(dirname "$0")/../scripts/test" </dev/null']


@pytest.mark.fuse
@pytest.mark.slow
@pytest.mark.skipif(
    not (ROOT / ".venv" / ".stamp-warm").exists(), reason=".venv was not made by scripts/setup"
)
def test_run_plays_the_demo(tmp_path: Path) -> None:
    places = ["--volume", str(tmp_path / "volume"), "--mount", str(tmp_path / "mnt")]
    small = ["--frames", "2", "--size", "512x389", "--bind", "127.0.0.1:0"]
    status, errors = run("scripts/run", "--demo", *places, *small)
    assert status == 0, errors
    assert not os.path.ismount(tmp_path / "mnt")
