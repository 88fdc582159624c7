"""What a DCP or IMF package consists of: its ASSETMAP and packing lists.

An ASSETMAP (SMPTE ST 429-9, or InterOp's) names every asset by a UUID, with the chunks, files in
its own folder, that hold it. A packing list (ST 429-8, ST 2067-2, or InterOp's) is one of these
assets; it names the size and hash of the others. Here both are read and held against what is on
the storage; the hashes are checked by the import job, which reads the files anyway.

Not supported, and refused: assets split into several chunks, and chunks in other folders.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from server.core.catalog.work import Part
from server.core.errors import PackageError
from server.safexml import XmlError, read_xml
from server.work.beneath import split

if TYPE_CHECKING:
    from server.safexml import Element
    from server.work.storage import Storage as Place

__all__ = ["Package", "read_package"]

_LARGEST = 16 << 20
_MOST_ASSETS = 10_000
_MOST_TOLD = 5
_SHA1 = "http://www.w3.org/2000/09/xmldsig#sha1"
_SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
_HASHES = {_SHA1: ("sha1", 20), _SHA256: ("sha256", 32)}


@dataclass(frozen=True, slots=True)
class Package:
    """A package that is there in full.

    Attributes:
        id: the ASSETMAP's UUID.
        parts: all its files but the ASSETMAP itself, the packing lists first.
    """

    id: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class _Chunk:
    """The one file of an asset. ``length`` is None where the ASSETMAP does not say."""

    name: str
    length: int | None
    is_packing_list: bool


@dataclass(frozen=True, slots=True)
class _Packed:
    """What a packing list says of an asset."""

    size: int
    hash: str


def read_package(place: Place, path: str) -> Package:
    """Reads the ASSETMAP at ``path`` and finds all it names. Blocks.

    PackageError says which chunks are missing or have another size, or what cannot be read;
    OSError, FileError and StorageError when the storage fails.
    """
    folder = split(path)[0]
    root = _document(place, path, "AssetMap")
    chunks = _chunks(root)
    lists = [uuid for uuid, chunk in chunks.items() if chunk.is_packing_list]
    if not lists:
        raise PackageError("the ASSETMAP names no packing list")
    _require_present(place, folder, {u: chunks[u] for u in lists}, {})
    packed: dict[str, _Packed] = {}
    for uuid in lists:
        packed |= _packed(_document(place, _within(folder, chunks[uuid].name), "PackingList"))
    unmapped = [uuid for uuid in packed if uuid not in chunks]
    if unmapped:
        raise PackageError(f"the ASSETMAP has no chunk for {_some(unmapped)} of the packing list")
    _require_present(place, folder, chunks, packed)
    ordered = sorted(chunks, key=lambda uuid: uuid not in lists)
    parts = [
        Part(_within(folder, chunks[uuid].name), packed[uuid].hash if uuid in packed else "")
        for uuid in ordered
    ]
    return Package(_uuid(root, "the ASSETMAP"), tuple(parts))


def _document(place: Place, path: str, name: str) -> Element:
    """The root of a small XML file."""
    what = path.rpartition("/")[2]
    with place.open(path, stored=False) as opened:
        if opened.size > _LARGEST:
            raise PackageError(f"{what} is too large to be a package's XML")
        data = bytearray()
        while more := opened.read(1 << 20):
            data += more
            if len(data) > _LARGEST:
                raise PackageError(f"{what} is too large to be a package's XML")
    try:
        root = read_xml(bytes(data))
    except XmlError as error:
        raise PackageError(f"{what} cannot be read: {error}") from error
    if root.name != name:
        raise PackageError(f"{what} is a {root.name} document, not a {name}")
    return root


def _assets(root: Element, what: str) -> list[Element]:
    listed = root.first("AssetList")
    assets = [] if listed is None else list(listed.all("Asset"))
    if not 0 < len(assets) <= _MOST_ASSETS:
        raise PackageError(f"{what} names {len(assets)} assets")
    return assets


def _uuid(element: Element, what: str) -> str:
    text = (element.text_of("Id") or "").lower()
    if not text.startswith("urn:uuid:"):
        raise PackageError(f"{what} has no urn:uuid as its Id")
    return text.removeprefix("urn:uuid:")


def _chunks(root: Element) -> dict[str, _Chunk]:
    found: dict[str, _Chunk] = {}
    for asset in _assets(root, "the ASSETMAP"):
        uuid = _uuid(asset, "an asset of the ASSETMAP")
        if uuid in found:
            raise PackageError(f"the ASSETMAP names {uuid} twice")
        listed = asset.first("ChunkList")
        chunks = [] if listed is None else list(listed.all("Chunk"))
        if len(chunks) != 1:
            raise PackageError(f"{uuid} has {len(chunks)} chunks; only one is supported")
        marked = asset.first("PackingList")
        # InterOp marks by the element alone, SMPTE by its content.
        is_list = marked is not None and marked.text.strip().lower() in ("", "true", "1")
        found[uuid] = _Chunk(_name(chunks[0], uuid), _number(chunks[0], "Length", uuid), is_list)
    return found


def _name(chunk: Element, uuid: str) -> str:
    """A chunk's file name; its Path is a URI in InterOp packages."""
    text = chunk.text_of("Path") or ""
    if text.lower().startswith("file:"):
        text = unquote(text[len("file:") :]).lstrip("/")
    text = text.removeprefix("./")
    if not text or text in (".", "..") or "\0" in text:
        raise PackageError(f"the chunk of {uuid} has no path")
    if "/" in text:
        raise PackageError(f"the chunk {text!r} does not lie in the folder of the ASSETMAP")
    return text


def _number(element: Element, name: str, uuid: str) -> int | None:
    text = element.text_of(name)
    if not text:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 19:
        raise PackageError(f"the {name} of {uuid} is no number")
    return int(text)


def _packed(root: Element) -> dict[str, _Packed]:
    found: dict[str, _Packed] = {}
    for asset in _assets(root, "a packing list"):
        uuid = _uuid(asset, "an asset of a packing list")
        size = _number(asset, "Size", uuid)
        if size is None:
            raise PackageError(f"a packing list does not say the size of {uuid}")
        found[uuid] = _Packed(size, _hash(asset, uuid))
    return found


def _hash(asset: Element, uuid: str) -> str:
    said = asset.first("HashAlgorithm")
    algorithm = _SHA1 if said is None else said.attributes.get("Algorithm", "")
    if algorithm not in _HASHES:
        raise PackageError(f"the hash of {uuid} is by an algorithm that is not supported")
    name, length = _HASHES[algorithm]
    try:
        value = base64.b64decode(asset.text_of("Hash") or "", validate=True)
    except binascii.Error:
        value = b""
    if len(value) != length:
        raise PackageError(f"a packing list has no proper hash of {uuid}")
    return f"{name}:{value.hex()}"


def _require_present(
    place: Place, folder: str, chunks: dict[str, _Chunk], packed: dict[str, _Packed]
) -> None:
    missing, odd = [], []
    for uuid, chunk in chunks.items():
        try:
            entry = place.stat(_within(folder, chunk.name))
        except FileNotFoundError:
            missing.append(chunk.name)
            continue
        said = [chunk.length, packed[uuid].size if uuid in packed else None]
        if entry.kind != "file" or any(n is not None and n != entry.size for n in said):
            odd.append(chunk.name)
    if missing:
        raise PackageError(f"chunks are missing: {_some(missing)}")
    if odd:
        raise PackageError(f"chunks have not the size that the package says: {_some(odd)}")


def _some(names: list[str]) -> str:
    told = ", ".join(repr(name) for name in names[:_MOST_TOLD])
    more = len(names) - _MOST_TOLD
    return f"{told} and {more} more" if more > 0 else told


def _within(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
