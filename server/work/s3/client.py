"""How a bucket is reached, and what its answers mean."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

# Without keys boto3 would ask the link-local address of a cloud's metadata service.
os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from server.work.beneath import normalise
from server.work.errors import FileError, StorageError
from server.work.s3.calls import Calls, StoppableClient

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

_GONE = frozenset({"404", "NoSuchKey", "NotFound"})
_DENIED = frozenset({"403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"})
_TAKEN = frozenset({"412", "PreconditionFailed", "ConditionalRequestConflict"})


@contextmanager
def told(root: str) -> Iterator[None]:
    """Turns what boto3 raises into what every storage raises; no key, secret or URL in it.

    ``root``: of the storage that is asked.
    """
    try:
        yield
    except ClientError as error:
        code = _code(error)
        if code in _GONE:
            raise FileNotFoundError(2, "no such object") from error
        if code in _TAKEN:
            raise FileExistsError(17, "an object of that name is there already") from error
        if code in _DENIED:
            raise FileError("permission", "the bucket refuses the server's keys") from error
        if code == "NoSuchBucket":
            raise StorageError("there is no such bucket", root=root) from error
        raise FileError("io", f"the bucket answered {code}", is_transient=True) from error
    except BotoCoreError as error:
        reason = f"the bucket cannot be reached ({type(error).__name__})"
        raise StorageError(reason, root=root) from error


def is_refused_condition(error: ClientError) -> bool:
    """Whether the object is not, or not any more, as the request asked for it."""
    return _code(error) in _TAKEN


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def parse_root(root: str) -> tuple[str, str]:
    """(bucket, key prefix ending in a slash or empty) of ``s3://bucket/prefix``. StorageError."""
    if not root.startswith("s3://"):
        raise StorageError("a bucket is written s3://bucket/prefix")
    bucket, _, prefix = root[len("s3://") :].partition("/")
    prefix = normalise(prefix)
    return bucket, f"{prefix}/" if prefix else ""


def connect(settings: dict[str, Any], stop: threading.Event | None = None) -> StoppableClient:
    """A client, which makes no request yet. BotoCoreError, ValueError: unusable settings.

    ``settings``: endpoint, region, access_key, secret_key, addressing; boto3's own sources where
    they are missing. Its calls raise StoppedError when no answer comes after ``stop`` was set.
    """
    session = boto3.session.Session()
    client = session.client(
        "s3",
        endpoint_url=settings.get("endpoint") or None,
        region_name=settings.get("region") or "us-east-1",
        aws_access_key_id=settings.get("access_key") or None,
        aws_secret_access_key=settings.get("secret_key") or None,
        config=Config(
            connect_timeout=10,
            read_timeout=60,
            retries={"mode": "standard", "max_attempts": 5},
            s3={"addressing_style": settings.get("addressing") or "auto"},
        ),
    )
    return StoppableClient(client, Calls(stop))
