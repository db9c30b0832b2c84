"""The rules of what is recorded, as a pure function."""

from __future__ import annotations

from listing_case import ETH, NOW_NS, listed, made
from rest_server import EXPIRY_MS
from tickbay.rule import Select
from tickbay.universe.selection import DAY_NS, Listing, Market, select


def test_a_rule_takes_the_ticker_and_book_of_every_live_instrument_and_the_trades_of_all() -> None:
    gone = made("GONE", expiration_timestamp=NOW_NS // 10**6 - 1)
    selection = select([Select()], listed(made("A"), made("B"), gone), now_ns=NOW_NS)
    assert {name: unit.channels for name, unit in selection.units.items()} == {
        "A": ["ticker.A.100ms", "book.A.100ms"],
        "B": ["ticker.B.100ms", "book.B.100ms"],
        "trades.option.ETH.100ms": ["trades.option.ETH.100ms"],
    }
    assert selection.units["A"].expires_ns == EXPIRY_MS * 10**6
    assert selection.units["trades.option.ETH.100ms"].expires_ns == 0


def test_top_takes_those_with_the_highest_open_interest() -> None:
    selection = select([Select(top=2)], listed(made("A"), made("B"), made("C"), A=1, B=3, C=2), now_ns=NOW_NS)
    assert selection.instruments == {"B", "C"}


def test_top_keeps_one_that_falls_just_below_the_border() -> None:
    before = select([Select(top=2)], listed(made("A"), made("B"), made("C"), A=1, B=3, C=2), now_ns=NOW_NS)
    after = listed(made("A"), made("B"), made("C"), A=2.1, B=3, C=2)
    assert select([Select(top=2)], after, now_ns=NOW_NS, selected=before.instruments).instruments == {"B", "C"}
    assert select([Select(top=2)], after, now_ns=NOW_NS).instruments == {"B", "A"}
    far = listed(made("A"), made("B"), made("C"), made("D"), A=4, B=3, C=0, D=5)
    assert select([Select(top=2)], far, now_ns=NOW_NS, selected=before.instruments).instruments == {"B", "D"}


def test_days_max_takes_what_expires_within_so_many_days_and_nothing_that_never_does() -> None:
    soon = made("SOON", expiration_timestamp=(NOW_NS + DAY_NS) // 10**6)
    late = made("LATE", expiration_timestamp=(NOW_NS + 3 * DAY_NS) // 10**6)
    selection = select([Select(days_max=2)], listed(soon, late, made("NEVER", expiration_timestamp=0)), now_ns=NOW_NS)
    assert selection.instruments == {"SOON"}


def test_names_take_only_these_and_say_which_are_not_listed() -> None:
    selection = select([Select(names=("B", "X"))], listed(made("A"), made("B")), now_ns=NOW_NS)
    assert selection.instruments == {"B"} and selection.unlisted == ("X",)


def test_a_name_that_has_ended_is_not_told_as_one_that_the_venue_does_not_list() -> None:
    """Its end was expected: nobody has to do anything about it."""
    over = made("OVER").in_state("delivered", NOW_NS - 1)
    idle = made("IDLE", is_active=False, state="inactive")
    rules = [Select(names=("B", "OVER", "GONE", "IDLE", "TYPO"))]
    selection = select(rules, listed(over, idle, made("B")), now_ns=NOW_NS, ended={"GONE"})
    assert selection.instruments == {"B"} and selection.unlisted == ("IDLE", "TYPO")


def test_rules_are_united() -> None:
    rules = [Select(names=("A",), channels=("ticker",)), Select(names=("A", "B"), channels=("book", "ticker"))]
    selection = select(rules, listed(made("A"), made("B")), now_ns=NOW_NS)
    assert {name: unit.channels for name, unit in selection.units.items()} == {
        "A": ["ticker.A.100ms", "book.A.100ms"],
        "B": ["book.B.100ms", "ticker.B.100ms"],
    }


def test_one_that_is_halted_stays_and_one_that_was_delivered_does_not() -> None:
    halted = made("H", is_active=False, state="halted")
    delivered = made("D", is_active=False, state="delivered")
    assert select([Select()], listed(halted, delivered), now_ns=NOW_NS).instruments == {"H"}


def test_trades_of_any_currency_are_not_asked_for_once_more_by_currency() -> None:
    rules = [Select(), Select(currency="any")]
    listing = Listing({ETH: [made("A")], Market("any", "option"): [made("A")]}, {})
    assert set(select(rules, listing, now_ns=NOW_NS).units) == {"A", "trades.option.any.100ms"}


def test_one_that_was_selected_lingers_after_its_end_and_takes_nobodys_place() -> None:
    ended = made("A").in_state("delivered", NOW_NS - DAY_NS)
    listing = listed(ended, made("B"), made("C"), A=9, B=3, C=2)
    before = {"A", "B"}
    after = select([Select(top=2)], listing, now_ns=NOW_NS, selected=before, linger_ns=2 * DAY_NS)
    assert after.instruments == {"A", "B", "C"} and after.units["A"].expires_ns == NOW_NS - DAY_NS
    assert select([Select(top=2)], listing, now_ns=NOW_NS, selected=before, linger_ns=DAY_NS).instruments == {"B", "C"}
    assert select([Select(top=2)], listing, now_ns=NOW_NS, linger_ns=2 * DAY_NS).instruments == {"B", "C"}
