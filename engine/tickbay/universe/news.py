"""What changes in what is known of the instruments, when the venue announces something and when a fresh listing comes.
Pure.

In: a Listing, announcements or a fresh Listing. Out: the Listing as it stands now. An announcement is known within
milliseconds and may be missed; a fresh listing is complete and may be a little older than the newest announcement.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from tickbay.universe.instrument import Instrument
from tickbay.universe.selection import Listing, Market
from tickbay.venues.announcement import Phase


@dataclass(frozen=True, slots=True)
class New:
    """A new instrument of a market."""

    market: Market
    instrument: Instrument


@dataclass(frozen=True, slots=True)
class State:
    """An instrument is in another state since `at_ns` (our clock)."""

    instrument: str
    state: str
    at_ns: int


News = New | State


def told(listing: Listing, news: Iterable[News]) -> Listing:
    """The listing after these, in their order. What is of no market or instrument that we know changes nothing: a
    fresh listing will have it.
    """
    instruments = {market: {item.name: item for item in items} for market, items in listing.instruments.items()}
    for each in news:
        match each:
            case New(market, item) if market in instruments:
                instruments[market].setdefault(item.name, item)  # the listing's own is complete: with legs and all
            case State(name, state, at_ns):
                for items in instruments.values():
                    if name in items:
                        items[name] = items[name].in_state(state, at_ns)
    return replace(listing, instruments={market: list(items.values()) for market, items in instruments.items()})


def carried(old: Listing | None, fresh: Listing, ended: Mapping[str, Instrument], *, now_ns: int) -> Listing:
    """The fresh listing, with those of the old one that have ended since: they linger (selection.py) as they ended.
    `ended`: their last versions, where the venue still gives them.
    """
    if old is None:
        return fresh
    instruments: dict[Market, list[Instrument]] = {}
    for market, items in fresh.instruments.items():
        before = {item.name: item for item in old.instruments.get(market, ())}
        now = {item.name: _kept_end(item, before.get(item.name), now_ns) for item in items}
        gone = [
            _ended(item, ended.get(name), now_ns)
            for name, item in before.items()
            if name not in now and (item.ended_ns or item.is_live(0))
        ]
        instruments[market] = [*now.values(), *gone]
    return replace(fresh, instruments=instruments)


def _kept_end(item: Instrument, before: Instrument | None, now_ns: int) -> Instrument:
    """It is still listed: with when it ended, if it has."""
    if item.phase is not Phase.ENDED or before is None:
        return item
    return replace(item, ended_ns=before.ended_ns or min(now_ns, item.expiration_ns or now_ns))


def _ended(item: Instrument, last: Instrument | None, now_ns: int) -> Instrument:
    """It is listed no more: as the venue has it among the expired ones, else as it was announced, else in our word."""
    end_ns = item.ended_ns or min(now_ns, item.expiration_ns or now_ns)
    if last is not None and last.phase is Phase.ENDED:
        return replace(last, ended_ns=end_ns)
    if item.phase is Phase.ENDED:
        return item
    return replace(item.in_state("ended", end_ns), ended_ns=end_ns)


def missing(old: Listing | None, fresh: Listing) -> dict[Market, list[str]]:
    """Who is listed no more, and has not been announced as ended."""
    found: dict[Market, list[str]] = {}
    for market, items in (old.instruments if old is not None else {}).items():
        now = {item.name for item in fresh.instruments.get(market, ())}
        names = [item.name for item in items if item.name not in now and item.phase is not Phase.ENDED]
        if names and market in fresh.instruments:
            found[market] = names
    return found


def without_old(listing: Listing, keep: Collection[str], *, now_ns: int, linger_ns: int) -> Listing:
    """Without those that have ended for good: nothing more is to be said of them."""
    return replace(
        listing,
        instruments={
            market: [
                item for item in items if not item.ended_ns or item.lingers(now_ns, linger_ns) or item.name in keep
            ]
            for market, items in listing.instruments.items()
        },
    )
