"""Who records what: the feeds of a configuration, and the pairs that two of them make with `feeds.redundancy = 2`.

A place (`feed-1`) is one share of the channels. Without redundancy one feed of that name has it. With it two feeds,
the legs `feed-1a` and `feed-1b`, have the same channels, and `merger-1` makes one set of streams of theirs, `pair-1.…`.
Whoever takes what was captured (sinks, the healer) takes the pairs' streams instead of the legs'. Pure.
"""

from __future__ import annotations

import re

from tickbay.config import Config
from tickbay.record import Kind, parse_stream

LEGS = ("a", "b")
_LEG = re.compile(r"feed-([1-9][0-9]{0,2})([ab])")


def places(config: Config) -> list[str]:
    """`feed-1`, …: as the assignment calls them."""
    return [f"feed-{number}" for number in range(1, config.feeds.count + 1)]


def feeds_of(config: Config, place: str) -> list[str]:
    """The processes that record a place."""
    return [place] if config.feeds.redundancy == 1 else [f"{place}{leg}" for leg in LEGS]


def feeds(config: Config) -> list[str]:
    """Every feed process."""
    return [feed for place in places(config) for feed in feeds_of(config, place)]


def pairs(config: Config) -> list[str]:
    """`pair-1`, …: whose streams the mergers write; none without redundancy."""
    return [f"pair-{number}" for number in range(1, config.feeds.count + 1)] if config.feeds.redundancy == 2 else []


def mergers(config: Config) -> list[str]:
    """Every merger process."""
    return [f"merger-{pair.partition('-')[2]}" for pair in pairs(config)]


def place_of(feed: str) -> str:
    """Whose channels a feed has: `feed-1` of feed-1, feed-1a, feed-1b and pair-1."""
    leg = _LEG.fullmatch(feed)
    return f"feed-{leg[1]}" if leg else re.sub(r"^pair-", "feed-", feed)


def recorders_of(feed: str) -> list[str]:
    """The processes that capture what is in its streams: `feed-1a` and `feed-1b` of pair-1; else itself."""
    return [f"{place_of(feed)}{leg}" for leg in LEGS] if feed.startswith("pair-") else [feed]


def first_leg(feed: str) -> str:
    """`feed-1a` of feed-1a and feed-1b; empty where it is no leg."""
    return f"{place_of(feed)}{LEGS[0]}" if _LEG.fullmatch(feed) else ""


def merger_of_leg(feed: str) -> str:
    """`merger-1` of feed-1a and feed-1b; empty where it is no leg."""
    leg = _LEG.fullmatch(feed)
    return f"merger-{leg[1]}" if leg else ""


def merger_of(stream: str) -> str:
    """Who takes a leg's stream (`merger-1` for feed-1a.quote); empty where the sinks do: every other stream, also
    what a leg says of itself."""
    try:
        feed, kind = parse_stream(stream)
    except ValueError:
        return ""
    return merger_of_leg(feed) if kind is not Kind.STATUS else ""
