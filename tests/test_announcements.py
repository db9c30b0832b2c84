"""What the venue announces, from its bytes to what is known of the instruments: pure."""

from __future__ import annotations

import json
from typing import Any

import pytest

from listing_case import ETH, NOW_NS, listed, made
from rest_server import option
from tickbay.errors import VenueFault
from tickbay.universe.instrument import Instrument
from tickbay.universe.news import New, State, carried, missing, told, without_old
from tickbay.universe.selection import Listing
from tickbay.universe.standing import Standing
from tickbay.venues import deribit, deribit_announcements
from tickbay.venues.announcement import (
    Announcement,
    IndexLocked,
    Listed,
    Maintenance,
    Notice,
    Phase,
    PublicAccess,
    StateChanged,
)

S = 10**9


def read(channel: str, data: object) -> Announcement | Notice:
    message = {"jsonrpc": "2.0", "method": "subscription", "params": {"channel": channel, "data": data}}
    return deribit_announcements.read(json.dumps(message).encode())


def states(listing: Listing) -> dict[str, str]:
    return {item.name: item.state for items in listing.instruments.values() for item in items}


# ---------------------------------------------------------------- the messages


@pytest.mark.parametrize(
    ("channel", "data", "meant"),
    [
        (
            "instrument.state.option.ETH",
            {"timestamp": 1, "state": "settlement", "instrument_name": "A"},
            StateChanged("A", "settlement"),
        ),
        ("instrument.creation.option.any", {"instrument_name": "A"}, Listed("any", "option", {"instrument_name": "A"})),
        ("platform_state", {"price_index": "sol_usdc", "locked": True}, IndexLocked("sol_usdc", True)),
        ("platform_state", {"maintenance": True}, Maintenance(True)),
        (
            "platform_state.public_methods_state",
            {"allow_unauthenticated_public_requests": False},
            PublicAccess(False),
        ),
        ("platform_state", {"weather": "fine"}, Notice.NOTHING),
    ],
)
def test_an_announcement_is_read(channel: str, data: object, meant: object) -> None:
    assert read(channel, data) == meant


def test_what_announces_nothing_is_told_apart() -> None:
    def notice(text: str) -> object:
        return deribit_announcements.read(text.encode())

    assert notice('{"jsonrpc":"2.0","id":1,"result":"ok"}') is Notice.REPLY
    assert notice('{"jsonrpc":"2.0","id":1,"error":{"code":1}}') is Notice.REPLY
    assert notice('{"method":"heartbeat","params":{"type":"test_request"}}') is Notice.TEST_REQUEST
    assert notice('{"method":"heartbeat","params":{"type":"heartbeat"}}') is Notice.NOTHING


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"method":"subscription","params":{"channel":"x","data":1}}'])
def test_a_message_that_cannot_be_understood_is_a_fault(text: str) -> None:
    with pytest.raises(VenueFault):
        deribit_announcements.read(text.encode())


def test_channels_are_of_each_market_and_of_the_venue_and_each_is_one_of_the_venues() -> None:
    names = deribit_announcements.channels([("ETH", "option"), ("any", "spot"), ("ETH", "option")])
    assert names[:2] == ("platform_state", "platform_state.public_methods_state")
    assert names[2:4] == ("instrument.creation.option.ETH", "instrument.state.option.ETH")
    assert len(names) == 6 and [deribit.channel(name).name for name in names] == list(names)


# ---------------------------------------------------------------- what follows from them


def test_a_new_instrument_and_a_new_state_are_in_the_listing() -> None:
    standing = Standing()
    assert standing.take(Listed("ETH", "option", option("NEW")), NOW_NS) is not None
    assert standing.take(StateChanged("OLD", "locked"), NOW_NS) is not None
    listing = told(listed(made("OLD")), standing.take_news())
    assert states(listing) == {"OLD": "locked", "NEW": "open"}
    assert standing.take_news() == []


def test_a_word_never_seen_is_kept_and_ends_nothing() -> None:
    heard = Standing().take(StateChanged("A", "pondering"), NOW_NS)
    assert heard is not None and (heard.unknown_state, heard.incomplete) == ("pondering", True)
    (item,) = told(listed(made("A")), [State("A", "pondering", NOW_NS)]).instruments[ETH]
    assert item.phase is Phase.UNKNOWN and item.is_live(NOW_NS)


def test_one_that_is_inactive_is_not_recorded_until_it_is_open_again() -> None:
    idle = made("A").in_state("inactive", NOW_NS)
    assert (idle.is_live(NOW_NS), idle.end_ns) == (False, made("A").expiration_ns)
    assert idle.in_state("open", NOW_NS).is_live(NOW_NS)
    assert made("A").in_state("created", NOW_NS).is_live(NOW_NS), "that tells nothing"
    heard = Standing().take(StateChanged("A", "created"), NOW_NS)
    assert heard is not None and not heard.unknown_state and not heard.incomplete


def test_a_word_that_no_record_could_hold_is_a_fault() -> None:
    with pytest.raises(VenueFault):
        Standing().take(StateChanged("A", "x" * 33), NOW_NS)


def test_an_instrument_that_has_ended_is_not_live_and_lingers() -> None:
    (item,) = told(listed(made("A")), [State("A", "delivered", NOW_NS)]).instruments[ETH]
    assert (item.is_active, item.end_ns, item.is_live(NOW_NS)) == (False, NOW_NS, False)
    assert item.lingers(NOW_NS + 9 * S, 10 * S) and not item.lingers(NOW_NS + 10 * S, 10 * S)


def test_what_was_announced_while_a_listing_was_fetched_counts_over_it() -> None:
    standing = Standing()
    standing.take(Listed("ETH", "option", option("EARLY")), NOW_NS - 60 * S)
    standing.take(Listed("ETH", "option", option("NEW")), NOW_NS)
    assert states(told(listed(made("A")), standing.news_since(NOW_NS - S))) == {"A": "open", "NEW": "open"}


def test_a_listing_that_was_fetched_is_not_overwritten_by_what_was_announced_of_a_new_one() -> None:
    complete = made("C", legs=[{"instrument_name": "L", "amount": -1}])
    (item,) = told(listed(complete), [New(ETH, made("C"))]).instruments[ETH]
    assert item.legs == '{"L":-1}'


def last_of(before: Instrument, ended: dict[str, Instrument] | None = None) -> Instrument:
    (item,) = carried(listed(before), listed(), ended or {}, now_ns=NOW_NS).instruments[ETH]
    return item


def test_one_that_is_listed_no_more_ends_as_the_venue_last_had_it() -> None:
    last = last_of(made("A"), {"A": made("A", state="delivered", is_active=False)})
    assert (last.state, last.ended_ns) == ("delivered", NOW_NS)


def test_one_that_is_listed_no_more_ends_as_it_was_announced() -> None:
    announced = made("A").in_state("settled", NOW_NS - 5 * S)
    assert last_of(announced) == announced and last_of(announced).ended_ns == NOW_NS - 5 * S


def test_one_that_vanishes_without_a_word_ends_in_ours() -> None:
    assert (last_of(made("A")).state, last_of(made("A")).is_active) == ("ended", False)
    assert missing(listed(made("A"), made("B")), listed(made("B"))) == {ETH: ["A"]}
    assert missing(listed(made("A").in_state("delivered", NOW_NS)), listed()) == {}, "nothing to ask for"


def test_one_that_has_ended_goes_when_nobody_waits_for_it() -> None:
    gone = made("A").in_state("delivered", NOW_NS - 10 * S)
    assert states(without_old(listed(gone), (), now_ns=NOW_NS, linger_ns=10 * S)) == {}
    assert states(without_old(listed(gone), (), now_ns=NOW_NS, linger_ns=11 * S)) == {"A": "delivered"}
    assert states(without_old(listed(gone), ("A",), now_ns=NOW_NS, linger_ns=0)) == {"A": "delivered"}


def test_only_the_instruments_of_a_locked_index_are_paused() -> None:
    standing = Standing()
    ether, bitcoin = made("A", price_index="eth_usd"), made("B", price_index="btc_usd")
    assert standing.take(IndexLocked("eth_usd", True), NOW_NS) is not None
    assert standing.take(IndexLocked("eth_usd", True), NOW_NS + S) is None, "nothing new"
    assert (standing.pauses(ether), standing.pauses(bitcoin)) == (True, False)
    assert standing.take(IndexLocked("eth_usd", False), NOW_NS) is not None
    assert not standing.pauses(ether)
    assert standing.pauses(ether.in_state("settlement", NOW_NS))


def test_locks_that_were_missed_are_known_from_rest_unless_an_announcement_is_newer() -> None:
    standing = Standing()
    standing.lock(["eth_usd"], NOW_NS)
    assert standing.locked_ns == {"eth_usd": NOW_NS}
    standing.take(IndexLocked("btc_usd", True), NOW_NS + 60 * S)
    standing.lock([], NOW_NS + 61 * S)
    assert standing.locked_ns == {"btc_usd": NOW_NS + 60 * S}
    standing.lock(None, NOW_NS + 90 * S)
    assert standing.locked_ns == {"btc_usd": NOW_NS + 60 * S}, "REST did not say"


def test_maintenance_begins_and_ends_once() -> None:
    standing = Standing()
    heard: list[Any] = [standing.take(Maintenance(begins), NOW_NS) for begins in (True, True, False, False)]
    assert [one is not None for one in heard] == [True, False, True, False]
    assert standing.maintenance_ns == 0 and heard[2].incomplete
