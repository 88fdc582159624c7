"""Licence keys: a holder and an expiry, signed with Ed25519 (RFC 8032).

Off by default: while no public key is configured, everything is licensed and nothing here is
asked. Whoever ships the library to others makes a key pair, configures the public key (an
argument, or ``PIXFS_LICENSE_PUBLIC_KEY`` in the environment: 64 hexadecimal digits) and signs a
key for each customer with the private one. `codec.cli.licence` is the command for that.

A key is one line of text::

    pixfs1.PAYLOAD.SIGNATURE

both parts in unpadded base64url. The payload is a JSON object with the strings ``holder`` and
``expires`` (ISO 8601, UTC, the first second that is not licensed); readers ignore other names.
The signature is that of the ASCII text before the second full stop.

The signatures are made and checked by the package ``cryptography``, which is imported only when
a public key is configured.
"""

from __future__ import annotations

import base64
import binascii
import importlib.util
import json
import os
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

from codec.errors import CodecError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

PUBLIC_KEY_VARIABLE = "PIXFS_LICENSE_PUBLIC_KEY"
MAX_HOLDER = 200
_PREFIX = "pixfs1"
_MAX_KEY = 4096


class LicenceError(CodecError):
    """Base of what a licence can fail for."""


class LicenceExpiredError(LicenceError):
    """The key is genuine and its time is over."""


class LicenceInvalidError(LicenceError):
    """There is no key, or it is not one that the holder of the private key signed."""


class LicenceSetupError(LicenceError):
    """Licences are asked for, and this installation cannot check them."""


@dataclass(frozen=True, slots=True)
class Licence:
    """What a key says. ``expires`` is the first moment it no longer holds, in UTC."""

    holder: str
    expires: datetime


def configured_public_key() -> str | None:
    """The public key of the environment, or None where no licence is needed."""
    return os.environ.get(PUBLIC_KEY_VARIABLE, "").strip() or None


def check(key: str | None, public_key: str, now: datetime | None = None) -> Licence:
    """The licence of ``key``, if its signature holds and it has not expired at ``now``.

    ``now`` is an aware datetime, by default the clock's. Raises LicenceInvalidError,
    LicenceExpiredError, or LicenceSetupError where ``public_key`` is none or the package
    ``cryptography`` is missing. Any thread may call this.
    """
    verifier = _public(public_key)
    if not key:
        raise LicenceInvalidError("no licence key was given")
    licence = read(key)
    signed, _, signature = key.strip().rpartition(".")
    if not _holds(verifier, _unarmour(signature), signed.encode("ascii")):
        raise LicenceInvalidError("the licence key's signature does not hold")
    if (now or datetime.now(UTC)) >= licence.expires:
        raise LicenceExpiredError(
            f"the licence of {licence.holder} expired on {licence.expires:%Y-%m-%d %H:%M} UTC"
        )
    return licence


def read(key: str) -> Licence:
    """What a key claims, its signature unchecked. Raises LicenceInvalidError."""
    parts = key.strip().split(".") if isinstance(key, str) and len(key) <= _MAX_KEY else []
    if len(parts) != 3 or parts[0] != _PREFIX:
        raise LicenceInvalidError(f"this is no licence key: it is not {_PREFIX}.PAYLOAD.SIGNATURE")
    try:
        payload = json.loads(_unarmour(parts[1]))
        holder, expires = payload["holder"], datetime.fromisoformat(payload["expires"])
        _unarmour(parts[2])
        if not _is_name(holder) or expires.tzinfo is None:
            raise ValueError("an unfit holder or time of expiry")
        return Licence(holder, expires.astimezone(UTC))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise LicenceInvalidError(f"the licence key makes no sense ({error})") from error


def sign(private_key: Ed25519PrivateKey, holder: str, expires: datetime) -> str:
    """The key of a licence. Raises ValueError for an unfit holder or a time without zone."""
    if not _is_name(holder):
        raise ValueError(f"a holder has 1 to {MAX_HOLDER} printable characters")
    if expires.tzinfo is None:
        raise ValueError("the time of expiry needs a zone")
    moment = expires.astimezone(UTC).isoformat(timespec="seconds")
    payload = json.dumps({"holder": holder, "expires": moment}, ensure_ascii=False)
    signed = f"{_PREFIX}.{_armour(payload.encode())}"
    return f"{signed}.{_armour(private_key.sign(signed.encode('ascii')))}"


def end_of_day(day: date) -> datetime:
    """The first moment after ``day`` in UTC, for licences that hold through a day."""
    if day == date.max:
        return datetime.max.replace(microsecond=0, tzinfo=UTC)
    return datetime.combine(day + timedelta(days=1), time(), UTC)


def require_cryptography() -> None:
    """Raise LicenceSetupError where the package that makes and checks signatures is missing."""
    if importlib.util.find_spec("cryptography") is None:
        raise LicenceSetupError(
            "licences need the package cryptography: pip install 'pixfs[licence]'"
        )


def _is_name(holder: object) -> bool:
    return isinstance(holder, str) and 0 < len(holder) <= MAX_HOLDER and holder.isprintable()


def _public(text: str) -> Ed25519PublicKey:
    require_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        return Ed25519PublicKey.from_public_bytes(binascii.unhexlify(text.strip()))
    except ValueError as error:
        raise LicenceSetupError(
            f"the public key that licences are checked with ({PUBLIC_KEY_VARIABLE})"
            f" is not 64 hexadecimal digits: {error}"
        ) from error


def _holds(key: Ed25519PublicKey, signature: bytes, signed: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def _armour(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def _unarmour(text: str) -> bytes:
    """The bytes of unpadded base64url. Raises ValueError."""
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
