"""No address that a user names leads to a connection that must not be, as the kernel sees it.

``python -m tests.outgoing`` prints what comes of every target.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.outgoing.__main__ import CANNOT

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("face", ["pixmover", "vidispine"])
def test_the_server_connects_to_public_addresses_only(face: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.outgoing", "--face", face],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode == CANNOT:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 complaints" in done.stdout
