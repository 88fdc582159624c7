"""File URIs: a storage method's URI and the escaped path beneath it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from server.core.errors import InvalidValue
from server.core.storages import StorageKind, check_root
from server.core.values import check_path

if TYPE_CHECKING:
    from collections.abc import Iterable

    from server.core.catalog.model import Method

__all__ = ["check_uri", "file_uri", "root_of", "split_uri", "uri_of_root"]

_LONGEST = 8192


def file_uri(method: Method, path: str) -> str:
    """The URI of a file through a method."""
    return method.uri + quote(path, safe="/", errors="surrogateescape")


def uri_of_root(kind: StorageKind, root: str) -> str:
    """The URI of a storage's root."""
    scheme = "s3://" if kind is StorageKind.S3 else "file://"
    return scheme + quote(root.rstrip("/"), safe="/", errors="surrogateescape") + "/"


def check_uri(text: str) -> str:
    """A method's URI in its one spelling. InvalidValue for what no storage can be reached by."""
    kind, root = root_of(text)
    return uri_of_root(kind, root)


def root_of(text: str) -> tuple[StorageKind, str]:
    """What a method's URI says a storage is made of, and its root. InvalidValue."""
    scheme, place = _parse(text)
    if scheme == "s3":
        return StorageKind.S3, check_root(StorageKind.S3, place, "any")
    return StorageKind.DIRECTORY, check_root(StorageKind.DIRECTORY, place, "")


def split_uri(text: str, methods: Iterable[tuple[int, str]]) -> tuple[int, str] | None:
    """(storage, path) of a file's URI, by the longest of the methods (storage, URI) it lies
    beneath; None when it lies beneath none. InvalidValue for what is no file's URI."""
    scheme, place = _parse(text)
    place = check_path("uri", place)
    found: tuple[int, str] | None = None
    longest = -1
    for storage_id, uri in methods:
        method_scheme, root = _parse(uri)
        root = root.strip("/")
        if method_scheme != scheme or len(root) <= longest:
            continue
        if place.startswith(root + "/") or not root:
            found, longest = (storage_id, place[len(root) :].lstrip("/")), len(root)
    return found


def _parse(text: str) -> tuple[str, str]:
    """(scheme, unescaped place) of a URI."""
    if len(text) > _LONGEST or "\0" in text:
        raise InvalidValue("uri", "it is too long or holds a NUL")
    try:
        parts = urlsplit(text)
        has_account = bool(parts.username or parts.password)
    except ValueError:
        raise InvalidValue("uri", "this is no URI") from None
    if parts.query or parts.fragment:
        raise InvalidValue("uri", "a query or fragment is not taken; escape '?' and '#'")
    if has_account:
        raise InvalidValue("uri", "credentials do not belong here; give an endpoint theirs")
    path = unquote(parts.path, errors="surrogateescape")
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and path.startswith("/"):
        return "file", path
    if parts.scheme == "s3" and parts.netloc:
        return "s3", (parts.netloc + path).rstrip("/")
    raise InvalidValue("uri", "give file:///absolute/folder/ or s3://bucket/prefix/")
