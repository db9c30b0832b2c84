"""How far this machine's clock is from the venue's, told by the times in the venue's answers; and whether ours was set.

Pure. Nothing is ever corrected: records keep the times that were read, and every heartbeat of the feed tells the offset
and its bound, so that a reader can correct.

Of each answer four times are known: when we asked and heard (our clock), when the venue took the request and when it
answered (its clock). If both ways took equally long, the venue's clock is ahead of ours by

    offset = ((came - asked) + (went - heard)) / 2

and if they did not, by at most half of what the ways took more or less (RFC 5905, section 8). So of the last answers
the one with the shortest way is believed; an older one a little less, since clocks drift.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from tickbay.events import Event
from tickbay.feed.action import NS_PER_S, Moment, Outbox

SAMPLES = 8  # as NTP's clock filter; with an answer each 10 s of heartbeat that is over a minute
DRIFT_PPM = 15  # of a clock against another, as NTP takes it: what a sample's bound grows by
SAMPLE_S_MAX = 900.0  # an older answer says nothing of now
RESOLUTION_NS = 1000  # of the venue's times
STEP_NS = 100_000_000  # the two clocks of this machine part by more, at once: somebody set the one
UNEVEN_NS = 1_000_000  # they part by more while an answer is under way: it tells nothing


@dataclass(frozen=True, slots=True)
class Offset:
    """The venue's clock less ours lies within `offset_ns` ± `error_ns`."""

    offset_ns: int
    error_ns: int

    def exceeds(self, limit_ns: float) -> bool:
        """Whether it is more than that for certain, on either side."""
        return abs(self.offset_ns) - self.error_ns > limit_ns


@dataclass(frozen=True, slots=True)
class _Sample:
    offset_ns: int
    error_ns: int
    mono_ns: int

    def error_at(self, mono_ns: int) -> int:
        return self.error_ns + (mono_ns - self.mono_ns) * DRIFT_PPM // 1_000_000


class VenueClock:
    """What is known of the venue's clock. That ours is wrong by more than `off_ns`, right again or was set, is told
    once."""

    def __init__(self, outbox: Outbox, *, off_ns: int) -> None:
        self._outbox = outbox
        self._off_ns = off_ns
        self._is_off = False
        self._samples: deque[_Sample] = deque(maxlen=SAMPLES)

    def answered(self, asked: Moment, heard: Moment, came_ns: int, went_ns: int) -> None:
        """An answer with the venue's times; 0 where it did not tell."""
        way_ns = (heard.mono_ns - asked.mono_ns) - (went_ns - came_ns)
        uneven_ns = (heard.wall_ns - asked.wall_ns) - (heard.mono_ns - asked.mono_ns)
        if came_ns <= 0 or went_ns < came_ns or way_ns < 0 or abs(uneven_ns) > UNEVEN_NS:
            return
        offset_ns = ((came_ns - asked.wall_ns) + (went_ns - heard.wall_ns)) // 2
        error_ns = way_ns // 2 + abs(uneven_ns) + RESOLUTION_NS
        self._samples.append(_Sample(offset_ns, error_ns, heard.mono_ns))
        self._judge(heard.mono_ns)

    def _judge(self, mono_ns: int) -> None:
        offset = self.offset(mono_ns)
        if offset is None or offset.exceeds(self._off_ns) == self._is_off:
            return
        self._is_off = not self._is_off
        event = Event.CLOCK_OFF if self._is_off else Event.CLOCK_RIGHT
        self._outbox.tell(event, offset_ms=offset.offset_ns / 1e6, error_ms=offset.error_ns / 1e6)

    def stepped(self, step_ns: int) -> None:
        """Our clock was set, by so much forward: what was known is of another clock."""
        self._samples.clear()
        self._outbox.tell(Event.CLOCK_STEPPED, step_ms=step_ns / 1e6)

    def offset(self, mono_ns: int) -> Offset | None:
        """As well as it is known now; None: it is not."""
        fresh = [sample for sample in self._samples if mono_ns - sample.mono_ns <= SAMPLE_S_MAX * NS_PER_S]
        if not fresh:
            return None
        best = min(fresh, key=lambda sample: sample.error_at(mono_ns))
        return Offset(best.offset_ns, best.error_at(mono_ns))


class StepWatch:
    """Watches whether the clock of the records is set: against a clock of the same machine that never is."""

    def __init__(self) -> None:
        self._apart_ns: int | None = None

    def step_ns(self, wall_ns: int, boot_ns: int) -> int:
        """By how much the clock was set forward since the last call; 0 where it was not, or by less than STEP_NS."""
        apart_ns = wall_ns - boot_ns
        before_ns, self._apart_ns = self._apart_ns, apart_ns
        moved_ns = 0 if before_ns is None else apart_ns - before_ns
        return moved_ns if abs(moved_ns) > STEP_NS else 0
