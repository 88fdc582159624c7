"""What lies below the calls: TLS, proxies, and what a server's cookies are like over them."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import httpx
import pytest
import trio

from server.core.permissions import SYSTEM, Role
from server.readers import Readers
from server.serve import BindError, Certificate, build
from tests.certificates import make_certificate
from tests.pixmover import PASSWORD, PixMover
from tests.serving import LOOPBACK, get, served
from tests.t6_api.test_serve import ProbeFace, probe_app

if TYPE_CHECKING:
    from pathlib import Path

    from server.core import Core

HSTS = "strict-transport-security"


@pytest.fixture
async def admin(core: Core) -> None:
    await core.users.add(SYSTEM, "admin", Role.ADMIN, PASSWORD)


async def test_with_a_certificate_the_server_speaks_https_only(
    core: Core, admin: None, tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path)
    certificate.check()
    trust = ssl.create_default_context(cafile=certificate.chain)
    async with served(build(core, LOOPBACK), certificate=certificate) as server:
        base = f"https://127.0.0.1:{server.port}/pixmover/v1"
        async with httpx.AsyncClient(base_url=base, verify=trust, timeout=120) as client:
            answer = await client.post("/login", data={"name": "admin", "password": PASSWORD})
            assert answer.status_code == 200
            assert answer.headers[HSTS]
            name, _, flags = answer.headers["set-cookie"].partition("=")
            assert name == "__Host-pixfs_session"
            assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= {
                part.strip() for part in flags.split(";")
            }
            assert (await client.get("/whoami")).json()["name"] == "admin"
            own = {"Origin": f"https://127.0.0.1:{server.port}"}
            refused = await client.post("/logout", headers=own)
            assert refused.json()["code"] == "cross-site"
            token = (await client.get("/whoami")).json()["csrf_token"]
            left = await client.post("/logout", headers=own | {"X-CSRF-Token": token})
            assert left.status_code == 200
        async with PixMover(server.port) as plain:
            with pytest.raises(httpx.TransportError):
                await plain.get("/whoami")


async def test_a_client_that_speaks_http_2_is_served_in_http_1_1(
    core: Core, tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path)
    trust = ssl.create_default_context(cafile=certificate.chain)
    async with served(build(core, LOOPBACK), certificate=certificate) as server:
        url = f"https://127.0.0.1:{server.port}/healthz"
        async with httpx.AsyncClient(http2=True, verify=trust, timeout=120) as client:
            answer = await client.get(url)
    assert (answer.status_code, answer.http_version) == (200, "HTTP/1.1")


@pytest.mark.parametrize("goes", [True, False], ids=["goes", "stays"])
async def test_over_tls_too_a_client_that_reads_nothing_is_cut_off(
    core: Core, tmp_path: Path, goes: bool
) -> None:
    certificate = make_certificate(tmp_path)
    trust = ssl.create_default_context(cafile=certificate.chain)
    face, readers = ProbeFace(), Readers(stall_s=600 if goes else 0.2)
    app = probe_app(core, face, readers)
    async with served(app, 60, certificate, readers) as server:
        transport = await trio.open_tcp_stream("127.0.0.1", server.port)
        stream = trio.SSLStream(transport, trust, server_hostname="127.0.0.1")
        await stream.send_all(get("/endless"))
        with trio.fail_after(120):
            await face.entered.wait()
            if goes:
                await trio.aclose_forcefully(stream)
            await face.ended.wait()
            server.stop.set()
            await server.stopped.wait()
        await trio.aclose_forcefully(stream)


async def test_old_tls_is_refused(core: Core, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    old = ssl.create_default_context(cafile=certificate.chain)
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    async with served(build(core, LOOPBACK), certificate=certificate) as server:
        url = f"https://127.0.0.1:{server.port}/healthz"
        async with httpx.AsyncClient(verify=old) as client:
            with pytest.raises(httpx.TransportError):
                await client.get(url)


def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for directory in (one, two):
        directory.mkdir()
    mixed = Certificate(make_certificate(one).chain, make_certificate(two).private_key)
    for broken in (mixed, Certificate("/no/chain.pem", "/no/key.pem")):
        with pytest.raises(BindError, match="cannot be used"):
            broken.check()


async def addresses(core: Core, trusted: list[str], **headers: str) -> tuple[str, str]:
    """Where a login comes from as the server sees it, and its Set-Cookie."""
    app = build(core, LOOPBACK, trusted_proxies=trusted)
    async with served(app) as server, PixMover(server.port) as client:
        answer = await client.http.post(
            "/login",
            data={"name": "admin", "password": PASSWORD},
            headers={name.replace("_", "-"): text for name, text in headers.items()},
        )
    (event, *_) = await core.events.list(SYSTEM, kind="session")
    return event.address, answer.headers["set-cookie"]


async def test_a_trusted_proxy_tells_the_client_and_the_scheme(core: Core, admin: None) -> None:
    address, cookie = await addresses(
        core,
        ["127.0.0.1", "10.0.0.2"],
        X_Forwarded_For="6.6.6.6, 192.0.2.7, 10.0.0.2",
        X_Forwarded_Proto="https",
    )
    assert address == "192.0.2.7"
    assert cookie.startswith("__Host-pixfs_session=")
    assert "Secure" in cookie


async def test_nobody_else_is_believed(core: Core, admin: None) -> None:
    address, cookie = await addresses(
        core, ["10.0.0.2"], X_Forwarded_For="192.0.2.7", X_Forwarded_Proto="https"
    )
    assert address == "127.0.0.1"
    assert cookie.startswith("pixfs_session=")
