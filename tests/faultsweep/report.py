"""The faults of a sweep as tables."""

from __future__ import annotations

import errno
from collections import Counter
from typing import TYPE_CHECKING

from tests.faultsweep.sweep import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.faultsweep.sweep import Fault

_SHORT = {Kind.EIO: "EIO", Kind.ENOSPC: "ENOSPC", Kind.KILL: "killed", Kind.KILL_AFTER: "killed"}


def summary(faults: list[Fault]) -> str:
    """A Markdown table: for each operation the number of faults, and what they came to."""
    lines = [
        "| operation | faults | EIO, ENOSPC: told | made no difference | killed: old | new"
        " | begun | unsound |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(fault.operation for fault in faults):
        lines.append(_row(name, [fault for fault in faults if fault.operation == name]))
    lines.append(_row("all", faults))
    return "\n".join(lines)


def _row(name: str, faults: list[Fault]) -> str:
    failed = [fault for fault in faults if fault.kind in (Kind.EIO, Kind.ENOSPC)]
    killed = Counter(fault.end for fault in faults if fault not in failed)
    told = sum(fault.told is not None for fault in failed)
    unsound = sum(bool(fault.wrong) for fault in faults)
    cells = [
        len(faults), told, len(failed) - told,
        killed["old"], killed["new"], killed["between"], unsound,
    ]  # fmt: skip
    return " | ".join(["| " + name, *map(str, cells)]) + " |"


def steps(faults: Iterable[Fault]) -> str:
    """One line for each call of each operation: every fault there and what it came to."""
    lines: list[str] = []
    by_step: dict[tuple[str, int], list[Fault]] = {}
    for fault in faults:
        by_step.setdefault((fault.operation, fault.number), []).append(fault)
    operation = ""
    for (name, number), met in sorted(by_step.items(), key=lambda item: (item[0][0], item[0][1])):
        if name != operation:
            operation = name
            lines += ["", name]
        results = ", ".join(f"{fault.kind.value}: {_result(fault)}" for fault in met)
        lines.append(f"  {number:4} {met[0].call:15} {results}")
    return "\n".join(lines)


def _result(fault: Fault) -> str:
    told = f" ({errno.errorcode[fault.told]})" if fault.told else ""
    wrong = f" UNSOUND: {'; '.join(fault.wrong)}" if fault.wrong else ""
    return f"{fault.end}{told}{wrong}"
