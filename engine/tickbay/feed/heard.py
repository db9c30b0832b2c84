"""What came on the connection so far, as the compiled listener keeps it: the session's ears."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tickbay._native import BOOK_CHAINED, FeedListener
from tickbay.record import CONTINUITY, TICKS, Kind
from tickbay.venues.venue import Channel

WORD = 8  # bytes of a time; an entry is a whole number of them
assert CONTINUITY.fields is not None
_WORDS = {kind: CONTINUITY.fields[f"{kind.name.lower()}_ns"][1] // WORD for kind in TICKS}  # of an entry

Places = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Asked:
    """Where the times of some channels are, while the table has as many instruments."""

    channels: Sequence[Channel]
    used: int  # instruments in the table
    words: Places  # of the table: a time for each channel
    unknown: Places  # of the channels: those whose instrument is not in the table
    books: Places  # of the channels: those of books, …
    book_places: Places  # … and of the table: theirs


_NOTHING: Places = np.zeros(0, np.intp)
_NOBODY = Asked((), 0, _NOTHING, _NOTHING, _NOTHING, _NOTHING)


class ListenerHeard:
    """action.Heard over the listener's table (native/continuity.h), read in place: this same thread writes it."""

    def __init__(self, listener: FeedListener) -> None:
        self._listener = listener
        table: npt.NDArray[np.void] = np.frombuffer(listener.instruments, CONTINUITY)
        self._words: npt.NDArray[np.int64] = np.frombuffer(listener.instruments, np.int64)
        self._names, self._book_states = table["instrument"], table["book_state"]
        self._times_ns = {kind: table[f"{kind.name.lower()}_ns"] for kind in TICKS}
        self._places: dict[str, int] = {}  # instrument → its place in the table, where it stays for one connection
        self._asked = _NOBODY  # by newest(), the last time
        self.message_ns = 0  # recv_ns of the newest message that is not of a channel, told by the feed

    def begin(self) -> None:
        """A new connection: the table may have been emptied."""
        self._forget_places()
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
        self._forget_places()
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

    def newest(self, channels: Sequence[Channel]) -> npt.NDArray[np.int64]:
        if self._asked.channels is not channels or self._asked.used != self._listener.instruments_used:
            self._asked = self._find(channels)
        asked = self._asked
        newest_ns = self._words[asked.words]
        newest_ns[asked.books[self._book_states[asked.book_places] != BOOK_CHAINED]] = 0
        newest_ns[asked.unknown] = 0
        return newest_ns

    def _find(self, channels: Sequence[Channel]) -> Asked:
        self._look_up()
        places: Places = np.array([self._places.get(channel.heard_as, -1) for channel in channels], np.intp)
        in_entry = np.array([_WORDS.get(channel.kind, 0) for channel in channels], np.intp)
        books = np.flatnonzero([channel.kind is Kind.BOOK for channel in channels])
        return Asked(
            channels=channels,
            used=self._listener.instruments_used,
            words=np.maximum(places, 0) * (CONTINUITY.itemsize // WORD) + in_entry,
            unknown=np.flatnonzero(places < 0),
            books=books,
            book_places=np.maximum(places[books], 0),
        )

    def _look_up(self) -> None:
        """Find the places of all instruments, if there are more than we know."""
        if self._listener.instruments_used != len(self._places):
            names = self._names
            self._places = {names[place].decode(): int(place) for place in np.flatnonzero(names != b"")}

    def _forget_places(self) -> None:
        self._places = {}
        self._asked = _NOBODY
