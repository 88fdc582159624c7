"""The catalogue: file entities, their storages' methods, items, uploads, and what scans saw.

It is an index that follows the disks; the disks are the truth. ``server.work`` scans them and
moves the bytes.
"""

from __future__ import annotations

from server.core.catalog.catalog import Catalog
from server.core.catalog.model import (
    MAX_PAGE,
    CatalogFile,
    CatalogStorage,
    ComponentRef,
    FilePage,
    FileQuery,
    FileState,
    Freshness,
    ImportOptions,
    ItemRef,
    JobOptions,
    Method,
    MethodChange,
    PathMatch,
    ShapeRef,
    Sort,
    SortKey,
    StorageChange,
    StorageTraits,
    TransferOptions,
)

__all__ = [
    "MAX_PAGE",
    "Catalog",
    "CatalogFile",
    "CatalogStorage",
    "ComponentRef",
    "FilePage",
    "FileQuery",
    "FileState",
    "Freshness",
    "ImportOptions",
    "ItemRef",
    "JobOptions",
    "Method",
    "MethodChange",
    "PathMatch",
    "ShapeRef",
    "Sort",
    "SortKey",
    "StorageChange",
    "StorageTraits",
    "TransferOptions",
]
