"""One hole to be healed: a gap record, what of it is still to be found out, and which trades it is about. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from tickbay.gap import Cause, Gap
from tickbay.healer.spans import Range, Spans
from tickbay.record import Kind

Key = tuple[str, Cause, str, int, int]  # feed, cause, instrument, from_ns, first_missing
CLOCK_NS = 1_000_000_000


class Host(Enum):
    """Where the venue keeps trades."""

    RECENT = "recent"
    HISTORY = "history"


@dataclass(slots=True)
class Window:
    """A time in which it is not known who traded. It becomes shorter with each page that was listed."""

    market: str  # in the venue's words
    from_ns: int
    to_ns: int
    host: Host = Host.RECENT
    due_ns: int = 0  # mono: not to be asked about before
    tries: int = 0  # refusals in a row
    asked: bool = False  # and not answered yet

    def older(self, recent_from_ns: int) -> Window | None:
        """Cut off what is older than that, for the other host; None where nothing is."""
        if self.host is Host.HISTORY or self.from_ns >= recent_from_ns:
            return None
        old = replace(self, host=Host.HISTORY, to_ns=min(self.to_ns, recent_from_ns))
        self.from_ns = recent_from_ns
        return old


@dataclass(slots=True)
class Case:
    gap: Gap  # with its feed
    windows: list[Window] = field(default_factory=list)
    wanted: dict[str, Spans] = field(default_factory=dict)  # instrument → trades that were missing in it
    is_check: bool = False  # nobody says that anything is missing: the venue is asked whether
    why: str = ""  # of some of its windows nobody tells who traded

    @property
    def key(self) -> Key:
        return key_of(self.gap)

    @property
    def until_ns(self) -> int:
        """The venue's time of the last trade that is judged by it: our clock and the venue's are not quite the same.
        What a check leaves out is the next one's."""
        return self.gap.to_ns + (0 if self.is_check else CLOCK_NS)

    def covers(self, exch_ns: int) -> bool:
        """Whether a trade of that time would have come in it."""
        return self.gap.from_ns - CLOCK_NS <= exch_ns <= self.until_ns

    def want(self, instrument: str, ranges: list[Range]) -> None:
        for first, last in ranges:
            self.wanted.setdefault(instrument, Spans()).add(first, last)

    def wants(self, instrument: str, number: int) -> bool:
        return instrument in self.wanted and not self.wanted[instrument].missing(number, number)

    def unwanted(self, instrument: str, ranges: list[Range]) -> list[Range]:
        """What of these is not of this hole."""
        spans = self.wanted.get(instrument, Spans())
        return [part for first, last in ranges for part in spans.missing(first, last)]

    def closing(self, rows: int, lost: int, why: str) -> Gap:
        """The record that ends it. A gap of all kinds is healed as far as its trades go."""
        if self.why:
            return replace(self.gap, kind=Kind.TRADE, detail=f"not healed: {self.why}")
        if lost:
            detail = f"{rows} of {rows + lost} fetched: {why or 'the venue does not have the rest'}"
            return replace(self.gap, kind=Kind.TRADE, count=lost, detail=detail)
        return replace(self.gap, kind=Kind.TRADE, count=rows, healed=True, detail=f"{rows} trades fetched")

    def said(self) -> dict[str, Any]:
        """For the file."""
        return {
            "gap": {name: getattr(self.gap, name) for name in Gap.__slots__},
            "windows": [[each.market, each.from_ns, each.to_ns, each.host.value] for each in self.windows],
            "wanted": {name: list(spans) for name, spans in self.wanted.items()},
            "why": self.why,
        }

    @classmethod
    def of(cls, said: dict[str, Any]) -> Case:
        fields = dict(said["gap"])
        fields["cause"] = Cause(fields["cause"])
        fields["kind"] = Kind(fields["kind"]) if fields["kind"] else None
        windows = [Window(market, from_ns, to_ns, Host(host)) for market, from_ns, to_ns, host in said["windows"]]
        wanted = {name: Spans(ranges) for name, ranges in said["wanted"].items()}
        return cls(Gap(**fields), windows, wanted, why=said["why"])


def key_of(gap: Gap) -> Key:
    """What a hole and the record that ends it have in common: of a gap of all kinds only the trades are healed."""
    return gap.feed, gap.cause, gap.instrument, gap.from_ns, gap.first_missing
