"""The short version of ``scripts/faults``: some of the calls of every operation.

docs/durability.md has the table of all of them.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faultsweep.operations import OPERATIONS, Operation
from tests.faultsweep.sweep import Kind, sweep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.checklogs import LogCheck

EVERY = 7


@pytest.fixture
def directory() -> Iterator[Path]:
    # Extended attributes of every namespace: not on a memory file system.
    made = Path(tempfile.mkdtemp(prefix="pixfs-t2-", dir="/var/tmp"))
    yield made
    shutil.rmtree(made)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_no_fault_leaves_anything_but_old_or_new(
    directory: Path, operation: Operation, log_check: LogCheck
) -> None:
    faults = list(sweep(operation, directory, list(Kind), EVERY))
    assert [fault for fault in faults if fault.wrong] == []
    assert {fault.kind for fault in faults} == set(Kind)
    # What failing storage makes the volume say is part of it.
    log_check.records.clear()
