"""What the venue listed last, on disk."""

from __future__ import annotations

import asyncio
from pathlib import Path

from listing_case import ETH, listed, made
from rest_server import RestServer, option
from tickbay.config import Venue
from tickbay.rule import Select
from tickbay.universe.catalogue import (
    Catalogue,
    fetch_ended,
    fetch_listing,
    fetch_locked,
    read_catalogue,
    write_catalogue,
)
from tickbay.universe.rest import Rest
from tickbay.universe.selection import Listing, Market


def test_a_catalogue_reads_back_as_written_and_a_damaged_one_is_empty(tmp_path: Path) -> None:
    catalogue = Catalogue(listed(made("A"), A=2.5), 77, {"A": made("A")})
    write_catalogue(tmp_path / "c.json", catalogue)
    read = read_catalogue(tmp_path / "c.json")
    assert read.listing is not None and list(read.listing.instruments[ETH]) == [made("A")]
    assert (read.listing.open_interest, read.fetched_ns, read.recorded) == ({"A": 2.5}, 77, {"A": made("A")})
    whole = (tmp_path / "c.json").read_text()
    (tmp_path / "c.json").write_text(whole.replace('"numbers":[', '"numbers":[1,'))
    assert read_catalogue(tmp_path / "c.json") == Catalogue(), "of another version"
    (tmp_path / "c.json").write_text(whole)
    (tmp_path / "c.json").write_bytes((tmp_path / "c.json").read_bytes()[:-5])
    assert read_catalogue(tmp_path / "c.json") == Catalogue()


def fetched(venue: RestServer, *rules: Select) -> Listing:
    async def call() -> Listing:
        async with Rest(Venue(rest_url=venue.url), timeout_s=5) as rest:
            listing, refused = await fetch_listing(rest, rules)
            assert refused == {}
            return listing

    return asyncio.run(call())


def test_combos_come_with_their_legs() -> None:
    with RestServer() as venue:
        venue.listed["ETH", "future_combo"] = [option("C", kind="future_combo"), option("D", kind="future_combo")]
        venue.combos = [{"id": "C", "legs": [{"instrument_name": "L", "amount": -1}]}, {"id": "X", "legs": []}]
        listing = fetched(venue, Select(kind="future_combo"))
    assert [item.legs for item in listing.instruments[Market("ETH", "future_combo")]] == ['{"L":-1}', ""]


def test_open_interest_of_any_currency_is_asked_of_each() -> None:
    with RestServer() as venue:
        venue.currencies = ["BTC", "ETH"]
        venue.listed["any", "option"] = venue.listed["ETH", "option"] = [option("A")]
        venue.open_interest = {"A": 7}
        listing = fetched(venue, Select(currency="any", top=1))
        assert listing.open_interest == {"A": 7} and venue.calls.count("get_book_summary_by_currency") == 2


def test_what_has_ended_is_asked_for_by_market() -> None:
    async def call(url: str) -> tuple[list[str], frozenset[str] | None]:
        async with Rest(Venue(rest_url=url), timeout_s=5) as rest:
            ended = await fetch_ended(rest, {ETH: ["A", "B"]})
            return [f"{name} {item.state}" for name, item in ended.items()], await fetch_locked(rest)

    with RestServer() as venue:
        venue.expired = {"A": option("A", state="delivered"), "Z": option("Z")}
        venue.locked = ["eth_usd"]
        assert asyncio.run(call(venue.url)) == (["A delivered"], frozenset({"eth_usd"}))
