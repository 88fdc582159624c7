"""Workers: who does the jobs, with what load, and whether they may."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from server.api.contract import Call, Endpoints, Nothing, value
from server.api.pixmover.schemas import AN_HOUR, Done
from server.core.errors import NotFound
from server.core.jobs import Worker, WorkerState
from server.core.jobs.workers import MOST_CONCURRENT
from server.core.permissions import Action

__all__ = ["ENDPOINTS"]

ENDPOINTS = Endpoints("Workers")
_WORKER = {"worker": ("The worker's name.", "local@render-01")}


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchBody:
    """A batch a worker is at."""

    id: int = value("Its number.", 401)
    job: int = value("The job's number.", 17)
    action: str = value("What it does.", "copy")
    bytes_moved: int = value("Bytes so far.", 20_000_000)
    since: datetime = value("When it was begun.", AN_HOUR)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerBody:
    """A worker."""

    name: str = value("What it is called.", "local@render-01")
    engine: str = value("local: threads of the server; dask: a process anywhere.", "local")
    state: WorkerState = value("Whether it takes batches.", WorkerState.ENABLED)
    present: bool = value("Whether it was heard of lately.", True)
    capacity: int = value("Batches it can be at.", 8)
    concurrency: int | None = value("Batches it may be at; null for all it can.", None)
    load_percent: int = value("How busy its processors are.", 75)
    last_seen_at: datetime = value("When it was heard of last.", AN_HOUR)
    batches: tuple[BatchBody, ...] = value("What it is at.", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerList:
    """The workers there are and were."""

    workers: tuple[WorkerBody, ...] = value("By name.", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcurrencyForm:
    """How many batches at once."""

    concurrency: int | None = value("none for all it can.", 2, least=1, most=MOST_CONCURRENT)


@ENDPOINTS.add("GET", "/workers", needs=Action.CONTROL_WORKERS, takes=Nothing, gives=WorkerList)
async def list_workers(call: Call, query: Nothing) -> WorkerList:
    """List the workers with their load and what they are at."""
    found = await call.core.workers.every(call.actor)
    return WorkerList(workers=tuple(_render(worker) for worker in found))


@ENDPOINTS.add(
    "GET",
    "/workers/{worker}",
    needs=Action.CONTROL_WORKERS,
    takes=Nothing,
    gives=WorkerBody,
    errors=(NotFound,),
    parameters=_WORKER,
)
async def get_worker(call: Call, query: Nothing) -> WorkerBody:
    """Look at one worker."""
    return _render(await call.core.workers.get(call.actor, call.path["worker"]))


@ENDPOINTS.add(
    "POST",
    "/workers/{worker}/enable",
    needs=Action.CONTROL_WORKERS,
    takes=Nothing,
    gives=WorkerBody,
    errors=(NotFound,),
    parameters=_WORKER,
)
async def enable_worker(call: Call, form: Nothing) -> WorkerBody:
    """Let a worker take batches."""
    return await _set_state(call, WorkerState.ENABLED)


@ENDPOINTS.add(
    "POST",
    "/workers/{worker}/drain",
    needs=Action.CONTROL_WORKERS,
    takes=Nothing,
    gives=WorkerBody,
    errors=(NotFound,),
    parameters=_WORKER,
)
async def drain_worker(call: Call, form: Nothing) -> WorkerBody:
    """Let a worker finish what it is at and take nothing more, as before maintenance."""
    return await _set_state(call, WorkerState.DRAINING)


@ENDPOINTS.add(
    "POST",
    "/workers/{worker}/disable",
    needs=Action.CONTROL_WORKERS,
    takes=Nothing,
    gives=WorkerBody,
    errors=(NotFound,),
    parameters=_WORKER,
)
async def disable_worker(call: Call, form: Nothing) -> WorkerBody:
    """Take a worker out of service; it takes nothing more."""
    return await _set_state(call, WorkerState.DISABLED)


@ENDPOINTS.add(
    "PUT",
    "/workers/{worker}/concurrency",
    needs=Action.CONTROL_WORKERS,
    takes=ConcurrencyForm,
    gives=WorkerBody,
    errors=(NotFound,),
    parameters=_WORKER,
)
async def set_worker_concurrency(call: Call, form: ConcurrencyForm) -> WorkerBody:
    """Say how many batches a worker may be at."""
    name = call.path["worker"]
    return _render(await call.core.workers.set_concurrency(call.actor, name, form.concurrency))


@ENDPOINTS.add(
    "POST",
    "/workers/{worker}/forget",
    needs=Action.CONTROL_WORKERS,
    takes=Nothing,
    gives=Done,
    errors=(NotFound,),
    parameters=_WORKER,
)
async def forget_worker(call: Call, form: Nothing) -> Done:
    """Remove the record of a worker that is gone."""
    await call.core.workers.forget(call.actor, call.path["worker"])
    return Done()


async def _set_state(call: Call, state: WorkerState) -> WorkerBody:
    return _render(await call.core.workers.set_state(call.actor, call.path["worker"], state))


def _render(worker: Worker) -> WorkerBody:
    return WorkerBody(
        name=worker.name,
        engine=worker.engine,
        state=worker.state,
        present=worker.is_present,
        capacity=worker.capacity,
        concurrency=worker.concurrency,
        load_percent=round(worker.load * 100),
        last_seen_at=worker.last_seen_at,
        batches=tuple(
            BatchBody(
                id=task.task_id,
                job=task.job_id,
                action=task.action,
                bytes_moved=task.moved,
                since=task.since,
            )
            for task in worker.tasks
        ),
    )
