"""Who may do what: the only table of it, for every face and for the pages.

The three roles are the three operational models: a monitor looks, a wrangler moves files, an
administrator controls the system.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from server.core.errors import NotAllowed

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ALLOWED", "SYSTEM", "Action", "Actor", "Role", "may", "require"]


class Role(StrEnum):
    """What a user is to the server."""

    MONITOR = "monitor"
    WRANGLER = "wrangler"
    ADMIN = "admin"


class Action(StrEnum):
    """What can be allowed or not."""

    USE_OWN_ACCOUNT = "use-own-account"
    SEE_FILES = "see-files"
    CHANGE_FILES = "change-files"
    SEE_JOBS = "see-jobs"
    RUN_JOBS = "run-jobs"
    CONTROL_WORKERS = "control-workers"
    CONTROL_THROTTLES = "control-throttles"
    MANAGE_USERS = "manage-users"
    MANAGE_STORAGES = "manage-storages"
    MANAGE_SETTINGS = "manage-settings"
    SEE_EVENTS = "see-events"


_EVERYBODY = frozenset(Role)
_MOVERS = frozenset({Role.WRANGLER, Role.ADMIN})
_ADMINS = frozenset({Role.ADMIN})

ALLOWED: Mapping[Action, frozenset[Role]] = MappingProxyType(
    {
        Action.USE_OWN_ACCOUNT: _EVERYBODY,
        Action.SEE_FILES: _EVERYBODY,
        Action.CHANGE_FILES: _MOVERS,
        Action.SEE_JOBS: _EVERYBODY,
        Action.RUN_JOBS: _MOVERS,
        Action.CONTROL_WORKERS: _ADMINS,
        Action.CONTROL_THROTTLES: _ADMINS,
        Action.MANAGE_USERS: _ADMINS,
        Action.MANAGE_STORAGES: _ADMINS,
        Action.MANAGE_SETTINGS: _ADMINS,
        Action.SEE_EVENTS: _ADMINS,
    }
)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something, and on which request.

    Attributes:
        user_id: None for the server itself and the command line.
        session_id: the session the request came with, None without one.
        address: where the request came from, "" when it came from nowhere else.
    """

    user_id: int | None
    name: str
    role: Role
    session_id: int | None = None
    address: str = ""
    request_id: str = ""


# The server itself, and whoever may run commands as its user.
SYSTEM = Actor(user_id=None, name="system", role=Role.ADMIN)


def may(role: Role, action: Action) -> bool:
    """Whether a role includes an action."""
    return role in ALLOWED[action]


def require(actor: Actor, action: Action) -> None:
    """Raise NotAllowed unless the actor's role includes the action."""
    if not may(actor.role, action):
        raise NotAllowed(f"the role {actor.role} does not include {action}")
