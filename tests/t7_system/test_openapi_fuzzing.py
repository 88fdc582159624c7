"""schemathesis asks the running server what its OpenAPI documents allow, and more, for a short
while; ``python -m tests.apifuzz`` does for as long as one likes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.apifuzz.faces import staged
from tests.apifuzz.run import fuzz, program

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(program() is None, reason="schemathesis is not installed"),
]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("role", ["admin", "monitor"])
def test_no_request_makes_the_server_fail(tmp_path: Path, role: str) -> None:
    """A log line to act on fails it too."""
    with staged("pixmover", role, tmp_path) as stage:
        found = fuzz(stage, tmp_path, examples=5, seed=1)
    assert not found.failures, found.said[-8000:]
    assert found.requests > 200


@pytest.mark.timeout(660)
def test_no_request_makes_vidispine_s_face_fail(tmp_path: Path) -> None:
    """Each operation at the first of its paths, and without what the document allows at its
    edges."""
    first = ["--exclude-operation-id-regex", "_[0-9]+$", "--phases", "examples,fuzzing"]
    with staged("vidispine", "admin", tmp_path) as stage:
        found = fuzz(stage, tmp_path, examples=2, seed=1, options=first, within_s=600)
    assert not found.failures, found.said[-8000:]
    assert found.requests > 60
