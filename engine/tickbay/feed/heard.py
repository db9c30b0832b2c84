"""What came on the connection so far, as the compiled listener keeps it: the session's ears."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from tickbay._native import BOOK_CHAINED, FeedListener
from tickbay.record import CONTINUITY, TICKS, Kind


class ListenerHeard:
    """action.Heard over the listener's table (native/continuity.h), read in place: this same thread writes it."""

    def __init__(self, listener: FeedListener) -> None:
        self._listener = listener
        table: npt.NDArray[np.void] = np.frombuffer(listener.instruments, CONTINUITY)
        self._names, self._book_states = table["instrument"], table["book_state"]
        self._times_ns = {kind: table[f"{kind.name.lower()}_ns"] for kind in TICKS}
        self._places: dict[str, int] = {}  # instrument → its place in the table, where it stays for one connection
        self.message_ns = 0  # recv_ns of the newest message that is not of a channel, told by the feed

    def begin(self) -> None:
        """A new connection: the table may have been emptied."""
        self._places = {}
        self.message_ns = 0

    def forget_silent(self, before_ns: int, keep: Collection[str]) -> int:
        """Where the table is half full, its places are used again: of instruments that said nothing since then and that
        no channel of ours is for. Returns how many."""
        if self._listener.instruments_used <= len(self._names) // 2:
            return 0
        newest_ns = np.maximum.reduce(list(self._times_ns.values()))
        names: list[bytes] = self._names[(newest_ns < before_ns) & (self._names != b"")].tolist()
        gone = [name for name in names if name.decode() not in keep]
        for name in gone:
            self._listener.forget(name)
        self._places = {}
        return len(gone)

    def frames(self) -> int:
        return self._listener.counters()["frames"]

    def last_ns(self) -> int:
        return max(self.message_ns, *(int(times_ns.max()) for times_ns in self._times_ns.values()))

    def of(self, kind: Kind, instrument: str) -> int:
        place = self._places.get(instrument)
        if place is None:
            self._look_up()
            place = self._places.get(instrument)
        if place is None or (kind is Kind.BOOK and self._book_states.item(place) != BOOK_CHAINED):
            return 0
        return int(self._times_ns[kind].item(place))

    def _look_up(self) -> None:
        """Find the places of all instruments, if there are more than we know."""
        if self._listener.instruments_used != len(self._places):
            names = self._names
            self._places = {names[place].decode(): int(place) for place in np.flatnonzero(names != b"")}
