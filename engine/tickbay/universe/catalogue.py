"""What the venue listed last, kept on disk: `data/universe/instruments.json`.

So that a venue whose REST is away at our start does not keep us from recording, and so that only versions of
reference data that are new are recorded again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from tickbay.errors import VenueDown, VenueFault
from tickbay.identity import write_atomically
from tickbay.rule import ANY, Select
from tickbay.universe.instrument import NUMBERS, TEXTS, Instrument, InstrumentKind, read_instrument, read_legs
from tickbay.universe.rest import Rest
from tickbay.universe.selection import Listing, Market, market_of

FILE_BYTES_MAX = 256 << 20
COMBOS = ("option_combo", "future_combo")


@dataclass(slots=True)
class Catalogue:
    """`listing` as it was at `fetched_ns`; `recorded`: the version of each instrument that the journal has."""

    listing: Listing | None = None
    fetched_ns: int = 0
    recorded: dict[str, Instrument] = field(default_factory=dict)


def catalogue_path(data_dir: Path) -> Path:
    return data_dir / "universe" / "instruments.json"


def read_catalogue(path: Path) -> Catalogue:
    """Empty where there is no file, or one that cannot be used: everything in it can be fetched again."""
    try:
        with path.open("rb") as file:
            value = orjson.loads(file.read(FILE_BYTES_MAX))
        listing = None
        if value["listing"] is not None:
            instruments = {
                Market(*market.split(" ")): [_read(item) for item in items]
                for market, items in value["listing"]["instruments"].items()
            }
            listing = Listing(instruments, value["listing"]["open_interest"])
        recorded = {item["name"]: _read(item) for item in value["recorded"]}
        return Catalogue(listing, int(value["fetched_ns"]), recorded)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return Catalogue()


def write_catalogue(path: Path, catalogue: Catalogue) -> None:
    """OSError where the disk does not take it."""
    listing = catalogue.listing
    value = {
        "fetched_ns": catalogue.fetched_ns,
        "listing": listing
        and {
            "instruments": {" ".join(market): items for market, items in listing.instruments.items()},
            "open_interest": listing.open_interest,
        },
        "recorded": list(catalogue.recorded.values()),
    }
    write_atomically(path, orjson.dumps(value))


def _read(value: Mapping[str, Any]) -> Instrument:
    fields = dict(value)
    fields["kind"] = InstrumentKind(fields["kind"])
    fields["numbers"], fields["texts"] = tuple(fields["numbers"]), tuple(fields["texts"])
    if (len(fields["numbers"]), len(fields["texts"])) != (len(NUMBERS), len(TEXTS)):
        raise ValueError("a catalogue of another version")
    return Instrument(**fields)


async def fetch_listing(rest: Rest, rules: Iterable[Select]) -> tuple[Listing, dict[str, str]]:
    """What the venue lists in the markets of the rules, and why some of it cannot be recorded (by name). VenueDown or
    VenueFault: all of it or none.
    """
    rules = list(rules)
    ranked = {market_of(rule) for rule in rules if rule.top}
    instruments: dict[Market, list[Instrument]] = {}
    open_interest: dict[str, float] = {}
    refused: dict[str, str] = {}
    for market in dict.fromkeys(market_of(rule) for rule in rules):
        said = await rest.call("get_instruments", _parameters(market) | {"expired": "false"})
        instruments[market] = _read_all(said, refused)
        if market.kind in COMBOS:  # their legs are only in another call
            legs = _read_combos(await rest.call("get_combos", {"currency": market.currency}), refused)
            instruments[market] = [replace(item, legs=legs.get(item.name, item.legs)) for item in instruments[market]]
        if market in ranked:  # open interest is only in the summaries
            open_interest |= await _fetch_open_interest(rest, market)
    return Listing(instruments, open_interest), refused


async def fetch_ended(rest: Rest, names: Mapping[Market, Iterable[str]]) -> dict[str, Instrument]:
    """The last versions of instruments that are listed no more, as far as the venue still gives them. VenueDown or
    VenueFault otherwise.
    """
    found: dict[str, Instrument] = {}
    for market, wanted in names.items():
        said = await rest.call("get_instruments", _parameters(market) | {"expired": "true"})
        of_market = {item.name: item for item in _read_all(said, {})}
        found |= {name: of_market[name] for name in wanted if name in of_market}
    return found


async def fetch_locked(rest: Rest) -> frozenset[str] | None:
    """The price indices that are locked; None where the venue does not say."""
    try:
        said = await rest.call("status", {})
    except (VenueDown, VenueFault):
        return None  # we go by what it announced
    match said:
        case {"locked_indices": list(indices)}:
            return frozenset(index for index in indices if isinstance(index, str))
    return None


def _parameters(market: Market) -> dict[str, str]:
    return {"currency": market.currency, "kind": market.kind}


async def _fetch_open_interest(rest: Rest, market: Market) -> dict[str, float]:
    """Of a market; the venue sums up one currency at a time, so for `any` we ask it which there are."""
    currencies = [market.currency]
    if market.currency == ANY:
        said = await rest.call("get_currencies", {})
        currencies = [str(item["currency"]) for item in said if isinstance(item, dict) and "currency" in item]
    found: dict[str, float] = {}
    for currency in currencies:
        summaries = await rest.call("get_book_summary_by_currency", {"currency": currency, "kind": market.kind})
        found |= _open_interest(summaries)
    return found


def _read_combos(said: Any, refused: dict[str, str]) -> dict[str, str]:
    """The legs by the combo's name."""
    if not isinstance(said, list):
        raise VenueFault("get_combos: the result is no list")
    found: dict[str, str] = {}
    for combo in said:
        match combo:
            case {"id": str(name), "legs": legs}:
                try:
                    found[name] = read_legs(name, legs)
                except VenueFault as fault:  # the combo itself is recorded
                    refused[name[:60]] = str(fault)
    return found


def _read_all(said: Any, refused: dict[str, str]) -> list[Instrument]:
    if not isinstance(said, list):
        raise VenueFault("get_instruments: the result is no list")
    found: dict[str, Instrument] = {}
    for item in said:
        try:
            instrument = read_instrument(item)
        except VenueFault as fault:  # that one only: the others are recorded
            name = item.get("instrument_name") if isinstance(item, dict) else None
            refused[str(name)[:60]] = str(fault)
        else:
            found[instrument.name] = instrument
    return list(found.values())


def _open_interest(said: Any) -> dict[str, float]:
    """Of each name; a summary without a number counts as 0, as in a book without any."""
    if not isinstance(said, list):
        raise VenueFault("get_book_summary_by_currency: the result is no list")
    found: dict[str, float] = {}
    for summary in said:
        match summary:
            case {"instrument_name": str(name), "open_interest": int() | float() as interest}:
                found[name] = float(interest)
    return found
