"""A mount that does not answer holds up nothing but itself, whichever call of whichever face."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from server.core.permissions import SYSTEM
from server.work.service import run_jobs
from tests.pixmover import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from server.core import Core
    from tests.fuse_session import Mounted
    from tests.serving import Served

pytestmark = [pytest.mark.fuse, pytest.mark.slow]

API, PIXMOVER = "/API", "/pixmover/v1"


@pytest.fixture
def held(mount: Mounted) -> Iterator[AbstractContextManager[None]]:
    """The daemon of the mount, stopped for the length of a block, and going on afterwards."""

    class Held:
        def __enter__(self) -> None:
            os.kill(mount.pid, signal.SIGSTOP)

        def __exit__(self, *_: object) -> None:
            os.kill(mount.pid, signal.SIGCONT)

    try:
        yield Held()
    finally:
        os.kill(mount.pid, signal.SIGCONT)


def touching(
    storage: str, number: int, read: int, written: int
) -> list[tuple[str, str, dict[str, Any]]]:
    """Every call that looks at a storage, or changes something on it."""
    place = {"storage": storage}
    data = f"{API}/storage/VX-{number}/file/data"
    return [
        ("GET", f"{PIXMOVER}/storages", {}),
        ("GET", f"{PIXMOVER}/folders", {"params": place}),
        ("GET", f"{PIXMOVER}/files", {"params": place | {"path": "shot/a.dpx"}}),
        ("POST", f"{PIXMOVER}/folders", {"data": place | {"path": "new"}}),
        ("POST", f"{PIXMOVER}/folders/remove", {"data": place | {"path": "empty"}}),
        ("POST", f"{PIXMOVER}/files/rename", {"data": place | {"path": "old", "new_path": "o"}}),
        ("GET", f"{API}/storage/VX-{number}", {}),
        ("GET", f"{API}/file/VX-{read}/data", {}),
        ("POST", f"{API}/file/VX-{written}/data", {"content": b"x" * 1000}),
        ("POST", data, {"params": {"path": "up.dpx"}, "content": b"x" * 1000}),
    ]


async def test_a_mount_that_hangs_holds_up_no_other_request(
    core: Core,
    server: Served,
    mount: Mounted,
    held: AbstractContextManager[None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that wait for it are told that it does not answer; jobs on other storages go on."""
    monkeypatch.setattr("server.work.files._PATIENCE_S", 1.0)
    monkeypatch.setattr("server.work.files._GLANCE_S", 1.0)
    for folder in ("shot", "empty", "old"):
        (mount.path / folder).mkdir()
    for name in ("a.dpx", "w.dpx"):
        (mount.path / "shot" / name).write_bytes(b"x" * 1000)
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "b.dpx").write_bytes(b"plain")
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{server.port}", auth=("admin", PASSWORD), timeout=120
    ) as client:
        login = {"name": "admin", "password": PASSWORD}
        assert (await client.post(f"{PIXMOVER}/login", data=login)).status_code == 200
        for name, kind, root in (
            ("mounted", "pixfs", mount.path),
            ("plain", "directory", tmp_path / "plain"),
        ):
            form = {"name": name, "kind": kind, "root": str(root)}
            made = await client.post(f"{PIXMOVER}/storages", data=form)
            assert made.status_code == 200, made.text
        numbers = {s.name: s.id for s in await core.storages.list(SYSTEM)}
        entities = [
            await core.catalog.add_file(SYSTEM, numbers["mounted"], f"shot/{name}.dpx")
            for name in ("a", "w")
        ]
        calls = touching("mounted", numbers["mounted"], *(entity.id for entity in entities))
        answers: dict[str, int] = {}
        told = trio.Event()

        async def ask(method: str, path: str, options: dict[str, Any]) -> None:
            answer = await client.request(method, path, **options)
            answers[f"{method} {path}"] = answer.status_code
            if path == f"{PIXMOVER}/files":
                told.set()

        async with trio.open_nursery() as nursery:
            await nursery.start(run_jobs, core)
            with held:
                async with trio.open_nursery() as waiting:
                    for call in calls:
                        waiting.start_soon(ask, *call)
                    hung = await submit(client, "mounted", "shot")
                    await others_go_on(client, core)
                    # Those of PixMover's face have been told by now, or are soon; Vidispine's
                    # wait for the thread they have given their work to.
                    with trio.fail_after(120):
                        await told.wait()
                    assert answers[f"GET {PIXMOVER}/files"] == 503
                    await others_go_on(client, core)
                    os.kill(mount.pid, signal.SIGCONT)
            await until_ended(client, hung, "SUCCEEDED")
            nursery.cancel_scope.cancel()
    assert len(answers) == len(calls)
    assert set(answers.values()) <= {200, 403, 404, 409, 503}, answers
    assert answers[f"GET {PIXMOVER}/storages"] == 200


async def others_go_on(client: httpx.AsyncClient, core: Core) -> None:
    """What does not need the mount is answered, and done."""
    for path in ("/healthz", "/readyz", "/metrics", f"{PIXMOVER}/whoami", f"{PIXMOVER}/jobs"):
        assert (await client.get(path)).status_code == 200, path
    listed = await client.get(f"{PIXMOVER}/folders", params={"storage": "plain"})
    assert [item["name"] for item in listed.json()["items"]] == ["b.dpx"]
    assert (await client.get(f"{API}/storage/file")).status_code == 200
    await until_ended(client, await submit(client, "plain", "b.dpx"), "SUCCEEDED")


async def submit(client: httpx.AsyncClient, storage: str, path: str) -> int:
    form = {"kind": "verify", "source": storage, "sources": path, "quiet_s": "0"}
    made = await client.post(f"{PIXMOVER}/jobs", data=form)
    assert made.status_code == 200, made.text
    return int(made.json()["id"])


async def until_ended(client: httpx.AsyncClient, job: int, state: str) -> None:
    with trio.fail_after(120):
        while True:
            found = (await client.get(f"{PIXMOVER}/jobs/{job}")).json()
            if found["state"] in ("SUCCEEDED", "FAILED", "CANCELLED"):
                assert found["state"] == state, found
                return
            await trio.sleep(0.05)
