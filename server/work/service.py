"""The job engine as the server runs it, in a nursery of its own beside the requests."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from server.work.dispatcher import Dispatcher
from server.work.engine import ThreadEngine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.core import Core
    from server.work.engine import Engine

__all__ = ["run_jobs", "s3_settings"]

log = logging.getLogger(__name__)


async def s3_settings(core: Core, endpoint: str) -> Mapping[str, object]:
    """What a bucket on this endpoint is reached with. NotFound, SealError."""
    account = await core.s3_endpoints.account(endpoint)
    return {
        "endpoint": account.endpoint.url,
        "region": account.endpoint.region,
        "access_key": account.endpoint.access_key,
        "secret_key": account.secret_key,
        "addressing": account.endpoint.addressing.value,
    }


async def run_jobs(
    core: Core,
    engine: Engine | None = None,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Does the core's jobs until it is cancelled; batches under way are then stopped, and what
    they had finished is kept."""

    async def settings(endpoint: str) -> Mapping[str, object]:
        return await s3_settings(core, endpoint)

    dispatcher = Dispatcher(
        core.database, engine or ThreadEngine(), s3_settings=settings, clock=core.clock
    )
    core.on_jobs_changed = dispatcher.wake
    try:
        await dispatcher.run(task_status=task_status)
    finally:
        core.on_jobs_changed = lambda: None
