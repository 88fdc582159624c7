"""The cache of decoded blocks."""

from __future__ import annotations

import threading

import pytest

from pixfs.volume.blockcache import BlockCache


def test_budget_drops_the_least_recently_used() -> None:
    cache = BlockCache(30)
    for key in "abc":
        cache.get(key, lambda: bytes(10))
    assert cache.get_cached("a") is not None
    cache.get("d", lambda: bytes(10))
    assert cache.get_cached("b") is None
    assert cache.get_cached("a") is not None
    assert cache.snapshot()["bytes"] == 30
    cache.get("large", lambda: bytes(31))
    assert cache.get_cached("large") is None
    assert cache.snapshot()["blocks"] == 3


def test_blocks_that_a_reader_has_passed_go_first() -> None:
    cache = BlockCache(40)
    for key in "abcd":
        cache.get(key, lambda: bytes(10))
    cache.pass_by("dcx")
    cache.get("e", lambda: bytes(10))
    assert [not cache.is_missing(key) for key in "abcde"] == [True, True, True, False, True]
    # Read again, it is one of the others.
    assert cache.get_cached("c") is not None
    cache.get("f", lambda: bytes(10))
    assert [not cache.is_missing(key) for key in "abcef"] == [False, True, True, True, True]


def test_few_blocks_are_kept_that_a_reader_has_passed() -> None:
    cache = BlockCache(100)
    for key in range(10):
        cache.get(key, lambda: bytes(10))
        cache.pass_by([key])
    assert [not cache.is_missing(key) for key in range(10)] == [False] * 5 + [True] * 5
    assert cache.snapshot()["bytes"] == 50


def test_block_is_decoded_once_for_all_who_wait() -> None:
    cache = BlockCache(100)
    calls: list[int] = []
    decoding, go_on = threading.Event(), threading.Event()
    found: list[object] = []

    def decode() -> bytes:
        calls.append(1)
        decoding.set()
        go_on.wait()
        return b"block"

    threads = [
        threading.Thread(target=lambda: found.append(cache.get("a", decode))) for _ in range(4)
    ]
    threads[0].start()
    decoding.wait()
    for thread in threads[1:]:
        thread.start()
    assert not cache.is_missing("a")
    go_on.set()
    for thread in threads:
        thread.join()
    assert found == [b"block"] * 4
    assert calls == [1]


def test_each_caller_sees_its_own_failure() -> None:
    cache = BlockCache(100)

    def fail() -> bytes:
        raise ValueError("damaged")

    for _ in range(2):
        with pytest.raises(ValueError, match="damaged"):
            cache.get("a", fail)
    assert cache.is_missing("a")
    assert cache.get("a", lambda: b"sound") == b"sound"


def test_waiter_of_a_failed_decode_tries_itself() -> None:
    cache = BlockCache(100)
    decoding, go_on = threading.Event(), threading.Event()
    found: list[object] = []

    def fail() -> bytes:
        decoding.set()
        go_on.wait()
        raise ValueError("damaged")

    def first() -> None:
        with pytest.raises(ValueError, match="damaged"):
            cache.get("a", fail)

    threads = [
        threading.Thread(target=first),
        threading.Thread(target=lambda: found.append(cache.get("a", lambda: b"mine"))),
    ]
    threads[0].start()
    decoding.wait()
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join()
    assert found == [b"mine"]


def test_clear() -> None:
    cache = BlockCache(100)
    cache.get("a", lambda: b"x")
    cache.clear()
    assert cache.snapshot() == {
        "budget_bytes": 100,
        "bytes": 0,
        "blocks": 0,
        "hits": 0,
        "misses": 1,
    }
