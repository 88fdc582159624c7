"""Files in an S3 bucket, through a server that speaks S3."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from server.work.actions import clear, open_storage
from server.work.away import away_side
from server.work.batch import Batch, File, Options, StorageSpec
from server.work.errors import StorageError
from server.work.flow import Flow
from server.work.s3.target import ObjectTarget
from tests.s3 import settings
from tests.t5_core.work import directory, done, planned, selected, tree

if TYPE_CHECKING:
    from pathlib import Path

    from server.work.s3.bucket import Bucket

BIG = 12 << 20


def spec_of(bucket: Bucket, endpoint: str, prefix: str = "shows") -> StorageSpec:
    return StorageSpec("s3", f"s3://{bucket.name}/{prefix}", settings(endpoint))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    (path / "shot").mkdir(parents=True)
    (path / "shot" / "big.bin").write_bytes(os.urandom(BIG))
    (path / "shot" / "ümläut #1+2%.txt").write_bytes(b"name")
    (path / "shot" / "empty").write_bytes(b"")
    os.utime(path / "shot" / "empty", ns=(10**18 + 1, 10**18 + 1))
    return path


def uploads(bucket: Bucket) -> list[str]:
    listing = bucket.client.list_multipart_uploads(Bucket=bucket.name)
    return [upload["UploadId"] for upload in listing.get("Uploads", [])]


def notes(bucket: Bucket) -> int:
    listing = bucket.client.list_objects_v2(Bucket=bucket.name, Prefix="shows/.pixfs/")
    return int(listing["KeyCount"])


def test_there_and_back(source: Path, bucket: Bucket, endpoint: str, tmp_path: Path) -> None:
    there = spec_of(bucket, endpoint)
    outcomes = done(planned("copy", directory(source), there, "shot"))
    assert [outcome.state for outcome in outcomes] == ["done"] * 3
    assert (uploads(bucket), notes(bucket)) == ([], 0)
    found = selected(there, "shot")
    assert [chosen.entry.path for chosen in found.folders] == ["shot"]
    back = tmp_path / "back"
    back.mkdir()
    outcomes = done(planned("copy", there, directory(back), "shot"))
    assert [outcome.state for outcome in outcomes] == ["done"] * 3
    assert tree(back) == tree(source)
    empty = back / "shot" / "empty"
    assert empty.stat().st_mtime_ns == 10**18 + 1


def test_copying_again_does_nothing(source: Path, bucket: Bucket, endpoint: str) -> None:
    there = spec_of(bucket, endpoint)
    batch = planned("copy", directory(source), there, "shot")
    done(batch)
    assert [outcome.state for outcome in done(batch)] == ["skipped"] * 3


def test_an_object_is_not_overwritten_unasked(source: Path, bucket: Bucket, endpoint: str) -> None:
    there = spec_of(bucket, endpoint)
    key = "shows/big.bin"
    bucket.client.put_object(Bucket=bucket.name, Key=key, Body=b"another")
    batch = planned("copy", directory(source), there, "shot/big.bin")
    (outcome,) = done(batch)
    assert (outcome.state, outcome.code) == ("failed", "exists")
    (outcome,) = done(replace(batch, options=Options(overwrite="replace")))
    assert outcome.state == "done"
    assert bucket.head("big.bin")["ContentLength"] == BIG


def test_the_race_for_a_name_is_lost_with_an_error(
    source: Path, bucket: Bucket, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = ObjectTarget.finish

    def overtaken(self: ObjectTarget) -> None:
        finish(self)
        bucket.client.put_object(Bucket=bucket.name, Key="shows/empty", Body=b"quicker")

    monkeypatch.setattr(ObjectTarget, "finish", overtaken)
    (outcome,) = done(planned("copy", directory(source), spec_of(bucket, endpoint), "shot/empty"))
    assert (outcome.state, outcome.code) == ("failed", "exists")
    assert bucket.head("empty")["ContentLength"] == len(b"quicker")


def test_an_upload_that_was_cut_off_is_gone_on_with(
    source: Path, bucket: Bucket, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed worker abandons nothing; the next attempt sends only the parts that lack."""
    batch = planned("copy", directory(source), spec_of(bucket, endpoint), "shot/big.bin")

    class Killed(BaseException):
        pass

    def killed(self: ObjectTarget) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(ObjectTarget, "finish", killed)
        patch.setattr(ObjectTarget, "abandon", lambda self: None)
        with pytest.raises(Killed):
            done(batch)
    (upload,) = uploads(bucket)
    sent: list[int] = []

    def watched(**request: object) -> object:
        sent.append(request["PartNumber"])
        return real(**request)

    original = ObjectTarget._send_part
    real: Any = None

    def send(self: ObjectTarget, data: bytes) -> None:
        nonlocal real
        if self._bucket.client.upload_part is not watched:
            real = self._bucket.client.upload_part
            self._bucket.client.upload_part = watched
        original(self, data)

    monkeypatch.setattr(ObjectTarget, "_send_part", send)
    (outcome,) = done(replace(batch, attempt=2, lost=(1,)))
    assert outcome.state == "done"
    assert sent == [3]
    assert upload not in uploads(bucket)
    assert (uploads(bucket), notes(bucket)) == ([], 0)


def test_an_upload_of_another_file_is_given_up(source: Path, bucket: Bucket, endpoint: str) -> None:
    first, _ = bucket.unfinished.resume("shows/big.bin", {"pixfs-mtime": "1"})
    (outcome,) = done(
        planned("copy", directory(source), spec_of(bucket, endpoint), "shot/big.bin", lost=(1,))
    )
    assert outcome.state == "done"
    assert first not in uploads(bucket)
    assert (uploads(bucket), notes(bucket)) == ([], 0)


def test_cancelling_leaves_no_parts(source: Path, bucket: Bucket, endpoint: str) -> None:
    bucket.unfinished.resume("shows/big.bin", {})
    batch = planned("copy", directory(source), spec_of(bucket, endpoint), "shot/big.bin", lost=(1,))
    clear(batch, Flow())
    assert (uploads(bucket), notes(bucket)) == ([], 0)


def test_a_damaged_object_is_found(bucket: Bucket, endpoint: str, source: Path) -> None:
    there = spec_of(bucket, endpoint)
    done(planned("copy", directory(source), there, "shot/ümläut #1+2%.txt"))
    name = "ümläut #1+2%.txt"
    head = bucket.head(name)
    bucket.client.put_object(
        Bucket=bucket.name, Key=bucket.key(name), Body=b"nbme", Metadata=head["Metadata"]
    )
    (outcome,) = done(planned("verify", there, None, name))
    assert (outcome.state, outcome.code) == ("failed", "damaged")
    (outcome,) = done(planned("copy", there, directory(source), name))
    assert (outcome.state, outcome.code) == ("failed", "damaged")
    assert name not in tree(source)


def test_deleting_an_object(bucket: Bucket, endpoint: str, source: Path) -> None:
    there = spec_of(bucket, endpoint)
    done(planned("copy", directory(source), there, "shot"))
    batch = planned("delete", there, None, "shot")
    bucket.client.put_object(Bucket=bucket.name, Key="shows/shot/empty", Body=b"new")
    states = {batch.files[o.number].path: o.code for o in done(batch)}
    assert states.pop("shot/empty") == "changed"
    assert set(states.values()) == {""}


@pytest.mark.parametrize("key", ["a//b", "/a", "a/../b", "./a"])
def test_keys_that_are_no_paths_are_refused(bucket: Bucket, endpoint: str, key: str) -> None:
    bucket.client.put_object(Bucket=bucket.name, Key=f"shows/{key}", Body=b"x")
    found = selected(spec_of(bucket, endpoint), "")
    assert found.files == []
    assert [path for path, _ in found.refused] == [key]


def test_paths_too_long_for_a_key(bucket: Bucket, endpoint: str, source: Path) -> None:
    batch = planned("copy", directory(source), spec_of(bucket, endpoint), "shot/empty")
    files = (replace(batch.files[0], target="/".join(["x" * 200] * 6)),)
    (outcome,) = done(replace(batch, files=files))
    assert (outcome.state, outcome.code) == ("failed", "bad-path")


def test_wrong_keys_and_missing_buckets(bucket: Bucket, endpoint: str, source: Path) -> None:
    missing = StorageSpec("s3", "s3://there-is-none/x", settings(endpoint))
    with pytest.raises(StorageError, match="no such bucket") as none:
        done(planned("copy", directory(source), missing, "shot/empty"))
    assert away_side(none.value, directory(source), missing) == "target"
    nowhere = StorageSpec("s3", "s3://b/x", settings("http://127.0.0.1:1"))
    with pytest.raises(StorageError, match="cannot be reached") as away:
        done(planned("copy", directory(source), nowhere, "shot/empty"))
    assert away_side(away.value, directory(source), nowhere) == "target"
    assert away_side(away.value, nowhere, directory(source)) == "source"


def test_without_keys_no_cloud_is_asked_for_some() -> None:
    """Boto3 would ask the metadata service, at an address that only machines in a cloud have."""
    program = """
import os, socket
for name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[name]
os.environ["HOME"] = "/nonexistent"
asked = []
socket.socket.connect = lambda self, address: asked.append(address)
socket.socket.connect_ex = lambda self, address: asked.append(address) or 111
from server.work.errors import StorageError
from server.work.s3.bucket import Bucket
try:
    Bucket("s3://frames/x", {}).stat("a")
except StorageError as error:
    print(error, asked)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=180, check=True
    )
    assert done.stdout == "the bucket cannot be reached (NoCredentialsError) []\n"


def test_secrets_are_not_shown(bucket: Bucket, endpoint: str) -> None:
    spec = StorageSpec("s3", "s3://b/x", settings(endpoint) | {"secret_key": "canary-41"})
    batch = Batch("1-1", 1, "copy", spec, spec, Options(), (File(0, "a", "a", 1, 1),))
    assert "canary-41" not in repr(batch)
    storage = open_storage(spec)
    assert "canary-41" not in repr(vars(storage))
    storage.close()
