"""Write a short film sequence through a mount, wait until it is smaller, read it back, compare.

The frames are synthetic 10-bit DPX with film grain, in a folder of their own that is removed
afterwards unless --keep is given.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    import argparse

NAME = "demo"
HELP = "write a short DPX sequence to a mount, wait until it is smaller, read it back, compare"

IO_SIZE = 1 << 20
POLL_S = 0.1
STATE = "user.pixfs.state"
FINAL_STATES = ("compressed", "verbatim", "error")


class DemoError(Exception):
    """The demo cannot be run here, or PixFS did not do what it promises."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this verb's own arguments."""
    parser.add_argument("mount", metavar="MOUNT", type=Path, help="a directory on a PixFS mount")
    add_sequence_arguments(parser)


def add_sequence_arguments(parser: argparse._ActionsContainer) -> None:
    """Declare the arguments that say what sequence is made (shared with ``pixfs up``)."""
    parser.add_argument(
        "--frames", metavar="N", type=_positive, default=24, help="how many frames (default 24)"
    )
    parser.add_argument(
        "--size",
        metavar="WxH",
        type=_frame_size,
        default=(2048, 1556),
        help="size of a frame in pixels (default 2048x1556)",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=600.0,
        help="give up when the frames are not compressed by then (default 600)",
    )
    parser.add_argument(
        "--keep", action="store_true", help="leave the frames on the mount afterwards"
    )


def sequence_options(args: argparse.Namespace) -> list[str]:
    """The command-line options that say again what ``args`` say."""
    width, height = args.size
    options = ["--frames", str(args.frames), "--size", f"{width}x{height}"]
    return [*options, "--timeout", str(args.timeout), *(["--keep"] if args.keep else [])]


def run(args: argparse.Namespace) -> int:
    """0 when every byte came back from compressed frames; 1 when not, or not a PixFS mount."""
    try:
        os.getxattr(args.mount, "user.pixfs.stats")
        folder = Path(tempfile.mkdtemp(prefix="demo-", dir=args.mount))
    except OSError as error:
        print(
            f"pixfs demo: {args.mount} is no PixFS mount that can be written: {error.strerror}",
            file=sys.stderr,
        )
        return 1
    try:
        outcome = play(folder, args.frames, args.size, args.timeout)
    except (DemoError, OSError) as error:
        print(f"pixfs demo: {error}", file=sys.stderr)
        return 1
    finally:
        if args.keep:
            print(f"the frames stay at {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder)
    Console().print(table(outcome))
    return 0


@dataclass(frozen=True)
class Frame:
    """One written frame: where it is and what must come back."""

    path: Path
    size_bytes: int
    sha256: bytes


@dataclass(frozen=True)
class Outcome:
    """What was measured. Times cover file calls only, not making or hashing the frames."""

    format: str
    frames: int
    logical_bytes: int
    stored_bytes: int
    write_s: float
    compress_s: float
    read_s: float

    @property
    def ratio(self) -> float:
        """Original bytes for each stored byte."""
        return self.logical_bytes / self.stored_bytes


def play(folder: Path, count: int, size: tuple[int, int], timeout_s: float) -> Outcome:
    """Write, wait, read back, compare. DemoError names the first frame that is not right."""
    frames, write_s = write_frames(folder, count, size)
    written_at = time.monotonic()
    wait_compressed(frames, timeout_s)
    compress_s = time.monotonic() - written_at
    read_s = read_back(frames)
    return Outcome(
        format=os.getxattr(frames[0].path, "user.pixfs.format").decode(),
        frames=count,
        logical_bytes=sum(frame.size_bytes for frame in frames),
        stored_bytes=sum(
            int(os.getxattr(frame.path, "user.pixfs.size.stored")) for frame in frames
        ),
        write_s=write_s,
        compress_s=compress_s,
        read_s=read_s,
    )


def write_frames(folder: Path, count: int, size: tuple[int, int]) -> tuple[list[Frame], float]:
    """Make frames 1001 and up and write each as a copy would; the seconds spent writing."""
    from codec.synthetic import dpx_frame

    frames: list[Frame] = []
    write_s = 0.0
    for number in range(1001, 1001 + count):
        _progress(f"writing frame {number} of {1000 + count}")
        content = dpx_frame(*size, seed=1, frame=number)
        path = folder / f"demo.{number}.dpx"
        started = time.monotonic()
        with path.open("wb", buffering=0) as file:
            view = memoryview(content)
            for offset in range(0, len(view), IO_SIZE):
                file.write(view[offset : offset + IO_SIZE])
        write_s += time.monotonic() - started
        frames.append(Frame(path, len(content), hashlib.sha256(content).digest()))
    return frames, write_s


def wait_compressed(frames: list[Frame], timeout_s: float) -> None:
    """Return when all are compressed; DemoError when one ends otherwise or time is up."""
    deadline = time.monotonic() + timeout_s
    waiting = list(frames)
    while waiting:
        for frame in list(waiting):
            state = os.getxattr(frame.path, STATE).decode()
            if state not in FINAL_STATES:
                continue
            if state != "compressed":
                reason = os.getxattr(frame.path, "user.pixfs.reason").decode()
                raise DemoError(f"{frame.path.name} became {state}, not compressed: {reason}")
            waiting.remove(frame)
        if waiting and time.monotonic() > deadline:
            raise DemoError(
                f"{len(waiting)} of {len(frames)} frames were not compressed within"
                f" {timeout_s:.0f} s; see pixfs status {waiting[0].path}"
            )
        _progress(f"compressed {len(frames) - len(waiting)} of {len(frames)} frames")
        if waiting:
            time.sleep(POLL_S)


def read_back(frames: list[Frame]) -> float:
    """Read every frame through the mount and compare; the seconds spent reading.

    The kernel's cached pages are dropped first: what is measured is decoding, not memory.
    """
    read_s = 0.0
    for number, frame in enumerate(frames, start=1):
        _progress(f"reading back frame {number} of {len(frames)}")
        buffer = bytearray(frame.size_bytes + 1)
        with frame.path.open("rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            started = time.monotonic()
            length = _read_into(file.fileno(), memoryview(buffer))
            read_s += time.monotonic() - started
        content = memoryview(buffer)[:length]
        if hashlib.sha256(content).digest() != frame.sha256:
            raise DemoError(f"{frame.path.name} came back with other bytes than were written")
    _progress("")
    return read_s


def _read_into(fd: int, buffer: memoryview) -> int:
    total = 0
    while count := os.readv(fd, [buffer[total : total + IO_SIZE]]):
        total += count
    return total


def table(outcome: Outcome) -> Table:
    """The outcome as the demo prints it, sizes and rates in units of 1,000,000 bytes."""
    title = f"{outcome.format}: every byte came back equal"
    grid = Table(title=title, title_justify="left", caption_justify="left", box=box.SIMPLE)
    for heading in ("frames", "logical MB", "stored MB", "ratio", "write MB/s", "read MB/s"):
        grid.add_column(heading, justify="right")
    megabytes = outcome.logical_bytes / 1e6
    grid.add_row(
        str(outcome.frames),
        f"{megabytes:.1f}",
        f"{outcome.stored_bytes / 1e6:.1f}",
        f"{outcome.ratio:.2f}:1",
        f"{megabytes / outcome.write_s:.0f}",
        f"{megabytes / outcome.read_s:.0f}",
    )
    grid.caption = f"compressed in the background {outcome.compress_s:.1f} s after the last close"
    return grid


def _progress(text: str) -> None:
    """One line that overwrites itself, for people only."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def _frame_size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return _positive(width), _positive(height)
