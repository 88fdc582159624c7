"""Writing an object."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Any

import xxhash

import codec
from server.work.errors import FileError
from server.work.s3 import objects
from server.work.s3.client import told
from server.work.s3.source import CHUNK, ObjectSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from pixfs.transfer.attributes import Attributes
    from server.work.s3.bucket import Bucket

log = logging.getLogger(__name__)

# An upload has 10,000 parts at most: they grow, so that 5 TiB, the largest object, still fit.
_PARTS_OF_A_SIZE = 1000


class ObjectTarget:
    """An object being uploaded: in one piece while it is small, in parts beyond.

    Every request carries the checksum of its bytes, which the bucket compares with what arrived.
    """

    def __init__(self, bucket: Bucket, path: str, attributes: Attributes, *, stored: bool) -> None:
        self.path = path
        self._bucket = bucket
        self._key = bucket.key(path)
        self._is_stored = stored
        self._metadata = objects.metadata_of_file(attributes)
        self._buffer = bytearray()
        self._digest = xxhash.xxh3_128()
        self._upload: str | None = None
        self._found: dict[int, tuple[int, str]] = {}
        self._parts: list[dict[str, Any]] = []
        self._size = 0
        self._reads_back = False
        self._is_unanswered = False

    def holds(self, data: bytes) -> bool:
        """Parts are compared as wholes, when they would be sent."""
        return False

    def write(self, data: bytes) -> None:
        """Collects; uploads a part when there are enough bytes for one."""
        if not self._size and self._is_stored:
            header = codec.parse_header(data[: codec.HEAD_SIZE])
            self._metadata |= objects.metadata_of_container(header)
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
            self._upload, self._found = self._bucket.unfinished.resume(self._key, self._metadata)
        number = len(self._parts) + 1
        size, etag = self._found.get(number, (-1, ""))
        if size == len(data) and etag.strip('"') == hashlib.md5(data).hexdigest():
            self._parts.append({"PartNumber": number, "ETag": etag})
            return
        with told(self._bucket.root):
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
        if self._upload is None:
            self._metadata |= objects.metadata_of_bytes(self._digest.hexdigest())
        self._is_unanswered = True
        try:
            with told(self._bucket.root):
                self._complete(condition)
        except (OSError, FileError):
            # Of requests that were tried again, one that was not heard of may have done it.
            if not self._has_landed():
                self._is_unanswered = False
                raise
        self._is_unanswered = False
        if self._upload is not None:
            self._upload = None
            self._bucket.unfinished.forget(self._key)
        self._buffer.clear()
        self._check_landed()

    def _complete(self, condition: dict[str, str]) -> None:
        client, place = self._bucket.client, {"Bucket": self._bucket.name, "Key": self._key}
        if self._upload is None:
            client.put_object(
                **place,
                Body=bytes(self._buffer),
                Metadata=self._metadata,
                ChecksumAlgorithm="SHA256",
                **condition,
            )
        else:
            client.complete_multipart_upload(
                **place,
                UploadId=self._upload,
                MultipartUpload={"Parts": self._parts},
                **condition,
            )

    def _has_landed(self) -> bool:
        """Whether the object that is there is the one that was sent."""
        try:
            found = self._bucket.head(self.path)
        except (OSError, FileError):
            return False
        if int(found["ContentLength"]) != self._size:
            return False
        if self._upload is not None and found["ETag"].strip('"') != self._etag():
            return False
        kept: dict[str, str] = found.get("Metadata", {})
        return self._metadata.items() <= kept.items()

    def _etag(self) -> str:
        """What S3 calls an object of these parts; "" where it calls them by other than MD5."""
        try:
            digests = [bytes.fromhex(part["ETag"].strip('"')) for part in self._parts]
        except ValueError:
            return ""
        return f"{hashlib.md5(b''.join(digests)).hexdigest()}-{len(digests)}"

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
        """Leaves the parts that were uploaded, and the note that finds them; an object whose
        completion was asked for and not answered may be there, too."""
        upload, self._upload = self._upload, None
        self._buffer.clear()
        return upload is not None or self._is_unanswered

    def abandon(self) -> bool:
        """Gives the parts up that were not completed. False, too, when nobody knows what came of
        the completion that was asked for."""
        upload, self._upload = self._upload, None
        self._buffer.clear()
        if upload is not None:
            try:
                self._bucket.client.abort_multipart_upload(
                    Bucket=self._bucket.name, Key=self._key, UploadId=upload
                )
                self._bucket.unfinished.forget(self._key)
            except Exception as error:
                log.info("parts of an upload are left in their bucket: %s", error)
                return False
        return not self._is_unanswered
