"""The catalogue of files, and a method for each storage there is."""

from __future__ import annotations

import json
from urllib.parse import quote

import sqlalchemy as sa
from alembic import op

from server.core import schema

revision = "0003"
down_revision = "0002"

_BYTEWISE = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables of the catalogue."""
    _make_items()
    _make_item_names()
    _make_shapes()
    _make_components()
    _make_file_counts()
    _make_files()
    _make_folders()
    _make_scans()
    _make_storage_counts()
    _make_storage_methods()
    _make_storage_traits()
    _make_component_files()
    _make_file_hashes()
    _make_import_queue()
    _make_uploads()
    _make_upload_pieces()
    _give_methods()


def _give_methods() -> None:
    """Each storage can be reached by the root it has."""
    connection = op.get_bind()
    active = sa.text("SELECT id, kind, root, read_only FROM storages WHERE state = 'active'")
    given = sa.text(
        "INSERT INTO storage_methods"
        " (storage_id, uri, read, write, browse, type, failure_message, metadata)"
        " VALUES (:storage_id, :uri, :yes, :write, :yes, '', '', :metadata)"
    ).bindparams(sa.bindparam("yes", True, sa.Boolean), sa.bindparam("write", type_=sa.Boolean))
    for row in connection.execute(active).all():
        scheme = "s3://" if row.kind == "s3" else "file://"
        connection.execute(
            given,
            {
                "storage_id": row.id,
                "uri": scheme + quote(row.root.rstrip("/")) + "/",
                "write": not row.read_only,
                "metadata": json.dumps({}),
            },
        )


def _make_items() -> None:
    op.create_table(
        "items",
        sa.Column("id", schema.BigId, sa.Identity(always=False), nullable=False),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("created_at", schema.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_items"),
        sqlite_autoincrement=True,
    )


def _make_item_names() -> None:
    op.create_table(
        "item_names",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("item_id", schema.BigId, nullable=False),
        sa.ForeignKeyConstraint(
            ["item_id"], ["items.id"], name="fk_item_names_item_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("name", name="pk_item_names"),
    )
    op.create_index("ix_item_names_item_id", "item_names", ["item_id"], unique=False)


def _make_shapes() -> None:
    op.create_table(
        "shapes",
        sa.Column("id", schema.BigId, sa.Identity(always=False), nullable=False),
        sa.Column("item_id", schema.BigId, nullable=False),
        sa.Column("tag", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["item_id"], ["items.id"], name="fk_shapes_item_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_shapes"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_shapes_item_id", "shapes", ["item_id"], unique=False)


def _make_components() -> None:
    op.create_table(
        "components",
        sa.Column("id", schema.BigId, sa.Identity(always=False), nullable=False),
        sa.Column("shape_id", schema.BigId, nullable=False),
        sa.ForeignKeyConstraint(
            ["shape_id"], ["shapes.id"], name="fk_components_shape_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_components"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_components_shape_id", "components", ["shape_id"], unique=False)


def _make_file_counts() -> None:
    op.create_table(
        "file_counts",
        sa.Column("storage_id", schema.BigId, autoincrement=False, nullable=False),
        sa.Column("folder", _BYTEWISE, nullable=False),
        sa.Column("extension", _BYTEWISE, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("has_item", sa.Boolean(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["storage_id"], ["storages.id"], name="fk_file_counts_storage_id"),
        sa.PrimaryKeyConstraint(
            "storage_id", "folder", "extension", "state", "has_item", name="pk_file_counts"
        ),
        sqlite_with_rowid=False,
    )


def _make_files() -> None:
    op.create_table(
        "files",
        sa.Column("id", schema.BigId, sa.Identity(always=False), nullable=False),
        sa.Column("storage_id", schema.BigId, autoincrement=False, nullable=False),
        sa.Column("folder", _BYTEWISE, nullable=False),
        sa.Column("name", _BYTEWISE, nullable=False),
        sa.Column("extension", _BYTEWISE, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("refresh_flag", sa.SmallInteger(), nullable=False),
        sa.Column("has_item", sa.Boolean(), nullable=False),
        sa.Column("changed_at", schema.UtcDateTime(), nullable=True),
        sa.Column("missing_since", schema.UtcDateTime(), nullable=True),
        sa.Column("version", sa.String(length=128), nullable=False),
        sa.Column("original_name", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["storage_id"], ["storages.id"], name="fk_files_storage_id"),
        sa.PrimaryKeyConstraint("id", name="pk_files"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_files_by_extension",
        "files",
        ["storage_id", "extension", "id", "has_item", "state"],
        unique=False,
    )
    op.create_index(
        "ix_files_by_id",
        "files",
        ["storage_id", "id", "has_item", "state", "extension"],
        unique=False,
    )
    op.create_index(
        "ix_files_by_name",
        "files",
        ["storage_id", "name", "id", "has_item", "state", "extension"],
        unique=False,
    )
    op.create_index(
        "ix_files_by_size",
        "files",
        ["storage_id", "size", "id", "has_item", "state", "extension"],
        unique=False,
    )
    op.create_index(
        "ix_files_by_state",
        "files",
        ["storage_id", "state", "id", "has_item", "extension"],
        unique=False,
    )
    op.create_index(
        "ix_files_by_time",
        "files",
        ["storage_id", "mtime_ns", "id", "has_item", "state", "extension"],
        unique=False,
    )
    op.create_index(
        "ix_files_with_item",
        "files",
        ["storage_id", "id"],
        unique=False,
        sqlite_where=sa.text("has_item = 1"),
        postgresql_where=sa.text("has_item"),
    )
    op.create_index("uq_files_place", "files", ["storage_id", "folder", "name"], unique=True)


def _make_folders() -> None:
    op.create_table(
        "folders",
        sa.Column("storage_id", schema.BigId, autoincrement=False, nullable=False),
        sa.Column("path", _BYTEWISE, nullable=False),
        sa.Column("parent", _BYTEWISE, nullable=True),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("looked_at", schema.UtcDateTime(), nullable=False),
        sa.Column("taken_at", schema.UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["storage_id"], ["storages.id"], name="fk_folders_storage_id"),
        sa.PrimaryKeyConstraint("storage_id", "path", name="pk_folders"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_folders_parent", "folders", ["storage_id", "parent"], unique=False)


def _make_scans() -> None:
    op.create_table(
        "scans",
        sa.Column("storage_id", schema.BigId, autoincrement=False, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("started_at", schema.UtcDateTime(), nullable=False),
        sa.Column("finished_at", schema.UtcDateTime(), nullable=True),
        sa.Column("fresh_at", schema.UtcDateTime(), nullable=True),
        sa.Column("cursor", _BYTEWISE, nullable=False),
        sa.Column("files_seen", sa.BigInteger(), nullable=False),
        sa.Column("names_refused", sa.BigInteger(), nullable=False),
        sa.Column("root_id", sa.String(length=64), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["storage_id"], ["storages.id"], name="fk_scans_storage_id"),
        sa.PrimaryKeyConstraint("storage_id", name="pk_scans"),
    )


def _make_storage_counts() -> None:
    op.create_table(
        "storage_counts",
        sa.Column("storage_id", schema.BigId, autoincrement=False, nullable=False),
        sa.Column("extension", _BYTEWISE, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("has_item", sa.Boolean(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["storage_id"], ["storages.id"], name="fk_storage_counts_storage_id"
        ),
        sa.PrimaryKeyConstraint(
            "storage_id", "extension", "state", "has_item", name="pk_storage_counts"
        ),
        sqlite_with_rowid=False,
    )


def _make_storage_methods() -> None:
    op.create_table(
        "storage_methods",
        sa.Column("id", schema.BigId, sa.Identity(always=False), nullable=False),
        sa.Column("storage_id", schema.BigId, autoincrement=False, nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("read", sa.Boolean(), nullable=False),
        sa.Column("write", sa.Boolean(), nullable=False),
        sa.Column("browse", sa.Boolean(), nullable=False),
        sa.Column("bandwidth", sa.BigInteger(), nullable=True),
        sa.Column("type", sa.String(length=64), nullable=False),
        sa.Column("last_success", schema.UtcDateTime(), nullable=True),
        sa.Column("last_failure", schema.UtcDateTime(), nullable=True),
        sa.Column("failure_message", sa.Text(), nullable=False),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["storage_id"], ["storages.id"], name="fk_storage_methods_storage_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_storage_methods"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_storage_methods_storage_id", "storage_methods", ["storage_id"], unique=False
    )


def _make_storage_traits() -> None:
    op.create_table(
        "storage_traits",
        sa.Column("storage_id", schema.BigId, autoincrement=False, nullable=False),
        sa.Column("type", sa.String(length=16), nullable=False),
        sa.Column("capacity", sa.BigInteger(), nullable=True),
        sa.Column("bandwidth", sa.BigInteger(), nullable=True),
        sa.Column("low_watermark", sa.BigInteger(), nullable=True),
        sa.Column("high_watermark", sa.BigInteger(), nullable=True),
        sa.Column("low_watermark_percentage", sa.SmallInteger(), nullable=True),
        sa.Column("high_watermark_percentage", sa.SmallInteger(), nullable=True),
        sa.Column("auto_detect", sa.Boolean(), nullable=False),
        sa.Column("show_importables", sa.Boolean(), nullable=False),
        sa.Column("scan_interval_s", sa.Integer(), nullable=True),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["storage_id"], ["storages.id"], name="fk_storage_traits_storage_id"
        ),
        sa.PrimaryKeyConstraint("storage_id", name="pk_storage_traits"),
    )


def _make_component_files() -> None:
    op.create_table(
        "component_files",
        sa.Column("component_id", schema.BigId, autoincrement=False, nullable=False),
        sa.Column("file_id", schema.BigId, autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(
            ["component_id"],
            ["components.id"],
            name="fk_component_files_component_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["file_id"], ["files.id"], name="fk_component_files_file_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("component_id", "file_id", name="pk_component_files"),
    )
    op.create_index("ix_component_files_file_id", "component_files", ["file_id"], unique=False)


def _make_file_hashes() -> None:
    op.create_table(
        "file_hashes",
        sa.Column("file_id", schema.BigId, autoincrement=False, nullable=False),
        sa.Column("algorithm", sa.String(length=16), nullable=False),
        sa.Column("value", sa.String(length=128), nullable=False),
        sa.ForeignKeyConstraint(
            ["file_id"], ["files.id"], name="fk_file_hashes_file_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("file_id", "algorithm", name="pk_file_hashes"),
    )
    op.create_index("ix_file_hashes_value", "file_hashes", ["value"], unique=False)


def _make_import_queue() -> None:
    op.create_table(
        "import_queue",
        sa.Column("file_id", schema.BigId, autoincrement=False, nullable=False),
        sa.Column("job_id", schema.BigId, nullable=False),
        sa.ForeignKeyConstraint(
            ["file_id"], ["files.id"], name="fk_import_queue_file_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name="fk_import_queue_job_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("file_id", name="pk_import_queue"),
    )
    op.create_index("ix_import_queue_job_id", "import_queue", ["job_id"], unique=False)


def _make_uploads() -> None:
    op.create_table(
        "uploads",
        sa.Column("id", schema.BigId, sa.Identity(always=False), nullable=False),
        sa.Column("transfer_id", sa.String(length=255), nullable=False),
        sa.Column("is_whole", sa.Boolean(), nullable=False),
        sa.Column("owner_id", schema.BigId, nullable=True),
        sa.Column("storage_id", schema.BigId, autoincrement=False, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("file_id", schema.BigId, nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("is_closing", sa.Boolean(), nullable=False),
        sa.Column("created_at", schema.UtcDateTime(), nullable=False),
        sa.Column("touched_at", schema.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["file_id"], ["files.id"], name="fk_uploads_file_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name="fk_uploads_owner_id"),
        sa.ForeignKeyConstraint(["storage_id"], ["storages.id"], name="fk_uploads_storage_id"),
        sa.PrimaryKeyConstraint("id", name="pk_uploads"),
        sqlite_autoincrement=True,
    )
    op.create_index("uq_uploads_transfer", "uploads", ["transfer_id", "owner_id"], unique=True)


def _make_upload_pieces() -> None:
    op.create_table(
        "upload_pieces",
        sa.Column("upload_id", schema.BigId, autoincrement=False, nullable=False),
        sa.Column("start", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["upload_id"], ["uploads.id"], name="fk_upload_pieces_upload_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("upload_id", "start", name="pk_upload_pieces"),
    )
