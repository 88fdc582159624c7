"""Paths that try to leave a storage, with the system calls of a real server looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx

from tests.hostile import SECRET, escaped_paths, escapes, plant
from tests.serve_command import serving
from tests.tracing import OPENS, opened_in, traced

if TYPE_CHECKING:
    from pathlib import Path

WAIT_S = 120


def test_no_request_opens_anything_outside_its_storage(tmp_path: Path) -> None:
    root, outside, log = tmp_path / "root", tmp_path / "outside", tmp_path / "calls"
    plant(root, outside)
    with serving(tmp_path / "data") as running:
        base = running.url.replace("pixmover/v1", "API")
        options = {"auth": ("admin", running.password), "timeout": WAIT_S}
        with httpx.Client(headers={"Accept": "application/json"}, **options) as client:
            method = {"uri": root.as_uri() + "/", "read": "true", "write": "true"}
            made = client.post(f"{base}/storage", json={"type": "LOCAL", "method": [method]})
            assert made.status_code == 200, made.text
            storage = f"{base}/storage/{made.json()['id']}"
            # Whatever a first request loads is loaded before it counts.
            first = client.post(f"{storage}/file/data?path=a/in.dpx", content=b"inside")
            assert first.status_code == 200, first.text
            assert client.get(f"{base}/file/{first.json()['id']}/data").content == b"inside"
            with traced(running.process.pid, log, OPENS):
                for path in escaped_paths(outside):
                    _try_all(client, base, storage, path, root)
                again = client.get(f"{base}/file/{first.json()['id']}/data")
                assert again.content == b"inside"
    opened = opened_in(log)
    assert f"{root}/a/in.dpx" in opened, "the trace has not seen an open that there was"
    assert escapes(opened, running.process.pid, root, tmp_path / "data") == set()
    assert [p.name for p in outside.iterdir()] == ["secret"]
    assert not (tmp_path / "secret").exists()


def _try_all(client: httpx.Client, base: str, storage: str, path: str, root: Path) -> None:
    """Every way a path can be given; each is refused, and nothing of it is answered."""
    uri = quote(root.as_uri() + "/", safe="") + path
    requests = [
        ("GET", f"{storage}/file?path={path}"),
        ("GET", f"{storage}/file?path={path}&wildcard=true"),
        ("GET", f"{storage}/file/path/{path}/data"),
        ("GET", f"{base}/storage/file/uri/{uri}/data"),
        ("DELETE", f"{storage}/file/path/{path}"),
        ("POST", f"{storage}/file/data?path={path}"),
        ("POST", f"{storage}/file/data?path={path}&transferId=t-{len(path)}"),
    ]
    for method, url in requests:
        answer = client.request(method, url, content=b"x" if method == "POST" else None)
        assert answer.status_code < 500 or answer.status_code == 503, (method, url, answer.text)
        assert SECRET not in answer.content, (method, url)
    # An entity of such a path is not yet a way to its bytes.
    made = client.post(f"{storage}/file?path={path}&createOnly=false")
    if made.status_code == 200:
        number = made.json()["id"]
        data = client.get(f"{base}/file/{number}/data")
        # What is an odd name, and no way out, has just been uploaded.
        is_ours = data.status_code == 200 and data.content == b"x"
        assert is_ours or data.status_code in (400, 403, 404, 409, 503), (path, data.content)
        client.delete(f"{base}/file/{number}/entity")
