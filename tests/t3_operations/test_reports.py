"""What the tools print, and where a scrub goes on."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixfs.cli import wait
from pixfs.cli.prometheus import exposition
from pixfs.cli.sizes import format_ratio, format_size
from pixfs.cli.trees import MountedTree
from pixfs.scrubbing import ScrubPass, load, order_of
from pixfs.volume import Policy, Volume

if TYPE_CHECKING:
    from pathlib import Path

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=3)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1.5e12, "1.5 TB"), (2e18, "2000.0 PB")],
)
def test_sizes_are_decimal(count: float, text: str) -> None:
    assert format_size(count) == text


def test_ratios() -> None:
    assert format_ratio(219, 100) == "2.19:1"
    assert format_ratio(0, 0) == "-"


def test_exposition_of_a_real_volume_under_an_odd_name(tmp_path: Path) -> None:
    volume = Volume(tmp_path, Policy(mode="manual", throttle_read=0))
    try:
        stats: dict[str, Any] = volume.stats()
    finally:
        volume.close()
    text = exposition({'/m"nt\\\n\udcff': stats})
    assert 'pixfs_queued_files{mount="/m\\"nt\\\\\\n?"} 0\n' in text
    assert ',direction="read"} 0\n' in text
    assert ',direction="write"} +Inf\n' in text
    # Every family is declared once, and before its samples.
    families = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(families) == len(set(families)) == 26


def test_wait_is_not_over_before_the_first_walk_is(monkeypatch: pytest.MonkeyPatch) -> None:
    # It returned at once after a mount: nothing was queued, since nothing had been found yet.
    course = [(0, 0, 1), (2, 0, 1), (1, 1, 0), (0, 1, 0), (0, 0, 0)]
    answers = iter(course)
    asked: list[str] = []

    def stats(mount: str) -> dict[str, int]:
        asked.append(mount)
        return dict(zip(("queued", "converting", "looking"), next(answers), strict=True))

    monkeypatch.setattr(wait, "read_stats", stats)
    monkeypatch.setattr(wait, "_POLL_S", 0)
    assert wait.run(argparse.Namespace(mount="/m", timeout=None)) == 0
    assert asked == ["/m"] * len(course)


def test_wait_tells_what_it_gave_up_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for stats, words in {(0, 1): "still looking", (3, 0): "3 files"}.items():
        found = {"queued": stats[0], "converting": 0, "looking": stats[1]}
        monkeypatch.setattr(wait, "read_stats", lambda _mount, found=found: found)
        assert wait.run(argparse.Namespace(mount="/m", timeout=0)) == 1
        assert words in capsys.readouterr().err


@given(st.lists(PATHS, unique=True, max_size=30), st.integers(0, 30))
def test_a_scrub_goes_on_right_after_the_last_file(paths: list[str], done: int) -> None:
    in_order = sorted(paths, key=order_of)
    last = in_order[done - 1] if 0 < done <= len(in_order) else ""
    found = ScrubPass("/", "now", last=last)
    rest = [path for path in in_order if not found.is_past(path)]
    assert rest == in_order[in_order.index(last) + 1 if last else 0 :]


def test_a_tree_is_walked_in_the_order_a_scrub_relies_on(tmp_path: Path) -> None:
    for name in ["b/x", "b.c", "b-/y", "a", "B", "\u00e9", os.fsdecode(b"\xff"), "b/\u00ff"]:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    walked = [file.path for file in MountedTree(str(tmp_path)).files()]
    assert len(walked) == 8
    assert walked == sorted(walked, key=order_of)


def test_a_pass_is_kept_and_what_is_no_pass_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXFS_STATE_DIR", str(tmp_path / "state"))
    assert load("/mnt/plates") is None
    kept = ScrubPass("/mnt/plates", "now", last="/mnt/plates/a", damaged=[("a", "b")])
    kept.save()
    assert load("/mnt/plates") == kept
    (file,) = (tmp_path / "state").iterdir()
    for text in ["", "[]", "{}", '{"path": 1}', '{"damaged": [1]}']:
        file.write_text(text)
        assert load("/mnt/plates") is None
