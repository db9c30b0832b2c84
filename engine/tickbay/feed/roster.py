"""The subscriptions of one connection, in the order in which they were wanted. Pure.

Nearly all are calm (subscription.py): those are looked at all at once, in arrays. The others, the restless ones, are
few, and are looked at one by one. With 10,000 channels that is 0.3 ms a second in place of 28.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tickbay.feed.action import Heard, Moment
from tickbay.feed.hearing import Hearing, Times
from tickbay.feed.subscription import Place, Subscription
from tickbay.record import Kind
from tickbay.venues.venue import Cadence, Channel


class Roster:
    def __init__(self) -> None:
        self.subscriptions: dict[str, Subscription] = {}
        self._hearing = Hearing()
        self._all: Sequence[Subscription] = ()
        self._restless: Sequence[int] = ()  # places in _all
        self._calm: npt.NDArray[np.intp] = np.zeros(0, np.intp)  # likewise
        self._rows = self._calm  # theirs, and so on
        self._channels: Sequence[Channel] = ()
        self._since_ns: Times = np.zeros(0, np.int64)
        self._steady: npt.NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._tickers = self._steady

    def add(self, channel: Channel, expires_ns: int, at: Moment) -> None:
        made = Subscription(channel, expires_ns, self._hearing, since_ns=at.mono_ns, due_ns=at.mono_ns)
        self.subscriptions[channel.name] = made
        self._hearing.stirred = True

    def remove(self, subscription: Subscription) -> None:
        del self.subscriptions[subscription.channel.name]
        self._hearing.give(subscription.row)
        self._hearing.stirred = True

    def calm(self) -> int:
        """How many."""
        self._settle()
        return len(self._calm)

    def restless(self) -> list[Subscription]:
        self._settle()
        return [self._all[place] for place in self._restless]

    def silent_tickers(self, before_ns: int) -> tuple[int, int]:
        """How many of the live tickers have had nothing new since then (mono), and how many there are."""
        tickers = [s for s in self.restless() if s.place is Place.LIVE and s.channel.kind is Kind.QUOTE]
        silent = sum(max(s.heard_mono_ns, s.since_ns) <= before_ns for s in tickers)
        silent += int(np.count_nonzero(self._tickers & (self._new_ns() <= before_ns)))
        return silent, len(tickers) + int(np.count_nonzero(self._tickers))

    def listen(self, heard: Heard, at: Moment) -> None:
        """Note which of the calm ones have spoken since the last time."""
        self._settle()
        newest_ns = heard.newest(self._channels)
        known_ns = self._hearing.heard_ns[self._rows]
        spoke = self._rows[(newest_ns != 0) & (newest_ns != known_ns)]
        self._hearing.heard_ns[self._rows] = np.where(newest_ns != 0, newest_ns, known_ns)
        self._hearing.heard_mono_ns[spoke] = at.mono_ns

    def to_be_judged(self, *, tickers_before_ns: int, before_ns: int) -> list[Subscription]:
        """The restless ones, and those of the calm ones that must speak and have had nothing new since then (mono)."""
        self._settle()
        limit_ns = np.where(self._tickers, tickers_before_ns, before_ns)
        silent = self._calm[self._steady & (self._new_ns() <= limit_ns)].tolist()
        return [self._all[place] for place in sorted([*self._restless, *silent])]

    def _new_ns(self) -> Times:
        """Mono: when each calm one last had something new, or came to its place."""
        return np.maximum(self._hearing.heard_mono_ns[self._rows], self._since_ns)

    def _settle(self) -> None:
        """Find out anew who is calm, if that has changed."""
        if not self._hearing.stirred:
            return
        self._hearing.stirred = False
        self._all = tuple(self.subscriptions.values())
        calm = [subscription.calm for subscription in self._all]
        self._calm = np.flatnonzero(calm)
        self._restless = np.flatnonzero(np.logical_not(calm)).tolist()
        those = [subscription for subscription, is_calm in zip(self._all, calm, strict=True) if is_calm]
        self._channels = tuple(subscription.channel for subscription in those)
        self._rows = np.array([subscription.row for subscription in those], np.intp)
        self._since_ns = np.array([subscription.since_ns for subscription in those], np.int64)
        self._steady = np.array([channel.cadence is Cadence.STEADY for channel in self._channels], np.bool_)
        self._tickers = np.array([channel.kind is Kind.QUOTE for channel in self._channels], np.bool_)
