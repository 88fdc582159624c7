"""Why the core refuses or fails: one class per cause, mapped once by each face.

``code`` is stable and made for programs, ``str(error)`` says what was wrong and ``hint`` what to
do about it. None of the texts carries a path of the server, a secret or a trace.
"""

from __future__ import annotations

from typing import ClassVar


class CoreError(Exception):
    """Base of everything the core raises on purpose."""

    code: ClassVar[str] = "internal"
    hint: str = "tell whoever runs the server"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint


class DatabaseError(CoreError):
    """The database cannot be used; what the server holds there is unharmed."""

    code = "database-unavailable"
    hint = "try again; if it stays, whoever runs the server finds the reason in its log"


class SchemaError(DatabaseError):
    """The database's tables are not what this version of PixFS works with."""

    code = "schema-unknown"
    hint = "start the version of PixFS that wrote the database last, or restore a backup"
