"""Which feed has which channels. Pure.

What is on a feed stays there while it is wanted: an instrument that comes or goes moves no other one (an order and a
slice would move them all, and each move is a hole). New ones go where the least is. Only another number of feeds, or
a smaller capacity, moves channels, and then as few as it takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tickbay.universe.selection import Unit


@dataclass(frozen=True, slots=True)
class Placement:
    feeds: Mapping[str, tuple[str, ...]]  # feed → names of its units
    refused: tuple[str, ...]  # units that no feed has room for


def place(
    current: Mapping[str, Sequence[str]], units: Mapping[str, Unit], *, feeds: Sequence[str], channels_max: int
) -> Placement:
    """Put every unit on one of `feeds`, which take `channels_max` channels each. `current` is the placement before."""
    assert feeds and channels_max > 0
    placed: dict[str, list[str]] = {feed: [] for feed in feeds}
    load = dict.fromkeys(feeds, 0)
    where: dict[str, str] = {}

    def put(feed: str, name: str) -> None:
        placed[feed].append(name)
        load[feed] += len(units[name].channels)
        where[name] = feed

    def least(name: str) -> str | None:
        """The feed with the least on it that still has room."""
        feed = min(feeds, key=lambda feed: load[feed])
        return feed if load[feed] + len(units[name].channels) <= channels_max else None

    for feed in feeds:
        for name in current.get(feed, ()):
            if name in units and name not in where and load[feed] + len(units[name].channels) <= channels_max:
                put(feed, name)
    refused = []
    for name in units:
        if name not in where:
            feed_or_none = least(name)
            if feed_or_none is None:
                refused.append(name)
            else:
                put(feed_or_none, name)
    if set(current) != set(feeds):
        _level(placed, load, units)
    return Placement({feed: tuple(names) for feed, names in placed.items()}, tuple(refused))


def _level(placed: dict[str, list[str]], load: dict[str, int], units: Mapping[str, Unit]) -> None:
    """The feeds are others than before: move the newest units of the fullest to the emptiest while that levels them."""
    while True:
        fullest, emptiest = max(load, key=lambda feed: load[feed]), min(load, key=lambda feed: load[feed])
        if not placed[fullest]:
            return
        size = len(units[placed[fullest][-1]].channels)
        if load[fullest] - load[emptiest] <= size:
            return
        placed[emptiest].append(placed[fullest].pop())
        load[fullest] -= size
        load[emptiest] += size
