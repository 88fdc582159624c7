"""A session with a PixFS server: its cookie is kept in a file of the user's own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from pixfs.errors import PixfsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Self

__all__ = ["ServerError", "Session", "log_in"]

_BASE = "/pixmover/v1"
_PATIENCE_S = 60.0


class ServerError(PixfsError):
    """The server refused, cannot be reached, or nobody is logged in."""


def _file() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(state, "pixfs", "session.json")


def log_in(server: str, user: str, password: str) -> dict[str, Any]:
    """Logs in and keeps the session; what the server says of the user. ServerError."""
    with _client(server.rstrip("/"), {}) as client:
        who = _answer(client, "POST", "/login", data={"name": user, "password": password})
        kept = {"server": server.rstrip("/"), "cookies": dict(client.cookies)}
    file = _file()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(fd, "w", encoding="utf-8") as written:
        json.dump(kept, written)
    part.replace(file)
    return who


def _client(server: str, cookies: dict[str, str]) -> httpx.Client:
    try:
        return httpx.Client(base_url=server + _BASE, cookies=cookies, timeout=_PATIENCE_S)
    except (httpx.InvalidURL, ValueError) as error:
        raise ServerError(f"{server}: {error}") from None


def _answer(
    client: httpx.Client,
    method: str,
    path: str,
    names: Mapping[str, str] | None = None,
    **request: Any,  # noqa: ANN401
) -> dict[str, Any]:
    try:
        response = client.request(method, path, **request)
        answer = response.json()
    except httpx.TimeoutException:
        raise ServerError(f"{_server_of(client)} does not answer") from None
    except httpx.ConnectError as error:
        reason = f"{_server_of(client)} cannot be reached: {error or type(error).__name__}"
        raise ServerError(f"{reason}; is pixfs serve running there?") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ServerError(f"{_server_of(client)}: {error or type(error).__name__}") from None
    except ValueError:
        raise ServerError(f"{_server_of(client)} is not a PixFS server") from None
    if not isinstance(answer, dict):
        raise ServerError(f"{_server_of(client)} is not a PixFS server")
    if response.status_code >= 400:
        raise _refusal(answer, str(response.reason_phrase), names or {})
    return answer


def _server_of(client: httpx.Client) -> str:
    return str(client.base_url).removesuffix(_BASE + "/")


def _refusal(answer: dict[str, Any], reason: str, names: Mapping[str, str]) -> ServerError:
    """What the server says, for somebody who types options instead of sending fields."""
    message, hint = str(answer.get("message", reason)), str(answer.get("hint", ""))
    field = answer.get("field")
    if isinstance(field, str) and message.startswith(f"{field}: "):
        # Its hint is about sending requests.
        return ServerError(names.get(field, field) + message.removeprefix(field))
    if answer.get("code") == "not-logged-in":
        return ServerError("the session has ended: pixfs jobs login URL --user NAME")
    return ServerError(f"{message}; {hint}" if hint else message)


class Session:
    """The session that is kept; ServerError from every call that fails."""

    def __init__(self) -> None:
        try:
            kept = json.loads(_file().read_text())
            self._client = _client(kept["server"], kept["cookies"])
        except (OSError, ValueError, KeyError, TypeError):
            raise ServerError("nobody is logged in: pixfs jobs login URL --user NAME") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def get(self, path: str, query: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """The answer to a GET."""
        return _answer(self._client, "GET", path, params=list(query))

    def send(
        self,
        method: str,
        path: str,
        form: Sequence[tuple[str, str]],
        names: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The answer to a POST or PUT of a form; ``names`` is what its fields are called in a
        refusal."""
        fields: dict[str, list[str]] = {}
        for name, text in form:
            fields.setdefault(name, []).append(text)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return _answer(self._client, method, path, names, data=fields, headers=headers)

    def log_out(self) -> None:
        """Ends the session here and on the server."""
        try:
            self.send("POST", "/logout", [])
        finally:
            _file().unlink(missing_ok=True)
