"""What a verified object is held against: all that it carries and all that its bucket knows."""

from __future__ import annotations

import base64
import hashlib
import os
import zlib
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from server.work.batch import StorageSpec
from server.work.s3.bucket import Bucket
from server.work.s3.calls import StoppableClient
from server.work.s3.evidence import Evidence
from tests.s3 import settings
from tests.t5_core.work import directory, done, planned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from server.work.batch import Outcome

PARTS = (5 << 20, (6 << 20) + 17, 100)


class Stranger:
    """Somebody who sends no checksums to a bucket."""

    def __init__(self, endpoint: str, bucket: Bucket) -> None:
        self.client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(request_checksum_calculation="when_required"),
        )
        self._place = {"Bucket": bucket.name, "Key": "shows/file"}

    def put(self, body: bytes) -> None:
        self.client.put_object(**self._place, Body=body)

    def put_parts(self) -> None:
        """Parts of lengths that no rule tells."""
        upload = self.client.create_multipart_upload(**self._place)["UploadId"]
        parts = []
        for number, size in enumerate(PARTS, start=1):
            answer = self.client.upload_part(
                **self._place, UploadId=upload, PartNumber=number, Body=os.urandom(size)
            )
            parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        self.client.complete_multipart_upload(
            **self._place, UploadId=upload, MultipartUpload={"Parts": parts}
        )


@pytest.fixture
def stranger(endpoint: str, bucket: Bucket) -> Iterator[Stranger]:
    stranger = Stranger(endpoint, bucket)
    yield stranger
    stranger.client.close()


def verified(bucket: Bucket, endpoint: str) -> Outcome:
    (outcome,) = done(planned("verify", spec_of(bucket, endpoint), None, "file"))
    return outcome


def spec_of(bucket: Bucket, endpoint: str) -> StorageSpec:
    return StorageSpec("s3", f"s3://{bucket.name}/shows", settings(endpoint))


def altered(monkeypatch: pytest.MonkeyPatch, bucket: Bucket, **fields: object) -> None:
    """Has the bucket's answers to requests for an object say something else."""
    real = StoppableClient.__getattr__

    def get(self: StoppableClient, operation: str) -> Callable[..., Any]:
        call = real(self, operation)
        if operation != "get_object":
            return call
        return lambda **request: call(**request) | fields

    monkeypatch.setattr(StoppableClient, "__getattr__", get)


def test_a_stranger_s_object_is_held_against_its_etag(
    bucket: Bucket, endpoint: str, stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger.put(b"frame")
    outcome = verified(bucket, endpoint)
    assert (outcome.state, outcome.is_proven) == ("done", True)
    other = hashlib.md5(b"another", usedforsecurity=False).hexdigest()
    damaged = Evidence({"ETag": f'"{other}"', "ContentLength": 5}, no_part)
    damaged.update(b"frame")
    assert not damaged.finish()
    assert "MD5" in damaged.damage


def test_a_stranger_s_parts_are_held_against_their_etag(
    bucket: Bucket, endpoint: str, stranger: Stranger
) -> None:
    stranger.put_parts()
    outcome = verified(bucket, endpoint)
    assert (outcome.state, outcome.is_proven) == ("done", True)


def test_what_a_job_has_sent_in_parts_is_held_against_its_etag(
    bucket: Bucket, endpoint: str, tmp_path: Path
) -> None:
    """Its hash was not known when the upload was begun."""
    (tmp_path / "file").write_bytes(os.urandom(11 << 20))
    done(planned("copy", directory(tmp_path), spec_of(bucket, endpoint), "file"))
    assert "-" in bucket.head("file")["ETag"]
    outcome = verified(bucket, endpoint)
    assert (outcome.state, outcome.is_proven) == ("done", True)


def test_what_is_no_md5_proves_nothing(
    bucket: Bucket, endpoint: str, stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is not taken for damage: with a customer's keys the ETag is some other number."""
    stranger.put(b"frame")
    altered(monkeypatch, bucket, ETag=f'"{"0" * 32}"', ServerSideEncryption="aws:kms")
    monkeypatch.setattr("server.work.s3.source.ObjectSource.check", lambda self: None)
    outcome = verified(bucket, endpoint)
    assert (outcome.state, outcome.is_proven) == ("done", False)


@pytest.mark.parametrize("length", [4, 6])
def test_bytes_that_the_etag_does_not_tell_of_are_damage(
    bucket: Bucket, endpoint: str, stranger: Stranger, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    stranger.put(b"x" * length)
    altered(monkeypatch, bucket, ETag=f'"{"0" * 32}"')
    monkeypatch.setattr("server.work.s3.source.ObjectSource.check", lambda self: None)
    outcome = verified(bucket, endpoint)
    assert (outcome.state, outcome.code) == ("failed", "damaged")
    assert "ETag" in outcome.reason


def test_parts_that_the_etag_does_not_tell_of_are_damage(
    bucket: Bucket, endpoint: str, stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger.put_parts()
    altered(monkeypatch, bucket, ETag=f'"{"0" * 32}-{len(PARTS)}"')
    monkeypatch.setattr("server.work.s3.source.ObjectSource.check", lambda self: None)
    outcome = verified(bucket, endpoint)
    assert (outcome.state, outcome.code) == ("failed", "damaged")


def test_an_object_that_is_exchanged_meanwhile_is_not_judged(
    bucket: Bucket, endpoint: str, stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parts are asked for by the name that another object has by now."""
    stranger.put_parts()
    head_of = Bucket._head_of_part

    def exchanged(self: Bucket, path: str, number: int) -> dict[str, Any]:
        head = head_of(self, path, number)
        if number == len(PARTS):
            stranger.put(b"another")
        return head

    monkeypatch.setattr(Bucket, "_head_of_part", exchanged)
    outcome = verified(bucket, endpoint)
    assert (outcome.state, outcome.code, outcome.is_transient) == ("failed", "changed", True)


def no_part(number: int) -> dict[str, Any]:
    raise AssertionError(number)


BYTES = os.urandom(1000)
HALVES = (BYTES[:600], BYTES[600:])
SUMS: dict[str, Callable[[bytes], bytes]] = {
    "ChecksumSHA256": lambda data: hashlib.sha256(data).digest(),
    "ChecksumSHA1": lambda data: hashlib.sha1(data).digest(),
    "ChecksumCRC32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
}


def heads(name: str) -> list[dict[str, Any]]:
    """As a bucket tells of two parts that have checksums of their own."""
    return [
        {
            "ContentLength": len(half),
            "PartsCount": 2,
            name: base64.b64encode(SUMS[name](half)).decode(),
        }
        for half in HALVES
    ]


ENCRYPTED = {
    "ETag": f'"{"0" * 32}-2"',
    "ContentLength": len(BYTES),
    "ServerSideEncryption": "aws:kms",
    "ChecksumSHA256": "of-parts-2",
}


@pytest.mark.parametrize("name", sorted(SUMS))
@pytest.mark.parametrize("step", [1, 7, 600, 1000])
def test_parts_are_held_against_checksums_of_their_own(name: str, step: int) -> None:
    """Whatever pieces the bytes come in."""
    told = heads(name)
    for is_damaged in (False, True):
        evidence = Evidence(ENCRYPTED, lambda number: told[number - 1])
        data = BYTES[:-1] + bytes([BYTES[-1] ^ is_damaged])
        for at in range(0, len(data), step):
            evidence.update(data[at : at + step])
        assert evidence.finish() is not is_damaged
        assert bool(evidence.damage) is is_damaged
        assert "part 2" in evidence.damage or not is_damaged


@pytest.mark.parametrize(
    "told",
    [
        [{"ContentLength": 1000}],  # it knows of no parts, and tells of the whole
        [{"ContentLength": 600, "PartsCount": 3}],
        [{"ContentLength": 0, "PartsCount": 2}],
        [{"ContentLength": 600, "PartsCount": 2}],  # encrypted, and no checksum either
    ],
)
def test_a_bucket_that_tells_nothing_of_its_parts_proves_nothing(
    told: list[dict[str, Any]],
) -> None:
    evidence = Evidence(ENCRYPTED, lambda number: told[number - 1])
    evidence.update(BYTES)
    assert (evidence.finish(), evidence.damage) == (False, "")


@pytest.mark.parametrize("etag", ["", '"0x8DABCDEF"', '"ABCDEF-"', f'"{"0" * 31}"'])
def test_an_etag_of_another_kind_proves_nothing(etag: str) -> None:
    evidence = Evidence({"ETag": etag, "ContentLength": 5}, no_part)
    evidence.update(b"frame")
    assert (evidence.finish(), evidence.damage) == (False, "")


def test_the_etags_of_directory_buckets_prove_nothing() -> None:
    for etag in ("0" * 32, f"{'0' * 32}-2"):
        told = {"ETag": f'"{etag}"', "ContentLength": 1000}
        evidence = Evidence(
            told, lambda number: {"ContentLength": 500, "PartsCount": 2}, has_md5=False
        )
        evidence.update(BYTES)
        assert (evidence.finish(), evidence.damage) == (False, "")


def test_bytes_that_lack_at_the_end_prove_nothing() -> None:
    told = heads("ChecksumSHA256")
    evidence = Evidence(ENCRYPTED, lambda number: told[number - 1])
    evidence.update(BYTES[:999])
    assert (evidence.finish(), evidence.damage) == (False, "")


def test_an_empty_object_has_an_etag_too() -> None:
    etag = hashlib.md5(b"", usedforsecurity=False).hexdigest()
    assert Evidence({"ETag": f'"{etag}"', "ContentLength": 0}, no_part).finish()
