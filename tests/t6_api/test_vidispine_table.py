"""The reference's table of paths, recursion and wildcards: a test for each row and each note."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.vidispine import PATH_TABLE, Vidispine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.serving import Served

# "foo" is a file and a folder at once, which only a catalogue can hold.
TREE = ("foo", "foo/bar", "foo/bar/baz", "foo/bar/?az")


@pytest.fixture
async def client(server: Served, tmp_path: Path) -> AsyncIterator[Vidispine]:
    """A storage with the table's files."""
    (tmp_path / "one").mkdir()
    async with Vidispine(server.port) as client:
        storage = await client.make_storage(tmp_path / "one")
        await enter(client, storage, *TREE)
        yield client


async def enter(client: Vidispine, storage: str, *paths: str) -> None:
    for path in paths:
        await client.json("POST", f"/storage/{storage}/file", path=path)


async def found(client: Vidispine, **query: object) -> str:
    """Which of the table's files are in the result, as its columns have it."""
    paths = await client.paths(**query)
    assert set(paths) <= set(TREE)
    return "".join("Y" if path in paths else "N" for path in TREE)


def either(value: bool | None) -> tuple[str, ...]:
    """What a cell stands for: a dash for both."""
    return ("true", "false") if value is None else (str(value).lower(),)


@pytest.mark.parametrize(("path", "recursive", "wildcard", "expected"), PATH_TABLE)
async def test_row(
    client: Vidispine, path: str, recursive: bool | None, wildcard: bool | None, expected: str
) -> None:
    for deep in either(recursive):
        for wild in either(wildcard):
            assert await found(client, path=path, recursive=deep, wildcard=wild) == expected
            by_storage = await found(
                client,
                resource="/storage/VX-1/file",
                path=path,
                recursive=deep.capitalize(),
                wildcard=wild.capitalize(),
            )
            assert by_storage == expected


async def test_note_1_an_empty_path_is_the_root(client: Vidispine) -> None:
    assert await found(client, path="") == await found(client, path="/") == await found(client)


async def test_note_2_the_first_slash_is_implied(client: Vidispine) -> None:
    for path in ("foo", "foo/", "foo/bar", "foo/bar/"):
        assert await found(client, path=path) == await found(client, path=f"/{path}")


async def test_note_3_only_the_slash_parts_names(client: Vidispine) -> None:
    await enter(client, "VX-1", "x\\y")
    assert await client.paths(path="/x/y") == []
    assert await client.paths(path="/x/") == []
    assert await client.paths(path="/x\\y") == ["x\\y"]


async def test_note_4_a_question_mark_is_exactly_one(client: Vidispine) -> None:
    await enter(client, "VX-1", "w/ab", "w/acb", "w/accb")
    assert await client.paths(path="/w/a?b", wildcard="true") == ["w/acb"]
    assert await client.paths(path="/w/a??b", wildcard="true") == ["w/accb"]


async def test_note_5_an_asterisk_is_none_or_more(client: Vidispine) -> None:
    await enter(client, "VX-1", "w/ab", "w/acb", "w/accb")
    assert await client.paths(path="/w/a*b", wildcard="true") == ["w/ab", "w/acb", "w/accb"]
    assert await client.paths(path="/w/ab*", wildcard="true") == ["w/ab"]


async def test_note_6_a_question_mark_is_itself_without_wildcards(client: Vidispine) -> None:
    query = {"path": "/foo/bar/?az", "wildcard": "false"}
    assert await client.paths(**query) == ["foo/bar/?az"]
    star = {"path": "/foo/bar/*az", "wildcard": "false"}
    assert await client.paths(**star) == []


async def test_note_7_a_backslash_is_itself_without_wildcards(client: Vidispine) -> None:
    await enter(client, "VX-1", "w/\\?az", "w/?az")
    assert await client.paths(path="/w/\\?az", wildcard="false") == ["w/\\?az"]


async def test_note_8_a_backslash_quotes_with_wildcards_itself_too(client: Vidispine) -> None:
    await enter(client, "VX-1", "w/\\?az", "w/\\xaz", "w/?az", "w/xaz", "w/*az")
    assert await client.paths(path="/w/\\?az", wildcard="true") == ["w/?az"]
    assert await client.paths(path="/w/\\*az", wildcard="true") == ["w/*az"]
    assert await client.paths(path="/w/\\\\\\?az", wildcard="true") == ["w/\\?az"]
    assert await client.paths(path="/w/\\\\?az", wildcard="true") == ["w/\\?az", "w/\\xaz"]


async def test_what_is_not_said_is_recursive_and_without_wildcards(client: Vidispine) -> None:
    assert await found(client) == "YYYY"
    assert await found(client, path="/foo/") == "NYYY"
    assert await found(client, path="/foo/b?r") == "NNNN"
    assert await client.paths(path="/FOO/bar/baz") == []
