"""What a player will read next, and that it is decoded before."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

import pytest

from pixfs.volume import pagecache
from pixfs.volume.contents import ContainerContent
from pixfs.volume.playback import Playback
from pixfs.volume.prefetch import parse
from tests.t2_volume.frames import dpx
from tests.t2_volume.openings import noted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pixfs.volume.attributes import Buffer
    from tests.t2_volume.conftest import Volumes
    from tests.t2_volume.user import User

PATIENCE_S = 120.0
SHOT = range(1001, 1021)


def expected(read: Iterable[int], count: int = 4, shot: Iterable[int] = SHOT) -> list[int]:
    """The frames a player that has read these will read next."""
    playback, frames = Playback(), frozenset(shot)
    player = None
    for frame in read:
        player = playback.read(frame, frames.__contains__)
    assert player is not None
    return list(itertools.islice(player.ahead(frames.__contains__), count))


@pytest.mark.parametrize(
    ("read", "next_ones"),
    [
        pytest.param([1001], [], id="one frame tells nothing"),
        pytest.param([1001, 1002], [1003, 1004, 1005, 1006], id="forwards"),
        pytest.param([1010, 1009], [1008, 1007, 1006, 1005], id="backwards"),
        pytest.param([1001, 1005], [1009, 1013, 1017], id="stepped"),
        pytest.param([1001, 1002, 1004, 1005], [1006, 1007, 1008, 1009], id="a frame left out"),
        pytest.param([1001, 1002, 1002, 1003], [1004, 1005, 1006, 1007], id="a frame read twice"),
        pytest.param([1001, 1002, 1003, 1010], [1017], id="a jump makes a step"),
        pytest.param([1001, 1002, 1010, 1011], [1012, 1013, 1014, 1015], id="a jump, then on"),
        pytest.param([1018, 1019, 1020], [], id="an end not met before"),
    ],
)
def test_what_comes_next(read: list[int], next_ones: list[int]) -> None:
    assert expected(read) == next_ones


def test_ping_pong_is_learned_at_each_end() -> None:
    assert expected([1018, 1019, 1020, 1019]) == [1018, 1017, 1016, 1015]
    there_and_back = [*range(1001, 1021), *range(1019, 1000, -1), *range(1002, 1019)]
    assert expected(there_and_back) == [1019, 1020, 1019, 1018]


def test_a_loop_is_learned_at_its_end() -> None:
    twice = [*range(1001, 1021), *range(1001, 1019)]
    assert expected(twice) == [1019, 1020, 1001, 1002]


def test_a_long_loop_is_learned_too() -> None:
    shot = range(1, 201)
    assert expected([*shot, *range(1, 200)], shot=shot) == [200, 1, 2, 3]


def test_two_players_of_one_sequence_are_told_apart() -> None:
    shot = range(1, 1001)
    first, second = range(1, 20), range(500, 519)
    mixed = [frame for pair in zip(first, second, strict=True) for frame in pair]
    playback = Playback()
    players = [playback.read(frame, shot.__contains__) for frame in mixed]
    assert list(itertools.islice(players[-1].ahead(shot.__contains__), 2)) == [519, 520]
    assert list(itertools.islice(players[-2].ahead(shot.__contains__), 2)) == [20, 21]


def test_the_number_is_the_last_one_before_the_extension(user: User) -> None:
    found = parse(user.volume.root, b"sc010_v02.0999.dpx")
    assert found is not None
    pattern, number = found
    assert (number, pattern.name(1000)) == (999, b"sc010_v02.1000.dpx")
    assert parse(user.volume.root, b"slate.dpx") is None
    unpadded = parse(user.volume.root, b"f9.exr")
    assert unpadded is not None
    assert unpadded[0].name(10) == b"f10.exr"


# The volume


def shot(volumes: Volumes, count: int = 8, **policy: object) -> User:
    user = volumes.make(cache_bytes=64 << 20, **policy)
    for number in range(count):
        user.write(f"a.{1001 + number}.dpx", dpx(number))
        user.compress(f"a.{1001 + number}.dpx")
    user.volume._core.cache.clear()
    return user


def play(user: User, number: int) -> None:
    """Reads through a frame as a player does, in pieces, one after the other."""
    frame, handle, offset = b"", user.open(f"a.{number}.dpx"), 0
    try:
        while piece := handle.read(offset, 4096):
            frame += piece
            offset += len(piece)
    finally:
        handle.release()
    assert frame == dpx(number - 1001)
    assert user.volume.wait_prefetched(PATIENCE_S)


def prefetched(user: User) -> int:
    return int(str(user.volume.stats()["frames_prefetched"]))


def decoded(user: User) -> int:
    return int(str(user.volume.stats()["tiles_decoded"]))


def test_the_next_frames_are_decoded_before_they_are_read(volumes: Volumes) -> None:
    user = shot(volumes)
    play(user, 1001)
    assert prefetched(user) == 0
    play(user, 1002)
    assert prefetched(user) == 6
    before = decoded(user)
    for number in range(1003, 1009):
        play(user, number)
    assert decoded(user) == before


def test_looking_at_headers_decodes_nothing_ahead(volumes: Volumes) -> None:
    user = shot(volumes)
    for number in range(1001, 1009):
        handle = user.open(f"a.{number}.dpx")
        assert len(handle.read(0, 2048)) == 2048
        handle.release()
    assert user.volume.wait_prefetched(PATIENCE_S)
    assert prefetched(user) == 0


def test_what_is_decoded_ahead_takes_half_of_the_cache(volumes: Volumes) -> None:
    size = len(dpx())
    user = volumes.make(cache_bytes=4 * size + 100)
    for number in range(8):
        user.write(f"a.{1001 + number}.dpx", dpx(number))
        user.compress(f"a.{1001 + number}.dpx")
    user.volume._core.cache.clear()
    play(user, 1001)
    play(user, 1002)
    assert prefetched(user) == 2


def test_raw_frames_and_missing_ones_are_no_trouble(volumes: Volumes) -> None:
    user = shot(volumes, count=4)
    user.set_state("a.1003.dpx", "raw")
    user.unlink("a.1004.dpx")
    play(user, 1001)
    play(user, 1002)
    play(user, 1003)
    assert prefetched(user) == 0


@pytest.mark.parametrize("state", ["compressed", "raw"])
def test_what_is_stored_of_the_next_frames_is_asked_of_the_storage(
    volumes: Volumes, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """All of them, before the first is decoded."""
    user = shot(volumes)
    for number in range(1003, 1009):
        user.set_state(f"a.{number}.dpx", state)
    names = {path.stat().st_ino: path.name for path in user.backing.glob("a.*")}
    asked: list[str] = []
    asked_before: dict[str, int] = {}
    whole = ContainerContent.decode

    def name_of(fd: int) -> str:
        return names[os.fstat(fd).st_ino]

    def decode(content: ContainerContent, index: int) -> Buffer:
        asked_before.setdefault(name_of(content.fd), len(asked))
        return whole(content, index)

    monkeypatch.setattr(pagecache, "will_read", lambda fd: asked.append(name_of(fd)))
    monkeypatch.setattr(ContainerContent, "decode", decode)
    play(user, 1001)
    play(user, 1002)
    following = [f"a.{number}.dpx" for number in range(1003, 1009)]
    assert asked == following
    ahead = following if state == "compressed" else []
    assert [asked_before.get(name) for name in ahead] == [6] * len(ahead)


def test_what_is_no_file_is_not_opened_ahead(
    volumes: Volumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for a reader of a fifo would be told that there is one."""
    user = shot(volumes)
    user.unlink("a.1003.dpx")
    os.mkfifo(user.backing / "a.1003.dpx")
    opened = noted(monkeypatch)
    play(user, 1001)
    play(user, 1002)
    assert opened == []


def test_a_closing_volume_decodes_nothing_more(volumes: Volumes) -> None:
    user = shot(volumes, encode_threads=2)
    for number in (1001, 1002):
        handle = user.open(f"a.{number}.dpx")
        for offset in range(0, len(dpx()), 4096):
            handle.read(offset, 4096)
        handle.release()
    user.volume.close()
    assert user.volume.wait_prefetched(PATIENCE_S)
