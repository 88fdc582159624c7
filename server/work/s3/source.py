"""Reading an object."""

from __future__ import annotations

import tempfile
from typing import IO, TYPE_CHECKING

import xxhash
from botocore.exceptions import FlexibleChecksumError

import codec
from server.work.errors import FileError, StoppedError
from server.work.s3 import objects
from server.work.s3.client import told
from server.work.storage import Source

if TYPE_CHECKING:
    from server.work.s3.bucket import Bucket

CHUNK = 1 << 20


class ObjectSource(Source):
    """An object being read, or the file inside the container it is.

    Attributes:
        answer: the bucket's, to the request for it.
    """

    def __init__(self, bucket: Bucket, path: str, *, stored: bool) -> None:
        self._bucket = bucket
        with told(bucket.root):
            self.answer = bucket.client.get_object(Bucket=bucket.name, Key=bucket.key(path))
        self._body = self.answer["Body"]
        is_container = objects.is_container(self.answer)
        self.entry = objects.entry_of(path, self.answer)
        self.attributes = objects.attributes_of(self.answer)
        self.is_stored = is_container and stored
        self.original = objects.original_of(self.answer)
        self.size = int(self.answer["ContentLength"])
        self._expected = objects.digest_of(self.answer)
        self._digest = xxhash.xxh3_128()
        self._spool: IO[bytes] | None = None
        if is_container and not stored:
            self._decode()

    @property
    def is_proven_at_end(self) -> bool:
        """Whether reading all of it fails unless it is what was stored: by the hash that it
        carries, or by the checksum that the bucket keeps of the whole of it."""
        if self._spool is not None:
            return bool(self._reader.hash)
        return bool(self._expected) or "ChecksumAlgorithm" in self.answer["ResponseMetadata"]

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
            data = self._bucket.client.read(self._body, size)
        except (OSError, StoppedError):
            raise
        except FlexibleChecksumError as error:
            # On its way or where it lies; the next attempt tells.
            reason = "the object is not what its checksum says"
            raise FileError("damaged", reason, is_transient=True) from error
        except Exception as error:
            # Boto3's own and urllib3's: this object alone, or else the next request says so.
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
        self._bucket.client.release(self._body)
        if self._spool is not None:
            self._spool.close()
