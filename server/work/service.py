"""The job engine as the server runs it, in a nursery of its own beside the requests."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from pixfs.errors import ConfigError
from server.notify.egress import Egress
from server.notify.outbox import Outbox
from server.notify.webhook import Webhook
from server.work.dispatcher import Dispatcher
from server.work.engine import ThreadEngine
from server.work.pacing import Pacing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.core import Core
    from server.work.engine import Engine

__all__ = ["make_engine", "run_jobs", "s3_settings"]

log = logging.getLogger(__name__)


def make_engine(threads: int = 0, scheduler: str = "") -> Engine:
    """The engine of a configuration. Blocks; ConfigError when the scheduler does not answer."""
    if not scheduler:
        return ThreadEngine(threads or None)
    try:
        from server.work.cluster import ClusterEngine
    except ImportError:
        raise ConfigError(
            "jobs.scheduler needs dask.distributed: pip install 'pixfs[cluster]'"
        ) from None
    try:
        return ClusterEngine(scheduler)
    except (OSError, TimeoutError, ValueError) as error:
        raise ConfigError(f"jobs.scheduler: {scheduler} does not answer ({error})") from None


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
    egress: Egress | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Does the core's jobs, and tells of their ends, until it is cancelled; batches under way are
    then stopped, and what they had finished is kept."""

    async def settings(endpoint: str) -> Mapping[str, object]:
        return await s3_settings(core, endpoint)

    outbox = Outbox(
        core.database,
        Webhook(egress or Egress()),
        key=core.webhook_keys.key,
        account=core.mail.account,
        clock=core.clock,
        on_tried=core.metrics.delivered,
        forms=core.message_forms,
    )

    def ended() -> None:
        outbox.wake()
        core.on_jobs_ended()

    pacing = Pacing(core.database, core.clock)
    engine = engine or ThreadEngine()
    engine.share(pacing.shares)
    dispatcher = Dispatcher(
        core.database,
        engine,
        pacers=pacing.pacer,
        s3_settings=settings,
        clock=core.clock,
        on_ended=ended,
        on_counted=core.metrics.worked,
    )
    core.on_jobs_changed = dispatcher.wake
    core.on_throttles_changed = pacing.wake
    core.live_rates = pacing.live
    core.pacer = pacing.pacer
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(pacing.run)
            nursery.start_soon(outbox.run)
            await nursery.start(dispatcher.run)
            task_status.started()
    finally:
        core.on_jobs_changed = lambda: None
        core.on_throttles_changed = lambda: None
        core.live_rates = dict
        core.pacer = None
