"""Writes the calls' part of docs/api/pixmover.md from the face's own declarations.

usage: .venv/bin/python -m scripts.pixmover_page
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server.api.contract import MOST_NUMBER, Nothing, example_of, facts_of, render
from server.api.pixmover.errors import STATUS
from server.api.pixmover.routes import BASE, ENDPOINTS
from server.core.permissions import ALLOWED, Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.api.contract import Endpoint, FieldFacts

PAGE = Path(__file__).parent.parent / "docs" / "api" / "pixmover.md"
MARK = "<!-- From here on written by scripts/pixmover_page.py. -->\n"


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


def _call(endpoint: Endpoint[Any, Any]) -> Iterator[str]:
    yield f"### `{endpoint.method} {BASE}{endpoint.path}`\n"
    yield f"{endpoint.summary} {_roles(endpoint)}\n"
    rows = [(name, says, "yes") for name, (says, _) in endpoint.parameters.items()]
    rows += [(f.name, _says(f), "no" if f.optional else "yes") for f in facts_of(endpoint.takes)]
    if rows:
        yield "| field | needed | meaning |\n|---|---|---|"
        for name, says, needed in rows:
            yield f"| `{name}` | {needed} | {_cell(says)} |"
        yield ""
    yield f"```sh\n{command(endpoint)}\n```\n"
    yield f"```json\n{json.dumps(example_of(endpoint.gives), indent=2)}\n```\n"
    if endpoint.errors:
        codes = sorted({(STATUS[kind], kind.code) for kind in endpoint.errors})
        listed = ", ".join(f"{status} `{code}`" for status, code in codes)
        yield f"Refused besides what every call is: {listed}.\n"


def _says(facts: FieldFacts) -> str:
    """A field's sentence, and its range where the sentence is about something else."""
    if facts.bounds is None:
        return facts.says
    least, most = facts.bounds
    end = f"{least} to {most:,}" if most < MOST_NUMBER else f"at least {least}"
    return f"{facts.says} A whole number, {end}."


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _roles(endpoint: Endpoint[Any, Any]) -> str:
    if endpoint.needs is None:
        return "Open to everybody."
    roles = [role.value for role in Role if role in ALLOWED[endpoint.needs]]
    return f"For {', '.join(roles)}."


def fields_of(endpoint: Endpoint[Any, Any]) -> list[tuple[str, str]]:
    """The example's fields as a form sends them."""
    if endpoint.takes is Nothing:
        return []
    return [pair for facts in facts_of(endpoint.takes) for pair in _pairs(facts)]


def _pairs(facts: FieldFacts) -> Iterator[tuple[str, str]]:
    for each in facts.example if facts.many else [facts.example]:
        if each not in (None, ""):
            shown = render(each)
            yield facts.name, str(shown).lower() if isinstance(shown, bool) else str(shown)


def path_of(endpoint: Endpoint[Any, Any]) -> str:
    """The example's path."""
    path = endpoint.path
    for name, (_, example) in endpoint.parameters.items():
        path = path.replace(f"{{{name}}}", example)
    return BASE + path


def command(endpoint: Endpoint[Any, Any]) -> str:
    """The example as a curl command."""
    words = ["curl", "-s"]
    words += ["-c", "cookies"] if endpoint.name == "login" else ["-b", "cookies"]
    pairs = fields_of(endpoint)
    if endpoint.method == "GET":
        words += ["-G"] if pairs else []
    elif endpoint.method == "PUT" or not pairs:
        words += ["-X", endpoint.method]
    words.append(f"http://localhost:9090{path_of(endpoint)}")
    lines = [" ".join(words)]
    lines += [f"--data-urlencode {shlex.quote(f'{name}={text}')}" for name, text in pairs]
    return " \\\n  ".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
