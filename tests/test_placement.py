"""Which feed has what: spread evenly, and nothing moves without need."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from listing_case import NOW_NS, listed, made
from tickbay.rule import Select
from tickbay.universe.placement import place
from tickbay.universe.selection import Unit, select


def units(*names: str, size: int = 2) -> dict[str, Unit]:
    return {name: Unit([f"{kind}.{name}" for kind in ("ticker", "book", "x")[:size]]) for name in names}


def test_830_options_spread_evenly_over_four_feeds_with_ticker_and_book_together() -> None:
    names = [f"ETH-{number}" for number in range(830)]
    selection = select([Select()], listed(*(made(name) for name in names)), now_ns=NOW_NS)
    feeds = [f"feed-{number}" for number in range(1, 5)]
    placement = place({}, selection.units, feeds=feeds, channels_max=1000)
    loads = [sum(len(selection.units[name].channels) for name in placement.feeds[feed]) for feed in feeds]
    assert sum(loads) == 830 * 2 + 1 and max(loads) - min(loads) <= 2
    assert not placement.refused


def test_where_channels_are_not_enough_the_one_with_all_trades_is_not_left_out() -> None:
    selection = select([Select()], listed(*(made(f"ETH-{number}") for number in range(600))), now_ns=NOW_NS)
    placement = place({}, selection.units, feeds=["feed-1"], channels_max=1000)
    assert "trades.option.ETH.100ms" in placement.feeds["feed-1"]
    assert len(placement.refused) == 600 - (1000 - 1) // 2


moves = st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=60)


@given(moves=moves, count=st.integers(1, 5), channels_max=st.integers(1, 30))
def test_one_instrument_that_comes_or_goes_moves_no_other(
    moves: list[tuple[bool, int]], count: int, channels_max: int
) -> None:
    feeds = [f"feed-{number}" for number in range(1, count + 1)]
    wanted: dict[str, Unit] = {}
    current: Mapping[str, tuple[str, ...]] = dict.fromkeys(feeds, ())
    for comes, number in moves:
        wanted = wanted | units(f"I{number}") if comes else {k: v for k, v in wanted.items() if k != f"I{number}"}
        placement = place(current, wanted, feeds=feeds, channels_max=channels_max)
        before = {name: feed for feed, names in current.items() for name in names}
        after = {name: feed for feed, names in placement.feeds.items() for name in names}
        assert all(after[name] == feed for name, feed in before.items() if name in wanted)
        assert set(after) | set(placement.refused) == set(wanted) and not set(after) & set(placement.refused)
        assert all(2 * len(names) <= channels_max for names in placement.feeds.values())
        room = any(2 * len(names) + 2 <= channels_max for names in placement.feeds.values())
        assert not (placement.refused and room), "what is refused would have fitted"
        current = placement.feeds


def test_a_new_feed_takes_its_share_and_nothing_else_moves() -> None:
    wanted = units(*(f"I{number}" for number in range(12)))
    before = place({}, wanted, feeds=["feed-1", "feed-2"], channels_max=100).feeds
    after = place(before, wanted, feeds=["feed-1", "feed-2", "feed-3"], channels_max=100).feeds
    assert [len(after[feed]) for feed in ("feed-1", "feed-2", "feed-3")] == [4, 4, 4]
    assert set(after["feed-1"]) < set(before["feed-1"]) and set(after["feed-2"]) < set(before["feed-2"])


def test_a_feed_that_is_gone_leaves_its_instruments_to_the_others() -> None:
    wanted = units(*(f"I{number}" for number in range(12)))
    before = place({}, wanted, feeds=["feed-1", "feed-2", "feed-3"], channels_max=100).feeds
    after = place(before, wanted, feeds=["feed-1", "feed-2"], channels_max=100).feeds
    assert set(before["feed-1"]) <= set(after["feed-1"]) and set(before["feed-2"]) <= set(after["feed-2"])
    assert len(after["feed-1"]) == len(after["feed-2"]) == 6
