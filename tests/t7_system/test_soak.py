"""The soak: a short one through a real mount, and what its verdict is made of."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "scripts"))

from soaking.daemon import Sample  # noqa: E402
from soaking.ledger import ABSENT, Ledger, digest  # noqa: E402
from soaking.verdict import growth  # noqa: E402

MIB = 1 << 20


def samples(memory: list[int], files: list[int] | None = None, cache: int = 0) -> list[Sample]:
    """One every ten seconds, memory in MiB."""
    files = files or [20] * len(memory)
    pairs = enumerate(zip(memory, files, strict=True))
    return [Sample(10.0 * i, 1, m * MIB, cache * MIB, f) for i, (m, f) in pairs]


def test_what_grows_is_told() -> None:
    assert growth([]) == []
    assert growth(samples([300] * 40)) == []
    # The first ninety seconds do not count.
    assert growth(samples([*range(0, 270, 30), *[300] * 31])) == []
    assert growth(samples([300 + i // 2 for i in range(40)])) == []
    assert growth(samples([300 + 5 * i for i in range(40)])) == ["memory grew from 360 to 480 MiB"]
    assert growth(samples([300] * 40, [20 + i for i in range(40)])) == [
        "descriptors grew from 32 to 56"
    ]
    assert growth(samples([300 + 50 * i for i in range(12)])) == []


def test_memory_may_grow_until_the_cache_is_full() -> None:
    """On a slow machine that takes minutes."""

    def filling(leak: float) -> list[Sample]:
        cache = [min(512, 20 * i) for i in range(60)]
        memory = [150 + held * 1.3 + leak * i for i, held in enumerate(cache)]
        pairs = enumerate(zip(memory, cache, strict=True))
        return [Sample(10.0 * i, 1, int(m * MIB), c * MIB, 20) for i, (m, c) in pairs]

    assert growth(filling(0)) == []
    (problem,) = growth(filling(3))
    assert problem.startswith("memory grew")


def busy(leak: float) -> list[int]:
    """A daemon's memory in MiB over twenty minutes: what conversions hold comes and goes, and so
    much is lost a minute."""
    dice = random.Random(7)
    return [round(300 + leak * i / 6 + dice.uniform(-60, 60)) for i in range(120)]


def test_a_leak_shows_in_the_noise_of_the_use() -> None:
    assert growth(samples(busy(0))) == []
    (problem,) = growth(samples(busy(6)))
    assert problem.startswith("memory grew")


def test_a_ledger_allows_the_old_and_the_new_until_a_change_is_acknowledged() -> None:
    ledger, one, two = Ledger(), digest(b"one"), digest(b"two")
    assert ledger.allows("a", ABSENT)
    ledger.may_become("a", one)
    assert ledger.allows("a", ABSENT)
    assert ledger.allows("a", one)
    ledger.has_become("a", one)
    assert not ledger.allows("a", ABSENT)
    ledger.may_become("a", two)
    assert ledger.allows("a", one)
    assert not ledger.is_settled("a")
    ledger.has_become("a", two)
    assert ledger.only("a") == two
    assert not ledger.allows("a", one)
    ledger.has_become("a", ABSENT)
    assert ledger.names() == []


@pytest.mark.fuse
@pytest.mark.slow
def test_a_short_soak_ends_well(tmp_path: Path, warm_kernels: None) -> None:
    command = [sys.executable, "-m", "soaking", "--minutes", "0.1", "--kill-share", "0.9"]
    command += ["--kill-every", "1", "--workers", "2", "--seed", "7", "--dir", str(tmp_path)]
    ran = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'scripts'}:{ROOT}"},
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "all well" in ran.stdout
