"""What is there after a power cut, against what was promised."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

from pixfs.volume import Caller, Policy, Volume, check
from tests.powercut.workload import GONE, NAMES, REMOVED, Promises, number_of

if TYPE_CHECKING:
    from pathlib import Path

_POLICY = Policy(mode="manual", encode_threads=1, reserve_bytes=0, rescan=False)
_ROOT = Caller(0, 0)


def examine(backing: Path, promises: Promises) -> list[str]:
    """Starts a volume on what was left and reads every file; returns what is wrong."""
    wrong: list[str] = []
    volume = Volume(backing, dataclasses.replace(_POLICY))
    volume.start()
    try:
        for name in NAMES:
            data = _read(volume, name.encode())
            wrong += _judge(name, data, promises.kept.get(name))
    finally:
        volume.close()
    wrong += [f"fsck: {problem}" for problem in check(backing)]
    temporaries = backing / ".pixfs" / "tmp"
    wrong += [f"left over: {path.name}" for path in temporaries.iterdir()]
    return wrong


def _judge(name: str, data: bytes | OSError | None, promised: int | None) -> list[str]:
    if data is None:
        # A name that is removed now and then may be gone by a removal that was not promised
        # any more.
        lost = promised not in (None, GONE) and name not in REMOVED
        return [f"{name}: version {promised} was promised, and it is gone"] if lost else []
    if isinstance(data, OSError):
        return [f"{name}: {data.strerror}"]
    if promised is None:
        # Nothing was promised, not even its bytes.
        return []
    number = number_of(data)
    if number is None:
        return [] if promised == GONE else [f"{name}: torn ({len(data)} bytes)"]
    if promised != GONE and number < promised:
        return [f"{name}: version {promised} was promised, and it is {number}"]
    return []


def _read(volume: Volume, name: bytes) -> bytes | OSError | None:
    try:
        node = volume.lookup(volume.root, name)
    except FileNotFoundError:
        return None
    try:
        handle = volume.open(node, os.O_RDONLY)
        try:
            return bytes(handle.read(0, 1 << 20))
        finally:
            handle.release()
    except OSError as error:
        return error
    finally:
        volume.release_refs(node, 1)
