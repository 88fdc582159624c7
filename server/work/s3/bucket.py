"""Storages in an S3 bucket.

A file is one object; a folder is where keys share a prefix. An object takes its name whole, when
its single upload or the last of its parts is complete, so nothing has to be renamed. Parts that
an attempt which was cut off has left behind are used again when they hold the same bytes.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import BotoCoreError, ClientError

from server.work.beneath import normalise
from server.work.errors import FileError, StorageError
from server.work.s3 import objects
from server.work.s3.client import connect, is_refused_condition, parse_root, told
from server.work.s3.evidence import Evidence
from server.work.s3.source import CHUNK, ObjectSource
from server.work.s3.target import ObjectTarget
from server.work.s3.unfinished import NOTES, Unfinished
from server.work.storage import Entry, Finding

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Iterator, Sequence

    from pixfs.transfer.attributes import Attributes
    from server.work.storage import Target

PART_SIZE = 16 << 20
_LONGEST_KEY = 1024
# The end of the names of Amazon's directory buckets, whose ETags are random.
_OF_DIRECTORIES = "--x-s3"


class Bucket:
    """A bucket, or what stands below a prefix in it, as a storage."""

    @property
    def takes_containers(self) -> bool:
        """An object may be a container; its metadata says so."""
        return True

    def __init__(
        self, root: str, settings: dict[str, Any], stop: threading.Event | None = None
    ) -> None:
        """Makes a client; the first request is the first to reach the bucket. StorageError.

        ``settings``: endpoint, region, access_key, secret_key, addressing, part_size; boto3's
        own sources where they are missing. When ``stop`` is set nothing waits long for the
        bucket any more: StoppedError.
        """
        self.root = root
        self.made: list[str] = []
        self.name, self._prefix = parse_root(root)
        self.part_size = int(settings.get("part_size") or PART_SIZE)
        try:
            self.client = connect(settings, stop)
        except (BotoCoreError, ValueError) as error:
            reason = f"the bucket's settings cannot be used: {error}"
            raise StorageError(reason, root=root) from error
        self.unfinished = Unfinished(self.client, root)

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
        return objects.is_container(self.head(path))

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
            if is_refused_condition(error):
                raise FileError(
                    "changed", "it changed while it was read", is_transient=True
                ) from error
            with told(self.root):
                raise
        except BotoCoreError:
            with told(self.root):
                raise
        return answer["Body"]

    def head(self, path: str) -> dict[str, Any]:
        """What the bucket says of an object; FileNotFoundError."""
        with told(self.root):
            answer: dict[str, Any] = self.client.head_object(Bucket=self.name, Key=self.key(path))
        return answer

    def location(self, folder: str) -> str:
        """The service, the bucket and the key that a folder would have."""
        return f"{self.client.meta.endpoint_url}/{self.name}/{self._prefix}{folder}".rstrip("/")

    def stat(self, path: str) -> Entry:
        """An object's entry, or that of the folder its key would be the prefix of."""
        if path:
            try:
                return objects.entry_of(path, self.head(path))
            except FileNotFoundError:
                pass
        with told(self.root):
            below = self.client.list_objects_v2(
                Bucket=self.name, Prefix=self._folder_key(path), MaxKeys=1
            )
        if below.get("KeyCount") or not path:
            return Entry(path, "folder", 0, 0, 0o755)
        raise FileNotFoundError(2, "no such object")

    def _folder_key(self, path: str) -> str:
        return f"{self._prefix}{path}/" if path else self._prefix

    def _pages(self, **request: str) -> Iterator[dict[str, Any]]:
        with told(self.root):
            yield from self.client.pages("list_objects_v2", Bucket=self.name, **request)

    def walk(self, path: str) -> Iterator[Entry]:
        """Everything below a folder. Sizes and times are the objects' own: what files they hold
        is only known when they are opened."""
        told: set[str] = set()
        for page in self._pages(Prefix=self._folder_key(path)):
            for found in page.get("Contents", []):
                name = found["Key"][len(self._prefix) :]
                if name.startswith(NOTES):
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

    def clear_part(self, path: str, part: str, *, resumes: bool) -> None:
        """Gives up the uploads of a path that nobody goes on with."""
        self.unfinished.clear(self.key(path), resumes=resumes)

    def missing(self, folders: Iterable[str]) -> list[str]:
        """None: folders come with the first object in them, and go with the last one."""
        return []

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
        with told(self.root):
            self.client.delete_object(Bucket=self.name, Key=self.key(path))

    def remove_folder(self, path: str) -> None:
        """Folders go with the last object in them."""

    def sync(self, folders: Iterable[str]) -> None:
        """A completed object is durable."""

    def set_state(self, path: str, state: Literal["compressed", "raw"]) -> str:
        """A bucket cannot."""
        raise FileError("unsupported", "only files on a PixFS mount can be compressed in place")

    def find_damage(self, path: str) -> Finding:
        """Downloads the object and holds it against all that it and the bucket tell of it."""
        try:
            with self.open(path, stored=False) as source:
                return self._held_against_all(source, path)
        except FileError as error:
            if error.code != "damaged":
                raise
            return Finding((error.reason,))

    def _held_against_all(self, source: ObjectSource, path: str) -> Finding:
        """Reads an object to its end. FileError ("damaged") from what it carries itself."""
        if source.is_proven_at_end:
            while source.read(CHUNK):
                pass
            return Finding()
        evidence = Evidence(
            source.answer,
            partial(self._head_of_part, path),
            has_md5=not self.name.endswith(_OF_DIRECTORIES),
        )
        while data := source.read(CHUNK):
            evidence.update(data)
        is_proven = evidence.finish()
        # Its parts were asked for by its name, which another object may have now.
        source.check()
        return Finding((evidence.damage,) if evidence.damage else (), is_proven=is_proven)

    def _head_of_part(self, path: str, number: int) -> dict[str, Any]:
        with told(self.root):
            head: dict[str, Any] = self.client.head_object(
                Bucket=self.name,
                Key=self.key(path),
                PartNumber=number,
                ChecksumMode="ENABLED",
            )
        return head


def _is_normal(name: str) -> bool:
    """Whether a key is a path as every storage spells it; others have no file of their name."""
    try:
        return bool(name) and normalise(name) == name
    except FileError:
        return False
