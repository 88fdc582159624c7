"""What an object says of the file it holds.

Metadata (``x-amz-meta-...``): ``pixfs-mtime`` and ``pixfs-mode`` of the file, ``pixfs-size`` its
bytes, ``pixfs-stored: container`` when the object is the PXF container that holds the file,
``pixfs-original`` the XXH3-128 of the file a container holds, ``pixfs-xxh3`` the XXH3-128 of the
object's own bytes, where they were known before it was begun.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pixfs.transfer.attributes import Attributes
from server.work.storage import Entry

if TYPE_CHECKING:
    import codec

_MTIME, _MODE, _SIZE = "pixfs-mtime", "pixfs-mode", "pixfs-size"
_STORED, _ORIGINAL, _DIGEST = "pixfs-stored", "pixfs-original", "pixfs-xxh3"
_CONTAINER = "container"


def metadata_of_file(attributes: Attributes) -> dict[str, str]:
    """The metadata that keeps a file's attributes."""
    metadata = {_MODE: f"{attributes.mode & 0o7777:o}"}
    if attributes.mtime_ns is not None:
        metadata[_MTIME] = str(attributes.mtime_ns)
    return metadata


def metadata_of_container(header: codec.Header) -> dict[str, str]:
    """The metadata of an object that is a container."""
    return {
        _STORED: _CONTAINER,
        _SIZE: str(header.original_length),
        _ORIGINAL: header.hash.hex(),
    }


def metadata_of_bytes(digest: str) -> dict[str, str]:
    """The metadata that keeps the XXH3-128 of an object's own bytes."""
    return {_DIGEST: digest}


def is_container(head: dict[str, Any]) -> bool:
    """Whether the object is the container of the file."""
    return bool(_kept(head, _STORED) == _CONTAINER)


def original_of(head: dict[str, Any]) -> str:
    """The XXH3-128 of the file in a container; "" of other objects."""
    return _kept(head, _ORIGINAL) if is_container(head) else ""


def digest_of(head: dict[str, Any]) -> str:
    """The XXH3-128 of the object's bytes; "" where it was not known."""
    return _kept(head, _DIGEST)


def attributes_of(head: dict[str, Any]) -> Attributes:
    """The file's attributes; what is usual where the object keeps none."""
    mode = _kept(head, _MODE)
    try:
        bits = int(mode, 8) & 0o7777 if mode else 0o644
    except ValueError:
        bits = 0o644
    return Attributes(mode=bits, mtime_ns=_mtime_ns(head))


def entry_of(path: str, head: dict[str, Any]) -> Entry:
    """The entry of an object, as the file it holds."""
    size = _kept(head, _SIZE)
    return Entry(
        path,
        "file",
        int(size) if size.isdecimal() else int(head["ContentLength"]),
        _mtime_ns(head),
        attributes_of(head).mode,
        str(head["ETag"]),
        # The bucket keeps whole seconds.
        int(head["LastModified"].timestamp() + 1) * 10**9,
    )


def _mtime_ns(head: dict[str, Any]) -> int:
    kept = _kept(head, _MTIME)
    if kept.isdecimal():
        return int(kept)
    return int(head["LastModified"].timestamp()) * 10**9


def _kept(head: dict[str, Any], name: str) -> str:
    return str(head.get("Metadata", {}).get(name, ""))
