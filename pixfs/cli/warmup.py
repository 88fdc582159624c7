"""Compile the codec's kernels now, so that the first frame does not wait for it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

NAME = "warmup"
HELP = "compile the codec's kernels"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this verb's own arguments (none)."""


def run(args: argparse.Namespace) -> int:
    """Compile and cache the kernels; 0 when they are ready."""
    from codec.warmup import warmup_abreast

    started = time.monotonic()
    warmup_abreast()
    print(f"kernels are ready ({time.monotonic() - started:.1f} s)")
    return 0
