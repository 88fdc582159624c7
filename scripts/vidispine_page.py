"""Writes the calls' part of docs/api/vidispine.md from the face's own declarations.

usage: .venv/bin/python -m scripts.vidispine_page
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from server.api.vidispine.endpoints import NEEDS
from server.api.vidispine.routes import ENDPOINTS
from server.core.permissions import ALLOWED, Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.api.vidispine.endpoints import Endpoint, Parameter

PAGE = Path(__file__).parent.parent / "docs" / "api" / "vidispine.md"
MARK = "<!-- From here on written by scripts/vidispine_page.py. -->\n"


def calls() -> str:
    """The part of the page that describes every call."""
    areas: dict[str, list[str]] = {}
    for endpoint in ENDPOINTS:
        areas.setdefault(endpoint.area, []).append("\n".join(_call(endpoint)))
    parts = [f"## {area}\n\n" + "\n".join(found) for area, found in areas.items()]
    return "\n" + "\n".join(parts)


def page(text: str) -> str:
    """The page with its calls described anew."""
    return text.partition(MARK)[0] + MARK + calls()


def _call(endpoint: Endpoint) -> Iterator[str]:
    yield f"### `{endpoint.method} {endpoint.template}`\n"
    yield f"{endpoint.summary} {_roles(endpoint)}\n"
    if endpoint.streams:
        yield "Takes `application/octet-stream`, of any size.\n"
    if endpoint.takes:
        yield f"Takes `{'`, `'.join(endpoint.takes)}` as XML or JSON.\n"
    yield f"Gives {_gives(endpoint)}.\n"
    if endpoint.parameters:
        yield "| parameter | where | default | meaning |\n|---|---|---|---|"
        for parameter in endpoint.parameters:
            yield _row(parameter)
        yield ""


def _row(parameter: Parameter) -> str:
    says = parameter.says
    if parameter.choices:
        says += f" One of {', '.join(parameter.choices)}."
    if parameter.many:
        says += " May be given several times."
    default = "needed" if parameter.required else f"`{parameter.default}`"
    if not (parameter.required or parameter.default):
        default = ""
    cells = (f"`{parameter.name}`", parameter.where, default, says.replace("|", "\\|"))
    return f"| {' | '.join(cells)} |"


def _gives(endpoint: Endpoint) -> str:
    if endpoint.gives_bytes:
        return "the bytes, as `application/octet-stream`, or a range of them"
    given = [f"`{endpoint.gives.__name__}` as XML or JSON"] if endpoint.gives else []
    given += [f"text: {endpoint.says.rstrip('.').lower()}"] if endpoint.says else []
    return "; ".join(given) or "nothing"


def _roles(endpoint: Endpoint) -> str:
    roles = ", ".join(role.value for role in Role if role in ALLOWED[NEEDS[endpoint.role]])
    return f"Role `{endpoint.role.value}`: {roles}." if endpoint.role.value else f"For {roles}."


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
