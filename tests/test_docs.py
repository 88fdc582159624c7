"""The documentation tells of every verb, flag and setting, and its links lead somewhere."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from pixfs import config
from pixfs.cli.main import build_parser
from pixfs.cli.verbs import VERBS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = {page: page.read_text() for page in PAGES}
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#]+)(#[^)]*)?\)")


def flags_of(verb: str) -> list[str]:
    """The long options of a verb that its help shows."""
    (subparsers,) = (
        action
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return sorted(
        option
        for action in subparsers.choices[verb]._actions
        if action.help is not argparse.SUPPRESS
        for option in action.option_strings
        if option.startswith("--") and option != "--help"
    )


def pages_with(text: str) -> list[str]:
    return [found for found in TEXTS.values() if text in found]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_and_flag_is_on_a_page(verb: str) -> None:
    pages = pages_with(f"pixfs {verb}")
    assert pages, f"no page tells of pixfs {verb}"
    missing = [flag for flag in flags_of(verb) if not any(f"`{flag}" in page for page in pages)]
    assert not missing, f"no page that tells of pixfs {verb} tells of {missing}"


@pytest.mark.parametrize(
    "key",
    sorted(
        {*config.PATH_KEYS, *config.POLICY_KEYS, "options"}
        | config.KERNEL_OPTIONS
        | config.OWN_OPTIONS
    ),
)
def test_every_setting_is_on_a_page(key: str) -> None:
    assert pages_with(f"`{key}`"), f"no page tells of the setting {key}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = [match[1] for match in LINK.finditer(TEXTS[page])]
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.name)
def test_every_page_is_reached_from_the_index(page: Path) -> None:
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / match[1]).resolve() for match in LINK.finditer(TEXTS[index])}
    assert page == index or page.resolve() in linked


def test_server_problems_are_documented() -> None:
    from server import problems

    codes = {problems.UNKNOWN_HOST.code, problems.BODY_TOO_LARGE.code, problems.INTERNAL.code}
    codes |= {code for code, _ in problems._BY_STATUS.values()}
    page = TEXTS[ROOT / "docs" / "operations" / "server.md"]
    assert [code for code in sorted(codes) if f"`{code}`" not in page] == []
