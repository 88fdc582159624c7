"""Items, their shapes and components, and the files these consist of.

Functions run inside a transaction of the caller's, a writing one where they change something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from server.core.catalog import rows
from server.core.catalog.model import ComponentRef, ItemRef, ShapeRef
from server.core.catalog.tables import (
    component_files,
    components,
    files,
    item_names,
    items,
    shapes,
)
from server.core.errors import NameTaken

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.engine import Connection

__all__ = ["connect", "detach", "items_of", "make_item", "require_free_names"]


def items_of(connection: Connection, ids: Sequence[int]) -> dict[int, tuple[ItemRef, ...]]:
    """Of each of these files, the items it belongs to and the parts of them."""
    query = (
        sa.select(
            component_files.c.file_id,
            shapes.c.item_id,
            components.c.shape_id,
            components.c.id.label("component_id"),
        )
        .join(components, components.c.id == component_files.c.component_id)
        .join(shapes, shapes.c.id == components.c.shape_id)
        .where(component_files.c.file_id.in_(ids))
        .order_by(shapes.c.item_id, components.c.shape_id, components.c.id)
    )
    tree: dict[int, dict[int, dict[int, list[int]]]] = {number: {} for number in ids}
    for row in connection.execute(query):
        found = tree[row.file_id].setdefault(row.item_id, {}).setdefault(row.shape_id, [])
        found.append(row.component_id)
    return {
        number: tuple(
            ItemRef(
                item,
                tuple(
                    ShapeRef(shape, tuple(ComponentRef(one) for one in parts))
                    for shape, parts in of_item.items()
                ),
            )
            for item, of_item in found_items.items()
        )
        for number, found_items in tree.items()
    }


def require_free_names(connection: Connection, names: Sequence[str]) -> None:
    """Raise NameTaken when another item has one of these external ids."""
    query = sa.select(item_names.c.name).where(item_names.c.name.in_(names))
    taken = connection.execute(query.limit(1)).scalar()
    if taken is not None:
        raise NameTaken(f"another item has the external id {taken!r}")


def make_item(
    connection: Connection,
    names: Sequence[str],
    metadata: Mapping[str, Any],
    parts: Sequence[int],
    now: datetime,
) -> int:
    """A new item with one shape that has a component for each of these files; its number."""
    item = _insert(connection, items.insert().values(metadata=dict(metadata), created_at=now))
    for name in dict.fromkeys(names):
        connection.execute(item_names.insert().values(name=name, item_id=item))
    shape = _insert(connection, shapes.insert().values(item_id=item, tag="original"))
    for file_id in parts:
        component = _insert(connection, components.insert().values(shape_id=shape))
        connect(connection, component, file_id)
    return item


def _insert(connection: Connection, statement: sa.Insert) -> int:
    key = connection.execute(statement).inserted_primary_key
    assert key is not None
    return int(key[0])


def connect(connection: Connection, component_id: int, file_id: int) -> None:
    """Lets a component have a file, if it has not already."""
    mine = (component_files.c.component_id == component_id) & (component_files.c.file_id == file_id)
    if connection.execute(sa.select(component_files).where(mine)).first() is None:
        connection.execute(
            component_files.insert().values(component_id=component_id, file_id=file_id)
        )
    _mark(connection, file_id, has_item=True)


def detach(connection: Connection, file_id: int, item_id: int | None = None) -> int:
    """Takes a file away from the components of an item, or of all; from how many."""
    mine = component_files.c.file_id == file_id
    which = mine
    if item_id is not None:
        of_item = (
            sa.select(components.c.id)
            .join(shapes, shapes.c.id == components.c.shape_id)
            .where(shapes.c.item_id == item_id)
        )
        which &= component_files.c.component_id.in_(of_item)
    taken = connection.execute(component_files.delete().where(which)).rowcount
    if connection.execute(sa.select(component_files).where(mine).limit(1)).first() is None:
        _mark(connection, file_id, has_item=False)
    return int(taken)


def _mark(connection: Connection, file_id: int, *, has_item: bool) -> None:
    row = connection.execute(sa.select(*rows.COUNTED).where(files.c.id == file_id)).one()
    if bool(row.has_item) != has_item:
        rows.change(connection, [(rows.FileRow(*row), {"has_item": has_item})])
