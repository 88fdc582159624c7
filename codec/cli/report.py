"""What a person sees of a command that works through files.

Each file that went well is a line on standard output, each that did not a line on standard
error. Where standard error is a terminal and there are several files, a bar below them shows how
far the work is: bytes, pace and the time that is left. At the end come a summary and, once more
together, the files that failed.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from codec.cli.actions import Outcome
    from codec.cli.files import Input

SUMMED = ("compress", "decompress", "verify")


class Report:
    """The terminal's side of one command. A context manager, for one thread."""

    def __init__(self, command: str, files: Sequence[Input]) -> None:
        self._command = command
        self._many = len(files) > 1
        self._total = len(files)
        self._failures: list[tuple[Path, str]] = []
        self._done = 0
        self._original = 0
        self._stored = 0
        self._start = time.monotonic()
        self._progress: Progress | None = None
        if self._many and command in SUMMED and sys.stderr.isatty():
            self._progress = _bar()
            size = sum(one.size for one in files)
            self._task: TaskID = self._progress.add_task(command, total=size, name="", count="")

    @property
    def failed(self) -> bool:
        """Whether any file failed."""
        return bool(self._failures)

    def __enter__(self) -> Report:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
        if self._many and self._command in SUMMED:
            self._summary(interrupted=kind is not None)

    def begin(self, one: Input) -> None:
        """Name the file that is worked on now."""
        if self._progress is not None:
            number = self._done + len(self._failures) + 1
            count = f"{number}/{self._total}"
            self._progress.update(self._task, name=one.path.name, count=count)

    def done(self, one: Input, outcome: Outcome) -> None:
        """A file went well."""
        self._done += 1
        self._original += outcome.original
        self._stored += outcome.stored
        self._say(outcome.text, sys.stdout)
        self._advance(one)

    def fail(self, one: Input, reason: str) -> None:
        """A file did not."""
        self._failures.append((one.path, reason))
        self._say(f"{one.path}: {reason}", sys.stderr)
        self._advance(one)

    def _say(self, text: str, stream: object) -> None:
        # A terminal's bar is redrawn below the line; a file or a pipe gets the line and no more.
        if self._progress is not None and getattr(stream, "isatty", lambda: False)():
            self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=stream, flush=True)  # type: ignore[call-overload]

    def _advance(self, one: Input) -> None:
        if self._progress is not None:
            self._progress.update(self._task, advance=one.size)

    def _summary(self, *, interrupted: bool) -> None:
        seconds = max(time.monotonic() - self._start, 1e-9)
        text = f"{self._done} of {self._total} files"
        if self._stored and self._original:
            text += f", {self._original / 1e6:.1f} MB as frames, {self._stored / 1e6:.1f} MB stored"
            text += f" ({self._original / self._stored:.2f}:1)"
        text += f", {seconds:.1f} s, {self._original / 1e6 / seconds:.0f} MB/s"
        print("interrupted: " + text if interrupted else text, file=sys.stderr)
        if self._failures:
            print(f"{len(self._failures)} failed:", file=sys.stderr)
            for path, reason in self._failures:
                print(f"  {path}: {reason}", file=sys.stderr)


def _bar() -> Progress:
    def whole() -> Column:
        return Column(no_wrap=True)

    return Progress(
        TextColumn("{task.description} {task.fields[count]}", table_column=whole()),
        BarColumn(bar_width=20, table_column=whole()),
        DownloadColumn(table_column=whole()),
        TransferSpeedColumn(table_column=whole()),
        TimeRemainingColumn(table_column=whole()),
        # A narrow terminal cuts the name, and nothing else.
        TextColumn(
            "{task.fields[name]}",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
        ),
        console=Console(stderr=True),
        transient=True,
        expand=True,
        # What goes to a pipe shall reach it, not be drawn above the bar.
        redirect_stdout=False,
        redirect_stderr=False,
    )
