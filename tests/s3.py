"""A server that speaks S3, in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT_S = 180


@contextmanager
def s3_server() -> Iterator[str]:
    """The URL of a running moto server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            assert process.poll() is None, "the S3 server ended"
            assert time.monotonic() < deadline, "the S3 server does not answer"
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(TIMEOUT_S)


def settings(endpoint: str) -> dict[str, Any]:
    """A storage's settings for that server."""
    return {
        "endpoint": endpoint,
        "region": "us-east-1",
        "access_key": "test",
        "secret_key": "test",
        "addressing": "path",
        "part_size": 5 << 20,
    }


def client_of(endpoint: str) -> Any:  # noqa: ANN401
    """A client of that server that is nobody's but the test's."""
    import boto3

    known = settings(endpoint)
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=known["region"],
        aws_access_key_id=known["access_key"],
        aws_secret_access_key=known["secret_key"],
    )
