"""What is known of the trades of one instrument, whose sequence grows by 1: which there are, which there must be.
Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tickbay.healer.spans import Range, Spans

FETCHED_RANGES_MAX = 256  # remembered, to count what a hole took that spans a restart of the healer


@dataclass(slots=True)
class Course:
    floor: int  # what is below is none of ours: nobody captured then
    top: int  # the highest that is known to exist
    seen: Spans = field(default_factory=Spans)  # captured or fetched: it must never be published again
    fetched: Spans = field(default_factory=Spans)  # of those, what was fetched, as long as a hole may count it
    mark: tuple[int, int] = (0, 0)  # the newest at some moment and when it was traded: those below it are older
    absent: Spans = field(default_factory=Spans)  # the venue does not have it
    heard_ns: int = 0  # our clock: when the newest was captured
    traded_ns: int = 0  # when the newest was traded or captured, whoever told of it
    doubt_ns: Range = (0, 0)  # our clock: between which captures its holes lie
    tries: int = 0  # answers in a row that did not have what is missing …
    tried: int = 0  # … from this number on
    why: str = ""  # the venue did not answer at all

    def missing(self) -> list[Range]:
        """What must have been traded and is neither here nor known to be lost for good."""
        return [
            part for first, last in self.seen.missing(self.floor, self.top) for part in self.absent.missing(first, last)
        ]

    def lacks(self, number: int) -> bool:
        """Whether this one is missing."""
        there = self.floor <= number <= self.top
        return there and all(spans.missing(number, number) for spans in (self.seen, self.absent))

    def capture(self, first: int, last: int, at_ns: int) -> None:
        self.seen.add(first, last)
        self.top = max(self.top, last)
        self.traded_ns = max(self.traded_ns, at_ns)

    def fetch(self, first: int, last: int, at_ns: int) -> None:
        self.capture(first, last, at_ns)
        self.fetched.add(first, last)
        self.fetched.forget_oldest(FETCHED_RANGES_MAX)

    def lose(self, first: int, last: int) -> None:
        """Nobody has what of these is not here. Only that is kept: holes are told of for as long as we live."""
        for part in self.seen.missing(first, last):
            self.absent.add(*part)

    def forget_fetched(self, before_ns: int) -> None:
        """No hole that is open, or may yet be told of, began before that."""
        number, traded_ns = self.mark
        if traded_ns < before_ns:
            self.fetched.forget_up_to(number)
            self.mark = self.top, self.traded_ns

    def widen(self, first: int, last: int, at_ns: int) -> None:
        """Others know that these exist."""
        self.floor, self.top = min(self.floor, first), max(self.top, last)
        self.traded_ns = max(self.traded_ns, at_ns)

    def doubt(self, from_ns: int, to_ns: int) -> None:
        """GAP-1: something is missing that was traded between these."""
        began_ns, ended_ns = self.doubt_ns
        self.doubt_ns = min(began_ns or from_ns, from_ns), max(ended_ns, to_ns)

    def said(self) -> dict[str, Any]:
        """For the file."""
        return {
            "floor": self.floor,
            "top": self.top,
            "seen": list(self.seen),
            "fetched": list(self.fetched),
            "mark": self.mark,
            "absent": list(self.absent),
            "heard_ns": self.heard_ns,
            "traded_ns": self.traded_ns,
            "doubt_ns": self.doubt_ns,
        }

    @classmethod
    def of(cls, said: dict[str, Any]) -> Course:
        first, last = said["doubt_ns"]
        number, marked_ns = said["mark"]
        return cls(
            floor=int(said["floor"]),
            top=int(said["top"]),
            seen=Spans(said["seen"]),
            fetched=Spans(said["fetched"]),
            mark=(int(number), int(marked_ns)),
            absent=Spans(said["absent"]),
            heard_ns=int(said["heard_ns"]),
            traded_ns=int(said["traded_ns"]),
            doubt_ns=(int(first), int(last)),
        )
