"""The server's users, from the machine it runs on: whoever may read its data may do this.

Works while the server runs and while it does not. Without --password-stdin a random password is
made and printed, once.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

import trio

from pixfs.errors import TargetError

if TYPE_CHECKING:
    import argparse

    from server.core import Core

NAME = "user"
HELP = "list the server's users, add one, set a password, end a lock"

_ROLES = ("monitor", "wrangler", "admin")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare this verb's own arguments."""
    parser.add_argument("--config", metavar="FILE", help="the server's TOML file")
    parser.add_argument("--data", metavar="DIR", help="the server's data directory")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser("list", help="show all users")
    adding = commands.add_parser("add", help="add a user")
    adding.add_argument("--role", choices=_ROLES, required=True)
    setting = commands.add_parser("passwd", help="give a user another password")
    for command in (adding, setting):
        command.add_argument(
            "--password-stdin", action="store_true", help="read the password from standard input"
        )
    unlocking = commands.add_parser("unlock", help="end a user's lock after failed logins")
    for command in (adding, setting, unlocking):
        command.add_argument("name", metavar="NAME")


def run(args: argparse.Namespace) -> int:
    """Do the command: 0 done; errors are raised for the command line to tell."""
    # Imported here: the other verbs need not wait for the database.
    from server.config import read_server_config
    from server.core.errors import CoreError
    from server.opening import open_core

    config = read_server_config(args.config)
    if args.data is not None:
        config = config.with_data(args.data)
    command = {"list": _list, "add": _add, "passwd": _passwd, "unlock": _unlock}[args.command]
    with open_core(config) as core:
        try:
            trio.run(partial(command, core, args))
        except CoreError as error:
            raise TargetError(f"{error} ({error.hint})") from None
    return 0


async def _list(core: Core, args: argparse.Namespace) -> None:
    from server.core.permissions import SYSTEM

    users = await core.users.list(SYSTEM)
    width = max((len(user.name) for user in users), default=4)
    print(f"{'name':{width}}  {'role':8}  {'state':9}  e-mail")
    for user in users:
        print(f"{user.name:{width}}  {user.role:8}  {user.state:9}  {user.email}".rstrip())


async def _add(core: Core, args: argparse.Namespace) -> None:
    from server.core.permissions import SYSTEM, Role

    password, is_new = _password(args)
    user = await core.users.add(SYSTEM, args.name, Role(args.role), password)
    _tell(user.name, password if is_new else None)


async def _passwd(core: Core, args: argparse.Namespace) -> None:
    from server.core.permissions import SYSTEM

    password, is_new = _password(args)
    await core.users.set_password(SYSTEM, args.name, password)
    _tell(args.name, password if is_new else None)


async def _unlock(core: Core, args: argparse.Namespace) -> None:
    from server.core.permissions import SYSTEM

    forgotten = await core.users.unlock(SYSTEM, args.name)
    print(f"{forgotten} failed logins of {args.name} are forgotten")


def _password(args: argparse.Namespace) -> tuple[str, bool]:
    """The password to set, and whether it was made here."""
    if not args.password_stdin:
        from server.core.passwords import random_password

        return random_password(), True
    return sys.stdin.readline().rstrip("\n"), False


def _tell(name: str, password: str | None) -> None:
    if password is not None:
        print(f"the password of {name} is {password} and is not shown again")
    else:
        print(f"the password of {name} is set")
