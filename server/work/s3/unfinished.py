"""Uploads of parts that are under way, or were cut off.

An upload does not tell the metadata it was begun with; a note beside it does. It is an object
below the storage's prefix.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import xxhash

from server.work.errors import FileError
from server.work.s3.client import parse_root, told

if TYPE_CHECKING:
    from server.work.s3.calls import StoppableClient

log = logging.getLogger(__name__)

NOTES = ".pixfs/uploads/"


class Unfinished:
    """The unfinished uploads of a storage; blocks."""

    def __init__(self, client: StoppableClient, root: str) -> None:
        """``root``: of the storage."""
        self._client = client
        self._root = root
        self._bucket, self._prefix = parse_root(root)

    def resume(self, key: str, metadata: dict[str, str]) -> tuple[str, dict[int, tuple[int, str]]]:
        """(id, parts by number as (size, etag)) of an upload to go on with, or of a new one.

        One that was begun for another file is given up.
        """
        noted = self._noted(key)
        if noted is not None and noted["metadata"] == metadata:
            try:
                with told(self._root):
                    pages = self._client.pages(
                        "list_parts", Bucket=self._bucket, Key=key, UploadId=noted["upload"]
                    )
                    parts = [part for page in pages for part in page.get("Parts", [])]
                return noted["upload"], {p["PartNumber"]: (p["Size"], p["ETag"]) for p in parts}
            except (OSError, FileError) as error:
                log.debug("an upload that was cut off cannot be gone on with: %s", error)
        self._give_up(key)
        with told(self._root):
            begun = self._client.create_multipart_upload(
                Bucket=self._bucket, Key=key, Metadata=metadata, ChecksumAlgorithm="SHA256"
            )
            if begun["ResponseMetadata"].get("RetryAttempts"):
                # One that nobody heard of may have been begun before it.
                self._give_up(key, but=begun["UploadId"])
            note = {"key": key, "upload": begun["UploadId"], "metadata": metadata}
            self._client.put_object(
                Bucket=self._bucket, Key=self._note_key(key), Body=json.dumps(note).encode()
            )
        return str(begun["UploadId"]), {}

    def _note_key(self, key: str) -> str:
        return f"{self._prefix}{NOTES}{xxhash.xxh3_128_hexdigest(key.encode())}"

    def _noted(self, key: str) -> dict[str, Any] | None:
        """The note of the upload that is under way for a key."""
        try:
            with told(self._root):
                body = self._client.get_object(Bucket=self._bucket, Key=self._note_key(key))["Body"]
                note = json.loads(self._client.read(body, 1 << 16))
        except (FileNotFoundError, ValueError):
            return None
        is_ours = isinstance(note, dict) and note.get("key") == key and "upload" in note
        return note if is_ours else None

    def forget(self, key: str) -> None:
        """Removes the note of an upload that has ended."""
        with told(self._root):
            self._client.delete_object(Bucket=self._bucket, Key=self._note_key(key))

    def _give_up(self, key: str, *, but: str = "") -> None:
        """Aborts the uploads of a key, except one."""
        with told(self._root):
            listing = self._client.list_multipart_uploads(Bucket=self._bucket, Prefix=key)
            for upload in listing.get("Uploads", []):
                if upload["Key"] == key and upload["UploadId"] != but:
                    self._client.abort_multipart_upload(
                        Bucket=self._bucket, Key=key, UploadId=upload["UploadId"]
                    )

    def clear(self, key: str, *, resumes: bool) -> None:
        """Gives up the uploads of a key that nobody goes on with."""
        noted = self._noted(key)
        if noted is not None and not resumes:
            self.forget(key)
        self._give_up(key, but=noted["upload"] if noted is not None and resumes else "")
