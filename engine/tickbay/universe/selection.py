"""Which instruments and channels the rules want. Pure.

In: the rules, what is listed, open interest. Out: units, each a set of channels that belong on one feed: those of an
instrument, or one of an index, or the trades of a currency and kind.

Trades always come by the venue's wildcard channel, once per currency and kind: it includes instruments that are
listed later, from their first trade on. So a rule that is narrowed by top, days_max or names still records every
trade of its currency and kind.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tickbay.rule import ANY, Select
from tickbay.universe.instrument import Instrument, InstrumentKind

DAY_NS = 86_400 * 10**9
VOLATILITY_INDICES = ("btc_usd", "eth_usd")  # the only ones that the venue has; no field of an instrument says so


class Market(NamedTuple):
    """What the venue lists together."""

    currency: str
    kind: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What the venue listed at one time."""

    instruments: Mapping[Market, Sequence[Instrument]]
    open_interest: Mapping[str, float]  # by name; for markets that a rule ranks


@dataclass(slots=True)
class Unit:
    """Channels that stay together on one feed."""

    channels: list[str] = field(default_factory=list)
    expires_ns: int = 0  # 0: never
    price_index: str = ""  # of an index's own channels: whose

    def add(self, channel: str) -> None:
        if channel not in self.channels:
            self.channels.append(channel)


@dataclass(frozen=True, slots=True)
class Selection:
    units: Mapping[str, Unit]  # by channel for the trades of many and for indices, then by instrument; placed in order
    instruments: frozenset[str]
    unlisted: tuple[str, ...]  # names in the rules that the venue does not list, and that have not ended


def select(
    rules: Sequence[Select],
    listing: Listing,
    *,
    now_ns: int,
    selected: Collection[str] = (),
    linger_ns: int = 0,
    ended: Collection[str] = (),
) -> Selection:
    """The rules united. `selected` is what was selected before: see _top(). Of these, one that has ended stays for
    `linger_ns`, for its last messages. `ended`: names of which it is known, though they may be listed no more."""
    shared: dict[str, Unit] = {}
    units: dict[str, Unit] = {}
    instruments: set[str] = set()
    unlisted: set[str] = set()
    # Trades of any currency are those of each one too: twice subscribed they would be stored twice.
    all_trades = {rule.kind for rule in rules if "trades" in rule.channels and rule.currency == ANY}
    for rule in rules:
        listed = listing.instruments[market_of(rule)]
        live = [item for item in listed if item.is_live(now_ns)]
        unlisted |= {*rule.names} - {item.name for item in listed if item.is_live(now_ns) or item.has_ended(now_ns)}
        chosen = _top(rule, [item for item in live if _fits(rule, item, now_ns)], listing.open_interest, selected)
        lingering = [
            item
            for item in listed
            if item.name in selected
            and not item.is_live(now_ns)
            and item.lingers(now_ns, linger_ns)
            and _fits(rule, item, now_ns)
        ]
        for item in (*chosen, *lingering):
            instruments.add(item.name)
            for channel in _own_channels(rule, item):
                units.setdefault(item.name, Unit(expires_ns=item.end_ns)).add(channel)
            for channel in _index_channels(rule, item):
                shared.setdefault(channel, Unit(price_index=item.price_index)).add(channel)
        if "trades" in rule.channels and (rule.currency == ANY or rule.kind not in all_trades):
            channel = f"trades.{rule.kind}.{rule.currency}.{rule.interval}"
            shared.setdefault(channel, Unit()).add(channel)
    return Selection(shared | units, frozenset(instruments), tuple(sorted(unlisted - {*ended})))


def _own_channels(rule: Select, item: Instrument) -> Iterator[str]:
    """The channels of one instrument, as Deribit spells them."""
    for word in rule.channels:
        match word:
            case "ticker" | "book":
                yield f"{word}.{item.name}.{rule.interval}"
            case "quote":
                yield f"quote.{item.name}"
            case "depth":
                yield f"book.{item.name}.{rule.group}.{rule.depth}.{rule.interval_of(word)}"
            case "funding" if item.kind is InstrumentKind.PERPETUAL:
                yield f"perpetual.{item.name}.{rule.interval}"


def _index_channels(rule: Select, item: Instrument) -> Iterator[str]:
    """The channels of the index that an instrument settles in: it names it itself."""
    index = item.price_index
    for word in rule.channels if index else ():
        match word:
            case "index":
                yield f"deribit_price_index.{index}"
            case "volatility" if index in VOLATILITY_INDICES:
                yield f"deribit_volatility_index.{index}"
            case "delivery" if item.end_ns:
                yield f"estimated_expiration_price.{index}"
            case "mark" if item.kind is InstrumentKind.OPTION:
                yield f"markprice.options.{index}"


def market_of(rule: Select) -> Market:
    return Market(rule.currency, rule.kind)


def _fits(rule: Select, item: Instrument, now_ns: int) -> bool:
    if rule.names and item.name not in rule.names:
        return False
    # What never expires does not expire within so many days.
    return not rule.days_max or 0 < item.expiration_ns <= now_ns + rule.days_max * DAY_NS


def _top(
    rule: Select, fitting: Sequence[Instrument], open_interest: Mapping[str, float], selected: Collection[str]
) -> Sequence[Instrument]:
    """The rule's `top` with the highest open interest. One that was selected before stays while it is at most a tenth
    beyond the border: else those around the border would come and go with every refresh, each time with a hole.
    """
    if not rule.top:
        return fitting
    ranked = sorted(fitting, key=lambda item: (-open_interest.get(item.name, 0.0), item.name))
    margin = rule.top + max(1, rule.top // 10)
    staying = [item for item in ranked[:margin] if item.name in selected][: rule.top]
    names = {item.name for item in staying}
    coming = [item for item in ranked if item.name not in names][: rule.top - len(staying)]
    return [*staying, *coming]
