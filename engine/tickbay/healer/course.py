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
    fetched: Spans = field(default_factory=Spans)  # of those, what was fetched
    absent: Spans = field(default_factory=Spans)  # the venue does not have it
    heard_ns: int = 0  # our clock: when the newest was captured
    doubt_ns: Range = (0, 0)  # our clock: between which captures its holes lie
    tries: int = 0  # answers in a row that did not have what is missing
    why: str = ""  # the venue did not answer at all

    def missing(self) -> list[Range]:
        """What must have been traded and is neither here nor known to be lost for good."""
        return [
            part for first, last in self.seen.missing(self.floor, self.top) for part in self.absent.missing(first, last)
        ]

    def capture(self, first: int, last: int) -> None:
        self.seen.add(first, last)
        self.top = max(self.top, last)

    def fetch(self, first: int, last: int) -> None:
        self.capture(first, last)
        self.fetched.add(first, last)
        self.fetched.forget_oldest(FETCHED_RANGES_MAX)

    def widen(self, first: int, last: int) -> None:
        """Others know that these exist."""
        self.floor, self.top = min(self.floor, first), max(self.top, last)

    def said(self) -> dict[str, Any]:
        """For the file."""
        return {
            "floor": self.floor,
            "top": self.top,
            "seen": list(self.seen),
            "fetched": list(self.fetched),
            "absent": list(self.absent),
            "heard_ns": self.heard_ns,
            "doubt_ns": self.doubt_ns,
        }

    @classmethod
    def of(cls, said: dict[str, Any]) -> Course:
        first, last = said["doubt_ns"]
        return cls(
            floor=int(said["floor"]),
            top=int(said["top"]),
            seen=Spans(said["seen"]),
            fetched=Spans(said["fetched"]),
            absent=Spans(said["absent"]),
            heard_ns=int(said["heard_ns"]),
            doubt_ns=(int(first), int(last)),
        )
