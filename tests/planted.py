"""Targets that do what a fuzzer must notice."""

from __future__ import annotations

import ctypes
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random


class Harmless:
    """Nothing happens."""

    def __call__(self, rng: random.Random) -> None:
        rng.random()


class _Sometimes:
    """Does it once in about thirty cases, never while it is warmed up."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, rng: random.Random) -> None:
        self.calls += 1
        if self.calls > 3 and rng.random() < 0.03:
            self.do()

    def do(self) -> None:
        raise NotImplementedError


class Raises(_Sometimes):
    """An exception that nobody foresaw."""

    def do(self) -> None:
        raise KeyError("planted")


class Crashes(_Sometimes):
    """A read through a null pointer."""

    def do(self) -> None:
        ctypes.string_at(0)


class Hangs(_Sometimes):
    """Waits for what never comes."""

    def do(self) -> None:
        threading.Event().wait()


class Allocates(_Sometimes):
    """As much memory as a header may claim."""

    def do(self) -> None:
        bytearray(12 << 30)
