"""Users, storages, settings, throttles and events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from server.core import schema

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the first tables."""
    _make_login_attempts()
    _make_s3_endpoints()
    _make_settings()
    _make_users()
    _make_credentials()
    _make_events()
    _make_sessions()
    _make_storages()
    _make_throttles()
    _make_user_paths()
    _make_throttle_windows()
    _make_events_append_only()


def _make_login_attempts() -> None:
    op.create_table(
        "login_attempts",
        sa.Column("id", schema.BigId, sa.Identity(always=False), nullable=False),
        sa.Column("user_name", sa.String(length=64), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("at", schema.UtcDateTime(), nullable=False),
        sa.Column("succeeded", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_login_attempts"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_login_attempts_address_at", "login_attempts", ["address", "at"], unique=False
    )
    op.create_index("ix_login_attempts_at", "login_attempts", ["at"], unique=False)
    op.create_index(
        "ix_login_attempts_user_name_at", "login_attempts", ["user_name", "at"], unique=False
    )


def _make_s3_endpoints() -> None:
    op.create_table(
        "s3_endpoints",
        sa.Column("id", schema.BigId, sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("region", sa.String(length=64), nullable=False),
        sa.Column("access_key", sa.String(length=128), nullable=False),
        sa.Column("secret_sealed", sa.Text(), nullable=False),
        sa.Column("addressing", sa.String(length=8), nullable=False),
        sa.Column("created_at", schema.UtcDateTime(), nullable=False),
        sa.CheckConstraint("addressing IN ('path', 'virtual')", name="addressing"),
        sa.PrimaryKeyConstraint("id", name="pk_s3_endpoints"),
        sa.UniqueConstraint("name", name="uq_s3_endpoints_name"),
        sqlite_autoincrement=True,
    )


def _make_settings() -> None:
    op.create_table(
        "settings",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("changed_at", schema.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_settings"),
    )


def _make_users() -> None:
    op.create_table(
        "users",
        sa.Column("id", schema.BigId, sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("full_name", sa.String(length=200), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("all_paths", sa.Boolean(), nullable=False),
        sa.Column("notify", sa.JSON(), nullable=False),
        sa.Column("created_at", schema.UtcDateTime(), nullable=False),
        sa.CheckConstraint("role IN ('monitor', 'wrangler', 'admin')", name="role"),
        sa.CheckConstraint("state IN ('active', 'suspended', 'deleted')", name="state"),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_users_name_kept",
        "users",
        ["name"],
        unique=True,
        sqlite_where=sa.text("state <> 'deleted'"),
        postgresql_where=sa.text("state <> 'deleted'"),
    )


def _make_credentials() -> None:
    op.create_table(
        "credentials",
        sa.Column("id", schema.BigId, sa.Identity(always=False), nullable=False),
        sa.Column("user_id", schema.BigId, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("label", sa.String(length=100), nullable=False),
        sa.Column("identifier", sa.String(length=64), nullable=True),
        sa.Column("secret_hash", sa.String(length=256), nullable=False),
        sa.Column("created_at", schema.UtcDateTime(), nullable=False),
        sa.Column("expires_at", schema.UtcDateTime(), nullable=True),
        sa.Column("last_used_at", schema.UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_credentials_user_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_credentials"),
        sa.UniqueConstraint("identifier", name="uq_credentials_identifier"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_credentials_user_id", "credentials", ["user_id"], unique=False)
    op.create_index(
        "uq_credentials_password",
        "credentials",
        ["user_id"],
        unique=True,
        sqlite_where=sa.text("kind = 'password'"),
        postgresql_where=sa.text("kind = 'password'"),
    )


def _make_events() -> None:
    op.create_table(
        "events",
        sa.Column("id", schema.BigId, sa.Identity(always=False), nullable=False),
        sa.Column("at", schema.UtcDateTime(), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("actor_id", schema.BigId, nullable=True),
        sa.Column("subject_id", sa.BigInteger(), nullable=True),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["actor_id"], ["users.id"], name="fk_events_actor_id"),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_actor_id", "events", ["actor_id"], unique=False)
    op.create_index("ix_events_at", "events", ["at"], unique=False)
    op.create_index("ix_events_kind_id", "events", ["kind", "id"], unique=False)


def _make_sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", schema.BigId, sa.Identity(always=False), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("user_id", schema.BigId, nullable=False),
        sa.Column("created_at", schema.UtcDateTime(), nullable=False),
        sa.Column("last_seen_at", schema.UtcDateTime(), nullable=False),
        sa.Column("expires_at", schema.UtcDateTime(), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_sessions_user_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
        sa.UniqueConstraint("token_hash", name="uq_sessions_token_hash"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"], unique=False)
    op.create_index("ix_sessions_user_id", "sessions", ["user_id"], unique=False)


def _make_storages() -> None:
    op.create_table(
        "storages",
        sa.Column("id", schema.BigId, sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("root", sa.Text(), nullable=False),
        sa.Column("endpoint_id", schema.BigId, nullable=True),
        sa.Column("read_only", sa.Boolean(), nullable=False),
        sa.Column("created_at", schema.UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "state = 'removed' OR (kind = 's3') = (endpoint_id IS NOT NULL)", name="endpoint"
        ),
        sa.CheckConstraint("kind IN ('pixfs', 'directory', 's3')", name="kind"),
        sa.CheckConstraint("state IN ('active', 'removed')", name="state"),
        sa.ForeignKeyConstraint(
            ["endpoint_id"], ["s3_endpoints.id"], name="fk_storages_endpoint_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_storages"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_storages_name_kept",
        "storages",
        ["name"],
        unique=True,
        sqlite_where=sa.text("state <> 'removed'"),
        postgresql_where=sa.text("state <> 'removed'"),
    )


def _make_throttles() -> None:
    op.create_table(
        "throttles",
        sa.Column("id", schema.BigId, sa.Identity(always=False), nullable=False),
        sa.Column("storage_id", schema.BigId, nullable=False),
        sa.Column("path", sa.String(length=1024), nullable=False),
        sa.Column("direction", sa.String(length=8), nullable=False),
        sa.Column("limit_bps", sa.BigInteger(), nullable=True),
        sa.Column("time_zone", sa.String(length=64), nullable=False),
        sa.CheckConstraint("direction IN ('read', 'write')", name="direction"),
        sa.CheckConstraint("limit_bps >= 0", name="limit"),
        sa.ForeignKeyConstraint(
            ["storage_id"], ["storages.id"], name="fk_throttles_storage_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_throttles"),
        sa.UniqueConstraint(
            "storage_id", "path", "direction", name="uq_throttles_storage_id_path_direction"
        ),
        sqlite_autoincrement=True,
    )


def _make_user_paths() -> None:
    op.create_table(
        "user_paths",
        sa.Column("user_id", schema.BigId, nullable=False),
        sa.Column("storage_id", schema.BigId, nullable=False),
        sa.Column("path", sa.String(length=1024), nullable=False),
        sa.ForeignKeyConstraint(
            ["storage_id"], ["storages.id"], name="fk_user_paths_storage_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_user_paths_user_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "storage_id", "path", name="pk_user_paths"),
    )


def _make_throttle_windows() -> None:
    op.create_table(
        "throttle_windows",
        sa.Column("id", schema.BigId, sa.Identity(always=False), nullable=False),
        sa.Column("throttle_id", schema.BigId, nullable=False),
        sa.Column("days", sa.SmallInteger(), nullable=False),
        sa.Column("start_minute", sa.SmallInteger(), nullable=False),
        sa.Column("end_minute", sa.SmallInteger(), nullable=False),
        sa.Column("limit_bps", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("days BETWEEN 1 AND 127", name="days"),
        sa.CheckConstraint("end_minute BETWEEN 0 AND 1440", name="end"),
        sa.CheckConstraint("limit_bps >= 0", name="limit"),
        sa.CheckConstraint("start_minute BETWEEN 0 AND 1439", name="start"),
        sa.ForeignKeyConstraint(
            ["throttle_id"],
            ["throttles.id"],
            name="fk_throttle_windows_throttle_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_throttle_windows"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_throttle_windows_throttle_id", "throttle_windows", ["throttle_id"], unique=False
    )


def _make_events_append_only() -> None:
    """Let the database refuse to change history, whatever program asks it to."""
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER events_no_{verb.lower()} BEFORE {verb} ON events"
                " BEGIN SELECT RAISE(ABORT, 'events are append-only'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION events_append_only() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'events are append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events"
        " FOR EACH STATEMENT EXECUTE FUNCTION events_append_only()"
    )
