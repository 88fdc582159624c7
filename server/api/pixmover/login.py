"""Login: open a session, close it, ask who it belongs to."""

from __future__ import annotations

from dataclasses import dataclass

from server.api.contract import Call, Endpoints, Nothing, value
from server.api.pixmover.schemas import Done
from server.core.errors import (
    AccountSuspended,
    BadCredentials,
    ServerBusy,
    TooManyAttempts,
)
from server.core.permissions import ALLOWED, Action, Role
from server.core.sessions import csrf_token

__all__ = ["ENDPOINTS"]

ENDPOINTS = Endpoints("Login")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginForm:
    """A user's name and password."""

    name: str = value("The user's name.", "ada")
    password: str = value("The user's password.", "a very long secret", secret=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class WhoAmI:
    """Who is logged in, and what the user's role includes."""

    name: str = value("The user's name.", "ada")
    full_name: str = value('What the user is called, "" when nobody said.', "Ada Lovelace")
    role: Role = value("The user's role.", Role.WRANGLER)
    actions: tuple[str, ...] = value("What the role includes.", ("see-files", "run-jobs"))
    csrf_token: str = value(
        "What a web page sends as X-CSRF-Token with each change.", "5c1f0f0f6e1b4d5c"
    )


@ENDPOINTS.add(
    "POST",
    "/login",
    needs=None,
    takes=LoginForm,
    gives=WhoAmI,
    errors=(BadCredentials, AccountSuspended, TooManyAttempts, ServerBusy),
)
async def login(call: Call, form: LoginForm) -> WhoAmI:
    """Open a session. The answer sets its cookie, which every other call needs."""
    opened = await call.core.sessions.login(
        form.name, form.password, address=call.actor.address, request_id=call.actor.request_id
    )
    user = await call.core.users.get(opened.actor, opened.actor.name)
    call.keep_token(opened.token)
    return _whoami(user.name, user.full_name, user.role, opened.token)


@ENDPOINTS.add("POST", "/logout", needs=Action.USE_OWN_ACCOUNT, takes=Nothing, gives=Done)
async def logout(call: Call, form: Nothing) -> Done:
    """End the session for good, on the server too."""
    await call.core.sessions.logout(call.actor)
    call.keep_token("")
    return Done()


@ENDPOINTS.add("GET", "/whoami", needs=Action.USE_OWN_ACCOUNT, takes=Nothing, gives=WhoAmI)
async def whoami(call: Call, query: Nothing) -> WhoAmI:
    """Tell who is logged in. A 401 says that the session has ended."""
    user = await call.core.users.get(call.actor, call.actor.name)
    return _whoami(user.name, user.full_name, user.role, call.token)


def _whoami(name: str, full_name: str, role: Role, token: str) -> WhoAmI:
    actions = tuple(action.value for action, roles in ALLOWED.items() if role in roles)
    return WhoAmI(
        name=name,
        full_name=full_name,
        role=role,
        actions=actions,
        csrf_token=csrf_token(token),
    )
