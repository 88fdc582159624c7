"""The people side's tables: the reference for what each column means.

Job tables stand beside the job engine. Times are UTC; names, paths and secrets are text.
"""

from __future__ import annotations

import sqlalchemy as sa

from server.core.schema import BigId, UtcDateTime, id_column, metadata

__all__ = [
    "credentials",
    "events",
    "login_attempts",
    "s3_endpoints",
    "sessions",
    "settings",
    "storages",
    "throttle_windows",
    "throttles",
    "user_paths",
    "users",
]

users = sa.Table(
    "users",
    metadata,
    id_column(),
    # Lower case, unique among the users that are not deleted.
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("full_name", sa.String(200), nullable=False, default=""),
    # "" when there is none.
    sa.Column("email", sa.String(320), nullable=False, default=""),
    # monitor, wrangler or admin.
    sa.Column("role", sa.String(16), nullable=False),
    # active, suspended (may be restored) or deleted. A deleted user's row stays: jobs and events
    # name it, and its number is never given to somebody else.
    sa.Column("state", sa.String(16), nullable=False),
    # Whether every path of every storage is allowed; if not, those of user_paths are.
    sa.Column("all_paths", sa.Boolean, nullable=False),
    # Which ends of the user's jobs are told by e-mail: a list of succeeded, failed, cancelled.
    sa.Column("notify", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Index(
        "uq_users_name_kept",
        "name",
        unique=True,
        sqlite_where=sa.text("state <> 'deleted'"),
        postgresql_where=sa.text("state <> 'deleted'"),
    ),
    sa.CheckConstraint("role IN ('monitor', 'wrangler', 'admin')", name="role"),
    sa.CheckConstraint("state IN ('active', 'suspended', 'deleted')", name="state"),
    sqlite_autoincrement=True,
)

storages = sa.Table(
    "storages",
    metadata,
    id_column(),
    # Unique among the storages that are not removed.
    sa.Column("name", sa.String(64), nullable=False),
    # active, or removed: then the row stays for the jobs and events that name it.
    sa.Column("state", sa.String(16), nullable=False),
    # pixfs (a directory on a PixFS mount), directory, or s3.
    sa.Column("kind", sa.String(16), nullable=False),
    # An absolute directory; of an S3 storage the bucket, with a prefix after a slash if any.
    sa.Column("root", sa.Text, nullable=False),
    # The S3 endpoint, NULL for directories and, perhaps, once removed.
    sa.Column("endpoint_id", BigId, sa.ForeignKey("s3_endpoints.id"), nullable=True),
    sa.Column("read_only", sa.Boolean, nullable=False, default=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Index(
        "uq_storages_name_kept",
        "name",
        unique=True,
        sqlite_where=sa.text("state <> 'removed'"),
        postgresql_where=sa.text("state <> 'removed'"),
    ),
    sa.CheckConstraint("state IN ('active', 'removed')", name="state"),
    sa.CheckConstraint("kind IN ('pixfs', 'directory', 's3')", name="kind"),
    sa.CheckConstraint(
        "state = 'removed' OR (kind = 's3') = (endpoint_id IS NOT NULL)", name="endpoint"
    ),
    sqlite_autoincrement=True,
)

user_paths = sa.Table(
    "user_paths",
    metadata,
    sa.Column("user_id", BigId, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    sa.Column(
        "storage_id", BigId, sa.ForeignKey("storages.id", ondelete="CASCADE"), primary_key=True
    ),
    # Beneath the storage's root, without slashes at the ends; "" is the root itself.
    sa.Column("path", sa.String(1024), primary_key=True),
)

credentials = sa.Table(
    "credentials",
    metadata,
    id_column(),
    sa.Column(
        "user_id", BigId, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    # password, api-key, oauth-client ...; a user has at most one password.
    sa.Column("kind", sa.String(16), nullable=False),
    # What the user calls it; "" for the password.
    sa.Column("label", sa.String(100), nullable=False, default=""),
    # The public part by which a secret is found; NULL for passwords.
    sa.Column("identifier", sa.String(64), nullable=True, unique=True),
    # argon2id in its own notation for passwords; "sha256:" and hex for random secrets of 256
    # bits, which no guessing reaches.
    sa.Column("secret_hash", sa.String(256), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=True),
    sa.Column("last_used_at", UtcDateTime, nullable=True),
    sa.Index(
        "uq_credentials_password",
        "user_id",
        unique=True,
        sqlite_where=sa.text("kind = 'password'"),
        postgresql_where=sa.text("kind = 'password'"),
    ),
    sqlite_autoincrement=True,
)

sessions = sa.Table(
    "sessions",
    metadata,
    id_column(),
    # SHA-256 of the cookie's token, hex: whoever reads the table cannot log in with it.
    sa.Column("token_hash", sa.String(64), nullable=False, unique=True),
    sa.Column(
        "user_id", BigId, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("last_seen_at", UtcDateTime, nullable=False),
    # The end that no use puts off.
    sa.Column("expires_at", UtcDateTime, nullable=False, index=True),
    sa.Column("address", sa.String(64), nullable=False),
    sqlite_autoincrement=True,
)

login_attempts = sa.Table(
    "login_attempts",
    metadata,
    id_column(),
    # As it was typed, in lower case and cut to the column; the user need not exist.
    sa.Column("user_name", sa.String(64), nullable=False),
    sa.Column("address", sa.String(64), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False, index=True),
    # False from the moment the attempt begins, true once the password was right.
    sa.Column("succeeded", sa.Boolean, nullable=False),
    sa.Index("ix_login_attempts_user_name_at", "user_name", "at"),
    sa.Index("ix_login_attempts_address_at", "address", "at"),
    sqlite_autoincrement=True,
)

s3_endpoints = sa.Table(
    "s3_endpoints",
    metadata,
    id_column(),
    sa.Column("name", sa.String(64), nullable=False, unique=True),
    # http(s)://host[:port]; "" is Amazon's own for the region.
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("region", sa.String(64), nullable=False),
    sa.Column("access_key", sa.String(128), nullable=False),
    # Sealed with the server's key file (server.core.sealing), never shown.
    sa.Column("secret_sealed", sa.Text, nullable=False),
    # path or virtual: how a bucket is named in a URL.
    sa.Column("addressing", sa.String(8), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.CheckConstraint("addressing IN ('path', 'virtual')", name="addressing"),
    sqlite_autoincrement=True,
)

settings = sa.Table(
    "settings",
    metadata,
    # One row for each group, such as mail.
    sa.Column("name", sa.String(64), primary_key=True),
    # The group's fields; secrets among them are sealed.
    sa.Column("value", sa.JSON, nullable=False),
    sa.Column("changed_at", UtcDateTime, nullable=False),
)

throttles = sa.Table(
    "throttles",
    metadata,
    id_column(),
    sa.Column(
        "storage_id",
        BigId,
        sa.ForeignKey("storages.id", ondelete="CASCADE"),
        nullable=False,
    ),
    # Beneath the storage's root, as in user_paths.
    sa.Column("path", sa.String(1024), nullable=False),
    # read or write.
    sa.Column("direction", sa.String(8), nullable=False),
    # Bytes per second outside of every window; 0 pauses, NULL does not limit.
    sa.Column("limit_bps", sa.BigInteger, nullable=True),
    # IANA name; the windows' times are of this zone.
    sa.Column("time_zone", sa.String(64), nullable=False),
    sa.UniqueConstraint("storage_id", "path", "direction"),
    sa.CheckConstraint("direction IN ('read', 'write')", name="direction"),
    sa.CheckConstraint("limit_bps >= 0", name="limit"),
    sqlite_autoincrement=True,
)

throttle_windows = sa.Table(
    "throttle_windows",
    metadata,
    id_column(),
    sa.Column(
        "throttle_id",
        BigId,
        sa.ForeignKey("throttles.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    # Bit 0 is Monday: the days on which the window begins.
    sa.Column("days", sa.SmallInteger, nullable=False),
    # Minutes of the day; an end at or before the start is on the next day.
    sa.Column("start_minute", sa.SmallInteger, nullable=False),
    sa.Column("end_minute", sa.SmallInteger, nullable=False),
    # As throttles.limit_bps.
    sa.Column("limit_bps", sa.BigInteger, nullable=True),
    sa.CheckConstraint("days BETWEEN 1 AND 127", name="days"),
    sa.CheckConstraint("start_minute BETWEEN 0 AND 1439", name="start"),
    sa.CheckConstraint("end_minute BETWEEN 0 AND 1440", name="end"),
    sa.CheckConstraint("limit_bps >= 0", name="limit"),
    sqlite_autoincrement=True,
)

# Append-only: the migration lets the database itself refuse UPDATE and DELETE.
events = sa.Table(
    "events",
    metadata,
    id_column(),
    sa.Column("at", UtcDateTime, nullable=False, index=True),
    # noun.verb, such as user.added.
    sa.Column("kind", sa.String(64), nullable=False),
    # Who did it: NULL for the server itself and for somebody who is not logged in.
    sa.Column("actor_id", BigId, sa.ForeignKey("users.id"), nullable=True, index=True),
    # The number of what it was done to, NULL when the kind has none.
    sa.Column("subject_id", sa.BigInteger, nullable=True),
    # Where the request came from, "" for the command line and the server itself.
    sa.Column("address", sa.String(64), nullable=False),
    sa.Column("request_id", sa.String(64), nullable=False),
    # Never a secret.
    sa.Column("detail", sa.JSON, nullable=False),
    sa.Index("ix_events_kind_id", "kind", "id"),
    sqlite_autoincrement=True,
)
