"""``python -m codec``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from codec.__main__ import main
from tests.flavors import FLAVORS, frame

if TYPE_CHECKING:
    from pathlib import Path

FILE = frame("picture", 64, 48, {**FLAVORS[6], "descriptor": "rgb"})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "shot.0001.dpx"
    path.write_bytes(FILE)
    return path


def test_there_and_back(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = path.with_name("shot.0001.dpx.pxf")
    assert main(["compress", str(path)]) == 0
    assert stored.stat().st_size < len(FILE)
    path.unlink()
    assert main(["verify", str(stored)]) == 0
    assert main(["info", str(stored)]) == 0
    assert main(["decompress", str(stored)]) == 0
    assert path.read_bytes() == FILE
    out = capsys.readouterr().out
    assert "dpx 64x48 rgb 10-bit" in out
    assert "sound" in out
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name, stored.name]


def test_nothing_is_replaced_unasked(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = path.with_name("shot.0001.dpx.pxf")
    stored.write_bytes(b"precious")
    assert main(["compress", str(path)]) == 1
    assert stored.read_bytes() == b"precious"
    assert "--force" in capsys.readouterr().err
    assert main(["compress", "--force", str(path)]) == 0
    assert main(["compress", "-f", "-o", str(path), str(path)]) == 1
    assert path.read_bytes() == FILE


def test_damage_is_named_and_the_exit_code_says_so(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = path.with_name("x.pxf")
    assert main(["compress", "-o", str(stored), str(path)]) == 0
    damaged = bytearray(stored.read_bytes())
    damaged[-100] ^= 1
    stored.write_bytes(damaged)
    assert main(["verify", str(stored)]) == 1
    assert "tile 0 (rows 0-47)" in capsys.readouterr().err
    assert main(["decompress", str(stored)]) == 1
    assert not path.with_name("x").exists()


def test_one_bad_file_does_not_stop_the_others(path: Path) -> None:
    assert main(["compress", str(path.with_name("missing.dpx")), str(path)]) == 1
    assert path.with_name("shot.0001.dpx.pxf").exists()


def test_wrong_usage() -> None:
    with pytest.raises(SystemExit) as raised:
        main(["compress"])
    assert raised.value.code == 2
