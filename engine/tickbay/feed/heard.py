"""What came on the connection so far, as the compiled listener keeps it: the session's ears."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tickbay._native import BOOK_CHAINED, FeedListener
from tickbay.record import CONTINUITY, TICKS, Kind

COLUMNS = {kind: f"{kind.name.lower()}_ns" for kind in TICKS}


class ListenerHeard:
    """action.Heard over the listener's table (native/continuity.h), read in place: this same thread writes it."""

    def __init__(self, listener: FeedListener) -> None:
        self._listener = listener
        self._table: npt.NDArray[np.void] = np.frombuffer(listener.instruments, CONTINUITY)
        self._places: dict[str, int] = {}  # instrument → its place in the table, where it stays for one connection
        self._known_frames = -1  # how many frames had come when the places were looked up last
        self.message_ns = 0  # recv_ns of the newest message that is not of a channel, told by the feed

    def begin(self) -> None:
        """A new connection: the table may have been emptied."""
        self._places = {}
        self._known_frames = -1
        self.message_ns = 0

    def frames(self) -> int:
        return self._listener.counters()["frames"]

    def last_ns(self) -> int:
        return max(self.message_ns, *(int(self._table[column].max()) for column in COLUMNS.values()))

    def of(self, kind: Kind, instrument: str) -> int:
        place = self._places.get(instrument)
        if place is None and self._look_up():
            place = self._places.get(instrument)
        if place is None:
            return 0
        entry = self._table[place]
        if kind is Kind.BOOK and entry["book_state"] != BOOK_CHAINED:
            return 0
        return int(entry[COLUMNS[kind]])

    def _look_up(self) -> bool:
        """Find the places of all instruments, unless nothing came since the last time."""
        frames = self.frames()
        if frames == self._known_frames:
            return False
        self._known_frames = frames
        names = self._table["instrument"]
        self._places = {names[place].decode(): int(place) for place in np.flatnonzero(names != b"")}
        return True
