"""What changes at the simulated venue while it runs, and is announced: listings, expiries, settlement, states, locks of
an index, maintenance.

In: a Fault that asks for it (faults.py). Out: the venue changed, each client told on the channels that it has, and the
ledger's events. An announcement can be left out on purpose (`announced=0`), for clients that rely on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase

from tickbay.sim.connection import Connection
from tickbay.sim.faults import Fault
from tickbay.sim.instruments import Instrument
from tickbay.sim.venue import Venue

ACTIONS = ("list", "expire", "settle", "state", "lock", "maintenance")


class Changes:
    """`everyone`: the connections of now."""

    def __init__(self, venue: Venue, everyone: Callable[[], Iterable[Connection]]) -> None:
        self._venue, self._everyone = venue, everyone
        self._relist_due = False
        self._settling: list[tuple[float, str, Fault]] = []  # when it is over (monotonic), which index

    def make(self, fault: Fault) -> None:
        match fault.action:
            case "list":
                self._list(fault)
            case "expire":
                self._deliver(self._matching(fault.name), "closed", fault)
            case "settle":
                self._settle(fault)
            case "state":
                for item in self._matching(fault.name):
                    self._enter(item, fault.state, fault)
            case "lock":
                self._lock(fault)
            case "maintenance":
                self._maintain(fault)

    def tick(self, now_s: float) -> None:
        """End the settlements that have lasted long enough; let channels of many instruments know the new ones."""
        if self._relist_due:
            self._relist_due = False
            self._relist()
        for over in [each for each in self._settling if now_s >= each[0]]:
            self._settling.remove(over)
            self._end_settlement(over[1], over[2])

    # --- what changes -------------------------------------------------------------------------------------------------

    def _list(self, fault: Fault) -> None:
        item = self._venue.list_instrument(fault.name)
        if item is None:
            return
        self._event("list", item)
        if fault.announced:
            self._announce("creation", item, self._venue.record(item))
            self._announce_state(item, "open")
        self._relist_due = True  # a whole expiry is listed at once, and channels are made anew for it once

    def _settle(self, fault: Fault) -> None:
        """As at 08:00 UTC: everything of an index is settled, for `seconds` nothing is sent of it and subscriptions are
        answered 10041; then what `name` matches is delivered and the rest goes on."""
        for index in dict.fromkeys(item.index_name for item in self._matching(fault.name)):
            self._venue.hold(index)
            self._venue.settling = True
            for item in self._of_index(index):
                self._enter(item, "settlement", fault)
            for item in self._matching(fault.name):
                self._venue.end_trading(item)
            self._settling.append((time.monotonic() + fault.seconds, index, fault))
        self._relist()

    def _end_settlement(self, index: str, fault: Fault) -> None:
        self._venue.release(index)
        self._venue.settling = bool(self._settling)
        delivered = [item for item in self._matching(fault.name) if item.index_name == index]
        names = {item.name for item in delivered}
        for item in self._of_index(index):
            if item.name not in names:
                self._enter(item, "open", fault)
        self._deliver(delivered, "delivered", fault)

    def _deliver(self, items: Iterable[Instrument], state: str, fault: Fault) -> None:
        for item in items:
            for connection in self._everyone():
                connection.player.send_last_ticker(item.name)
            self._event("expire", item)
            self._venue.expire(item.name)
            if fault.announced:
                self._announce_state(item, state)
        self._relist()

    def _lock(self, fault: Fault) -> None:
        locked = fault.state == "on"
        (self._venue.locked.add if locked else self._venue.locked.discard)(fault.name)
        (self._venue.hold if locked else self._venue.release)(fault.name)
        self._venue.ledger.event("lock", index=fault.name, state=fault.state)
        if fault.announced:
            self._tell("platform_state", {"price_index": fault.name, "locked": locked})
        self._relist()

    def _maintain(self, fault: Fault) -> None:
        self._venue.maintenance = fault.state == "on"
        self._venue.ledger.event("maintenance", state=fault.state)
        if fault.announced:
            self._tell("platform_state", {"maintenance": self._venue.maintenance})
        if self._venue.maintenance:
            for connection in list(self._everyone()):
                connection.close(1001, "maintenance")

    # --- who is told --------------------------------------------------------------------------------------------------

    def _enter(self, item: Instrument, state: str, fault: Fault) -> None:
        """Another state, in REST and in what is announced."""
        self._venue.states[item.name] = state
        if fault.announced:
            self._announce_state(item, state)

    def _announce_state(self, item: Instrument, state: str) -> None:
        now_ms = time.time_ns() // 1_000_000
        self._announce("state", item, {"timestamp": now_ms, "state": state, "instrument_name": item.name})

    def _announce(self, what: str, item: Instrument, data: object) -> None:
        for kind in (item.kind, "any"):
            for currency in (item.currency, "any"):
                self._tell(f"instrument.{what}.{kind}.{currency}", data)

    def _tell(self, channel: str, data: object) -> None:
        for connection in self._everyone():
            connection.notify(channel, data)

    def _relist(self) -> None:
        for connection in self._everyone():
            connection.player.relist()

    def _matching(self, pattern: str) -> list[Instrument]:
        return [item for item in self._venue.instruments.values() if fnmatchcase(item.name, pattern)]

    def _of_index(self, index: str) -> list[Instrument]:
        return [item for item in self._venue.instruments.values() if item.index_name == index]

    def _event(self, what: str, item: Instrument) -> None:
        self._venue.ledger.event(what, instrument=item.name)
