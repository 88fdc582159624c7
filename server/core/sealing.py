"""Secrets the server must be able to read again, such as an S3 key: sealed in the database.

The key is a file of its own beside the data, so that neither a copy of the database nor a look
into a shared PostgreSQL tells the secrets.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cryptography.fernet import Fernet, InvalidToken

from server.core.errors import SealError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Sealer"]


class Sealer:
    """Seals and opens texts (AES-128-CBC with HMAC-SHA256). Safe in any thread."""

    def __init__(self, key: bytes) -> None:
        self._fernet = Fernet(key)

    @classmethod
    def from_file(cls, path: Path) -> Sealer:
        """The sealer of a key file, which is made (mode 0600) when it is missing.

        Raises OSError when the file cannot be used, SealError when it holds no key.
        """
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            pass
        else:
            with open(fd, "wb") as file:
                file.write(Fernet.generate_key() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            _sync_directory(path.parent)
        try:
            return cls(path.read_bytes().strip())
        except ValueError:
            raise SealError(f"{path.name} does not hold a key") from None

    def seal(self, secret: str) -> str:
        """The sealed form of a secret, different each time."""
        return self._fernet.encrypt(secret.encode()).decode("ascii")

    def open(self, sealed: str) -> str:
        """The secret again; SealError when another key sealed it, or it was changed."""
        try:
            return self._fernet.decrypt(sealed.encode("ascii")).decode()
        except (InvalidToken, UnicodeEncodeError):
            raise SealError("a stored secret cannot be read with this server's key") from None


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
