"""Loading kernels while nobody moves bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from codec import VerifyError
from pixfs.fuse.warming import QUIET_S, warm_when_quiet

if TYPE_CHECKING:
    from collections.abc import Iterator


async def test_no_step_is_taken_while_bytes_move(autojump_clock: trio.abc.Clock) -> None:
    readings = iter([0, 7, 7, 9, 12, 12, 12, 12])
    log: list[str] = []

    def moved() -> int:
        count = next(readings)
        log.append(f"{count} after {trio.current_time() - began:.0f} s")
        return count

    def steps() -> Iterator[None]:
        for number in range(3):
            log.append(f"step {number}")
            yield

    began = trio.current_time()
    await warm_when_quiet(steps(), moved)
    quiet = f"{QUIET_S:.0f} s"
    assert log[:3] == ["0 after 0 s", f"7 after {quiet}", f"7 after {2 * QUIET_S:.0f} s"]
    assert [entry.split()[0] for entry in log] == [
        *("0", "7", "7", "step", "9", "12", "12", "step", "12", "step", "12")
    ]


async def test_a_kernel_that_fails_its_check_is_reported(autojump_clock: trio.abc.Clock) -> None:
    def steps() -> Iterator[None]:
        yield
        raise VerifyError("wrong")

    with pytest.raises(VerifyError, match="wrong"):
        await warm_when_quiet(steps(), lambda: 0)
