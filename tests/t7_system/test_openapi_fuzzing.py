"""schemathesis asks the running server everything its OpenAPI document allows, and more."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.serve_command import WAIT_S, serving

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.slow

PROGRAM = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)


def fuzz(
    url: str,
    header: str,
    only: Sequence[str],
    directory: Path,
    phases: str = "examples,coverage,fuzzing",
    examples: int = 5,
    within_s: float = 800,
) -> subprocess.CompletedProcess[str]:
    assert PROGRAM is not None
    command = [PROGRAM, "run", f"{url}/openapi.json", "--header", header, *only]
    command += ["--checks", ",".join(CHECKS), "--max-examples", str(examples), "--seed", "1"]
    command += ["--generation-database", "none", "--phases", phases]
    return subprocess.run(
        command,
        cwd=directory,  # it leaves a cache where it runs
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )


@pytest.mark.timeout(300)
@pytest.mark.parametrize("role", ["admin", "monitor"])
def test_no_request_makes_the_server_fail(tmp_path: Path, role: str) -> None:
    """What ends the session under test is left out; a log line to act on fails it too."""
    if PROGRAM is None:
        pytest.skip("schemathesis is not installed")
    (tmp_path / "shows").mkdir()
    with serving(tmp_path / "data") as server, httpx.Client(timeout=WAIT_S) as client:
        form = {"name": "admin", "password": server.password}
        client.post(f"{server.url}/login", data=form).raise_for_status()
        made = {"name": "nearline", "kind": "directory", "root": str(tmp_path / "shows")}
        client.post(f"{server.url}/storages", data=made).raise_for_status()
        if role != "admin":
            user = {"name": "eve", "role": role, "password": "correct horse battery"}
            client.post(f"{server.url}/users", data=user).raise_for_status()
            form = {"name": "eve", "password": user["password"]}
            client.post(f"{server.url}/login", data=form).raise_for_status()
        done = fuzz(
            server.url,
            f"Cookie: pixfs_session={client.cookies['pixfs_session']}",
            ["--exclude-path-regex", "/(login|logout|account/password)$"],
            tmp_path,
        )
        assert client.get(f"{server.url}/whoami").json()["role"] == role
    assert done.returncode == 0, done.stdout[-8000:]
    generated = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert generated, done.stdout[-2000:]
    assert int(generated[1]) > 200


@pytest.mark.timeout(660)
def test_no_request_makes_vidispine_s_face_fail(tmp_path: Path) -> None:
    """Each operation at the first of its paths. At all of them, and with what else the document
    allows at its edges: schemathesis run URL/API/openapi.json --phases coverage."""
    if PROGRAM is None:
        pytest.skip("schemathesis is not installed")
    (tmp_path / "shows").mkdir()
    with serving(tmp_path / "data") as server, httpx.Client(timeout=WAIT_S) as client:
        url = server.url.replace("/pixmover/v1", "/API")
        client.auth = ("admin", server.password)
        method = {"uri": (tmp_path / "shows").as_uri() + "/", "read": True, "write": True}
        made = client.post(f"{url}/storage", json={"type": "LOCAL", "method": [method]})
        assert made.status_code == 200, made.text
        for name in ("a", "b", "c"):
            query = {"path": f"{name}.dpx"}
            client.post(f"{url}/storage/VX-1/file/data", params=query, content=b"x")
        header = f"Authorization: token {client.get(f'{url}/token').text.strip()}"
        # A token is only given for a password.
        only = ["--exclude-operation-id-regex", "(_[0-9]+|get_token)$"]
        done = fuzz(
            url, header, only, tmp_path, phases="examples,fuzzing", examples=2, within_s=800
        )
        assert client.get(f"{url}/whoami").text == "admin\r\n"
    assert done.returncode == 0, done.stdout[-8000:]
    generated = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert generated, done.stdout[-2000:]
    assert int(generated[1]) > 60
