"""What the sources of a job name."""

from __future__ import annotations

import fnmatch
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pixfs.sequences import frame_range, parse_frame_range
from server.work.beneath import normalise
from server.work.errors import FileError, SelectionError
from server.work.quiesce import fingerprint
from server.work.selection import matches
from tests.t5_core.work import directory, selected

if TYPE_CHECKING:
    from pathlib import Path

    from server.work.batch import StorageSpec


@pytest.fixture
def plates(tmp_path: Path) -> StorageSpec:
    """A show with two sequences, a folder in a folder and a few odd names."""
    shot = tmp_path / "plates" / "sh010"
    (shot / "notes").mkdir(parents=True)
    for number in range(998, 1006):
        (shot / f"bg.{number:04d}.dpx").write_bytes(b"x" * number)
    (shot / "fg.7.exr").write_bytes(b"7")
    (shot / "fg.[1-2].exr").write_bytes(b"literal")
    (shot / "notes" / "a.txt").write_bytes(b"a")
    (shot / ".hidden").write_bytes(b"h")
    (shot / ".7-1-1-0.pixfs-part").write_bytes(b"somebody else's")
    return directory(tmp_path)


@pytest.mark.parametrize(
    ("source", "targets"),
    [
        ("plates/sh010/notes", ["notes/a.txt"]),
        ("/plates//sh010/./notes/../notes/a.txt", ["a.txt"]),
        ("plates/sh010/bg.[1001-1003].dpx", ["bg.1001.dpx", "bg.1002.dpx", "bg.1003.dpx"]),
        ("plates/sh010/bg.[0998-1000x2].dpx", ["bg.0998.dpx", "bg.1000.dpx"]),
        ("plates/sh010/bg.[1004,1001].dpx", ["bg.1001.dpx", "bg.1004.dpx"]),
        ("plates/sh010/bg.%04d.dpx", [f"bg.{n:04d}.dpx" for n in range(998, 1006)]),
        ("plates/sh010/bg.####.dpx", [f"bg.{n:04d}.dpx" for n in range(998, 1006)]),
        ("plates/sh010/fg.%d.exr", ["fg.7.exr"]),
        ("plates/sh010/fg.[1-2].exr", ["fg.[1-2].exr"]),
        ("plates/*/bg.099?.dpx", ["sh010/bg.0998.dpx", "sh010/bg.0999.dpx"]),
        ("plates/**/*.txt", ["sh010/notes/a.txt"]),
        ("**/a.txt", ["plates/sh010/notes/a.txt"]),
        ("plates/sh010/.hid*", [".hidden"]),
    ],
)
def test_sources_name_files(plates: StorageSpec, source: str, targets: list[str]) -> None:
    found = selected(plates, source)
    assert [chosen.target for chosen in found.files] == targets
    assert not found.missing
    assert not found.refused


def test_a_folder_brings_everything_but_what_jobs_are_writing(plates: StorageSpec) -> None:
    found = selected(plates, "plates")
    assert [folder.target for folder in found.folders] == [
        "plates",
        "plates/sh010",
        "plates/sh010/notes",
    ]
    assert len(found.files) == 12
    assert not any("pixfs-part" in chosen.target for chosen in found.files)


def test_frames_that_are_not_there_are_told(plates: StorageSpec) -> None:
    found = selected(plates, "plates/sh010/bg.[1004-1007].dpx")
    assert [chosen.target for chosen in found.files] == ["bg.1004.dpx", "bg.1005.dpx"]
    assert found.missing == ["plates/sh010/bg.1006.dpx", "plates/sh010/bg.1007.dpx"]


def test_a_huge_range_costs_nothing(plates: StorageSpec) -> None:
    found = selected(plates, "plates/sh010/bg.[1001-999999999].dpx")
    assert len(found.files) == 5
    assert len(found.missing) == 1000


def test_a_file_named_twice_is_taken_once(plates: StorageSpec) -> None:
    found = selected(plates, "plates/sh010/fg.7.exr", "plates/sh010/*.exr")
    assert [chosen.entry.path for chosen in found.files] == [
        "plates/sh010/fg.7.exr",
        "plates/sh010/fg.[1-2].exr",
    ]


@pytest.mark.parametrize(
    "source",
    ["nowhere", "plates/*.mov", "plates/sh010/bg.%03d.exr", "../x", "a\0b", "x" * 300, "[3-1].a"],
)
def test_a_source_that_names_nothing_is_refused(plates: StorageSpec, source: str) -> None:
    with pytest.raises(SelectionError):
        selected(plates, source)


def test_links_are_not_followed(plates: StorageSpec, tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("/etc")
    (tmp_path / "plates" / "in").symlink_to("sh010")
    with pytest.raises(OSError, match="cross-device"):
        selected(plates, "out/passwd")
    found = selected(plates, "plates/in", "out")
    assert [chosen.entry.kind for chosen in found.files] == ["link", "link"]


def test_devices_are_refused(plates: StorageSpec, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "plates" / "pipe")
    found = selected(plates, "plates")
    assert [path for path, _ in found.refused] == ["plates/pipe"]


def test_a_fingerprint_tells_of_every_change(plates: StorageSpec, tmp_path: Path) -> None:
    before = fingerprint(selected(plates, "plates"))
    assert fingerprint(selected(plates, "plates")) == before
    file = tmp_path / "plates" / "sh010" / "fg.7.exr"
    file.write_bytes(b"78")
    grown = fingerprint(selected(plates, "plates"))
    (tmp_path / "plates" / "new").write_bytes(b"")
    assert len({before, grown, fingerprint(selected(plates, "plates"))}) == 3


@given(st.text("ab*?[]!-", max_size=12), st.text("ab[]-", max_size=12))
def test_globs_match_as_in_the_shell(pattern: str, name: str) -> None:
    """fnmatch differs only in how an empty or reversed set is read."""
    if "[]" in pattern or "[!]" in pattern or "-" in pattern:
        matches(name, pattern)
        return
    assert matches(name, pattern) == fnmatch.fnmatchcase(name, pattern)


@given(st.text("ab*?[]!^-", max_size=12), st.text("ab[]!^-", max_size=12))
@example("[b-a]", "a")
@example("[!b-a]", "a")
@example("[!]a", "ba")
@example("*[a-b]*b", "xab")
def test_globs_with_any_set_match_as_the_naive_way_says(pattern: str, name: str) -> None:
    assert matches(name, pattern) == naive(name, pattern)


def naive(name: str, pattern: str) -> bool:
    """Tries everything."""
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(naive(name[at:], pattern[1:]) for at in range(len(name) + 1))
    end = pattern.find("]", 2) if pattern[0] == "[" else -1
    token = pattern[: max(end + 1, 1)]
    return bool(name) and fits(name[0], token) and naive(name[1:], pattern[len(token) :])


def fits(character: str, token: str) -> bool:
    if len(token) == 1:
        return token in ("?", character)
    is_negated = token[1] in "!^"
    members = list(token[2:-1] if is_negated else token[1:-1])
    is_in = False
    while members:
        if len(members) > 2 and members[1] == "-":
            is_in |= members[0] <= character <= members[2]
            del members[:3]
        else:
            is_in |= members.pop(0) == character
    return is_in != is_negated


def test_a_glob_of_many_stars_does_not_backtrack() -> None:
    assert not matches("a" * 5000, "*a*a*a*a*a*a*a*a*a*b")


@given(st.sets(st.integers(0, 10**6), min_size=1, max_size=50))
def test_a_frame_range_reads_back(numbers: set[int]) -> None:
    read = {number for part in parse_frame_range(frame_range(numbers)) for number in part}
    assert read == numbers


@pytest.mark.parametrize("text", ["", "a", "5-3", "1-2x0", "1--2", "1-2x", "-", "1,", "٣"])
def test_bad_frame_ranges_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"frame range|counts"):
        parse_frame_range(text)


@given(st.text("ab/.", max_size=30))
def test_a_normal_path_stays_below_the_root(path: str) -> None:
    try:
        normal = normalise(path)
    except FileError:
        depth = lowest = 0
        for part in path.split("/"):
            depth += -1 if part == ".." else part not in ("", ".")
            lowest = min(lowest, depth)
        assert lowest < 0
        return
    assert normalise(normal) == normal
    assert not {"", ".", ".."} & set(normal.split("/")) or normal == ""
