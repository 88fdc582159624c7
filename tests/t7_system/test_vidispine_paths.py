"""Paths that try to leave a storage, with the system calls of a real server looked at."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx
import pytest

from tests.serve_command import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WAIT_S = 120
# What -y shows of a call that succeeded: the descriptor and the path it stands for.
_OPENED = re.compile(r" = \d+<(/[^>]*)>$")
_SYMLINKS = 41


@contextmanager
def traced(pid: int, log: Path) -> Iterator[None]:
    """The opens of a process and its threads, with the paths of what they gave, in a file."""
    calls = "trace=open,openat,openat2"
    command = ["strace", "-f", "-y", "-qq", "-e", calls, "-o", str(log), "-p", str(pid)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + WAIT_S
        while not _is_traced(pid):
            if tracer.poll() is not None:
                pytest.skip(f"strace may not attach: {tracer.communicate()[1].strip()}")
            assert time.monotonic() < deadline, "strace does not attach"
            time.sleep(0.05)
        yield
        tracer.send_signal(signal.SIGINT)
        tracer.wait(WAIT_S)
    finally:
        tracer.kill()
        tracer.communicate()


def _is_traced(pid: int) -> bool:
    with open(f"/proc/{pid}/status") as status:
        return not re.search(r"^TracerPid:\s+0$", status.read(), re.MULTILINE)


def hostile_paths() -> list[str]:
    """Segments of a URL, escaped as a client would, or more often."""
    climbing = ["../outside/secret", "a/../../outside/secret", "..", "/../outside/secret", "%2e%2e"]
    given = [quote(path, safe="") for path in climbing]
    given += ["%252e%252e%252foutside%252fsecret", "..%5coutside%5csecret", "%c0%ae%c0%ae%2fsecret"]
    given += [
        quote(path, safe="") for path in ("/etc/passwd", "out/secret", "file", "proc/etc/passwd")
    ]
    given += [quote(f"chain{_SYMLINKS}/secret", safe=""), "a%00b", "CON", "a%5cb", "x" * 5000]
    return given


def plant(root: Path, outside: Path) -> None:
    """Links out of a storage of every kind."""
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    root.mkdir()
    (root / "a").mkdir()
    (root / "out").symlink_to(outside)
    (root / "relative").symlink_to("../outside")
    (root / "file").symlink_to(outside / "secret")
    (root / "proc").symlink_to("/proc/self/root")
    (root / "chain0").symlink_to(outside)
    for number in range(_SYMLINKS):
        (root / f"chain{number + 1}").symlink_to(f"chain{number}")


@pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace")
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
            with traced(running.process.pid, log):
                for path in hostile_paths():
                    _try_all(client, base, storage, path, root)
                again = client.get(f"{base}/file/{first.json()['id']}/data")
                assert again.content == b"inside"
    opened = {found[1] for line in log.read_text().splitlines() if (found := _OPENED.search(line))}
    assert f"{root}/a/in.dpx" in opened, "the trace has not seen an open that there was"
    strange = {p for p in opened if p.startswith((str(outside), "/etc/passwd"))}
    assert strange == set()
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
        assert answer.content != b"secret", (method, url)
    # An entity of such a path is not yet a way to its bytes.
    made = client.post(f"{storage}/file?path={path}&createOnly=false")
    if made.status_code == 200:
        number = made.json()["id"]
        data = client.get(f"{base}/file/{number}/data")
        # What is an odd name, and no way out, has just been uploaded.
        is_ours = data.status_code == 200 and data.content == b"x"
        assert is_ours or data.status_code in (400, 403, 404, 409, 503), (path, data.content)
        client.delete(f"{base}/file/{number}/entity")
