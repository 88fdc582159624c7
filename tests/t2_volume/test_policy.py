"""What a policy accepts and wants."""

from __future__ import annotations

import json

import pytest

from pixfs.volume import Policy


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "sometimes"},
        {"level": "extreme"},
        {"encode_threads": 0},
        {"settle_s": -1.0},
        {"min_size": -1},
        {"cache_bytes": -1},
        {"reserve_bytes": -1},
    ],
)
def test_nonsense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Policy(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (b"a.dpx", True),
        (b"deep/er/a.dpx", True),
        (b"a.DPX", False),
        (b"a.dpx.tmp", False),
        (b"cache/a.dpx", False),
        (b"deep/cache/a.dpx", True),
        (b"deep/skip.dpx", False),
        (b"\xff.dpx", True),
    ],
)
def test_globs_match_path_or_name(path: bytes, wanted: bool) -> None:
    policy = Policy(include=("*.dpx",), exclude=("cache/*", "skip*"))
    assert policy.wants(path) is wanted


def test_json() -> None:
    assert json.loads(json.dumps(Policy().to_json()))["include"] == ["*"]
