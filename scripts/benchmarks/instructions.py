"""Instructions a sample, counted by valgrind where the processor's own counters are out of reach.

The count does not depend on neighbours or on the clock's pace, so it tells a change of the code
from a change of the machine. Valgrind knows no AVX-512: the kernels are compiled without it, in
both directions, and the same program takes somewhat fewer instructions where there is one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.errors import BenchError, MissingToolError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.frames import Frame

# Instruction sets that valgrind cannot run.
_UNKNOWN = re.compile(r"\+(avx512\w*|avx10\w*|avxvnni\w*|amx\w*|vaes|vpclmulqdq|gfni|sha\w*)")


def count(frame: Frame, level: str) -> dict[str, float]:
    """Instructions a sample of encoding and of decoding the frame, by direction.

    Raises:
        MissingToolError: valgrind is not installed.
        BenchError: it gave no count.
    """
    if shutil.which("valgrind") is None or shutil.which("callgrind_control") is None:
        raise MissingToolError("valgrind is needed to count instructions: apt install valgrind")
    samples = frame.picture.samples.size
    counts = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame"
        path.write_bytes(frame.file)
        # Once without valgrind, which compiles the kernels a hundred times faster.
        with _steps(path, level, None):
            pass
        for direction in ("encode", "decode"):
            out = Path(folder) / f"{direction}.counts"
            with _steps(path, level, out) as child:
                _control(child.pid, "--instr=on")
                _ask(child, direction)
                _control(child.pid, "--instr=off")
            counts[direction] = _total(out) / samples
    return counts


@contextmanager
def _steps(path: Path, level: str, out: Path | None) -> Iterator[subprocess.Popen[str]]:
    """The child of `benchmarks.child.steps`, ready, under valgrind if it shall write counts."""
    import llvmlite.binding as llvm

    features = _UNKNOWN.sub(r"-\1", llvm.get_host_cpu_features().flatten())
    environment = {**os.environ, "NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": features}
    command = [sys.executable, "-m", "benchmarks.child", "steps", str(path), level]
    if out is not None:
        tool = ["valgrind", "-q", "--tool=callgrind", "--instr-atstart=no"]
        command = [*tool, f"--callgrind-out-file={out}", *command]
    child = subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        _await(child, "ready")
        yield child
    finally:
        child.communicate()


def _ask(child: subprocess.Popen[str], what: str) -> None:
    if child.stdin is None:
        raise BenchError("the child takes no input")
    child.stdin.write(what + "\n")
    child.stdin.flush()
    _await(child, "done")


def _await(child: subprocess.Popen[str], word: str) -> None:
    line = child.stdout.readline() if child.stdout else ""
    if line.strip() != word:
        raise BenchError(f"the process to be counted ended early (said {line!r})")


def _control(pid: int, order: str) -> None:
    subprocess.run(["callgrind_control", order, str(pid)], check=True, capture_output=True)


def _total(out: Path) -> int:
    """The instructions in callgrind's file."""
    text = out.read_text(errors="replace")
    found = re.search(r"^totals: (\d+)$", text, re.MULTILINE)
    if found is None or int(found[1]) == 0:
        raise BenchError("valgrind counted nothing")
    return int(found[1])
