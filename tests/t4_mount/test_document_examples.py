"""The examples of the pages that make promises do what the pages say."""

from __future__ import annotations

import doctest
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.frames import frame

if TYPE_CHECKING:
    from tests.fuse_session import Mounted

pytestmark = pytest.mark.fuse

DOCS = Path(__file__).parent.parent.parent / "docs"
BLOCK = re.compile(r"^```pycon\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", ["semantics.md", "durability.md"])
def test_the_examples_of_a_page(manual_mount: Mounted, page: str) -> None:
    examples = "\n".join(BLOCK.findall((DOCS / page).read_text()))
    names = {
        "os": os,
        "mnt": manual_mount.path,
        "backing": manual_mount.backing,
        "daemon": manual_mount,
        "frame": frame(),
    }
    test = doctest.DocTestParser().get_doctest(examples, names, page, page, 0)
    assert test.examples, f"{page} has no examples"
    failures: list[str] = []
    doctest.DocTestRunner(verbose=False).run(test, out=failures.append)
    assert not failures, "".join(failures)
