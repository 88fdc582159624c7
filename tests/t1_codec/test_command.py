"""``python -m codec``."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from codec import LEVELS, compress, decompress
from codec.cli import contenders
from codec.cli.main import main
from codec.cli.samples import pictures
from tests.flavors import CHANNELS, FLAVORS, flavor_id, frame
from tests.flavors import samples as picture

if TYPE_CHECKING:
    from collections.abc import Callable

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


def test_a_directory_stands_for_what_the_command_is_for(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    below = path.parent / "reel" / "deep"
    below.mkdir(parents=True)
    (below / "b.dpx").write_bytes(FILE)
    (below / "notes.txt").write_text("no frame " * 1000)
    (below / ".hidden.dpx").write_bytes(FILE)
    (below / "again.dpx").symlink_to(path)
    assert main(["compress", str(path.parent)]) == 1
    assert "--recursive" in capsys.readouterr().err
    assert main(["compress", "-r", str(path.parent)]) == 0
    stored = sorted(p.relative_to(path.parent).as_posix() for p in path.parent.rglob("*.pxf"))
    assert stored == ["reel/deep/b.dpx.pxf", "shot.0001.dpx.pxf"]
    summary = capsys.readouterr().err
    assert "2 of 2 files" in summary
    assert "2 of 2 files" in _err_of(["verify", "-r", str(path.parent)], capsys)


def _err_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 0
    return capsys.readouterr().err


def test_failures_are_listed_at_the_end(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = path.with_name("missing.dpx")
    assert main(["compress", str(missing), str(path)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"{missing}: No such file or directory"
    assert "1 of 2 files" in lines[1]
    assert lines[2:] == ["1 failed:", f"  {missing}: No such file or directory"]


def test_without_keep_going_the_first_failure_ends_it(path: Path) -> None:
    missing = path.with_name("missing.dpx")
    assert main(["compress", "--no-keep-going", str(missing), str(path)]) == 1
    assert not path.with_name("shot.0001.dpx.pxf").exists()
    assert main(["compress", "--no-keep-going", str(path), str(missing)]) == 1
    assert path.with_name("shot.0001.dpx.pxf").exists()


def test_output_goes_with_one_file(path: Path) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["compress", "-o", str(path.with_name("x")), str(path), str(path)])
    assert raised.value.code == 2
    assert not path.with_name("x").exists()


@pytest.mark.parametrize("when", ["write", "fsync", "replace"])
def test_an_interrupt_leaves_nothing_half_written(
    path: Path, when: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = path.with_name("shot.0002.dpx")
    other.write_bytes(FILE)
    stored = [p.with_name(p.name + ".pxf") for p in (path, other)]
    calls = {"write": "os.fchmod", "fsync": "os.fsync", "replace": "pathlib.Path.replace"}
    real: dict[str, Callable[..., object]] = {
        "os.fchmod": os.fchmod,
        "os.fsync": os.fsync,
        "pathlib.Path.replace": Path.replace,
    }
    name = calls[when]
    # The first file is finished when it has been written and its directory made durable.
    spared = 2 if when == "fsync" else 1
    count = 0

    def interrupted(*arguments: object) -> object:
        nonlocal count
        count += 1
        if count > spared:
            raise KeyboardInterrupt
        return real[name](*arguments)

    monkeypatch.setattr(name, interrupted)
    assert main(["compress", str(path), str(other)]) == 130
    monkeypatch.undo()
    assert "interrupted: 1 of 2 files" in capsys.readouterr().err
    assert sorted(path.parent.iterdir()) == sorted([path, other, stored[0]])
    assert main(["verify", str(stored[0])]) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_process_told_to_end_leaves_finished_files_only(
    path: Path, number: int, code: int
) -> None:
    frames = [path.with_name(f"long.{i:04d}.dpx") for i in range(60)]
    big = frame("picture", 1024, 512, {**FLAVORS[6], "descriptor": "rgb"})
    for one in frames:
        one.write_bytes(big)
    command = [sys.executable, "-m", "codec", "compress", *map(str, frames)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        child.send_signal(number)
        child.stdout.read()
        errors = child.stderr.read()
    assert child.returncode == code
    assert "interrupted: " in errors
    made = sorted(path.parent.glob("*.pxf"))
    assert 1 <= len(made) < len(frames)
    left = {p.name for p in path.parent.iterdir()}
    assert left == {path.name, *(p.name for p in frames), *(p.name for p in made)}
    assert all(decompress(p.read_bytes()) == big for p in made)


def test_a_bar_on_a_terminal_and_plain_lines_elsewhere(path: Path) -> None:
    other = path.with_name("shot.0002.dpx")
    other.write_bytes(FILE)
    command = ["compress", "-f", str(path), str(other), str(path.with_name("missing"))]
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen, os.fdopen(theirs, "wb") as terminal:
        shown = b""
        with subprocess.Popen(
            [sys.executable, "-m", "codec", *command],
            stdout=subprocess.PIPE,
            stderr=terminal,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"},
        ) as child:
            terminal.close()
            # A pty says EIO, not end of file, when its last writer has gone.
            with contextlib.suppress(OSError):
                while part := screen.read(4096):
                    shown += part
            assert child.stdout is not None
            plain = child.stdout.read().decode()
    text = shown.decode()
    assert child.returncode == 1
    assert "\x1b[" in text
    assert "MB" in text or "kB" in text
    assert "2 of 3 files" in text
    assert "missing: No such file or directory" in text
    assert "\x1b" not in plain
    assert [line.split(":")[0] for line in plain.splitlines()] == [
        f"{path}.pxf",
        f"{other}.pxf",
    ]


def test_bench_measures_the_levels_and_writes_nothing(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(path.parent.iterdir())
    assert main(["bench", "--rounds", "1", "--no-peers", str(path)]) == 0
    out = capsys.readouterr().out
    for level in LEVELS:
        row = next(line for line in out.splitlines() if line.strip().startswith(f"PixFS {level}"))
        files, _, ratio, encode, decode = row.split()[2:]
        assert files == "1"
        assert float(ratio) == pytest.approx(len(FILE) / len(compress(FILE, level=level)), abs=1e-3)
        assert float(encode) > 0
        assert float(decode) > 0
    assert sorted(path.parent.iterdir()) == before
    assert main(["bench", "--rounds", "1", "--no-peers", str(path.with_name("missing"))]) == 1
    assert "missing" in capsys.readouterr().err


def test_bench_compares_with_what_is_installed(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("imagecodecs", reason="the other codecs are an extra")
    unknown = path.with_name("unknown")
    unknown.write_bytes(b"no frame " * 1000)
    assert main(["bench", "--rounds", "1", "-l", "fast", "--", str(path), str(unknown)]) == 0
    counts = {
        line[:18].strip(): line[18:].split()[0]
        for line in capsys.readouterr().out.splitlines()
        if line.strip().startswith(("PixFS", "zstd", "JPEG"))
    }
    # Those that take samples are not given a file that holds none.
    expected = {"PixFS fast": "2", "zstd -3": "2", "JPEG-LS": "1"}
    assert counts == {**expected, "JPEG XL e1": "1", "JPEG XL e3": "1"}


def test_bench_names_a_contender_that_is_not_lossless(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    liar = contenders.Contender("liar", lambda file: [file], lambda file: file, lambda _: b"other")
    monkeypatch.setattr(contenders, "others", lambda: [liar])
    assert main(["bench", "--rounds", "1", "-l", "fast", "--", str(path)]) == 1
    assert "shot.0001.dpx: liar did not give it back" in capsys.readouterr().err


@pytest.mark.parametrize("flavor", FLAVORS, ids=flavor_id)
def test_the_samples_given_to_others_are_the_frames(flavor: dict[str, Any]) -> None:
    file = frame("picture", 61, 33, flavor)
    ((samples, bits),) = pictures(file)
    expected = picture("picture", 33, 61, CHANNELS[flavor["descriptor"]], flavor["bits"])
    assert bits == flavor["bits"]
    assert np.array_equal(samples, expected)
