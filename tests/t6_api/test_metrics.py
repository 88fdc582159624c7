"""/metrics: what a monitor reads, and who is let."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from server.api.operations import MonitorAccess
from server.core.jobs import JobKind, JobRequest, Notify
from server.core.permissions import SYSTEM
from server.core.storages import StorageKind
from server.core.throttles import Direction
from server.notify.errors import DeliveryError
from server.notify.outbox import Outbox
from server.serve import build
from server.work.engine import ThreadEngine
from server.work.service import run_jobs
from tests.serving import LOOPBACK, served

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from server.core import Core
    from tests.checklogs import ExpectLogs
    from tests.pixmover import PixMover
    from tests.serving import Served

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    """Every sample by its name and labels; fails on text that Prometheus would not read."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


def value(found: Samples, name: str, labels: Mapping[str, str] | None = None) -> float:
    return found[name, frozenset((labels or {}).items())]


async def scrape(port: int, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=120, headers=headers) as client:
        return await client.get(f"http://127.0.0.1:{port}/metrics")


async def test_the_metrics_tell_what_happened(
    core: Core, server: Served, as_wrangler: PixMover, tmp_path: Path
) -> None:
    """A job is done, one waits, one is refused, a throttle limits: each has its number."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        await core.storages.add(SYSTEM, name, StorageKind.DIRECTORY, str(tmp_path / name))
    for number in range(3):
        (tmp_path / "one" / f"f.{number}").write_bytes(b"x" * 1000)
    await core.throttles.set(SYSTEM, "two", "", Direction.WRITE, 10**9)

    async with trio.open_nursery() as nursery:
        await nursery.start(run_jobs, core, ThreadEngine(2))
        request = JobRequest(JobKind.COPY, "one", ("f.*",), "two", quiet_s=0.0)
        job = await core.jobs.submit(SYSTEM, request)
        with trio.fail_after(120):
            while not (await core.jobs.get(SYSTEM, job.id)).state.is_final:  # noqa: ASYNC110
                await trio.sleep(0.01)
        during = samples((await scrape(server.port)).text)
        nursery.cancel_scope.cancel()
    await core.jobs.submit(SYSTEM, JobRequest(JobKind.VERIFY, "one", ("f.*",)))
    await as_wrangler.get("/jobs/999")
    answer = await scrape(server.port)
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = samples(answer.text)

    copied = {"action": "copy"}
    assert value(found, "pixfs_job_files_total", copied | {"result": "done"}) == 3
    assert value(found, "pixfs_job_bytes_total", copied) == 3000
    assert value(found, "pixfs_job_stored_bytes_total", copied) == 3000
    assert value(found, "pixfs_jobs", {"state": "succeeded"}) == 1
    assert value(found, "pixfs_jobs", {"state": "waiting"}) == 1
    assert value(found, "pixfs_batches", {"state": "waiting"}) == 1
    assert value(found, "pixfs_batches", {"state": "running"}) == 0
    throttle = {"storage": "two", "path": "", "direction": "write"}
    assert value(during, "pixfs_throttle_limit_bytes_per_second", throttle) == 10**9
    assert value(during, "pixfs_throttle_bytes_per_second", throttle) >= 0
    slots = [each for each in during if each[0] == "pixfs_worker_slots"]
    assert len(slots) == 1
    asked = {"face": "pixmover", "method": "GET", "status": "404"}
    assert value(found, "pixfs_requests_total", asked) == 1
    assert value(found, "pixfs_request_seconds_count", {"face": "pixmover"}) >= 2
    assert value(found, "pixfs_database_seconds_count", {"kind": "write"}) > 3
    assert value(found, "pixfs_database_seconds_count", {"kind": "read"}) > 3
    assert value(found, "process_resident_memory_bytes") > 10**6
    assert value(found, "pixfs_uptime_seconds") > 0


async def test_messages_are_counted(
    core: Core, server: Served, tmp_path: Path, expect_logs: ExpectLogs
) -> None:
    expect_logs("is given up: no")

    class Deaf:
        async def send(self, *_: object, **__: object) -> None:
            raise DeliveryError("no", is_final=True)

    (tmp_path / "one").mkdir()
    await core.storages.add(SYSTEM, "one", StorageKind.DIRECTORY, str(tmp_path / "one"))
    notify = Notify("https://studio.example/hook")
    request = JobRequest(JobKind.VERIFY, "one", ("f.*",), notify=notify)
    job = await core.jobs.submit(SYSTEM, request)
    await core.jobs.cancel(SYSTEM, job.id)
    found = samples((await scrape(server.port)).text)
    assert value(found, "pixfs_notifications_waiting") == 1
    assert value(found, "pixfs_notifications_oldest_seconds") >= 0
    outbox = Outbox(
        core.database,
        Deaf(),  # type: ignore[arg-type]
        key=core.webhook_keys.key,
        account=core.mail.account,
        on_tried=core.metrics.delivered,
    )
    assert await outbox.send_due() == 1
    found = samples((await scrape(server.port)).text)
    given_up = {"kind": "webhook", "result": "given-up"}
    assert value(found, "pixfs_notifications_total", given_up) == 1
    assert value(found, "pixfs_notifications_waiting") == 0


async def test_requests_nobody_takes_have_no_face(server: Served) -> None:
    async with httpx.AsyncClient(timeout=120) as client:
        for method in ("GET", "BREW"):
            await client.request(method, f"http://127.0.0.1:{server.port}/no/such/path")
    found = samples((await scrape(server.port)).text)
    for method in ("GET", "other"):
        nobody = {"face": "none", "method": method, "status": "404"}
        assert value(found, "pixfs_requests_total", nobody) == 1


@pytest.mark.parametrize(
    ("monitors", "headers", "status"),
    [
        (MonitorAccess(), {}, 200),
        (MonitorAccess(()), {}, 403),
        (MonitorAccess(("10.0.0.0/8",)), {}, 403),
        (MonitorAccess(token="s3cret"), {}, 403),
        (MonitorAccess(token="s3cret"), {"Authorization": "Bearer wrong"}, 403),
        (MonitorAccess(token="s3cret"), {"Authorization": "Basic s3cret"}, 403),
        (MonitorAccess(token="s3cret"), {"Authorization": "Bearer s3cret"}, 200),
    ],
)
async def test_who_may_read_them(
    core: Core, monitors: MonitorAccess, headers: dict[str, str], status: int
) -> None:
    async with served(build(core, LOOPBACK, monitors=monitors)) as server:
        answer = await scrape(server.port, **headers)
    assert answer.status_code == status
    assert ("pixfs_jobs" in answer.text) == (status == 200)
