"""One limit kept by several processes: the shares never sum to more, and nobody starves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.work.shares import SHARE_S, Demand, Shares, fair

WAITING, IDLE = Demand(0, True), Demand(0, False)
Steps = st.lists(
    st.tuples(
        st.sampled_from("abcd"),
        st.sampled_from(["exchange", "leave", "later"]),
        st.integers(0, 2000),
        st.booleans(),
    ),
    max_size=60,
)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.integers(0, 10**12), st.dictionaries(st.text(), st.floats(0, None), min_size=1))
def test_a_limit_is_split_whole(limit: int, needs: dict[str, float]) -> None:
    shares = fair(limit, needs)
    assert shares.keys() == needs.keys()
    assert all(share >= 0 for share in shares.values())
    assert sum(shares.values()) == limit


def test_what_one_does_not_need_the_others_get() -> None:
    needs = {"a": 10.0, "b": float("inf"), "c": float("inf")}
    assert fair(100, needs) == {"a": 10, "b": 45, "c": 45}


@given(Steps)
def test_shares_never_sum_to_more_than_the_limit(steps: list[tuple[str, str, int, bool]]) -> None:
    """Whatever anybody says, in whatever order, and whoever falls silent: a share counts for
    as long as its holder may use it."""
    clock = Clock()
    shares = Shares(clock)
    shares.set_limits({"x": 1000})
    held: dict[str, tuple[int, float]] = {}
    for who, step, rate, is_waiting in steps:
        if step == "later":
            clock.now += SHARE_S / 3
        elif step == "leave":
            shares.leave(who)
            held.pop(who, None)
        else:
            share = shares.exchange(who, {"x": Demand(rate, is_waiting)})["x"]
            assert share is not None
            held[who] = share, clock.now
        usable = [share for share, since in held.values() if clock.now - since <= SHARE_S]
        assert sum(usable) <= 1000


def test_who_waits_gets_what_others_let_go_of() -> None:
    shares = Shares(Clock())
    shares.set_limits({"x": 1000})
    assert shares.exchange("server", {"x": IDLE}) == {"x": 1000}
    assert shares.exchange("a", {"x": WAITING}) == {"x": 0}
    assert shares.exchange("server", {"x": IDLE}) == {"x": 50}
    assert shares.exchange("a", {"x": WAITING}) == {"x": 950}
    assert shares.exchange("b", {"x": WAITING}) == {"x": 0}
    assert shares.exchange("a", {"x": WAITING}) == {"x": 475}
    assert shares.exchange("b", {"x": WAITING}) == {"x": 475}
    assert shares.exchange("a", {}) == {}
    assert shares.exchange("b", {"x": WAITING}) == {"x": 950}


def test_a_limit_that_changes_reaches_everybody_with_the_next_exchange() -> None:
    shares = Shares(Clock())
    shares.set_limits({"x": 1000})
    shares.exchange("a", {"x": WAITING})
    shares.set_limits({"x": 0})
    assert shares.exchange("a", {"x": WAITING}) == {"x": 0}
    shares.set_limits({"x": None})
    assert shares.exchange("a", {"x": WAITING}) == {"x": None}
    shares.set_limits({})
    assert shares.exchange("a", {"x": WAITING}) == {"x": None}


def test_rates_are_those_of_all_together() -> None:
    clock = Clock()
    shares = Shares(clock)
    shares.set_limits({"x": 1000})
    shares.exchange("a", {"x": Demand(100, True)})
    shares.exchange("b", {"x": Demand(200, True)})
    assert shares.rates() == {"x": 300}
    clock.now += SHARE_S
    shares.exchange("b", {"x": Demand(50, True)})
    assert shares.rates() == {"x": 50}
