"""A wrangler's day: two real mounts, a bucket and a server, worked with from the terminal."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.checklogs import lines_to_act_on
from tests.frames import frame
from tests.fuse_session import Mounted, mounted, xattr
from tests.s3 import s3_server

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.fuse, pytest.mark.slow]

TIMEOUT_S = 240


class Server:
    """A pixfs serve process, its administrator and a terminal."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._environment = os.environ | {
            "XDG_STATE_HOME": str(directory / "state"),
            "PIXFS_RUN_DIR": str(directory / "run"),
        }
        self._log = directory / "server.log"
        self.password = ""
        self.url = ""
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "pixfs.cli", "serve", "--bind", "127.0.0.1:0"]
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                [*command, "--data", str(self._directory / "data")],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self._environment,
            )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := re.search(r"with the password (\S+)", line):
                self.password = found[1]
            if found := re.search(r"serving on (\S+)/", line):
                self.url = found[1]
                return
        raise AssertionError(self._log.read_text())

    def end(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(TIMEOUT_S)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def jobs(self, *arguments: str, given: str = "", status: int = 0) -> str:
        result = subprocess.run(
            [sys.executable, "-m", "pixfs.cli", "jobs", *arguments],
            input=given,
            capture_output=True,
            text=True,
            env=self._environment,
            timeout=TIMEOUT_S,
        )
        assert result.returncode == status, f"{result.stdout}\n{result.stderr}"
        return result.stdout + result.stderr

    def log_in(self) -> None:
        self.jobs(
            "login", self.url, "--user", "admin", "--password-stdin", given=self.password + "\n"
        )

    @contextmanager
    def client(self) -> Iterator[httpx.Client]:
        with httpx.Client(base_url=self.url + "/pixmover/v1", timeout=TIMEOUT_S) as client:
            client.post("/login", data={"name": "admin", "password": self.password})
            yield client

    def check_log(self) -> None:
        assert lines_to_act_on(self._log.read_text()) == []


@pytest.fixture
def base() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="pixfs-t7-", dir="/var/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


@pytest.fixture
def server(base: Path) -> Iterator[Server]:
    server = Server(base)
    server.start()
    try:
        yield server
    finally:
        server.end(signal.SIGTERM)
    server.check_log()


@pytest.fixture
def mounts(base: Path, warm_kernels: None) -> Iterator[tuple[Mounted, Mounted]]:
    for name in ("hot", "near"):
        (base / name).mkdir()
    with mounted(base / "hot", "--manual") as hot, mounted(base / "near", "--manual") as near:
        yield hot, near


def send(client: httpx.Client, method: str, path: str, **fields: object) -> None:
    answer = client.request(method, path, data={name: str(value) for name, value in fields.items()})
    assert answer.status_code == 200, answer.text


def test_a_day(server: Server, mounts: tuple[Mounted, Mounted], base: Path) -> None:
    """Copy between mounts, compress in place, to S3 and back, throttle, retry, log out."""
    hot, near = mounts
    frames = {f"bg.{number}.dpx": frame(number) for number in range(1001, 1005)}
    (hot.path / "sh010").mkdir()
    for name, data in frames.items():
        (hot.path / "sh010" / name).write_bytes(data)
    with server.client() as client, s3_server() as endpoint:
        import boto3

        bucket = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
        )
        bucket.create_bucket(Bucket="archive")
        send(client, "POST", "/storages", name="hot", kind="pixfs", root=hot.path)
        send(client, "POST", "/storages", name="near", kind="pixfs", root=near.path)
        send(
            client,
            "POST",
            "/settings/s3",
            name="vault",
            url=endpoint,
            region="us-east-1",
            access_key="key",
            secret_key="secret",
            addressing="path",
        )
        send(
            client, "POST", "/storages", name="cloud", kind="s3", root="archive/x", endpoint="vault"
        )
        server.log_in()

        def work(*arguments: str, status: int = 0) -> str:
            return server.jobs("submit", *arguments, "--quiet", "0", "--watch", status=status)

        assert "4 done" in work("compress", "hot:sh010")
        assert xattr(hot.path / "sh010" / "bg.1001.dpx", "state") == "compressed"
        assert "4 done" in work("copy", "hot:sh010/bg.[1001-1004].dpx", "--to", "near:sh010")
        assert read(near.path / "sh010") == frames
        assert xattr(near.path / "sh010" / "bg.1001.dpx", "state") == "compressed"
        assert "SUCCEEDED" in work("verify", "near:sh010")

        assert "4 done" in work("move", "near:sh010", "--to", "cloud:")
        assert not (near.path / "sh010").exists()
        stored = bucket.head_object(Bucket="archive", Key="x/sh010/bg.1001.dpx")
        assert stored["ContentLength"] < len(frames["bg.1001.dpx"])
        send(client, "PUT", "/throttles", storage="near", direction="write", limit_bps=400_000)
        assert "4 done" in work("move", "cloud:sh010", "--to", "near:")
        assert read(near.path / "sh010") == frames
        assert "Contents" not in bucket.list_objects_v2(Bucket="archive")
        limit = os.getxattr(near.path, "user.pixfs.throttle.write")
        assert limit == b"400000"
        send(client, "POST", "/throttles/1/remove")

        text = work("copy", "near:sh010/bg.[1004-1005].dpx", "--to", "hot:x", status=1)
        assert "1 done, 0 skipped, 1 failed" in text
        assert "bg.1005.dpx: the frame does not exist" in server.jobs("errors", "6")
        (near.path / "sh010" / "bg.1005.dpx").write_bytes(frames["bg.1001.dpx"])
        server.jobs("retry", "6")
        assert "2 done" in server.jobs("watch", "6")
        assert "restore" not in server.jobs("list")
        server.jobs("logout")
        assert "nobody is logged in" in server.jobs("list", status=1)


def read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_killed_in_the_middle_of_a_move(server: Server, base: Path) -> None:
    """kill -9 of the server again and again: in the end every file is at its target, once."""
    for name in ("one", "two"):
        (base / name).mkdir()
    data = os.urandom(1 << 16)
    for number in range(400):
        (base / "one" / f"f.{number:04d}").write_bytes(data + str(number).encode())
    with server.client() as client:
        for name in ("one", "two"):
            send(client, "POST", "/storages", name=name, kind="directory", root=base / name)
    server.log_in()
    server.jobs("submit", "move", "one:f.*", "--to", "two:", "--quiet", "0")
    for _ in range(4):
        server.end(signal.SIGKILL)
        server.start()
        server.log_in()
    assert "400 done" in server.jobs("watch", "1")
    assert not list((base / "one").iterdir())
    assert read(base / "two") == {
        f"f.{number:04d}": data + str(number).encode() for number in range(400)
    }
