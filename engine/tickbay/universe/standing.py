"""How things stand by what the venue announced: news of instruments that a listing has not told yet, locked indices,
maintenance. Pure.

In: announcements with the time at which they came. Out: what is new in them, as News for a listing and as states.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tickbay.universe.instrument import Instrument, check_text, phase_of, read_instrument
from tickbay.universe.news import New, News, State
from tickbay.universe.selection import Market
from tickbay.venues.announcement import (
    Announcement,
    IndexLocked,
    Listed,
    Maintenance,
    Phase,
    PublicAccess,
    StateChanged,
)

# The venue's REST may be so much behind its announcements: what came within, or since, counts over a fetched listing.
BEHIND_NS = 2 * 10**9
REMEMBER_NS = 120 * 10**9  # longer than a listing can take to be fetched


@dataclass(frozen=True, slots=True)
class Heard:
    """What is new in an announcement, for the log, and what is still to be found out."""

    what: str
    about: str = ""
    unknown_state: str = ""
    incomplete: bool = False  # REST knows more of it


@dataclass(slots=True)
class Standing:
    locked_ns: dict[str, int] = field(default_factory=dict)  # price index → since when, our clock
    maintenance_ns: int = 0  # since when, our clock; 0: none
    public: bool = True  # do those who have not logged in get data?
    _news: list[News] = field(default_factory=list)  # not taken yet
    _remembered: list[tuple[int, News]] = field(default_factory=list)

    def take(self, announcement: Announcement, at_ns: int) -> Heard | None:
        """None where nothing is new. VenueFault for an instrument that cannot be recorded."""
        match announcement:
            case Listed(currency, kind, said):
                item = read_instrument(said)
                self._remember(New(Market(currency, kind), item), at_ns)
                return Heard("listed", item.name, incomplete=item.is_combo)  # a combo's legs are only in REST
            case StateChanged(name, state):
                check_text(name, "state", state)
                self._remember(State(name, state, at_ns), at_ns)
                unknown = phase_of(state) is Phase.UNKNOWN
                return Heard(state, name, unknown_state=state if unknown else "", incomplete=unknown)
            case IndexLocked(index, locked) if locked != (index in self.locked_ns):
                if locked:
                    self.locked_ns[index] = at_ns
                else:
                    del self.locked_ns[index]
                return Heard("locked" if locked else "unlocked", index)
            case Maintenance(begins) if begins != bool(self.maintenance_ns):
                self.maintenance_ns = at_ns if begins else 0
                return Heard("maintenance" if begins else "the end of maintenance", incomplete=not begins)
            case PublicAccess(allowed) if allowed != self.public:
                self.public = allowed
                return Heard("data for everybody" if allowed else "data only after a login")
        return None

    def lock(self, indices: Iterable[str] | None, at_ns: int) -> None:
        """What REST says is locked as of `at_ns`; None: it does not say. What was announced since then is newer."""
        if indices is None:
            return
        newer = {index: since_ns for index, since_ns in self.locked_ns.items() if since_ns >= at_ns - BEHIND_NS}
        self.locked_ns = {index: self.locked_ns.get(index, at_ns) for index in indices} | newer

    def pauses(self, item: Instrument | None, price_index: str = "") -> bool:
        """Is the silence of an instrument, or of an index's own channels, expected?"""
        if item is None:
            return price_index in self.locked_ns
        return item.price_index in self.locked_ns or item.phase is Phase.PAUSED

    def take_news(self) -> list[News]:
        """Those that came since the last time."""
        news, self._news = self._news, []
        return news

    def news_since(self, at_ns: int) -> list[News]:
        """Those that a listing fetched from `at_ns` on may not have."""
        return [news for when_ns, news in self._remembered if when_ns >= at_ns - BEHIND_NS]

    def _remember(self, news: News, at_ns: int) -> None:
        self._news.append(news)
        self._remembered = [each for each in self._remembered if each[0] >= at_ns - REMEMBER_NS]
        self._remembered.append((at_ns, news))
