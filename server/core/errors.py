"""Why the core refuses or fails: one class per cause, mapped once by each face.

``code`` is stable and made for programs, ``str(error)`` says what was wrong and ``hint`` what to
do about it. None of the texts carries a path of the server, a secret or a trace.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Ref:
    """Something a message speaks of; a face may know it by another name.

    Attributes:
        kind: "Job", "Storage", "File" ...
        name: what it is called here, "" for its number.
    """

    kind: str
    id: int
    name: str = ""

    def __str__(self) -> str:
        return self.name or str(self.id)


def _plain(term: object, word: Callable[[object], str] = str) -> str:
    return ", ".join(_plain(one, word) for one in term) if isinstance(term, tuple) else word(term)


@dataclass(frozen=True, slots=True)
class Sentence:
    """Something that is told to people.

    Attributes:
        text: with ``terms``, their names stand in it in braces.
        terms: states, kinds, references, or tuples of them, for which a face may have words of
            its own.
    """

    text: str
    terms: Mapping[str, object] = field(default_factory=dict)

    def told(self, word: Callable[[object], str]) -> str:
        """The text with each of the terms as ``word`` says it."""
        if not self.terms:
            return self.text
        return self.text.format_map({name: _plain(t, word) for name, t in self.terms.items()})

    def __str__(self) -> str:
        return self.told(str)


class CoreError(Exception):
    """Base of everything the core raises on purpose.

    Attributes:
        about: what it is about, where that has a number.
    """

    code: ClassVar[str] = "internal"
    hint: str = "tell whoever runs the server"
    about: Ref | None = None

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        terms: Mapping[str, object] | None = None,
        about: Ref | None = None,
    ) -> None:
        """``message`` and ``terms`` are a `Sentence`."""
        self._sentence = Sentence(message, dict(terms or {}))
        super().__init__(str(self._sentence))
        if hint is not None:
            self.hint = hint
        if about is not None:
            self.about = about

    def told(self, word: Callable[[object], str]) -> str:
        """The message with each of its terms as ``word`` says it."""
        return self._sentence.told(word)


class DatabaseError(CoreError):
    """The database cannot be used; what the server holds there is unharmed."""

    code = "database-unavailable"
    hint = "try again; if it stays, whoever runs the server finds the reason in its log"


class SchemaError(DatabaseError):
    """The database's tables are not what this version of PixFS works with."""

    code = "schema-unknown"
    hint = "start the version of PixFS that wrote the database last, or restore a backup"


class InvalidValue(CoreError):
    """A value that cannot be used; ``field`` names it as the caller did."""

    code = "invalid-value"
    hint = "correct the value, then send the request again"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class NotFound(CoreError):
    """There is no such thing, or none that this user may see.

    ``kind`` and ``id`` say what was looked for, where that has a number or name; else "".
    """

    code = "not-found"
    hint = "check the number or name; a list shows what there is"

    def __init__(
        self, message: str, *, kind: str = "", id: int | str = "", hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.kind = kind
        self.id = id


class NameTaken(CoreError):
    """A name that must be unique is in use."""

    code = "name-taken"
    hint = "choose another name"


class FileExists(NameTaken):
    """A file, or its entity, is in the way. ``file_id`` is None when it has no entity yet."""

    code = "file-exists"
    hint = "choose another path, or update the file that is there"

    def __init__(self, storage_id: int, path: str, file_id: int | None) -> None:
        super().__init__("there is a file of that path already")
        self.storage_id = storage_id
        self.path = path
        self.file_id = file_id


class SizeMismatch(InvalidValue):
    """Not as many bytes came as were announced; nothing of them was kept."""

    code = "size-mismatch"
    hint = "send the file again, with its true length"


class PackageError(InvalidValue):
    """A package (DCP, IMF) is not what its ASSETMAP and packing lists say."""

    code = "package-broken"
    hint = "put all files of the package, whole, into the folder of its ASSETMAP"

    def __init__(self, message: str) -> None:
        super().__init__("assetmap", message)


class InUse(CoreError):
    """Something cannot go because something else needs it."""

    code = "in-use"
    hint = "change or remove what uses it first"


class LastAdmin(CoreError):
    """The change would leave nobody who may administer the server."""

    code = "last-admin"
    hint = "make another user an administrator first"


class NotLoggedIn(CoreError):
    """No session, or one that has ended."""

    code = "not-logged-in"
    hint = "log in, and send the session cookie with each request"


class BadCredentials(CoreError):
    """Name and secret do not belong together; which of the two is wrong is not told."""

    code = "bad-credentials"
    hint = "check name and password; an administrator can set a new password"


class AccountSuspended(CoreError):
    """The password was right, but the account is suspended."""

    code = "account-suspended"
    hint = "ask an administrator to restore the account"


class TooManyAttempts(CoreError):
    """Logins have failed too often; even the right password waits. ``retry_after_s``: how long."""

    code = "too-many-attempts"
    hint = "wait, or let whoever runs the server call: pixfs user unlock NAME"

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"too many failed logins; try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class ServerBusy(CoreError):
    """More at once than the server takes on. ``retry_after_s``: when to try again."""

    code = "server-busy"
    hint = "try again in a few seconds"
    retry_after_s = 5


class NotAllowed(CoreError):
    """The user's role does not include this."""

    code = "not-allowed"
    hint = "ask an administrator for a role that includes it"


class SealError(CoreError):
    """A secret in the database was not sealed with this server's key file."""

    code = "sealed-by-another-key"
    hint = "put the old secrets.key back into the data directory, or enter the secret again"


class StorageUnavailable(CoreError):
    """A storage's files cannot be reached now."""

    code = "storage-unavailable"
    hint = "check that the storage is mounted and answers, then try again"


class FileChanged(StorageUnavailable):
    """A file is not what it was when somebody began to read it."""

    code = "file-changed"
    hint = "read it again from its beginning, when nobody writes to it any more"


class WrongState(CoreError):
    """What is asked for does not go with the state something is in."""

    code = "wrong-state"
    hint = "look at its state first; an ended job can only be retried"


class StorageRefused(CoreError):
    """A storage does not take this change."""

    code = "storage-refused"
    hint = "check that the storage is writable, for the server's user too"


class StorageFull(CoreError):
    """There is no room left on a storage."""

    code = "storage-full"
    hint = "make room on the storage, then try again"


class MailRefused(CoreError):
    """The mail server did not take a mail."""

    code = "mail-refused"
    hint = "check the mail account's host, port, security, user and password"
