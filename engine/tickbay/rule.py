"""A rule of what is recorded ([[select]]), and what no rule, and no two of them, can mean. Pure; read by config.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated

from tickbay.errors import ConfigError
from tickbay.tables import Bounds, OneOf, Words

KINDS = ("option", "future", "spot", "option_combo", "future_combo")
# What a rule can ask for → the kind of records that it brings.
CHANNELS = {
    "ticker": "quote",
    "trades": "trade",
    "book": "book",
    "quote": "bbo",
    "depth": "depth",
    "mark": "mark",
    "funding": "funding",
    "index": "index",
    "volatility": "index",
    "delivery": "index",
}
USUAL_CHANNELS = ("ticker", "trades", "book")
IN_INTERVALS = ("ticker", "trades", "book", "depth", "funding")  # the others have one pace
ANY = "any"  # the venue's word for every currency


@dataclass(frozen=True, slots=True, kw_only=True)
class Select:
    """A rule: which instruments to record, and which channels of each. Rules are united."""

    currency: str = "ETH"  # as the venue lists it: what is linear is under USDC; any: all
    kind: Annotated[str, Words(KINDS)] = "option"  # future has the perpetuals too
    top: Annotated[int, Bounds(0, 1_000_000)] = 0  # only the N with the highest open interest; 0: all
    days_max: Annotated[float, Bounds(0, 100_000)] = 0.0  # only those that expire within so many days; 0: all
    names: tuple[str, ...] = ()  # only these
    channels: Annotated[tuple[str, ...], Words(tuple(CHANNELS))] = USUAL_CHANNELS
    depth: Annotated[int, OneOf(1, 10, 20)] = 10  # of channel depth: levels a side …
    group: str = "none"  # … and how they are gathered: none, or one of the venue's numbers
    interval: Annotated[str, Words(("100ms", "agg2", "raw"))] = "100ms"

    def interval_of(self, channel: str) -> str:
        """There is no unthrottled depth."""
        return "100ms" if channel == "depth" and self.interval == "raw" else self.interval


def check_rules(rules: Sequence[Select]) -> None:
    """ConfigError for what the words of the configuration allow and cannot be meant."""
    if not rules:
        raise ConfigError("select: no rule, so nothing would be recorded: add a [[select]] table")
    for number, rule in enumerate(rules):
        capitals = rule.currency.isascii() and rule.currency.isalnum() and rule.currency.isupper()
        if not capitals and rule.currency != ANY:
            raise ConfigError(f"select[{number}].currency = {rule.currency!r}: expected capitals, such as ETH, or any")
        if rule.group != "none" and not (rule.group.isascii() and rule.group.isdigit() and 0 < int(rule.group) < 10**9):
            raise ConfigError(
                f'select[{number}].group = {rule.group!r}: expected "none" or a whole number, such as "5"'
            )
    for (first, one), (second, other) in combinations(enumerate(rules), 2):
        if twice := _in_two_intervals(one, other):
            raise ConfigError(
                f"select[{second}].interval = {other.interval!r}: select[{first}] records {twice} of the same "
                f"instruments at {one.interval!r}: one interval for both"
            )


def _in_two_intervals(one: Select, other: Select) -> str:
    """The channel that two rules would bring twice; empty: none. A book in two intervals has two chains of changes, of
    which each breaks the other; a trade would be stored twice.
    """
    if one.kind != other.kind or (one.currency != other.currency and ANY not in (one.currency, other.currency)):
        return ""
    apart = one.names and other.names and not set(one.names) & set(other.names)
    for channel in IN_INTERVALS:
        if channel not in one.channels or channel not in other.channels:
            continue
        differ = one.interval_of(channel) != other.interval_of(channel)
        if differ and (channel == "trades" or not apart):  # trades come of all, whatever names say
            return channel
    return ""
