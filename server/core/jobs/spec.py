"""What is asked for when a job is submitted."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from server.core.errors import InvalidValue
from server.core.jobs.states import JobKind
from server.core.values import FASTEST_BPS

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LONGEST_QUIET_S", "MOST_PRIORITY", "JobRequest", "Notify"]

MOST_PRIORITY = 100
LONGEST_QUIET_S = 3600

_MOST_SOURCES = 10_000
_LONGEST_PATH = 4096
_MOST_ADDRESSES = 20


@dataclass(frozen=True, slots=True)
class Notify:
    """Who is told when a job has ended.

    Attributes:
        webhook: an http(s) URL that takes a POST; "" for none.
        email: addresses.
        form: the face in whose words the webhook is told; "" for the server's own.
    """

    webhook: str = ""
    email: tuple[str, ...] = ()
    form: str = ""


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A job as somebody asks for it; InvalidValue names what cannot be.

    Attributes:
        source, target: names of storages; target is "" where the kind has none.
        sources: folders, files, globs or sequences on the source storage.
        destination: the folder on the target storage they go into.
        overwrite: fail, skip, newer or replace, when a file of the name is there.
        verify: "hash" reads back what landed; a move always does.
        stored: move frames as the containers they are stored in, where both sides can.
        quiet_s: seconds in which nothing may have been written to the sources; 0 does not look.
        quiet_timeout_s: how long to wait for that.
        priority: 0 to 100; the highest goes first.
        limit_bps: bytes a second it may move, all its batches together; None does not limit.
        exact: the sources are paths of files as they are written, never patterns or folders.
        rename: the path the only source gets on the target; "" keeps its name.
        expected: by path, the hash (``sha1:HEX``, ``sha256:HEX``) that an index or import job
            must find.
        catalog: what the catalogue wants to know again when the job has ended; None of a job
            that is not about its entities.
    """

    kind: JobKind
    source: str
    sources: tuple[str, ...]
    target: str = ""
    destination: str = ""
    overwrite: Literal["fail", "skip", "newer", "replace"] = "fail"
    verify: Literal["hash", "size"] = "hash"
    stored: bool = True
    quiet_s: float = 5.0
    quiet_timeout_s: float = 600.0
    priority: int = 50
    limit_bps: int | None = None
    label: str = ""
    notify: Notify = field(default_factory=Notify)
    exact: bool = False
    rename: str = ""
    expected: Mapping[str, str] = field(default_factory=dict)
    catalog: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not self.sources or len(self.sources) > _MOST_SOURCES:
            raise InvalidValue("sources", f"name 1 to {_MOST_SOURCES} of them")
        for path in (*self.sources, self.destination, self.rename):
            if len(path) > _LONGEST_PATH or "\0" in path:
                raise InvalidValue("sources", "a path is too long or holds a NUL")
        if self.kind.has_target != bool(self.target):
            wanted = "wants" if self.kind.has_target else "has no"
            raise InvalidValue("target", f"a {self.kind} job {wanted} target storage")
        if self.overwrite not in ("fail", "skip", "newer", "replace"):
            raise InvalidValue("overwrite", "is fail, skip, newer or replace")
        if self.verify not in ("hash", "size"):
            raise InvalidValue("verify", "is hash or size")
        if self.kind is JobKind.MOVE and self.verify != "hash":
            raise InvalidValue("verify", "a move deletes its source and always verifies by hash")
        if not 0 <= self.priority <= MOST_PRIORITY:
            raise InvalidValue("priority", f"is a number from 0 to {MOST_PRIORITY}")
        if not 0 <= self.quiet_s <= LONGEST_QUIET_S:
            raise InvalidValue("quiet_s", f"is a number of seconds up to {LONGEST_QUIET_S}")
        if not 0 <= self.quiet_timeout_s <= 7 * 86400:
            raise InvalidValue("quiet_timeout_s", "is a number of seconds up to a week")
        if self.limit_bps is not None and not 1 <= self.limit_bps <= FASTEST_BPS:
            raise InvalidValue("limit_bps", "is a number of bytes a second, at least 1")
        if self.rename and not (self.exact and len(self.sources) == 1 and self.kind.has_target):
            raise InvalidValue("filename", "only a single file that is copied gets another name")
        if self.kind.is_of_catalogue and self.catalog is None:
            raise InvalidValue("kind", "only the catalogue of files starts such jobs")
        if len(self.label) > 200:
            raise InvalidValue("label", "is 200 characters long at most")
        self._check_notify()

    def _check_notify(self) -> None:
        if self.notify.webhook:
            try:
                parts = urlsplit(self.notify.webhook)
                is_usable = parts.scheme in ("http", "https") and bool(parts.hostname)
            except ValueError:
                is_usable = False
            if not is_usable or len(self.notify.webhook) > 2000:
                raise InvalidValue("webhook", "is an http or https URL")
        if len(self.notify.email) > _MOST_ADDRESSES:
            raise InvalidValue("email", f"takes {_MOST_ADDRESSES} addresses at most")
        for address in self.notify.email:
            name, at, host = address.rpartition("@")
            is_line = address.isprintable() and not any(c in address for c in ' ,;<>"')
            if not (name and at and host and is_line) or len(address) > 320:
                raise InvalidValue("email", "is a list of plain addresses")

    def stored_spec(self) -> dict[str, Any]:
        """What of it goes into the job's spec column."""
        every = asdict(self)
        kept = ("sources", "destination", "overwrite", "verify", "stored")
        spec = {key: every[key] for key in (*kept, "quiet_s", "quiet_timeout_s", "limit_bps")}
        special = ("exact", "rename", "expected", "catalog")
        return spec | {key: every[key] for key in special if every[key]}
