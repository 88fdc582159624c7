"""What the core's refusals are on the wire: the one place that knows their HTTP status."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.core import errors as core
from server.problems import BODY_TOO_LARGE, Problem

if TYPE_CHECKING:
    from typing import Any

    from server.api.contract import Endpoint

__all__ = ["CROSS_SITE", "NOT_A_FORM", "STATUS", "problem_of", "problems_of"]

STATUS: dict[type[core.CoreError], int] = {
    core.InvalidValue: 400,
    core.NotLoggedIn: 401,
    core.BadCredentials: 401,
    core.AccountSuspended: 403,
    core.NotAllowed: 403,
    core.StorageRefused: 403,
    core.NotFound: 404,
    core.SizeMismatch: 400,
    core.PackageError: 400,
    core.NameTaken: 409,
    core.FileExists: 409,
    core.InUse: 409,
    core.LastAdmin: 409,
    core.WrongState: 409,
    core.TooManyAttempts: 429,
    core.SealError: 500,
    core.MailRefused: 400,
    core.SchemaError: 503,
    core.DatabaseError: 503,
    core.ServerBusy: 503,
    core.StorageUnavailable: 503,
    core.FileChanged: 503,
    core.StorageFull: 507,
}

CROSS_SITE = Problem(
    403,
    "cross-site",
    "the request comes from a web page that is not this server's, or lacks its token",
    "from a page of this server, send the csrf_token of GET whoami as X-CSRF-Token",
)
NOT_A_FORM = Problem(
    415,
    "unsupported-media-type",
    "the body is not a form",
    "send the body as application/x-www-form-urlencoded",
)


def problem_of(error: core.CoreError) -> Problem:
    """The refusal for an error of the core; a class without a status of its own has its base's."""
    for kind in type(error).__mro__:
        if kind in STATUS:
            return Problem(STATUS[kind], error.code, str(error), error.hint)
    return Problem(500, error.code, str(error), error.hint)


def problems_of(endpoint: Endpoint[Any, Any]) -> list[Problem]:
    """Everything an endpoint may be refused with."""
    kinds: list[type[core.CoreError]] = [core.InvalidValue, core.DatabaseError, *endpoint.errors]
    if endpoint.needs is not None:
        kinds += [core.NotLoggedIn, core.NotAllowed]
    found = [Problem(STATUS[kind], kind.code, "", "") for kind in dict.fromkeys(kinds)]
    if endpoint.changes:
        found += [CROSS_SITE, NOT_A_FORM, BODY_TOO_LARGE]
    return found
