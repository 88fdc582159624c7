"""What a bucket knows of an object's bytes, held against them while they are read.

An object that a job has sent in one piece carries the hash of its bytes, a container that of the
file in it, and boto3 compares the checksum of a whole object where the bucket keeps one. Of all
others there is the ETag: the MD5 of what was sent in one piece, or the MD5 of the parts' MD5s with
a hyphen and their number. Where the bucket encrypts with keys of its customer's it is no MD5, but
parts may have checksums of their own. How long each part is only the bucket can tell.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Evidence"]

_ETAG = re.compile(r'"?([0-9a-f]{32})(?:-(\d{1,5}))?"?')
_CHECKSUMS = ("ChecksumSHA256", "ChecksumSHA1", "ChecksumCRC32")


class _Crc32:
    """zlib's, as hashlib's are used."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: memoryview) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


class _Part:
    """A part that is being read, or the whole of an object that has none."""

    def __init__(self, size: int, head: dict[str, Any]) -> None:
        self.left = size
        self.md5 = hashlib.md5(usedforsecurity=False)
        name = next((name for name in _CHECKSUMS if _is_of_part(head.get(name))), "")
        self.expected: str = head.get(name, "")
        self._sum: Any = None
        if name:
            algorithm = name.removeprefix("Checksum").lower()
            self._sum = _Crc32() if algorithm == "crc32" else hashlib.new(algorithm)

    def update(self, data: memoryview) -> None:
        self.left -= len(data)
        self.md5.update(data)
        if self._sum is not None:
            self._sum.update(data)

    def is_damaged(self) -> bool:
        """Whether it is not what its own checksum says; False without one."""
        return bool(self.expected) and base64.b64encode(self._sum.digest()).decode() != (
            self.expected
        )


def _is_of_part(checksum: object) -> bool:
    """Whether a checksum is one of bytes; one of the parts' checksums has their number in it."""
    return isinstance(checksum, str) and "-" not in checksum


class Evidence:
    """Takes an object's bytes as they come, and tells in the end what they have been proven to be.

    Attributes:
        damage: what is wrong with them, for people; "" as long as nothing is.
    """

    def __init__(
        self,
        answer: dict[str, Any],
        head_of: Callable[[int], dict[str, Any]],
        *,
        has_md5: bool = True,
    ) -> None:
        """``answer`` is that to the request for the object, ``head_of`` asks for the head of a
        part by its number and may raise whatever ends the reading. ``has_md5``: whether the ETags
        of the bucket are made of MD5s, as far as its name tells."""
        self.damage = ""
        self._head_of = head_of
        found = _ETAG.fullmatch(str(answer.get("ETag", "")))
        self._count = int(found[2] or 0) if found else 0
        self._etag = found[1] if found and has_md5 and _has_md5(answer) else ""
        # Of an object in one piece that is no MD5, or in parts of which nothing is known, nothing
        # can be said.
        self._is_mute = found is None or not (self._etag or self._count)
        self._all_summed = bool(self._count)
        self._digests: list[bytes] = []
        self._part = _Part(0 if self._count else int(answer["ContentLength"]), {})

    def update(self, data: bytes) -> None:
        """The next bytes."""
        rest = memoryview(data)
        while rest and not self._is_mute and not self.damage:
            if not self._part.left and not self._next_part():
                return
            piece = rest[: self._part.left]
            self._part.update(piece)
            rest = rest[len(piece) :]
            if self._count and not self._part.left:
                self._end_part()

    def _next_part(self) -> bool:
        """Begins a part; False where the bucket does not tell of its parts."""
        number = len(self._digests) + 1
        head = self._head_of(number) if number <= self._count else {}
        size = int(head.get("ContentLength", 0))
        self._is_mute = head.get("PartsCount") != self._count or not size
        if self._is_mute:
            return False
        self._part = _Part(size, head)
        self._all_summed = self._all_summed and bool(self._part.expected)
        # Neither its own checksum nor the ETag could ever be held against it.
        self._is_mute = not (self._etag or self._all_summed)
        return not self._is_mute

    def _end_part(self) -> None:
        self._digests.append(self._part.md5.digest())
        if self._part.is_damaged():
            self.damage = f"part {len(self._digests)} of the object is not what its checksum says"

    def finish(self) -> bool:
        """After the last byte: whether all of it has been proven. Sets ``damage``, too."""
        if self._is_mute or self.damage:
            return False
        if not self._count:
            found = self._part.md5.hexdigest()
        elif len(self._digests) != self._count or self._part.left:
            return False
        elif self._all_summed:
            return True
        else:
            every = b"".join(self._digests)
            found = hashlib.md5(every, usedforsecurity=False).hexdigest()
        if found != self._etag:
            self.damage = "the object is not what its ETag says: its MD5 is another"
        return not self.damage


def _has_md5(answer: dict[str, Any]) -> bool:
    """Whether the ETag is made of MD5s, as far as the answer tells."""
    encryption = str(answer.get("ServerSideEncryption", ""))
    return not (encryption.startswith("aws:kms") or answer.get("SSECustomerAlgorithm"))
