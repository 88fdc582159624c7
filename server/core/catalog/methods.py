"""Storage methods: the rows, and which of them is the storage's root.

Functions run inside a transaction of the caller's, a writing one where they change something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from server.core.catalog.model import Method, MethodChange
from server.core.catalog.tables import storage_methods
from server.core.catalog.uris import check_uri, root_of, uri_of_root
from server.core.errors import InvalidValue, NotFound
from server.core.storages import StorageKind
from server.core.tables import s3_endpoints, storages

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy.engine import Connection

    from server.core.schema import AnyRow
    from server.core.storages import Storage

__all__ = [
    "add_method",
    "change_method",
    "choose_root",
    "endpoint_id",
    "methods_of",
    "remove_method",
    "settle",
]

_MOST_METHODS = 100
_LONGEST_TEXT = 1024


def methods_of(connection: Connection, found: Iterable[Storage]) -> dict[int, list[Method]]:
    """The methods of storages by the storage's number. A storage that has no row yet, because
    another face has added it, is reached by its root: that method has the number 0."""
    known = {storage.id: storage for storage in found}
    methods: dict[int, list[Method]] = {number: [] for number in known}
    query = sa.select(storage_methods).order_by(storage_methods.c.id)
    if len(known) == 1:
        query = query.where(storage_methods.c.storage_id == next(iter(known)))
    for row in connection.execute(query):
        if row.storage_id in methods:
            methods[row.storage_id].append(_method(row))
    for number, storage in known.items():
        if not methods[number] and storage.root:
            uri = uri_of_root(storage.kind, storage.root)
            methods[number] = [Method(0, uri, write=not storage.read_only)]
    return methods


def _method(row: AnyRow) -> Method:
    return Method(
        id=row.id,
        uri=row.uri,
        read=row.read,
        write=row.write,
        browse=row.browse,
        bandwidth=row.bandwidth,
        type=row.type,
        last_success=row.last_success,
        last_failure=row.last_failure,
        failure_message=row.failure_message,
        metadata=row.metadata,
    )


def settle(connection: Connection, storage: Storage) -> None:
    """Gives a storage that another face has added the row of its root."""
    mine = storage_methods.c.storage_id == storage.id
    if not storage.root or connection.execute(sa.select(storage_methods).where(mine)).first():
        return
    uri = uri_of_root(storage.kind, storage.root)
    _insert(connection, storage.id, MethodChange(uri=uri, write=not storage.read_only), uri)


def add_method(connection: Connection, storage_id: int, wanted: MethodChange) -> int:
    """Another method, or the one that has this URI and type already, changed; its number."""
    if not wanted.uri:
        raise InvalidValue("uri", "a method has one")
    uri = check_uri(wanted.uri)
    mine = storage_methods.c.storage_id == storage_id
    same = mine & (storage_methods.c.uri == uri) & (storage_methods.c.type == (wanted.type or ""))
    number = connection.execute(sa.select(storage_methods.c.id).where(same)).scalar()
    if number is not None:
        change_method(connection, storage_id, int(number), wanted)
        return int(number)
    query = sa.select(sa.func.count()).select_from(storage_methods).where(mine)
    if int(connection.execute(query).scalar() or 0) >= _MOST_METHODS:
        raise InvalidValue("method", f"a storage has {_MOST_METHODS} methods at most")
    return _insert(connection, storage_id, wanted, uri)


def _insert(connection: Connection, storage_id: int, wanted: MethodChange, uri: str) -> int:
    values: dict[str, Any] = {
        "storage_id": storage_id,
        "read": True,
        "write": True,
        "browse": True,
        "type": "",
        "failure_message": "",
        "metadata": {},
    }
    inserted = connection.execute(
        storage_methods.insert().values(values | _values(wanted) | {"uri": uri})
    ).inserted_primary_key
    assert inserted is not None
    return int(inserted[0])


def _values(wanted: MethodChange) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in ("read", "write", "browse", "bandwidth", "type", "metadata"):
        value = getattr(wanted, name)
        if value is not None:
            values[name] = value
    if len(values.get("type", "")) > 64:
        raise InvalidValue("type", "is 64 characters long at most")
    if (values.get("bandwidth") or 0) < 0:
        raise InvalidValue("bandwidth", "is not negative")
    if "metadata" in values:
        values["metadata"] = check_metadata(values["metadata"])
    if wanted.uri is not None:
        values["uri"] = check_uri(wanted.uri)
    return values


def check_metadata(pairs: Mapping[str, str]) -> dict[str, str]:
    """Text by text, of a size a row can hold."""
    kept = dict(pairs)
    if len(kept) > 100 or any(
        len(key) > _LONGEST_TEXT or len(value) > 8 * _LONGEST_TEXT for key, value in kept.items()
    ):
        raise InvalidValue("metadata", "takes 100 fields of moderate length")
    return kept


def change_method(
    connection: Connection, storage_id: int, method_id: int, wanted: MethodChange
) -> None:
    """Changes what is not None; NotFound."""
    _require(connection, storage_id, method_id)
    values = _values(wanted)
    if values:
        this = storage_methods.c.id == method_id
        connection.execute(storage_methods.update().where(this).values(values))


def remove_method(connection: Connection, storage_id: int, method_id: int) -> None:
    """Removes a method; NotFound."""
    _require(connection, storage_id, method_id)
    connection.execute(storage_methods.delete().where(storage_methods.c.id == method_id))


def _require(connection: Connection, storage_id: int, method_id: int) -> None:
    this = (storage_methods.c.id == method_id) & (storage_methods.c.storage_id == storage_id)
    if connection.execute(sa.select(storage_methods.c.id).where(this)).first() is None:
        raise NotFound("there is no such method", kind="storage-method", id=method_id)


def choose_root(connection: Connection, storage_id: int) -> None:
    """Makes the first method that can be read the storage's root, one that can be written to
    before one that cannot; without any the storage has none, and nothing on it can be reached.

    A root that stays the same keeps its kind: a directory found to be a PixFS mount stays one.
    """
    mine = storage_methods.c.storage_id == storage_id
    rows = connection.execute(
        sa.select(storage_methods)
        .where(mine & storage_methods.c.read)
        .order_by(storage_methods.c.write.desc(), storage_methods.c.id)
    ).all()
    now = connection.execute(sa.select(storages).where(storages.c.id == storage_id)).one()
    values: dict[str, Any] = {"kind": "directory", "root": "", "endpoint_id": None}
    if rows:
        kind, root = root_of(rows[0].uri)
        if (root, kind is StorageKind.S3) == (now.root, now.kind == "s3"):
            kind = StorageKind(now.kind)
        endpoint = None
        if kind is StorageKind.S3:
            endpoint = endpoint_id(connection, rows[0].metadata.get("endpoint", ""))
        values = {"kind": kind.value, "root": root, "endpoint_id": endpoint}
        values["read_only"] = not rows[0].write
    connection.execute(storages.update().where(storages.c.id == storage_id).values(values))


def endpoint_id(connection: Connection, name: str) -> int:
    """The endpoint of that name; without a name the only one there is. InvalidValue."""
    rows = connection.execute(sa.select(s3_endpoints.c.id, s3_endpoints.c.name)).all()
    if name:
        rows = [row for row in rows if row.name == name]
    if len(rows) != 1:
        raise InvalidValue("endpoint", "name one of the server's S3 endpoints in the metadata")
    return int(rows[0].id)
