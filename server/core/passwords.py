"""Passwords: what is accepted, and argon2id off the trio thread.

A hash takes 64 MiB and a tenth of a second on purpose, so only two are made at once: more would
let a flood of logins use the memory up.
"""

from __future__ import annotations

import secrets
import unicodedata
from dataclasses import dataclass

import argon2
import trio

from server.core.errors import InvalidValue, ServerBusy

__all__ = ["HashCost", "Passwords", "check_password", "random_password"]

MIN_LENGTH = 10
MAX_LENGTH = 256
_MIN_DIFFERENT = 5
_AT_ONCE = 2
_MAX_WAITING = 32


@dataclass(frozen=True, slots=True)
class HashCost:
    """What one hash costs; the default is RFC 9106's second recommendation.

    Attributes:
        memory_kib: memory; OWASP's least is 19 MiB.
        passes, lanes: how often the memory is gone through, by how many threads.
    """

    memory_kib: int = 64 * 1024
    passes: int = 3
    lanes: int = 4


def check_password(field: str, password: str, user_name: str) -> None:
    """Raise InvalidValue for a password that is easily guessed or too long to hash."""
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise InvalidValue(field, f"a password has {MIN_LENGTH} to {MAX_LENGTH} characters")
    if len(set(password)) < _MIN_DIFFERENT:
        raise InvalidValue(field, f"use at least {_MIN_DIFFERENT} different characters")
    if user_name and user_name in password.lower():
        raise InvalidValue(field, "the user's name must not be part of it")


def random_password() -> str:
    """A password nobody guesses: 119 bits, in letters that are not mistaken for each other."""
    alphabet = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
    groups = ("".join(secrets.choice(alphabet) for _ in range(5)) for _ in range(4))
    return "-".join(groups)


class Passwords:
    """Hashes and verifies; one object for the whole server, so that its limit holds."""

    def __init__(self, cost: HashCost | None = None) -> None:
        cost = cost or HashCost()
        self._hasher = argon2.PasswordHasher(
            time_cost=cost.passes, memory_cost=cost.memory_kib, parallelism=cost.lanes
        )
        self._limit = trio.CapacityLimiter(_AT_ONCE)
        # Verified against when there is no such user, so that the answer takes as long.
        self._nobody = self._hasher.hash(secrets.token_hex())

    def hash_now(self, password: str) -> str:
        """The hash of a password, in argon2's own notation. Blocks."""
        return self._hasher.hash(_canonical(password))

    async def hash(self, password: str) -> str:
        """The hash of a password, made in a thread. Raises ServerBusy."""
        self._check_queue()
        return await trio.to_thread.run_sync(self.hash_now, password, limiter=self._limit)

    async def verify(self, known: str | None, password: str) -> bool:
        """Whether the password belongs to the hash; None never does, and takes as long.

        Raises ServerBusy when too many wait already.
        """
        self._check_queue()
        if len(password) > MAX_LENGTH:  # nobody's, and no reason to hash megabytes
            known, password = None, ""
        right = await trio.to_thread.run_sync(
            self._verify, known or self._nobody, password, limiter=self._limit
        )
        return right and known is not None

    def is_outdated(self, known: str) -> bool:
        """Whether the hash was made at another cost than today's."""
        return self._hasher.check_needs_rehash(known)

    def _verify(self, known: str, password: str) -> bool:
        try:
            return self._hasher.verify(known, _canonical(password))
        except argon2.exceptions.VerifyMismatchError:
            return False

    def _check_queue(self) -> None:
        if self._limit.statistics().tasks_waiting >= _MAX_WAITING:
            raise ServerBusy("too many logins at once")


def _canonical(password: str) -> bytes:
    """The same bytes for the same password, however a keyboard composes its letters."""
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
