"""The catalogue's tables: the reference for what each column means.

Every change to ``files`` goes through ``rows``, which keeps the tables of counts in step.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from server.core.schema import BigId, UtcDateTime, id_column, metadata

__all__ = [
    "component_files",
    "components",
    "file_counts",
    "file_hashes",
    "files",
    "folders",
    "import_queue",
    "item_names",
    "items",
    "scans",
    "series",
    "shapes",
    "spans",
    "storage_counts",
    "storage_methods",
    "storage_traits",
    "upload_pieces",
    "uploads",
]

# Names are ordered and compared by their bytes: only then is a subtree a range of an index.
Bytewise = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def _storage_id(*, primary_key: bool = False) -> sa.Column[int]:
    return sa.Column(
        "storage_id",
        BigId,
        sa.ForeignKey("storages.id"),
        primary_key=primary_key,
        nullable=False,
        autoincrement=False,
    )


def _file_id(*, primary_key: bool = False) -> sa.Column[int]:
    return sa.Column(
        "file_id",
        BigId,
        sa.ForeignKey("files.id", ondelete="CASCADE"),
        primary_key=primary_key,
        nullable=False,
        autoincrement=False,
    )


storage_traits = sa.Table(
    "storage_traits",
    metadata,
    _storage_id(primary_key=True),
    # LOCAL, SHARED, REMOTE, EXTERNAL, ARCHIVE or EXPORT.
    sa.Column("type", sa.String(16), nullable=False),
    # Bytes; NULL is whatever the disk has.
    sa.Column("capacity", sa.BigInteger, nullable=True),
    # Bytes a second, told and not enforced: throttles are.
    sa.Column("bandwidth", sa.BigInteger, nullable=True),
    sa.Column("low_watermark", sa.BigInteger, nullable=True),
    sa.Column("high_watermark", sa.BigInteger, nullable=True),
    sa.Column("low_watermark_percentage", sa.SmallInteger, nullable=True),
    sa.Column("high_watermark_percentage", sa.SmallInteger, nullable=True),
    # Whether files that appear become entities by themselves.
    sa.Column("auto_detect", sa.Boolean, nullable=False),
    sa.Column("show_importables", sa.Boolean, nullable=False),
    # Seconds between two scans; NULL is the server's default.
    sa.Column("scan_interval_s", sa.Integer, nullable=True),
    # Text by text, unread.
    sa.Column("metadata", sa.JSON, nullable=False),
)

storage_methods = sa.Table(
    "storage_methods",
    metadata,
    id_column(),
    _storage_id(),
    # Ends in a slash; never holds credentials.
    sa.Column("uri", sa.Text, nullable=False),
    sa.Column("read", sa.Boolean, nullable=False),
    sa.Column("write", sa.Boolean, nullable=False),
    sa.Column("browse", sa.Boolean, nullable=False),
    sa.Column("bandwidth", sa.BigInteger, nullable=True),
    # "" for the ordinary ones.
    sa.Column("type", sa.String(64), nullable=False),
    sa.Column("last_success", UtcDateTime, nullable=True),
    sa.Column("last_failure", UtcDateTime, nullable=True),
    sa.Column("failure_message", sa.Text, nullable=False),
    sa.Column("metadata", sa.JSON, nullable=False),
    sa.Index("ix_storage_methods_storage_id", "storage_id"),
    sqlite_autoincrement=True,
)

_FILTERED = ("has_item", "state")

files = sa.Table(
    "files",
    metadata,
    id_column(),
    _storage_id(),
    # The path is folder/name; "" is the storage's root. Neither changes while the row lives.
    sa.Column("folder", Bytewise, nullable=False),
    sa.Column("name", Bytewise, nullable=False),
    # What follows the name's last dot, as it is written; "" without one.
    sa.Column("extension", Bytewise, nullable=False),
    # A FileState.
    sa.Column("state", sa.String(16), nullable=False),
    # Bytes as readers see them; -1 until it was seen.
    sa.Column("size", sa.BigInteger, nullable=False),
    # Of the file; until it was seen, when the entity was made or changed.
    sa.Column("mtime_ns", sa.BigInteger, nullable=False),
    # 1 while a scan may change the state: of OPEN, MISSING and the like.
    sa.Column("refresh_flag", sa.SmallInteger, nullable=False),
    # Whether a component has it.
    sa.Column("has_item", sa.Boolean, nullable=False),
    # When a scan saw it last change, which tells when it has come to rest; NULL: never seen.
    sa.Column("changed_at", UtcDateTime, nullable=True),
    # When a scan first missed it; NULL while it is there.
    sa.Column("missing_since", UtcDateTime, nullable=True),
    # Of an object in a bucket: changes with its bytes. "" where size and time tell all.
    sa.Column("version", sa.String(128), nullable=False),
    # What it was called when it was imported; "" when that is not known.
    sa.Column("original_name", sa.Text, nullable=False),
    sa.Index("uq_files_place", "storage_id", "folder", "name", unique=True),
    # One for each order of a list. What lists are filtered by stands in each, so that skipping
    # to a far page never leaves the index.
    sa.Index("ix_files_by_id", "storage_id", "id", *_FILTERED, "extension"),
    sa.Index("ix_files_by_name", "storage_id", "name", "id", *_FILTERED, "extension"),
    sa.Index("ix_files_by_size", "storage_id", "size", "id", *_FILTERED, "extension"),
    sa.Index("ix_files_by_time", "storage_id", "mtime_ns", "id", *_FILTERED, "extension"),
    sa.Index("ix_files_by_extension", "storage_id", "extension", "id", *_FILTERED),
    sa.Index("ix_files_by_extension_name", "storage_id", "extension", "name", "id", *_FILTERED),
    sa.Index("ix_files_by_state", "storage_id", "state", "id", "has_item", "extension"),
    sa.Index(
        "ix_files_with_item",
        "storage_id",
        "id",
        sqlite_where=sa.text("has_item = 1"),
        postgresql_where=sa.text("has_item"),
    ),
    sqlite_autoincrement=True,
)


def _counted() -> list[sa.Column[object]]:
    return [
        sa.Column("extension", Bytewise, primary_key=True),
        sa.Column("state", sa.String(16), primary_key=True),
        sa.Column("has_item", sa.Boolean, primary_key=True),
        sa.Column("n", sa.BigInteger, nullable=False),
    ]


# How many files there are of each sort in a folder itself, and in a whole storage: what a list
# of a million answers its count from.
file_counts = sa.Table(
    "file_counts",
    metadata,
    _storage_id(primary_key=True),
    sa.Column("folder", Bytewise, primary_key=True),
    *_counted(),
    sqlite_with_rowid=False,
)

storage_counts = sa.Table(
    "storage_counts",
    metadata,
    _storage_id(primary_key=True),
    *_counted(),
    sqlite_with_rowid=False,
)

# How many files of a folder have names that differ in their last number only, of each sort: what
# patterns are held against instead of a million names.
series = sa.Table(
    "series",
    metadata,
    _storage_id(primary_key=True),
    sa.Column("folder", Bytewise, primary_key=True),
    # The names' text with a mark for each digit of the number.
    sa.Column("name", Bytewise, primary_key=True),
    sa.Column("state", sa.String(16), primary_key=True),
    sa.Column("has_item", sa.Boolean, primary_key=True),
    sa.Column("n", sa.BigInteger, nullable=False),
    sa.Index("ix_series_by_name", "storage_id", "name"),
    sqlite_with_rowid=False,
)

# Where every few thousandth file of each order stands, and how many files there are of each sort
# from there to the next: what far pages of a list are found by.
spans = sa.Table(
    "spans",
    metadata,
    _storage_id(primary_key=True),
    # The name of a spans.Ordering.
    sa.Column("ordering", sa.String(16), primary_key=True),
    # The first file's place in the order: what of these it does not use is "" and 0.
    sa.Column("text", Bytewise, primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    # The file may be gone; its place is still there.
    sa.Column("file_id", BigId, primary_key=True, autoincrement=False),
    sa.Column("state", sa.String(16), primary_key=True),
    sa.Column("has_item", sa.Boolean, primary_key=True),
    sa.Column("n", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

file_hashes = sa.Table(
    "file_hashes",
    metadata,
    _file_id(primary_key=True),
    # SHA-1, XXH3-128 ...
    sa.Column("algorithm", sa.String(16), primary_key=True),
    # Lower-case hex.
    sa.Column("value", sa.String(128), nullable=False),
    sa.Index("ix_file_hashes_value", "value"),
)

items = sa.Table(
    "items",
    metadata,
    id_column(),
    # What came with the import, unread.
    sa.Column("metadata", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sqlite_autoincrement=True,
)

item_names = sa.Table(
    "item_names",
    metadata,
    # An external id; no two items share one.
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("item_id", BigId, sa.ForeignKey("items.id", ondelete="CASCADE"), nullable=False),
    sa.Index("ix_item_names_item_id", "item_id"),
)

shapes = sa.Table(
    "shapes",
    metadata,
    id_column(),
    sa.Column("item_id", BigId, sa.ForeignKey("items.id", ondelete="CASCADE"), nullable=False),
    # original, or a shape tag.
    sa.Column("tag", sa.String(64), nullable=False),
    sa.Index("ix_shapes_item_id", "item_id"),
    sqlite_autoincrement=True,
)

components = sa.Table(
    "components",
    metadata,
    id_column(),
    sa.Column("shape_id", BigId, sa.ForeignKey("shapes.id", ondelete="CASCADE"), nullable=False),
    sa.Index("ix_components_shape_id", "shape_id"),
    sqlite_autoincrement=True,
)

component_files = sa.Table(
    "component_files",
    metadata,
    sa.Column(
        "component_id",
        BigId,
        sa.ForeignKey("components.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    _file_id(primary_key=True),
    sa.Index("ix_component_files_file_id", "file_id"),
)

# Files an import has been started for that has not ended.
import_queue = sa.Table(
    "import_queue",
    metadata,
    _file_id(primary_key=True),
    sa.Column("job_id", BigId, sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    sa.Index("ix_import_queue_job_id", "job_id"),
)

# What the scanner knows of each folder: an unchanged mtime means that no name came or went.
folders = sa.Table(
    "folders",
    metadata,
    _storage_id(primary_key=True),
    sa.Column("path", Bytewise, primary_key=True),
    # The folder above; NULL of the root.
    sa.Column("parent", Bytewise, nullable=True),
    # 0 when it may have changed while it was listed.
    sa.Column("mtime_ns", sa.BigInteger, nullable=False),
    # When the files in it were last looked at one by one.
    sa.Column("looked_at", UtcDateTime, nullable=False),
    # When a job last took files out of it: a look that was begun before may still show them.
    sa.Column("taken_at", UtcDateTime, nullable=True),
    sa.Index("ix_folders_parent", "storage_id", "parent"),
    sqlite_with_rowid=False,
)

scans = sa.Table(
    "scans",
    metadata,
    _storage_id(primary_key=True),
    # scanning, fresh or failed.
    sa.Column("state", sa.String(16), nullable=False),
    # When the pass under way, or the last one, began.
    sa.Column("started_at", UtcDateTime, nullable=False),
    sa.Column("finished_at", UtcDateTime, nullable=True),
    # The beginning of the last pass that came to its end.
    sa.Column("fresh_at", UtcDateTime, nullable=True),
    # The last folder the pass under way has finished; a restart goes on behind it.
    sa.Column("cursor", Bytewise, nullable=False),
    # In this pass: files that are there, and names that cannot be catalogued.
    sa.Column("files_seen", sa.BigInteger, nullable=False),
    sa.Column("names_refused", sa.BigInteger, nullable=False),
    # What the root was when it was scanned first; another one that is empty is no storage whose
    # files have gone, but one that is not mounted.
    sa.Column("root_id", sa.String(64), nullable=False),
    # Why the last pass came to nothing, or what of it could not be looked at.
    sa.Column("error", sa.Text, nullable=False),
)

# Uploads that are not complete: what a crash leaves of them is known by their number.
uploads = sa.Table(
    "uploads",
    metadata,
    id_column(),
    # The client's, unique for each owner; of an upload of one piece a number of our own.
    sa.Column("transfer_id", sa.String(255), nullable=False),
    # One request brings all of it: nothing can follow after a crash.
    sa.Column("is_whole", sa.Boolean, nullable=False),
    sa.Column("owner_id", BigId, sa.ForeignKey("users.id"), nullable=True),
    _storage_id(),
    sa.Column("path", sa.Text, nullable=False),
    # The entity whose bytes are replaced; NULL for a new file.
    sa.Column("file_id", BigId, sa.ForeignKey("files.id", ondelete="CASCADE"), nullable=True),
    # The state the file gets, "" for CLOSED.
    sa.Column("state", sa.String(16), nullable=False),
    # Bytes of the whole file; -1 while that is not known.
    sa.Column("size", sa.BigInteger, nullable=False),
    # 1 to 1000; the highest goes first.
    sa.Column("priority", sa.SmallInteger, nullable=False),
    # Whether somebody is putting the pieces under the file's name: no piece is taken any more.
    sa.Column("is_closing", sa.Boolean, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("touched_at", UtcDateTime, nullable=False),
    sa.Index("uq_uploads_transfer", "transfer_id", "owner_id", unique=True),
    sqlite_autoincrement=True,
)

upload_pieces = sa.Table(
    "upload_pieces",
    metadata,
    sa.Column(
        "upload_id",
        BigId,
        sa.ForeignKey("uploads.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    # Durable bytes from start on.
    sa.Column("start", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("length", sa.BigInteger, nullable=False),
)
