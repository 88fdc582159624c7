"""Storages in an S3 bucket.

A file is one object; a folder is where keys share a prefix. An object takes its name whole, when
its single upload or the last of its parts is complete, so nothing has to be renamed. Parts that
an attempt which was cut off has left behind are used again when they hold the same bytes.

Metadata of an object (``x-amz-meta-...``): ``pixfs-mtime`` and ``pixfs-mode`` of the file,
``pixfs-size`` its bytes, ``pixfs-stored: container`` when the object is the PXF container that
holds the file, ``pixfs-original`` the XXH3-128 of the file a container holds, ``pixfs-xxh3`` the
XXH3-128 of the object's own bytes, where they were known before it was begun.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, Literal

# Without keys boto3 would ask the link-local address of a cloud's metadata service.
os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")

import boto3
import xxhash
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

import codec
from pixfs.transfer.attributes import Attributes
from server.work.beneath import normalise
from server.work.errors import FileError, StorageError
from server.work.storage import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from server.work.storage import Target

log = logging.getLogger(__name__)

CHUNK = 1 << 20
PART_SIZE = 16 << 20
# An upload has 10,000 parts at most: they grow, so that 5 TiB, the largest object, still fit.
_PARTS_OF_A_SIZE = 1000
_LONGEST_KEY = 1024
# Below the storage's prefix: what uploads that are under way were begun with.
_NOTES = ".pixfs/uploads/"
_MTIME, _MODE, _SIZE = "pixfs-mtime", "pixfs-mode", "pixfs-size"
_STORED, _ORIGINAL, _DIGEST = "pixfs-stored", "pixfs-original", "pixfs-xxh3"
_GONE = frozenset({"404", "NoSuchKey", "NotFound"})
_DENIED = frozenset({"403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"})
_TAKEN = frozenset({"412", "PreconditionFailed", "ConditionalRequestConflict"})


@contextmanager
def told() -> Iterator[None]:
    """Turns what boto3 raises into what every storage raises; no key, secret or URL in it."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _GONE:
            raise FileNotFoundError(2, "no such object") from error
        if code in _TAKEN:
            raise FileExistsError(17, "an object of that name is there already") from error
        if code in _DENIED:
            raise FileError("permission", "the bucket refuses the server's keys") from error
        if code == "NoSuchBucket":
            raise StorageError("there is no such bucket") from error
        raise FileError("io", f"the bucket answered {code}", is_transient=True) from error
    except BotoCoreError as error:
        raise StorageError(f"the bucket cannot be reached ({type(error).__name__})") from error


def _address(root: str) -> tuple[str, str]:
    """(bucket, key prefix ending in a slash or empty) of ``s3://bucket/prefix``."""
    if not root.startswith("s3://"):
        raise StorageError("a bucket is written s3://bucket/prefix")
    bucket, _, prefix = root[len("s3://") :].partition("/")
    prefix = normalise(prefix)
    return bucket, f"{prefix}/" if prefix else ""


def _client(settings: dict[str, Any]) -> Any:  # noqa: ANN401
    session = boto3.session.Session()
    return session.client(
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


def _mtime_ns(head: dict[str, Any]) -> int:
    kept = head.get("Metadata", {}).get(_MTIME, "")
    if kept.isdecimal():
        return int(kept)
    return int(head["LastModified"].timestamp()) * 10**9


def _attributes(head: dict[str, Any]) -> Attributes:
    mode = head.get("Metadata", {}).get(_MODE, "")
    try:
        bits = int(mode, 8) & 0o7777 if mode else 0o644
    except ValueError:
        bits = 0o644
    return Attributes(mode=bits, mtime_ns=_mtime_ns(head))


class ObjectSource:
    """An object being read, or the file inside the container it is."""

    def __init__(self, bucket: Bucket, path: str, *, stored: bool) -> None:
        self._bucket = bucket
        with told():
            self._answer = bucket.client.get_object(Bucket=bucket.name, Key=bucket.key(path))
        self._body = self._answer["Body"]
        metadata = self._answer.get("Metadata", {})
        is_container = metadata.get(_STORED) == "container"
        self.entry = bucket.entry_of(path, self._answer)
        self.attributes = _attributes(self._answer)
        self.is_stored = is_container and stored
        self.original = metadata.get(_ORIGINAL, "") if is_container else ""
        self.size = int(self._answer["ContentLength"])
        self._expected = metadata.get(_DIGEST, "")
        self._digest = xxhash.xxh3_128()
        self._spool: IO[bytes] | None = None
        if is_container and not stored:
            self._decode()

    def _decode(self) -> None:
        """Brings the container here, because decoding it reads here and there."""
        self._spool = tempfile.TemporaryFile(prefix="pixfs-")  # noqa: SIM115
        try:
            while data := self._fetch(CHUNK):
                self._spool.write(data)
            self._spool.flush()
            self._reader = codec.Reader(self._spool.fileno())
        except codec.CodecError as error:
            self.close()
            raise FileError("damaged", f"the stored container is damaged: {error}") from error
        except BaseException:
            self.close()
            raise
        self.size = self._reader.original_length
        self._at = 0
        self._plain = xxhash.xxh3_128()

    def _fetch(self, size: int) -> bytes:
        """The object's next bytes; at its end they must have been those that were stored."""
        try:
            with told():
                data: bytes = self._body.read(size)
        except (OSError, StorageError):
            raise
        except Exception as error:  # urllib3 raises its own
            raise FileError("io", "the download broke off", is_transient=True) from error
        self._digest.update(data)
        if not data and self._expected and self._digest.hexdigest() != self._expected:
            raise FileError("damaged", "the object is not what was stored in it")
        return data

    def read(self, size: int) -> bytes:
        """The next bytes."""
        if self._spool is None:
            return self._fetch(size)
        try:
            data = self._reader.read(self._at, size)
        except codec.CodecError as error:
            raise FileError("damaged", f"the stored container is damaged: {error}") from error
        self._at += len(data)
        self._plain.update(data)
        if not data and self._reader.hash and self._plain.hexdigest() != self._reader.hash:
            raise FileError("damaged", "the container does not hold the file it names")
        return data

    def read_at(self, offset: int, size: int) -> bytes:
        """Bytes from anywhere in the file inside a container."""
        if self._spool is None:
            raise FileError("unsupported", "only a container's file is read from anywhere")
        try:
            return self._reader.read(offset, size)
        except codec.CodecError as error:
            raise FileError("damaged", f"the stored container is damaged: {error}") from error

    def check(self) -> None:
        """FileError when another object has taken the name meanwhile."""
        if self._bucket.stat(self.entry.path).version != self.entry.version:
            raise FileError("changed", "it changed while it was read", is_transient=True)

    def close(self) -> None:
        """Lets the connection go."""
        self._body.close()
        if self._spool is not None:
            self._spool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class ObjectTarget:
    """An object being uploaded: in one piece while it is small, in parts beyond.

    Every request carries the checksum of its bytes, which the bucket compares with what arrived.
    """

    def __init__(self, bucket: Bucket, path: str, attributes: Attributes, *, stored: bool) -> None:
        self.path = path
        self._bucket = bucket
        self._key = bucket.key(path)
        self._is_stored = stored
        self._metadata = {_MODE: f"{attributes.mode & 0o7777:o}"}
        if attributes.mtime_ns is not None:
            self._metadata[_MTIME] = str(attributes.mtime_ns)
        self._buffer = bytearray()
        self._digest = xxhash.xxh3_128()
        self._upload: str | None = None
        self._found: dict[int, tuple[int, str]] = {}
        self._parts: list[dict[str, Any]] = []
        self._size = 0
        self._reads_back = False

    def holds(self, data: bytes) -> bool:
        """Parts are compared as wholes, when they would be sent."""
        return False

    def write(self, data: bytes) -> None:
        """Collects; uploads a part when there are enough bytes for one."""
        if not self._size and self._is_stored:
            header = codec.parse_header(data[: codec.HEAD_SIZE])
            self._metadata |= {
                _STORED: "container",
                _SIZE: str(header.original_length),
                _ORIGINAL: header.hash.hex(),
            }
        self._buffer += data
        self._digest.update(data)
        self._size += len(data)
        while len(self._buffer) > (size := self._part_size()):
            self._send_part(bytes(self._buffer[:size]))
            del self._buffer[:size]

    def _part_size(self) -> int:
        return self._bucket.part_size << (len(self._parts) // _PARTS_OF_A_SIZE)

    def _send_part(self, data: bytes) -> None:
        if self._upload is None:
            self._upload, self._found = self._bucket.resume(self._key, self._metadata)
        number = len(self._parts) + 1
        size, etag = self._found.get(number, (-1, ""))
        if size == len(data) and etag.strip('"') == hashlib.md5(data).hexdigest():
            self._parts.append({"PartNumber": number, "ETag": etag})
            return
        with told():
            answer = self._bucket.client.upload_part(
                Bucket=self._bucket.name,
                Key=self._key,
                UploadId=self._upload,
                PartNumber=number,
                Body=data,
                ChecksumAlgorithm="SHA256",
            )
        part = {"PartNumber": number, "ETag": answer["ETag"]}
        if "ChecksumSHA256" in answer:
            part["ChecksumSHA256"] = answer["ChecksumSHA256"]
        self._parts.append(part)

    def written(self) -> None:
        """Parts are on their way as soon as they are full."""

    def prepare(self) -> None:
        """An object gets its attributes when it is begun."""

    def fetch(self) -> None:
        """Nothing is there before ``commit``."""

    def finish(self) -> None:
        """Uploads the last part, if there are parts at all."""
        if self._upload is not None and self._buffer:
            self._send_part(bytes(self._buffer))
            self._buffer.clear()

    def digest(self, check: Callable[[], None]) -> str:
        """Of what was sent and confirmed; ``commit`` then reads the object back."""
        self._reads_back = True
        return self._digest.hexdigest()

    def commit(self, *, replace: bool) -> None:
        """Completes the object under its name."""
        condition = {} if replace else {"IfNoneMatch": "*"}
        with told():
            if self._upload is None:
                self._bucket.client.put_object(
                    Bucket=self._bucket.name,
                    Key=self._key,
                    Body=bytes(self._buffer),
                    Metadata=self._metadata | {_DIGEST: self._digest.hexdigest()},
                    ChecksumAlgorithm="SHA256",
                    **condition,
                )
            else:
                self._bucket.client.complete_multipart_upload(
                    Bucket=self._bucket.name,
                    Key=self._key,
                    UploadId=self._upload,
                    MultipartUpload={"Parts": self._parts},
                    **condition,
                )
        if self._upload is not None:
            self._upload = None
            self._bucket.forget_upload(self._key)
        self._buffer.clear()
        self._check_landed()

    def _check_landed(self) -> None:
        if not self._reads_back:
            found = self._bucket.head(self.path)
            if int(found["ContentLength"]) != self._size:
                raise FileError("verify-failed", "the object has not the size that was sent")
            return
        digest = xxhash.xxh3_128()
        with ObjectSource(self._bucket, self.path, stored=True) as landed:
            while data := landed.read(CHUNK):
                digest.update(data)
        if digest.hexdigest() != self._digest.hexdigest():
            raise FileError("verify-failed", "what landed is not what was read", is_transient=True)

    def keep(self) -> bool:
        """Leaves the parts that were uploaded, and the note that finds them."""
        upload, self._upload = self._upload, None
        self._buffer.clear()
        return upload is not None

    def abandon(self) -> None:
        """Gives the parts up that were not completed."""
        upload, self._upload = self._upload, None
        self._buffer.clear()
        if upload is not None:
            with suppress(Exception):
                self._bucket.client.abort_multipart_upload(
                    Bucket=self._bucket.name, Key=self._key, UploadId=upload
                )
                self._bucket.forget_upload(self._key)


class Bucket:
    """A bucket, or what stands below a prefix in it, as a storage."""

    @property
    def takes_containers(self) -> bool:
        """An object may be a container; its metadata says so."""
        return True

    def __init__(self, root: str, settings: dict[str, Any]) -> None:
        """Makes a client; the first request is the first to reach the bucket. StorageError.

        ``settings``: endpoint, region, access_key, secret_key, addressing, part_size; boto3's
        own sources where they are missing.
        """
        self.name, self._prefix = _address(root)
        self.part_size = int(settings.get("part_size") or PART_SIZE)
        try:
            self.client = _client(settings)
        except (BotoCoreError, ValueError) as error:
            raise StorageError(f"the bucket's settings cannot be used: {error}") from error

    def close(self) -> None:
        """Lets the connections go."""
        self.client.close()

    def key(self, path: str) -> str:
        """The key of a path; FileError where no key can be it."""
        key = self._prefix + path
        try:
            length = len(key.encode())
        except UnicodeEncodeError:
            raise FileError("bad-path", "a bucket takes names in UTF-8 only") from None
        if not 0 < length <= _LONGEST_KEY:
            raise FileError("bad-path", "a bucket takes paths of 1,024 bytes at most")
        return key

    def is_container(self, path: str) -> bool:
        """Whether an object is the container that holds the file; FileNotFoundError."""
        return bool(self.head(path).get("Metadata", {}).get(_STORED) == "container")

    def get_from(self, entry: Entry, offset: int) -> Any:  # noqa: ANN401
        """The body of an object from an offset on, to be read and closed. FileError ("changed")
        when it is not the object of that entry any more."""
        try:
            answer = self.client.get_object(
                Bucket=self.name,
                Key=self.key(entry.path),
                Range=f"bytes={offset}-",
                IfMatch=entry.version,
            )
        except ClientError as error:
            if str(error.response.get("Error", {}).get("Code", "")) in _TAKEN:
                raise FileError(
                    "changed", "it changed while it was read", is_transient=True
                ) from error
            with told():
                raise
        except BotoCoreError:
            with told():
                raise
        return answer["Body"]

    def head(self, path: str) -> dict[str, Any]:
        """What the bucket says of an object; FileNotFoundError."""
        with told():
            answer: dict[str, Any] = self.client.head_object(Bucket=self.name, Key=self.key(path))
        return answer

    def entry_of(self, path: str, head: dict[str, Any]) -> Entry:
        """The entry of an object, as the file it holds."""
        size = head.get("Metadata", {}).get(_SIZE, "")
        return Entry(
            path,
            "file",
            int(size) if size.isdecimal() else int(head["ContentLength"]),
            _mtime_ns(head),
            _attributes(head).mode,
            str(head["ETag"]),
            # The bucket keeps whole seconds.
            int(head["LastModified"].timestamp() + 1) * 10**9,
        )

    def location(self, folder: str) -> str:
        """The service, the bucket and the key that a folder would have."""
        return f"{self.client.meta.endpoint_url}/{self.name}/{self._prefix}{folder}".rstrip("/")

    def stat(self, path: str) -> Entry:
        """An object's entry, or that of the folder its key would be the prefix of."""
        if path:
            try:
                return self.entry_of(path, self.head(path))
            except FileNotFoundError:
                pass
        with told():
            below = self.client.list_objects_v2(
                Bucket=self.name, Prefix=self._folder_key(path), MaxKeys=1
            )
        if below.get("KeyCount") or not path:
            return Entry(path, "folder", 0, 0, 0o755)
        raise FileNotFoundError(2, "no such object")

    def _folder_key(self, path: str) -> str:
        return f"{self._prefix}{path}/" if path else self._prefix

    def _pages(self, **request: str) -> Iterator[dict[str, Any]]:
        paginator = self.client.get_paginator("list_objects_v2")
        with told():
            yield from paginator.paginate(Bucket=self.name, **request)

    def walk(self, path: str) -> Iterator[Entry]:
        """Everything below a folder. Sizes and times are the objects' own: what files they hold
        is only known when they are opened."""
        told: set[str] = set()
        for page in self._pages(Prefix=self._folder_key(path)):
            for found in page.get("Contents", []):
                name = found["Key"][len(self._prefix) :]
                if name.startswith(_NOTES):
                    continue
                yield from self._folders_above(path, name, told)
                if name.endswith("/"):
                    continue
                mtime_ns = int(found["LastModified"].timestamp()) * 10**9
                is_path = _is_normal(name)
                kind: Literal["file", "other"] = "file" if is_path else "other"
                yield Entry(name, kind, found["Size"], mtime_ns, version=str(found["ETag"]))

    def _folders_above(self, path: str, name: str, told: set[str]) -> Iterator[Entry]:
        """The folders between a path and a name below it that have not been told of yet."""
        if not _is_normal(name.rstrip("/")):
            return
        parts = name.split("/")[:-1]
        for depth in range(len(path.split("/")) + 1 if path else 1, len(parts) + 1):
            folder = "/".join(parts[:depth])
            if folder not in told:
                told.add(folder)
                yield Entry(folder, "folder", 0, 0, 0o755)

    def entries(self, path: str) -> Iterator[Entry]:
        """What is in one folder, sizes and times as in `walk`; names that no path can be are left
        out."""
        prefix = self._folder_key(path)
        base = f"{path}/" if path else ""
        for page in self._pages(Prefix=prefix, Delimiter="/"):
            for found in page.get("CommonPrefixes", []):
                name = found["Prefix"][len(prefix) :].rstrip("/")
                if name != ".pixfs" and _is_normal(name):
                    yield Entry(base + name, "folder", 0, 0, 0o755)
            for found in page.get("Contents", []):
                name = found["Key"][len(prefix) :]
                if _is_normal(name):
                    mtime_ns = int(found["LastModified"].timestamp()) * 10**9
                    version = str(found["ETag"])
                    yield Entry(base + name, "file", found["Size"], mtime_ns, version=version)

    def names(self, path: str) -> list[str]:
        """The names in one folder."""
        prefix = self._folder_key(path)
        names = set()
        for page in self._pages(Prefix=prefix, Delimiter="/"):
            keys = [found["Key"] for found in page.get("Contents", [])]
            keys += [found["Prefix"] for found in page.get("CommonPrefixes", [])]
            names |= {key[len(prefix) :].rstrip("/") for key in keys}
        return sorted(name for name in names if name != ".pixfs" and _is_normal(name))

    def open(self, path: str, *, stored: bool) -> ObjectSource:
        """Begins to read an object."""
        return ObjectSource(self, path, stored=stored)

    def create(
        self,
        path: str,
        attributes: Attributes,
        *,
        part: str,
        stored: bool,
        earlier: Sequence[str] = (),
    ) -> ObjectTarget:
        """Begins an object; an upload that was cut off is found by its note."""
        return ObjectTarget(self, path, attributes, stored=stored)

    def settle(self, targets: Sequence[Target]) -> None:
        """A completed object is durable."""

    def resume(self, key: str, metadata: dict[str, str]) -> tuple[str, dict[int, tuple[int, str]]]:
        """(id, parts by number as (size, etag)) of an upload to go on with, or of a new one.

        An upload does not tell the metadata it was begun with; the note beside it does, and one
        begun for another file is given up.
        """
        noted = self._noted(key)
        if noted is not None and noted["metadata"] == metadata:
            try:
                with told():
                    paginator = self.client.get_paginator("list_parts")
                    pages = list(
                        paginator.paginate(Bucket=self.name, Key=key, UploadId=noted["upload"])
                    )
                parts = [part for page in pages for part in page.get("Parts", [])]
                return noted["upload"], {p["PartNumber"]: (p["Size"], p["ETag"]) for p in parts}
            except (OSError, FileError) as error:
                log.debug("an upload that was cut off cannot be gone on with: %s", error)
        self._give_up(key)
        with told():
            begun = self.client.create_multipart_upload(
                Bucket=self.name, Key=key, Metadata=metadata, ChecksumAlgorithm="SHA256"
            )
            note = {"key": key, "upload": begun["UploadId"], "metadata": metadata}
            self.client.put_object(
                Bucket=self.name, Key=self._note_key(key), Body=json.dumps(note).encode()
            )
        return str(begun["UploadId"]), {}

    def _note_key(self, key: str) -> str:
        return f"{self._prefix}{_NOTES}{xxhash.xxh3_128_hexdigest(key.encode())}"

    def _noted(self, key: str) -> dict[str, Any] | None:
        """The note of the upload that is under way for a key."""
        try:
            with told():
                body = self.client.get_object(Bucket=self.name, Key=self._note_key(key))["Body"]
                note = json.loads(body.read(1 << 16))
        except (FileNotFoundError, ValueError):
            return None
        is_ours = isinstance(note, dict) and note.get("key") == key and "upload" in note
        return note if is_ours else None

    def forget_upload(self, key: str) -> None:
        """Removes the note of an upload that has ended."""
        with told():
            self.client.delete_object(Bucket=self.name, Key=self._note_key(key))

    def _give_up(self, key: str, *, but: str = "") -> None:
        """Aborts the uploads of a key, except one."""
        with told():
            listing = self.client.list_multipart_uploads(Bucket=self.name, Prefix=key)
            for upload in listing.get("Uploads", []):
                if upload["Key"] == key and upload["UploadId"] != but:
                    self.client.abort_multipart_upload(
                        Bucket=self.name, Key=key, UploadId=upload["UploadId"]
                    )

    def clear_part(self, path: str, part: str, *, resumes: bool) -> None:
        """Gives up the uploads of a key that nobody goes on with."""
        key = self.key(path)
        noted = self._noted(key)
        if noted is not None and not resumes:
            self.forget_upload(key)
        self._give_up(key, but=noted["upload"] if noted is not None and resumes else "")

    def make_folder(self, path: str) -> None:
        """Folders come with the first object in them."""

    def set_folder_attributes(self, path: str, mode: int, mtime_ns: int) -> None:
        """Folders have none."""

    def read_link(self, path: str) -> str:
        """There are no links in a bucket."""
        raise FileNotFoundError(2, "no such link")

    def make_link(self, path: str, target: str, *, replace: bool) -> None:
        """There are no links in a bucket."""
        raise FileError("unsupported", "a bucket keeps no symbolic links")

    def rename(self, source: str, target: str, *, replace: bool) -> None:
        """Objects cannot be renamed; jobs copy and delete."""
        raise FileError("unsupported", "a bucket cannot rename")

    def remove(self, path: str) -> None:
        """Deletes an object."""
        with told():
            self.client.delete_object(Bucket=self.name, Key=self.key(path))

    def remove_folder(self, path: str) -> None:
        """Folders go with the last object in them."""

    def sync(self, folders: Iterable[str]) -> None:
        """A completed object is durable."""

    def set_state(self, path: str, state: Literal["compressed", "raw"]) -> str:
        """A bucket cannot."""
        raise FileError("unsupported", "only files on a PixFS mount can be compressed in place")

    def find_damage(self, path: str) -> list[str]:
        """Downloads the object and checks all hashes it carries."""
        try:
            with self.open(path, stored=False) as source:
                while source.read(CHUNK):
                    pass
        except FileError as error:
            if error.code != "damaged":
                raise
            return [error.reason]
        return []


def _is_normal(name: str) -> bool:
    """Whether a key is a path as every storage spells it; others have no file of their name."""
    try:
        return bool(name) and normalise(name) == name
    except FileError:
        return False
