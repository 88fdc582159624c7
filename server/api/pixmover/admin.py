"""Admin control: add, suspend, restore and delete users, set their role and access."""

from __future__ import annotations

from dataclasses import dataclass

from server.api.contract import Call, Endpoints, Nothing, value
from server.api.pixmover.schemas import Done, UserBody, read_paths, render_user
from server.core.errors import LastAdmin, NameTaken, NotFound, ServerBusy
from server.core.permissions import Action, Role

__all__ = ["ENDPOINTS"]

ENDPOINTS = Endpoints("Admin control")
_USER = {"user": ("The user's name.", "ada")}


@dataclass(frozen=True, slots=True, kw_only=True)
class UserList:
    """All users by name."""

    users: tuple[UserBody, ...] = value("The users that are not deleted.", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUser:
    """A user to add."""

    name: str = value("Letters a-z, digits, '.', '_', '-'; at most 64.", "ada")
    role: Role = value("The user's role.", Role.WRANGLER)
    password: str = value("At least 10 characters.", "a very long secret", secret=True)
    full_name: str = value("What the user is called.", "Ada Lovelace", default="")
    email: str = value("Where the user is told.", "ada@example.com", default="")
    all_paths: bool | None = value(
        "May reach every storage; not given, so it is where there are no paths.",
        False,
        default=None,
    )
    paths: tuple[str, ...] = value(
        "A folder the user may reach, as STORAGE:PATH; may be given several times.",
        ("nearline:shows/dune",),
        default=(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How a user is called and told; what is not given stays."""

    full_name: str | None = value("What the user is called.", "Ada King", default=None)
    email: str | None = value("Where the user is told.", "ada@example.com", default=None)
    notify: tuple[str, ...] | None = value(
        "An end of a job to tell by e-mail: succeeded, failed, cancelled; may be given several"
        " times, empty for none.",
        ("failed",),
        default=None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleForm:
    """A role to give."""

    role: Role = value("The user's new role.", Role.MONITOR)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessForm:
    """What to let a user reach."""

    all_paths: bool = value("Every path of every storage; else only paths.", False)
    paths: tuple[str, ...] = value(
        "A folder, as STORAGE:PATH; may be given several times.",
        ("nearline:shows/dune",),
        default=(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordForm:
    """A password to set."""

    password: str = value("At least 10 characters.", "another long secret", secret=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlocked:
    """The lock is gone."""

    forgotten: int = value("How many failed logins were forgotten.", 5)


@ENDPOINTS.add("GET", "/users", needs=Action.MANAGE_USERS, takes=Nothing, gives=UserList)
async def list_users(call: Call, query: Nothing) -> UserList:
    """List the users."""
    users = await call.core.users.list(call.actor)
    return UserList(users=tuple(render_user(user) for user in users))


@ENDPOINTS.add(
    "POST",
    "/users",
    needs=Action.MANAGE_USERS,
    takes=NewUser,
    gives=UserBody,
    errors=(NameTaken, ServerBusy),
)
async def add_user(call: Call, form: NewUser) -> UserBody:
    """Add a user."""
    user = await call.core.users.add(
        call.actor,
        form.name,
        form.role,
        form.password,
        full_name=form.full_name,
        email=form.email,
        all_paths=form.all_paths,
        paths=read_paths(form.paths),
    )
    return render_user(user)


@ENDPOINTS.add(
    "GET",
    "/users/{user}",
    needs=Action.MANAGE_USERS,
    takes=Nothing,
    gives=UserBody,
    errors=(NotFound,),
    parameters=_USER,
)
async def get_user(call: Call, query: Nothing) -> UserBody:
    """Show a user."""
    return render_user(await call.core.users.get(call.actor, call.path["user"]))


@ENDPOINTS.add(
    "PUT",
    "/users/{user}",
    needs=Action.MANAGE_USERS,
    takes=Profile,
    gives=UserBody,
    errors=(NotFound,),
    parameters=_USER,
)
async def change_user(call: Call, form: Profile) -> UserBody:
    """Change how a user is called and told."""
    user = await call.core.users.set_profile(
        call.actor,
        call.path["user"],
        full_name=form.full_name,
        email=form.email,
        notify=form.notify,
    )
    return render_user(user)


@ENDPOINTS.add(
    "PUT",
    "/users/{user}/role",
    needs=Action.MANAGE_USERS,
    takes=RoleForm,
    gives=UserBody,
    errors=(NotFound, LastAdmin),
    parameters=_USER,
)
async def set_user_role(call: Call, form: RoleForm) -> UserBody:
    """Give a user another role; the user's sessions end."""
    return render_user(await call.core.users.set_role(call.actor, call.path["user"], form.role))


@ENDPOINTS.add(
    "PUT",
    "/users/{user}/access",
    needs=Action.MANAGE_USERS,
    takes=AccessForm,
    gives=UserBody,
    errors=(NotFound,),
    parameters=_USER,
)
async def set_user_access(call: Call, form: AccessForm) -> UserBody:
    """Set what a user may reach, in place of what it was."""
    user = await call.core.users.set_access(
        call.actor, call.path["user"], all_paths=form.all_paths, paths=read_paths(form.paths)
    )
    return render_user(user)


@ENDPOINTS.add(
    "PUT",
    "/users/{user}/password",
    needs=Action.MANAGE_USERS,
    takes=PasswordForm,
    gives=Done,
    errors=(NotFound, ServerBusy),
    parameters=_USER,
)
async def set_user_password(call: Call, form: PasswordForm) -> Done:
    """Give a user another password; the user's sessions and lock end."""
    await call.core.users.set_password(call.actor, call.path["user"], form.password)
    return Done()


@ENDPOINTS.add(
    "POST",
    "/users/{user}/suspend",
    needs=Action.MANAGE_USERS,
    takes=Nothing,
    gives=UserBody,
    errors=(NotFound, LastAdmin),
    parameters=_USER,
)
async def suspend_user(call: Call, form: Nothing) -> UserBody:
    """Shut a user out at once, until restored."""
    return render_user(await call.core.users.suspend(call.actor, call.path["user"]))


@ENDPOINTS.add(
    "POST",
    "/users/{user}/restore",
    needs=Action.MANAGE_USERS,
    takes=Nothing,
    gives=UserBody,
    errors=(NotFound,),
    parameters=_USER,
)
async def restore_user(call: Call, form: Nothing) -> UserBody:
    """Let a suspended user in again."""
    return render_user(await call.core.users.restore(call.actor, call.path["user"]))


@ENDPOINTS.add(
    "POST",
    "/users/{user}/unlock",
    needs=Action.MANAGE_USERS,
    takes=Nothing,
    gives=Unlocked,
    errors=(NotFound,),
    parameters=_USER,
)
async def unlock_user(call: Call, form: Nothing) -> Unlocked:
    """End a user's lock after failed logins."""
    return Unlocked(forgotten=await call.core.users.unlock(call.actor, call.path["user"]))


@ENDPOINTS.add(
    "POST",
    "/users/{user}/delete",
    needs=Action.MANAGE_USERS,
    takes=Nothing,
    gives=Done,
    errors=(NotFound, LastAdmin),
    parameters=_USER,
)
async def delete_user(call: Call, form: Nothing) -> Done:
    """Delete a user for good; the user's jobs and events stay."""
    await call.core.users.delete(call.actor, call.path["user"])
    return Done()
