"""User settings: what everybody may see and change of their own account."""

from __future__ import annotations

from dataclasses import dataclass

from server.api.contract import Call, Endpoints, Nothing, value
from server.api.pixmover.admin import Profile
from server.api.pixmover.schemas import Done, UserBody, render_user
from server.core.errors import BadCredentials, ServerBusy, TooManyAttempts
from server.core.permissions import Action

__all__ = ["ENDPOINTS"]

ENDPOINTS = Endpoints("User settings")


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPassword:
    """The password to change, and what to."""

    current: str = value("The password there is.", "a very long secret", secret=True)
    password: str = value("At least 10 characters.", "another long secret", secret=True)


@ENDPOINTS.add("GET", "/account", needs=Action.USE_OWN_ACCOUNT, takes=Nothing, gives=UserBody)
async def get_account(call: Call, query: Nothing) -> UserBody:
    """Show the own account: role, access, e-mail settings."""
    return render_user(await call.core.users.get(call.actor, call.actor.name))


@ENDPOINTS.add("PUT", "/account", needs=Action.USE_OWN_ACCOUNT, takes=Profile, gives=UserBody)
async def change_account(call: Call, form: Profile) -> UserBody:
    """Change how you are called and told."""
    user = await call.core.users.set_own_profile(
        call.actor, full_name=form.full_name, email=form.email, notify=form.notify
    )
    return render_user(user)


@ENDPOINTS.add(
    "PUT",
    "/account/password",
    needs=Action.USE_OWN_ACCOUNT,
    takes=OwnPassword,
    gives=Done,
    errors=(BadCredentials, TooManyAttempts, ServerBusy),
)
async def change_password(call: Call, form: OwnPassword) -> Done:
    """Change the own password; all your other sessions end."""
    await call.core.users.change_own_password(call.actor, form.current, form.password)
    return Done()
