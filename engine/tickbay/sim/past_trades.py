"""The venue's trades of the past: get_last_trades_by_… over REST, as the real one pages and refuses them.

A trade has the times that it was sent with, also where it was left out (fault `drop`): what vanished is here for who
asks, and what has expired still is. The recent host may have only the last seconds (fault `forget`), and some trades
may be nowhere (fault `gone`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import orjson

from tickbay.sim import frames, rows
from tickbay.sim.instruments import Instrument
from tickbay.sim.ledger import moved_one
from tickbay.sim.refusal import invalid
from tickbay.sim.venue import Venue

Params = Mapping[str, Any]
COUNT_MAX = 1000
LAG_MS_MAX = 1000  # a trade may be stamped so much earlier than the one before it


class Past(NamedTuple):
    """One trade, ordered as the venue orders them."""

    time_ms: int
    trade_seq: int
    instrument: str
    number: int  # from 0, of its instrument


class PastTrades:
    def __init__(self, venue: Venue) -> None:
        self._venue = venue

    def methods(self) -> dict[str, Callable[[Params], object]]:
        return {
            "public/get_last_trades_by_instrument": self.by_instrument,
            "public/get_last_trades_by_instrument_and_time": self.by_instrument,
            "public/get_last_trades_by_currency": self.by_currency,
            "public/get_last_trades_by_currency_and_time": self.by_currency,
        }

    def by_instrument(self, params: Params) -> object:
        """By sequence numbers or times, or the newest."""
        item = self._venue.known(str(params.get("instrument_name", "")))
        if item is None:
            raise invalid("instrument_name", "instrument not found")
        script = self._venue.script(item)
        base = int(script.trades["trade_seq"][0]) if len(script.trades) else 0
        first = integer(params, "start_seq", 0) - base
        last = integer(params, "end_seq", 1 << 62) - base
        found = [past for past in self._of(item, params) if first <= past.number <= last]
        return self._page(params, sorted(found, key=lambda past: past.number))

    def by_currency(self, params: Params) -> object:
        currency, kind = params.get("currency"), params.get("kind", "any")
        if not currency or currency == "any":
            raise invalid("currency", "must be one currency")
        known = [*self._venue.instruments.values(), *self._venue.expired.values()]
        items = [item for item in known if item.currency == currency and kind in ("any", item.kind)]
        return self._page(params, sorted(past for item in items for past in self._of(item, params)))

    def _of(self, item: Instrument, params: Params) -> Iterable[Past]:
        """The trades of one instrument that this host has, between the times asked for, newest first."""
        if any(fnmatchcase(item.name, pattern) for pattern in self._venue.gone):
            return
        begin = integer(params, "start_timestamp", 0)
        if self._venue.recent_s and str(params.get("historical", "false")).lower() != "true":
            begin = max(begin, self._venue.clock_ms() - int(self._venue.recent_s * 1000))
        end = integer(params, "end_timestamp", 1 << 62)
        script = self._venue.script(item)
        for number in range(self._venue.trades_so_far(item) - 1, -1, -1):
            loop, place = divmod(number, len(script.trades))
            at_us = script.trade_at_us[bisect_right(script.trade_first, place) - 1]
            clock_ms = self._venue.printed_ms(item, loop, at_us) + loop * self._venue.cycle_ms
            time_ms = clock_ms + int(script.trades["offset_ms"][place])
            if time_ms < begin - LAG_MS_MAX:
                return
            if begin <= time_ms <= end:
                yield Past(time_ms, int(script.trades["trade_seq"][0]) + number, item.name, number)

    def _page(self, params: Params, found: list[Past]) -> dict[str, object]:
        """`found` in ascending order."""
        count = integer(params, "count", 10)
        if not 1 <= count <= COUNT_MAX:
            raise invalid("count", f"must be between 1 and {COUNT_MAX}")
        if params.get("sorting", "desc") != "asc":
            found.reverse()
        return {
            "trades": [orjson.Fragment(self._text(past)) for past in found[:count]],
            "has_more": len(found) > count,
        }

    def _text(self, past: Past) -> str:
        item = self._venue.known(past.instrument)
        assert item is not None, "it was found"
        script = self._venue.script(item)
        loop, place = divmod(past.number, len(script.trades))
        row = moved_one(rows.TRADE, script.trades[place : place + 1], loop, 0, 0)[0]
        return frames.trade(row, stamp=str(past.time_ms))


def integer(params: Params, name: str, default: int) -> int:
    try:
        return int(params.get(name, default))
    except (TypeError, ValueError) as error:
        raise invalid(name, "must be an integer") from error
