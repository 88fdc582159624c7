"""``python -m codec licence``: make a key pair, sign licence keys, and show what one says."""

from __future__ import annotations

import os
import stat
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from codec import licence
from codec.cli.errors import Refused

if TYPE_CHECKING:
    import argparse

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def add_to(command: argparse.ArgumentParser) -> None:
    """Give ``command`` the verbs; the parsed options' ``whole`` does what was asked."""
    verbs = command.add_subparsers(required=True, metavar="VERB")

    keygen = verbs.add_parser("keygen", help="make a key pair")
    keygen.add_argument("private", type=Path, metavar="FILE", help="where the private key goes")
    keygen.set_defaults(whole=_keygen)

    sign = verbs.add_parser("sign", help="sign a licence key")
    sign.add_argument("private", type=Path, metavar="FILE", help="the private key")
    sign.add_argument("--holder", required=True, help="whom the licence is for")
    sign.add_argument(
        "--expires", required=True, type=date.fromisoformat, metavar="YYYY-MM-DD",
        help="the last day it holds (UTC)",
    )  # fmt: skip
    sign.set_defaults(whole=_sign)

    show = verbs.add_parser("show", help="say what a licence key holds, and whether it is good")
    show.add_argument("key", metavar="KEY")
    show.add_argument("--public-key", help=f"instead of ${licence.PUBLIC_KEY_VARIABLE}")
    show.set_defaults(whole=_show)


def _keygen(options: argparse.Namespace) -> None:
    licence.require_cryptography()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    try:
        descriptor = os.open(options.private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise Refused(f"{options.private} exists, and a private key is never replaced") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(descriptor)
    print(private.public_key().public_bytes_raw().hex())


def _sign(options: argparse.Namespace) -> None:
    private = _load(options.private)
    try:
        print(licence.sign(private, options.holder, licence.end_of_day(options.expires)))
    except ValueError as error:
        raise Refused(str(error)) from error


def _show(options: argparse.Namespace) -> None:
    claim = licence.read(options.key)
    public_key = options.public_key or licence.configured_public_key()
    print(f"holder   {claim.holder}")
    print(f"expires  {claim.expires:%Y-%m-%d %H:%M} UTC")
    if public_key is None:
        over = datetime.now(UTC) >= claim.expires
        print(
            f"state    {'expired' if over else 'not expired'}; no public key, signature unchecked"
        )
        return
    licence.check(options.key, public_key)
    print("state    good")


def _load(path: Path) -> Ed25519PrivateKey:
    licence.require_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    with path.open("rb") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            raise Refused(f"others may read {path}: chmod 600 it, or make a new key pair")
        pem = file.read()
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Refused(f"{path} holds no private key that can be read ({error})") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Refused(f"{path} holds a key of another kind than Ed25519")
    return key
