"""The demo's own checks can fail."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from pixfs.cli.demo import DemoError, Frame, Outcome, read_back

if TYPE_CHECKING:
    from pathlib import Path


def written(path: Path, content: bytes) -> Frame:
    path.write_bytes(content)
    return Frame(path, len(content), hashlib.sha256(content).digest())


def test_equal_bytes_pass(tmp_path: Path) -> None:
    assert read_back([written(tmp_path / "a.dpx", b"frame" * 1_000_000)]) >= 0


@pytest.mark.parametrize("changed", [b"framE", b"fram", b"frames", b""])
def test_other_bytes_are_found(tmp_path: Path, changed: bytes) -> None:
    frame = written(tmp_path / "a.dpx", b"frame")
    frame.path.write_bytes(changed)
    with pytest.raises(DemoError, match=r"a\.dpx came back with other bytes"):
        read_back([frame])


def test_ratio_is_original_by_stored() -> None:
    outcome = Outcome("dpx", 2, 300, 100, write_s=1, compress_s=1, read_s=1)
    assert outcome.ratio == 3.0
