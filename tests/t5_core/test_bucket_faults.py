"""A bucket that fails, lies or breaks off: nothing is lost, nothing half lands, nothing is left."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from pixfs.transfer.attributes import Attributes
from server.work.actions import open_storage
from server.work.batch import Options, StorageSpec
from server.work.errors import StorageError
from server.work.s3.bucket import Bucket
from server.work.s3.target import ObjectTarget
from tests.s3 import settings
from tests.s3_faults import FaultyS3, faulty_s3
from tests.t5_core.work import directory, done, planned, tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from server.work.batch import Outcome

BIG = 12 << 20


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Boto3 tries again at once."""
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda seconds: None))


@pytest.fixture(scope="module")
def between(endpoint: str) -> Iterator[FaultyS3]:
    with faulty_s3(endpoint) as between:
        yield between


@pytest.fixture
def bucket(endpoint: str, between: FaultyS3, request: pytest.FixtureRequest) -> Iterator[Bucket]:
    """The bucket as it is, whatever stands before it."""
    name = f"f{abs(hash(request.node.nodeid)):x}"
    bucket = Bucket(f"s3://{name}/shows", settings(endpoint))
    bucket.client.create_bucket(Bucket=name)
    between.heal()
    yield bucket
    bucket.close()


@pytest.fixture
def there(bucket: Bucket, between: FaultyS3) -> StorageSpec:
    """The bucket as a job reaches it, through what spoils."""
    return StorageSpec("s3", f"s3://{bucket.name}/shows", settings(between.url))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.mkdir()
    (path / "small").write_bytes(os.urandom(1000))
    (path / "big").write_bytes(os.urandom(BIG))
    return path


def is_put(method: str, path: str) -> bool:
    return method == "PUT" and "uploadId" not in path and ".pixfs" not in path


def is_part(method: str, path: str) -> bool:
    return method == "PUT" and "partNumber" in path


def is_begin(method: str, path: str) -> bool:
    return method == "POST" and path.endswith("?uploads")


def is_completion(method: str, path: str) -> bool:
    return method == "POST" and "uploadId" in path


def is_note(method: str, path: str) -> bool:
    return method == "PUT" and ".pixfs" in path


def is_look(method: str, path: str) -> bool:
    return method == "HEAD"


def is_download(method: str, path: str) -> bool:
    return method == "GET" and "?" not in path and ".pixfs" not in path


REQUESTS = {
    "put": (is_put, "small"),
    "part": (is_part, "big"),
    "begin": (is_begin, "big"),
    "completion": (is_completion, "big"),
    "note": (is_note, "big"),
    "look": (is_look, "small"),
}


def left(bucket: Bucket) -> tuple[int, int]:
    """Uploads that were not completed, and notes of some."""
    uploads = bucket.client.list_multipart_uploads(Bucket=bucket.name).get("Uploads", [])
    notes = bucket.client.list_objects_v2(Bucket=bucket.name, Prefix="shows/.pixfs/")["KeyCount"]
    return len(uploads), int(notes)


def stored(bucket: Bucket, name: str) -> bytes:
    data: bytes = bucket.client.get_object(Bucket=bucket.name, Key=f"shows/{name}")["Body"].read()
    return data


@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize("fault", ["500", "503", "hang-up", "lost"])
def test_an_upload_survives_what_passes(
    request_: str, fault: str, source: Path, there: StorageSpec, bucket: Bucket, between: FaultyS3
) -> None:
    which, name = REQUESTS[request_]
    between.spoil(which, fault, 2)
    (outcome,) = done(planned("copy", directory(source), there, name))
    assert (outcome.state, outcome.code) == ("done", "")
    assert stored(bucket, name) == (source / name).read_bytes()
    assert left(bucket) == (0, 0)


@pytest.mark.parametrize("fault", ["500", "503"])
@pytest.mark.parametrize("request_", ["put", "part", "completion"])
def test_an_upload_that_always_fails_is_given_up_and_leaves_nothing(
    request_: str, fault: str, source: Path, there: StorageSpec, bucket: Bucket, between: FaultyS3
) -> None:
    which, name = REQUESTS[request_]
    between.spoil(which, fault, 1000)
    (outcome,) = done(planned("copy", directory(source), there, name))
    assert (outcome.state, outcome.code, outcome.is_transient) == ("failed", "io", True)
    assert 1 < sum(which(*seen) for seen in between.seen) <= 6, "it is tried again, not for ever"
    assert left(bucket) == (0, 0)
    assert "Contents" not in bucket.client.list_objects_v2(Bucket=bucket.name)
    between.heal()
    (outcome,) = done(planned("copy", directory(source), there, name))
    assert outcome.state == "done"


def test_a_bucket_that_is_never_there_is_a_storage_s_fault(
    source: Path, there: StorageSpec, bucket: Bucket, between: FaultyS3
) -> None:
    """Its files wait for it; each request is tried a few times only."""
    between.spoil(lambda method, path: True, "hang-up", 1000)
    with pytest.raises(StorageError):
        done(planned("copy", directory(source), there, "small"))
    assert len(between.seen) <= 6


def downloaded(there: StorageSpec, target: Path, name: str, **options: str) -> Outcome:
    batch = planned("copy", there, directory(target), name, options=Options(**options))  # type: ignore[arg-type]
    (outcome,) = done(batch)
    return outcome


@pytest.mark.parametrize("fault", ["500", "503", "hang-up", "lost"])
def test_a_download_survives_what_passes(
    fault: str, source: Path, target: Path, there: StorageSpec, between: FaultyS3
) -> None:
    done(planned("copy", directory(source), there, "small"))
    between.spoil(is_download, fault, 2)
    assert downloaded(there, target, "small").state == "done"
    assert tree(target)["small"] == (source / "small").read_bytes()


def test_a_download_that_breaks_off_does_not_land(
    source: Path, target: Path, there: StorageSpec, between: FaultyS3
) -> None:
    done(planned("copy", directory(source), there, "big"))
    between.spoil(is_download, "truncated", 1000)
    outcome = downloaded(there, target, "big")
    assert (outcome.state, outcome.code, outcome.is_transient) == ("failed", "io", True)
    assert tree(target) == {}
    between.heal()
    assert downloaded(there, target, "big").state == "done"
    assert tree(target) == {"big": (source / "big").read_bytes()}


@pytest.mark.parametrize("is_ours", [True, False])
@pytest.mark.parametrize("verify", ["hash", "size"])
def test_a_download_with_a_flipped_bit_does_not_land(
    is_ours: bool,
    verify: str,
    source: Path,
    target: Path,
    there: StorageSpec,
    bucket: Bucket,
    between: FaultyS3,
) -> None:
    """Nor one of an object that somebody else has put there."""
    if is_ours:
        done(planned("copy", directory(source), there, "small"))
    else:
        body = (source / "small").read_bytes()
        bucket.client.put_object(Bucket=bucket.name, Key="shows/small", Body=body)
    between.spoil(is_download, "flipped", 1)
    outcome = downloaded(there, target, "small", verify=verify)
    assert (outcome.state, outcome.code) == ("failed", "damaged")
    assert tree(target) == {}
    assert downloaded(there, target, "small").state == "done"
    assert tree(target) == {"small": (source / "small").read_bytes()}


@pytest.mark.parametrize("name", ["small", "big"])
def test_what_is_read_back_wrong_is_not_called_done(
    name: str, source: Path, there: StorageSpec, between: FaultyS3
) -> None:
    between.spoil(is_download, "flipped", 1)
    (outcome,) = done(planned("copy", directory(source), there, name))
    assert (outcome.state, outcome.is_transient) == ("failed", True)
    assert outcome.code in ("verify-failed", "damaged")


NAMES = [
    "per%2Fcent",
    "%2e%2e%2fup",
    "plus+and&=#?.dpx",
    "a:b*c|d\\e",
    " blank ",
    "ümläut",
    "u\u0308mla\u0308ut",
    "日本語/フレーム.dpx",
    "\U0001f3ac",
    "-rf",
    "a" * 255 + "/" + "b" * 255 + "/" + "c" * 255 + "/" + "d" * 250,
]


def test_names_are_kept_one_to_one(
    tmp_path: Path, target: Path, there: StorageSpec, bucket: Bucket
) -> None:
    names = tmp_path / "names"
    for number, name in enumerate(NAMES):
        (names / name).parent.mkdir(parents=True, exist_ok=True)
        (names / name).write_bytes(b"%d" % number)
    assert max(len(f"shows/{name}".encode()) for name in NAMES) == 1024
    outcomes = done(planned("copy", directory(names), there, ""))
    assert [outcome.state for outcome in outcomes] == ["done"] * len(NAMES)
    listing = bucket.client.list_objects_v2(Bucket=bucket.name)
    assert {found["Key"] for found in listing["Contents"]} == {f"shows/{name}" for name in NAMES}
    done(planned("copy", there, directory(target), ""))
    assert tree(target) == tree(names)
    assert len(tree(target)) == len(NAMES)


def test_a_name_that_is_a_prefix_of_others_hides_nothing(
    target: Path, there: StorageSpec, bucket: Bucket
) -> None:
    """In a bucket ``a`` and ``a/b`` can both be; in a directory they cannot, which is told."""
    for key in ("a", "a/b", "ab"):
        bucket.client.put_object(Bucket=bucket.name, Key=f"shows/{key}", Body=key.encode())
    outcomes = done(planned("copy", there, directory(target), ""))
    states = sorted((outcome.state, outcome.code) for outcome in outcomes)
    assert [state for state, _ in states] == ["done", "done", "failed"]
    assert states[2][1] in ("exists", "not-found", "not-a-file")
    landed = tree(target)
    assert landed.items() <= {"a": b"a", "a/b": b"a/b", "ab": b"ab"}.items()
    assert landed["ab"] == b"ab"


def test_the_largest_object_fits_into_ten_thousand_parts() -> None:
    bucket = Bucket(
        "s3://none/x", {"endpoint": "http://127.0.0.1:1", "access_key": "a", "secret_key": "b"}
    )
    upload = ObjectTarget(bucket, "huge", Attributes(mode=0o644), stored=False)
    sizes: list[int] = []
    while sum(sizes) < 5 << 40:
        sizes.append(upload._part_size())
        upload._parts.append({})
    bucket.close()
    assert len(sizes) <= 10_000
    assert min(sizes) >= 5 << 20
    assert max(sizes) <= 5 << 30


def test_a_storage_of_a_bucket_is_opened_without_a_request(
    between: FaultyS3, there: StorageSpec
) -> None:
    between.heal()
    open_storage(there).close()
    assert between.seen == []
