"""The one object every face talks to."""

from __future__ import annotations

import os
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from server.core.catalog import Catalog
from server.core.closing import Closing
from server.core.credentials import Credentials
from server.core.events import Events
from server.core.health import Health
from server.core.jobs import Jobs, Workers
from server.core.mail_settings import MailStore
from server.core.metrics import Metrics, read_figures
from server.core.passwords import Passwords
from server.core.s3_endpoints import S3Endpoints
from server.core.schema import utc_now
from server.core.sessions import Sessions
from server.core.storages import Storages
from server.core.throttles import Throttles
from server.core.users import Users
from server.core.webhook_keys import WebhookKeys

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime

    from server.core.database import Database
    from server.core.lockout import LockoutPolicy
    from server.core.passwords import HashCost
    from server.core.sealing import Sealer
    from server.core.sessions import SessionPolicy


class Core:
    """Holds the server's nouns; a face parses, makes one call here, renders.

    Safe to call from the trio thread: no call blocks.

    Attributes:
        database: for the nouns that are built on top of these, such as jobs.
        metrics: what the server counts of itself.
        clock: the aware time by which all of them go.
        closing: when what requests do in threads has to end.
        live_rates: of each throttle by its number, the limit and the rate of now in bytes a
            second; empty while no engine runs.
        on_jobs_changed: called on the trio thread when the engine should look at the jobs.
        on_throttles_changed: likewise, at the throttles.
        pacer: the throttles' pacer for some paths of a storage (``server.work.flow.Pacer``); None
            while no engine runs.
        on_jobs_ended: called on the trio thread when jobs may have ended.
        on_scan_wanted: called on the trio thread when a storage should be scanned soon.
        message_forms: by the name of a face, what says a message about an ended job in its words:
            from what the server tells, the event's name and the body.
        spool: a directory of this machine for pieces on their way to a bucket.
    """

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        *,
        sessions: SessionPolicy | None = None,
        lockout: LockoutPolicy | None = None,
        hash_cost: HashCost | None = None,
        private: Sequence[str] = (),
        clock: Callable[[], datetime] = utc_now,
        spool: Path | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``private`` are the server's own directories and files, which no storage may show."""
        self._monotonic = monotonic
        self._started = monotonic()
        self._version = metadata.version("pixfs")
        self.database = database
        self.metrics = Metrics()
        database.on_ended = self.metrics.transaction
        self.clock = clock
        self.closing = Closing()
        passwords = Passwords(hash_cost)
        self.sessions = Sessions(database, passwords, policy=sessions, lockout=lockout, clock=clock)
        self.users = Users(database, passwords, self.sessions, clock)
        self.credentials = Credentials(database, clock)
        self.storages = Storages(database, clock, private)
        self.throttles = Throttles(database, clock, self._throttles_changed)
        self.mail = MailStore(database, sealer, clock)
        self.s3_endpoints = S3Endpoints(database, sealer, clock)
        self.events = Events(database)
        self.webhook_keys = WebhookKeys(database, sealer, clock)
        self.on_jobs_changed: Callable[[], None] = lambda: None
        self.on_throttles_changed: Callable[[], None] = lambda: None
        self.live_rates: Callable[[], dict[int, tuple[int | None, int]]] = dict
        self.pacer: Callable[[str, Collection[str]], Any] | None = None
        self.on_jobs_ended: Callable[[], None] = lambda: None
        self.message_forms: dict[str, Callable[[dict[str, Any]], tuple[str, dict[str, Any]]]] = {}
        self.on_scan_wanted: Callable[[int], None] = lambda storage_id: None
        self.spool = spool or Path(tempfile.gettempdir()) / f"pixfs-uploads-{os.geteuid()}"
        self.jobs = Jobs(database, clock, self._jobs_changed)
        self.catalog = Catalog(database, self.jobs, clock, private)
        self.workers = Workers(database, clock, self._jobs_changed)

    def _jobs_changed(self) -> None:
        self.on_jobs_changed()

    def _throttles_changed(self) -> None:
        self.on_throttles_changed()

    def health(self) -> Health:
        """What answers, and for how long it has been up."""
        return Health(version=self._version, uptime_s=self._monotonic() - self._started)

    async def exposition(self) -> bytes:
        """The server's counters and figures in Prometheus' text format. Raises DatabaseError."""
        figures = await self.database.read(read_figures, self.clock())
        uptime_s = self._monotonic() - self._started
        return self.metrics.exposition(figures, self.live_rates(), uptime_s)

    async def check_ready(self) -> None:
        """Return when the database answers; raises DatabaseError when it does not."""
        await self.database.read(lambda connection: connection.execute(sa.select(1)).one())
