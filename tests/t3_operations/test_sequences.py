"""Numbered files become sequences, and their numbers frame ranges."""

from __future__ import annotations

import pytest

from pixfs.sequences import frame_range, group


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([], ""),
        ([7], "7"),
        ([7, 8], "7-8"),
        ([7, 9], "7,9"),
        ([1, 2, 3, 10, 11, 12], "1-3,10-12"),
        ([1001, 1003, 1005, 1007], "1001-1007x2"),
        ([1, 2, 3, 5], "1-3,5"),
        ([3, 1, 2, 2], "1-3"),
        ([0, 10, 20, 21], "0-20x10,21"),
    ],
)
def test_frame_ranges(numbers: list[int], text: str) -> None:
    assert frame_range(numbers) == text


def test_frame_ranges_are_padded() -> None:
    assert frame_range([9, 10, 11], width=4) == "0009-0011"


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["shot.1001.dpx", "shot.1002.dpx"], ["shot.[1001-1002].dpx"]),
        (["shot.1001.dpx"], ["shot.1001.dpx"]),
        (["shot.0099.dpx", "shot.0100.dpx"], ["shot.[0099-0100].dpx"]),
        (["a.0999.dpx", "a.1000.dpx", "a.10000.dpx"], ["a.[0999-1000,10000].dpx"]),
        (["a.9.dpx", "a.10.dpx"], ["a.[9-10].dpx"]),
        (["a.9.dpx", "a.0010.dpx"], ["a.0010.dpx", "a.9.dpx"]),
        (["a.1.dpx", "a.1.exr"], ["a.1.dpx", "a.1.exr"]),
        (["A001_C002.0000123.dpx"], ["A001_C002.0000123.dpx"]),
        (["frame0001", "frame0002"], ["frame[0001-0002]"]),
        (["notes.txt", "LICENSE"], ["LICENSE", "notes.txt"]),
    ],
)
def test_groups(names: list[str], shown: list[str]) -> None:
    sequences = group((name, name) for name in names)
    assert [sequence.name for sequence in sequences] == shown
    assert sorted(item for s in sequences for _, item in s.frames) == sorted(names)
