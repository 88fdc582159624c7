"""Licence keys: what holds, what does not, and the command that makes them."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from codec import Mode, Status, licence, process
from codec.__main__ import main
from tests.frames import frame

if TYPE_CHECKING:
    from pathlib import Path

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = PRIVATE.public_key().public_bytes_raw().hex()
EXPIRES = datetime(2030, 2, 1, tzinfo=UTC)
KEY = licence.sign(PRIVATE, "Größe & Söhne", EXPIRES)
FAR = licence.sign(PRIVATE, "perpetual", licence.end_of_day(date.max))
PAST = licence.sign(PRIVATE, "former customer", datetime(2001, 1, 1, tzinfo=UTC))
SECOND = timedelta(seconds=1)


def signed(payload: object) -> str:
    """A genuinely signed key of any payload."""
    body = base64.urlsafe_b64encode(json.dumps(payload).encode()).decode().rstrip("=")
    text = f"pixfs1.{body}"
    signature = base64.urlsafe_b64encode(PRIVATE.sign(text.encode())).decode().rstrip("=")
    return f"{text}.{signature}"


def test_a_key_holds_to_its_last_second() -> None:
    assert licence.check(KEY, PUBLIC, EXPIRES - SECOND) == licence.Licence("Größe & Söhne", EXPIRES)
    with pytest.raises(licence.LicenceExpiredError, match="2030-02-01 00:00 UTC"):
        licence.check(KEY, PUBLIC, EXPIRES)


def test_white_space_around_a_key_and_upper_case_hexadecimal_do_no_harm() -> None:
    assert licence.check(f"  {KEY}\n", f" {PUBLIC.upper()}\n", EXPIRES - SECOND)


def test_the_far_future_can_be_signed_for() -> None:
    assert licence.check(FAR, PUBLIC, datetime(9999, 12, 31, 23, 59, 58, tzinfo=UTC))


def test_any_other_character_anywhere_breaks_a_key() -> None:
    for at, old in enumerate(KEY):
        new = "A" if old != "A" else "Q"
        with pytest.raises(licence.LicenceInvalidError):
            licence.check(KEY[:at] + new + KEY[at + 1 :], PUBLIC, EXPIRES - SECOND)


def test_a_later_expiry_cannot_be_put_into_a_key() -> None:
    _, _, signature = KEY.rpartition(".")
    forged, _, _ = FAR.rpartition(".")
    with pytest.raises(licence.LicenceInvalidError, match="signature"):
        licence.check(f"{forged}.{signature}", PUBLIC, EXPIRES - SECOND)


def test_a_key_of_another_pair_does_not_hold() -> None:
    other = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw().hex()
    with pytest.raises(licence.LicenceInvalidError, match="signature"):
        licence.check(KEY, other, EXPIRES - SECOND)


@pytest.mark.parametrize("key", [None, "", "  ", "x", "a.b.c", "pixfs1..", "pixfs2" + KEY[6:],
                                 KEY + ".x", KEY[:-3], KEY * 100, "é.ü.ö", "pixfs1.é.ö",
                                 "\0", 7])  # fmt: skip
def test_malformed_keys_are_invalid(key: str | None) -> None:
    with pytest.raises(licence.LicenceInvalidError):
        licence.check(key, PUBLIC, EXPIRES - SECOND)


@pytest.mark.parametrize("payload", [
    7, [], {}, "text", {"holder": "x"}, {"holder": "x", "expires": 7},
    {"holder": "x", "expires": "soon"}, {"holder": "x", "expires": "2030-01-01T00:00:00"},
    {"holder": "", "expires": "2030-01-01T00:00:00Z"},
    {"holder": "a\nb", "expires": "2030-01-01T00:00:00Z"},
    {"holder": "x" * 201, "expires": "2030-01-01T00:00:00Z"},
    {"holder": "x", "expires": "0001-01-01T00:00:00+14:00"},
])  # fmt: skip
def test_a_signature_does_not_excuse_nonsense(payload: object) -> None:
    with pytest.raises(licence.LicenceInvalidError, match="makes no sense"):
        licence.check(signed(payload), PUBLIC, EXPIRES - SECOND)


@given(st.text(max_size=80))
def test_any_text_as_a_key_is_an_answer(text: str) -> None:
    for key in (text, f"pixfs1.{text}", f"{KEY}{text}" if text.strip() else "x"):
        with pytest.raises(licence.LicenceInvalidError):
            licence.check(key, PUBLIC, EXPIRES - SECOND)


@pytest.mark.parametrize("public", ["", "xyz", PUBLIC[:-2], PUBLIC + "00", "é"])
def test_an_unfit_public_key_licenses_nobody(public: str) -> None:
    with pytest.raises(licence.LicenceSetupError):
        licence.check(KEY, public, EXPIRES - SECOND)


def test_without_cryptography_nobody_is_licensed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(licence.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(licence.LicenceSetupError, match=r"pixfs\[licence\]"):
        licence.check(KEY, PUBLIC, EXPIRES - SECOND)
    assert main(["licence", "keygen", "/nowhere/private"]) == 1
    result = process(Mode.AUTO, frame(), FAR, public_key=PUBLIC)
    assert (result.status, result.output) == (Status.LICENSE_EXPIRED, None)


@pytest.mark.parametrize("holder", ["", "\n", "x" * 201])
def test_unfit_holders_are_not_signed_for(holder: str) -> None:
    with pytest.raises(ValueError, match="printable"):
        licence.sign(PRIVATE, holder, EXPIRES)
    with pytest.raises(ValueError, match="zone"):
        licence.sign(PRIVATE, "x", EXPIRES.replace(tzinfo=None))


@pytest.mark.parametrize("key", [None, "", "x", PAST, FAR[:-6]])
def test_processing_needs_a_good_key_where_a_public_key_is_configured(
    key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = frame()
    assert process("compress", file, key).status is Status.SUCCESS  # not configured
    given_ = process("compress", file, key, public_key=PUBLIC)
    monkeypatch.setenv(licence.PUBLIC_KEY_VARIABLE, PUBLIC)
    configured = process("compress", file, key)
    assert given_ == configured
    assert configured.status is Status.LICENSE_EXPIRED
    assert configured.output is None
    assert "ask whoever supplied" in configured.message
    assert process("compress", file, FAR).status is Status.SUCCESS


def test_a_broken_configuration_fails_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(licence.PUBLIC_KEY_VARIABLE, "not a key")
    result = process("compress", frame(), FAR)
    assert result.status is Status.LICENSE_EXPIRED
    assert "64 hexadecimal digits" in result.message


def test_the_command_makes_signs_and_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    private = tmp_path / "private.pem"
    old = os.umask(0)
    try:
        assert main(["licence", "keygen", str(private)]) == 0
    finally:
        os.umask(old)
    public = capsys.readouterr().out.strip()
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    arguments = ["licence", "sign", str(private), "--holder", "A. Customer"]
    assert main([*arguments, "--expires", "2999-12-31"]) == 0
    key = capsys.readouterr().out.strip()
    assert licence.check(key, public, datetime(2999, 12, 31, 23, 59, 59, tzinfo=UTC))
    with pytest.raises(licence.LicenceExpiredError):
        licence.check(key, public, datetime(3000, 1, 1, tzinfo=UTC))
    assert main(["licence", "show", key]) == 0
    assert "signature unchecked" in capsys.readouterr().out
    monkeypatch.setenv(licence.PUBLIC_KEY_VARIABLE, public)
    assert main(["licence", "show", key]) == 0
    shown = capsys.readouterr().out
    assert "A. Customer" in shown
    assert "good" in shown
    assert main(["licence", "show", KEY]) == 1
    assert main(["licence", "show", PAST, "--public-key", PUBLIC]) == 1
    assert "expired on 2001-01-01" in capsys.readouterr().err


def test_private_keys_are_looked_after(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    private = tmp_path / "private.pem"
    assert main(["licence", "keygen", str(private)]) == 0
    kept = private.read_bytes()
    assert main(["licence", "keygen", str(private)]) == 1
    assert private.read_bytes() == kept
    private.chmod(0o640)
    assert main(["licence", "sign", str(private), "--holder", "x", "--expires", "2030-01-01"]) == 1
    assert "others may read" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["missing", "nonsense", "elliptic"])
def test_what_is_no_private_key_is_refused(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "key"
    pem = generate_private_key(SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    if kind != "missing":
        path.write_bytes(pem if kind == "elliptic" else b"nonsense")
        path.chmod(0o600)
    assert main(["licence", "sign", str(path), "--holder", "x", "--expires", "2030-01-01"]) == 1
    assert capsys.readouterr().err.startswith("licence: ")


def test_the_codec_does_not_load_cryptography_unasked() -> None:
    script = (
        "import sys, codec\n"
        "codec.process('auto', b'x', 'key')\n"
        "print('cryptography' in sys.modules)\n"
    )
    bare = {k: v for k, v in os.environ.items() if k != licence.PUBLIC_KEY_VARIABLE}
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=bare
    )
    assert ran.stdout == "False\n"
