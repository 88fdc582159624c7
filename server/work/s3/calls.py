"""Calls of a bucket that do not outlast the batch they are made for.

boto3 waits a minute for an answer, tries five times, and cannot be told to stop meanwhile. So who
has a stop sign has the calls made in a thread of their own. It is left behind when the sign is up
and no answer has come in a little while: then it ends by itself, sends nothing again, and nobody
listens to it any more. To the bucket that is a client whose connection has broken off, which
batches are made for.
"""

from __future__ import annotations

import queue
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from server.work.errors import StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Calls", "StoppableClient"]

T = TypeVar("T")

# Between two looks at the stop sign while an answer is waited for.
_LOOK_S = 0.1
# An answer may take so long after the sign: most come, and what they tell is done need not be
# done again.
_GRACE_S = 2.0


class _Call:
    """Something to be done in another thread, and what came of it."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._value: Any = None
        self._error: BaseException | None = None
        self.done = threading.Event()

    def run(self) -> None:
        try:
            self._value = self._work()
        except BaseException as error:
            # Whatever it is belongs to who asked.
            self._error = error
        self.done.set()

    def result(self) -> Any:  # noqa: ANN401
        """What it gave, or raises what it raised."""
        if self._error is not None:
            raise self._error
        return self._value


class _Caller(threading.Thread):
    """Does one call after another.

    Attributes:
        is_left: nobody waits for the one it is at.
    """

    def __init__(self) -> None:
        super().__init__(name="pixfs-s3", daemon=True)
        self.calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self.is_left = False

    def run(self) -> None:
        while (call := self.calls.get()) is not None:
            call.run()


class Calls:
    """The calls of one bucket; all are made by one thread, and asked for by one."""

    def __init__(self, stop: threading.Event | None) -> None:
        """Without ``stop`` they are made by whoever asks for them."""
        self._stop = stop
        self._caller: _Caller | None = None

    def __call__(self, work: Callable[..., T], *args: Any, **kwargs: Any) -> T:  # noqa: ANN401
        """What ``work`` gives or raises; StoppedError when that is not waited for any more."""
        if self._stop is None:
            return work(*args, **kwargs)
        if self._caller is None:
            self._caller = _Caller()
            self._caller.start()
        if self._caller.is_left:
            raise StoppedError("told to stop")
        call = _Call(partial(work, *args, **kwargs))
        self._caller.calls.put(call)
        self._wait(call, self._caller, self._stop)
        value: T = call.result()
        return value

    def _wait(self, call: _Call, caller: _Caller, stop: threading.Event) -> None:
        until: float | None = None
        while not call.done.wait(_LOOK_S):
            if not stop.is_set():
                continue
            now = time.monotonic()
            until = until or now + _GRACE_S
            if now >= until:
                caller.is_left = True
                raise StoppedError("told to stop while the bucket did not answer")

    def tidy(self, work: Callable[[], Any]) -> None:
        """Has something of the last call cleared away: now, or, where that was left behind, when
        it has ended. Nothing that ``work`` raises matters then."""
        if self._caller is not None and self._caller.is_left:
            self._caller.calls.put(_Call(work))
        else:
            work()

    def close(self) -> None:
        """No more calls; the thread ends after what it is at."""
        if self._caller is not None:
            self._caller.calls.put(None)


def refuse_left(**_: object) -> None:
    """For boto3, before it sends a request: a call that nobody waits for is not tried again."""
    caller = threading.current_thread()
    if isinstance(caller, _Caller) and caller.is_left:
        raise StoppedError("told to stop")


class StoppableClient:
    """A client of boto3 whose methods are made through `Calls`."""

    def __init__(self, client: Any, calls: Calls) -> None:  # noqa: ANN401
        self._client = client
        self._calls = calls
        self.meta = client.meta
        # Before any retry of its own; every request of every operation passes here.
        client.meta.events.register("before-send.s3", refuse_left)

    def __getattr__(self, operation: str) -> Any:  # noqa: ANN401
        return partial(self._calls, getattr(self._client, operation))

    def pages(self, operation: str, **request: str) -> Iterator[dict[str, Any]]:
        """The answers of an operation that gives its list a page at a time."""
        pages = iter(self._client.get_paginator(operation).paginate(**request))
        while (page := self._calls(next, pages, None)) is not None:
            yield page

    def read(self, body: Any, size: int) -> bytes:  # noqa: ANN401
        """The next bytes of an object."""
        data: bytes = self._calls(body.read, size)
        return data

    def release(self, body: Any) -> None:  # noqa: ANN401
        """Lets the connection of an object go that is not read on."""
        self._calls.tidy(body.close)

    def close(self) -> None:
        """Lets all connections go."""
        self._calls.tidy(self._client.close)
        self._calls.close()
