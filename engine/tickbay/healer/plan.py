"""What the healer knows and what it asks next: a state machine over trades, gaps, answers and the time. Pure.

In: which trades were captured, which gaps were recorded, what our own earlier life fetched and closed, what the venue
answered. Out: what to ask, which rows are lacking, which gap records to write.

Each instrument's trades have a sequence that grows by 1 (course.py), so what is between two that are known, and is not
known itself, is missing, whoever lost it. What nobody has seen because it was the last is found by listing who
traded in the time of a gap (case.py), and now and then in the time since the last such check, for what no gap tells of.
What such a list has of a gap's trades is published as it is (owed()); the rest is asked for by its numbers.
What is missing may still come by itself: nothing is asked before it settled.

HEAL-1: a trade is published at most once, and never when it was captured: only what is lacking is (lacking()).
HEAL-2: every gap in which trades are missing is ended by one record: healed, or why it cannot be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tickbay.gap import Cause, Gap
from tickbay.healer.case import CLOCK_NS, Case, Host, Key, Window, key_of
from tickbay.healer.cases import Cases
from tickbay.healer.course import Course
from tickbay.healer.spans import Range, Spans, total
from tickbay.record import Kind
from tickbay.venues.venue import Printed

NS_PER_S = 1_000_000_000
SLACK_NS = 5 * NS_PER_S  # between our clock and the venue's, and between a trade and its message
IDLE_NS = 48 * 3600 * NS_PER_S  # what was not traded for so long is forgotten: memory is a file that is written whole
LATE_NS = 300 * NS_PER_S  # a gap is told of so much after it began: longer than a feed stays dead
NOT_OURS = frozenset({Cause.EXPIRED, Cause.JOURNAL_QUOTA})  # nothing is missing; we had it, but a database has not


@dataclass(frozen=True, slots=True)
class AskRange:
    """The first page of trades `first` to `last` of an instrument, ascending."""

    instrument: str
    first: int
    last: int
    host: Host


@dataclass(frozen=True, slots=True)
class AskWindow:
    """The first page of the trades of a market in a time, ascending."""

    key: Key
    window: Window


Ask = AskRange | AskWindow


@dataclass(frozen=True, slots=True)
class Patience:
    """`wait_ns` says how long to wait after so many failures in a row."""

    settle_ns: int
    recent_ns: int  # how far back the venue's own host goes
    tries_max: int  # answers without what is missing, before it counts as lost
    history: bool  # whether there is a second host
    wait_ns: Callable[[int], int]


class Plan:
    def __init__(self, patience: Patience) -> None:
        self.courses: dict[str, Course] = {}
        self.cases = Cases()
        self.healed = self.unhealed = 0  # cases ended
        self.checked_ns = 0  # up to when who traded was listed; 0: never
        self._began_ns = 0  # our clock: the oldest capture in the journal
        self._waits_ns = 0  # our clock: when we would have checked, and nothing had been captured yet
        self._forgotten_ns = 0  # our clock: before that it is not known what was captured
        self._idle_ns = 0  # who was not traded since then may have been forgotten
        self._patience = patience
        self._lasting: set[Key] = set()  # gaps that have not ended
        self._closed: set[Key] = set()  # ended since the memory was saved …
        self._closed_before: set[Key] = set()  # … and between that and the one before
        self._due_ns: dict[str, int] = {}  # instrument with something missing → when to ask
        self._asked: set[str] = set()  # instruments in a question that has no answer yet
        self._reports: list[Gap] = []
        self._failures = 0  # in a row
        self._pause_ns = 0  # mono: the venue is left alone until then

    # ---------------------------------------------------------------- what is known

    def captured(self, instrument: str, ranges: Sequence[Range], *, from_ns: int, to_ns: int, mono_ns: int) -> None:
        """Trades that some feed recorded, all between these times of our clock."""
        self._began_ns = min(self._began_ns or from_ns, from_ns)
        course = self.courses.get(instrument)
        if course is None:
            course = self.courses[instrument] = Course(floor=ranges[0][0], top=0)
        for first, last in ranges:
            course.capture(first, last, to_ns)
        if course.missing():
            course.doubt(min(course.heard_ns or from_ns, from_ns), to_ns)
        if ranges[-1][1] == course.top:  # one that comes late does not tell what came before it
            course.heard_ns = max(course.heard_ns, to_ns)
        self.cases.learnt(instrument)
        self._look(instrument, mono_ns)

    def fetched(self, instrument: str, ranges: Iterable[Range], at_ns: int) -> None:
        """Trades that we published, now or in an earlier life; the newest was traded at `at_ns`."""
        for first, last in ranges:
            course = self.courses.get(instrument)
            if course is None:
                course = self.courses[instrument] = Course(floor=first, top=0)
            course.fetch(first, last, at_ns)
            self._rest(instrument, course)
        self.cases.learnt(instrument)

    def forget(self, at_ns: int) -> None:
        """Captured records were deleted before we read them: what they were is not known, so nothing before now may be
        called missing (HEAL-1)."""
        self.courses.clear()
        self.cases = Cases()
        self._lasting.clear()
        self._due_ns.clear()
        self._forgotten_ns = self.checked_ns = at_ns

    def gap(self, gap: Gap, markets_of: Callable[[str], Sequence[str]], mono_ns: int) -> None:
        """A gap that somebody recorded. `markets_of` says whose trades a feed brings."""
        if gap.healed or gap.kind not in (None, Kind.TRADE) or gap.cause in NOT_OURS:
            return
        key = key_of(gap)
        if gap.to_ns == 0:
            self._lasting.add(key)  # it is told again when it ends
            return
        self._lasting.discard(key)
        if key in self.cases or self._is_closed(key):
            return
        if gap.instrument and gap.first_missing:
            self._want(gap, mono_ns)
        elif windows := _windows(gap, markets_of(gap.feed), mono_ns + self._patience.settle_ns + CLOCK_NS):
            self.cases.add(Case(gap, windows))  # when all of it is owed()

    def check(self, markets: Sequence[str], to_ns: int, mono_ns: int) -> None:
        """Ask who traded since the last check, up to `to_ns`. One that still goes on is not begun again."""
        if not self.checked_ns:
            if not (self._began_ns or self._waits_ns):
                self._waits_ns = to_ns  # the feeds begin too: the next check is the first one
                return
            self.checked_ns = (self._began_ns or self._waits_ns) + CLOCK_NS  # nothing before the first capture is ours
        if self.cases.checking:
            return
        gap = Gap(cause=Cause.SEQUENCE, kind=Kind.TRADE, from_ns=self.checked_ns, to_ns=to_ns, feed="healer")
        windows = _windows(gap, markets, mono_ns)
        if windows and to_ns > self.checked_ns:
            self.cases.add(Case(gap, windows, is_check=True))

    def closed(self, gap: Gap) -> None:
        """We ended this case, now or in an earlier life: it is not asked for again."""
        key = key_of(gap)
        self._closed.add(key)
        course = self.courses.get(gap.instrument)
        if course is not None and gap.first_missing:
            course.lose(gap.first_missing, gap.last_missing)
            self.cases.learnt(gap.instrument)
            self._rest(gap.instrument, course)
        self.cases.remove(key)

    def _is_closed(self, key: Key) -> bool:
        return key in self._closed or key in self._closed_before

    def saved(self) -> None:
        """The memory is on disk. Who starts with it reads no gap again that was ended before the last time."""
        self._closed, self._closed_before = set(), self._closed

    def reopened(self, gap: Gap, told_ns: int, mono_ns: int) -> None:
        """In an earlier life we told, at `told_ns`, of a hole that nobody else had. It may not have saved why."""
        if not self._is_closed(key_of(gap)) and key_of(gap) not in self.cases:
            self._want(replace(gap, to_ns=told_ns), mono_ns)

    def _want(self, gap: Gap, mono_ns: int) -> None:
        """All that it tells of."""
        self._open(gap, gap.first_missing, gap.last_missing)
        course = self.courses.setdefault(gap.instrument, Course(gap.first_missing, gap.last_missing))
        course.heard_ns = course.heard_ns or gap.from_ns
        course.widen(gap.first_missing, gap.last_missing, gap.to_ns)
        course.doubt(gap.from_ns, gap.to_ns)
        self._look(gap.instrument, mono_ns)

    def lacking(self, instrument: str, number: int) -> bool:
        """HEAL-1: may this trade be published?"""
        course = self.courses.get(instrument)
        return course is not None and bool(course.seen.missing(number, number)) and course.floor <= number

    def owed(self, trade: Printed, now_ns: int) -> bool:
        """Whether a trade that was listed is missing, a gap told of it (FEED-1), and it will not come by itself any
        more: then it need not be asked for by its number."""
        course = self.courses.get(trade.instrument)
        return (
            course is not None
            and trade.exch_ns <= now_ns - self._patience.settle_ns - CLOCK_NS
            and course.lacks(trade.number)
            and self._was_told(trade)
        )

    def _was_told(self, trade: Printed) -> bool:
        """By a gap that wants it, or by one that lasts: that one counts what was fetched meanwhile when it ends."""
        return any(case.wants(trade.instrument, trade.number) for case in self.cases.wanting(trade.instrument)) or any(
            instrument in ("", trade.instrument) and trade.exch_ns >= from_ns - CLOCK_NS
            for _, _, instrument, from_ns, _ in self._lasting
        )

    # ---------------------------------------------------------------- what to ask

    def ask(self, mono_ns: int, now_ns: int) -> Ask | None:
        """The next question, if there is one that may be asked now (`now_ns`: our clock); to be followed by what became
        of it: listed(), split() or answered(), down(), refused(), later()."""
        if mono_ns < self._pause_ns:
            return None
        for case in self.cases.untold():
            window = next((each for each in case.windows if each.due_ns <= mono_ns and not each.asked), None)
            if window is not None and (window := self._for_its_host(case, window, now_ns)) is not None:
                window.asked = True
                return AskWindow(case.key, window)
        # Of these gaps it is not known yet who traded in them: what is missing of whom may be of one of them.
        untold = [case for case in self.cases.untold() if not case.is_check]
        for instrument, due_ns in self._due_ns.items():
            if due_ns <= mono_ns and instrument not in self._asked:
                from_ns, to_ns = self.courses[instrument].doubt_ns
                if not any(case.gap.from_ns - CLOCK_NS <= to_ns and from_ns <= case.until_ns for case in untold):
                    return self._ask_range(instrument)
        return None

    def _for_its_host(self, case: Case, window: Window, now_ns: int) -> Window | None:
        """What to ask of it; None: nothing. The venue's own host answers to a list that begins before all that it has
        as if nobody had traded, so it is asked only for what it has, and the other host for what is older."""
        # A hundredth less, a quarter of an hour: a question takes its time.
        old = window.older(now_ns - self._patience.recent_ns * 99 // 100)
        if old is None:
            return window
        if self._patience.history:
            case.windows.append(old)
        elif not case.is_check:  # a check does what can be done: to begin it again from there would change nothing
            case.why = "older than heal.recent_hours, no heal.history_url"
        is_recent = window.from_ns <= window.to_ns
        if not is_recent:
            self.cases.told(case, window)
        if self._patience.history:
            return old
        return window if is_recent else None

    def _ask_range(self, instrument: str) -> AskRange:
        course = self.courses[instrument]
        missing = course.missing()
        self._explain(instrument, course, missing)
        self._asked.add(instrument)
        if course.tried != missing[0][0]:  # what was tried before came by itself
            course.tried, course.tries = missing[0][0], 0
        # Every second try elsewhere: what is not on one host may be on the other.
        host = Host.HISTORY if course.tries % 2 and self._patience.history else Host.RECENT
        # One run at a time: what an answer to it does not have, that host does not have.
        return AskRange(instrument, *missing[0], host)

    def _explain(self, instrument: str, course: Course, missing: list[Range]) -> None:
        """FEED-1: what no gap tells of becomes one."""
        for case in self.cases.wanting(instrument):
            missing = case.unwanted(instrument, missing)
        (from_ns, to_ns), course.doubt_ns = course.doubt_ns, (0, 0)
        for first, last in missing:
            gap = Gap(
                cause=Cause.SEQUENCE,
                kind=Kind.TRADE,
                instrument=instrument,
                from_ns=from_ns,
                to_ns=to_ns,
                first_missing=first,
                last_missing=last,
                count=last - first + 1,
                feed="healer",
                detail="no gap told of it",
            )
            self._reports.append(replace(gap, to_ns=0))  # it lasts until it is healed
            self._open(gap, first, last)

    def _open(self, gap: Gap, first: int, last: int) -> None:
        """A hole whose trades are known by their numbers."""
        self.cases.add(case := Case(gap))
        self.cases.want(case, gap.instrument, [(first, last)])

    def _look(self, instrument: str, mono_ns: int) -> None:
        """Whether something of it is missing now."""
        if not self._rest(instrument, self.courses[instrument]):
            self._due_ns.setdefault(instrument, mono_ns + self._patience.settle_ns)

    def _rest(self, instrument: str, course: Course) -> bool:
        """Nothing is to be asked of it while nothing is missing."""
        if course.missing():
            return False
        self._due_ns.pop(instrument, None)
        course.tries, course.doubt_ns = 0, (0, 0)
        return True

    # ---------------------------------------------------------------- answers

    def listed(self, ask: AskWindow, found: Sequence[Printed], more: bool, mono_ns: int) -> None:
        """Who traded in a window: a page, ascending by time; `more`: it is not the last one."""
        self._failures = 0
        case, window = self.cases.get(ask.key), ask.window
        window.asked = False
        if case is None:
            return
        window.tries = 0
        # What came after it may be on its way to us: not to have seen it means nothing.
        for instrument, printed in _by_instrument(each for each in found if each.exch_ns <= case.until_ns).items():
            # What we fetched of it before a restart belongs to it too; what nobody captured before it does not.
            known_ns = max(self._forgotten_ns, self._idle_ns)
            own = [each.number for each in printed if case.covers(each.exch_ns) and each.exch_ns >= known_ns]
            course = self.courses.get(instrument)
            if course is None:
                if not own:
                    continue
                course = self.courses[instrument] = Course(min(own), max(own), heard_ns=case.gap.from_ns)
            course.floor = min([course.floor, *own])
            last = max(each.number for each in printed)
            course.top = max(course.top, last)
            course.traded_ns = max(course.traded_ns, printed[-1].exch_ns)
            times = [each.exch_ns for each in printed if course.seen.missing(each.number, each.number)]
            if times:  # by both clocks
                course.doubt(
                    min(course.heard_ns or case.gap.from_ns, min(times) - CLOCK_NS),
                    max(case.gap.to_ns, max(times) + CLOCK_NS),
                )
            if own and not case.is_check:
                self.cases.want(case, instrument, Spans(course.missing()).within(min(own), last))
                self.cases.want(case, instrument, course.fetched.within(min(own), max(own)))
            self._look(instrument, mono_ns)
        if not more or not found:
            self.cases.told(case, window)
        else:  # from the last millisecond on, of which there may be more; one that fills a page is left behind
            window.from_ns = max(found[-1].exch_ns, window.from_ns + 1_000_000)

    def split(self, ask: AskWindow, markets: Iterable[str]) -> None:
        """The venue lists these in place of the window's market, one by one."""
        self._failures = 0
        case = self.cases.get(ask.key)
        if case is not None:
            case.windows += [replace(ask.window, market=market, asked=False, tries=0) for market in markets]
            self.cases.told(case, ask.window)

    def answered(self, ask: AskRange, numbers: Sequence[int], more: bool, mono_ns: int) -> None:
        """What was lacking of the answer has been published, and is known by fetched(). `numbers` is all of it."""
        self._failures = 0
        self._asked.discard(ask.instrument)
        course = self.courses.get(ask.instrument)
        if course is None:
            return
        self._judge(ask, course, max(numbers) if more and numbers else ask.last, mono_ns)

    def _judge(self, ask: AskRange, course: Course, judged: int, mono_ns: int) -> None:
        """The host has told all that it has of the range up to `judged`."""
        left = [part for part in course.missing() if part[0] <= judged and part[1] >= ask.first]
        wait_ns = 0
        if total(course.seen.missing(ask.first, ask.last)) <= ask.last - ask.first:
            course.tries, course.why = 0, ""  # some of it came
        elif left:
            course.tries += 1
            wait_ns = self._patience.wait_ns(course.tries)
            if course.tries >= self._patience.tries_max:
                for first, last in left:
                    course.lose(max(first, ask.first), min(last, judged))
                self.cases.learnt(ask.instrument)
                course.tries, wait_ns = 0, 0
        if not self._rest(ask.instrument, course):
            self._due_ns[ask.instrument] = mono_ns + wait_ns

    def down(self, ask: Ask, mono_ns: int) -> None:
        """The venue did not answer, or asked us to wait: everything waits."""
        self._give_back(ask)
        self._pause_ns = mono_ns + self._patience.wait_ns(self._failures)
        self._failures += 1

    def refused(self, ask: Ask, why: str, mono_ns: int) -> None:
        """The venue does not answer this question."""
        self._give_back(ask)
        if isinstance(ask, AskRange):
            course = self.courses.get(ask.instrument)
            if course is not None:
                self._judge(ask, course, ask.last, mono_ns)
                course.why = why
            return
        case, window = self.cases.get(ask.key), ask.window
        window.tries += 1
        window.due_ns = mono_ns + self._patience.wait_ns(window.tries)
        if case is not None and window.tries >= self._patience.tries_max:
            case.why = why
            self.cases.told(case, window)

    def later(self, ask: Ask) -> None:
        """It could not be asked, or its answer not used, for a reason of our own."""
        self._give_back(ask)

    def _give_back(self, ask: Ask) -> None:
        if isinstance(ask, AskRange):
            self._asked.discard(ask.instrument)
        else:
            ask.window.asked = False

    # ---------------------------------------------------------------- ends

    def reports(self) -> list[Gap]:
        """Gap records to be written now: holes that nobody had told of, and the ends of cases (HEAL-2)."""
        for case in self.cases.moved():
            if case.is_check:
                if not case.why:  # else the next one begins where the last whole one ended
                    self.checked_ns = case.gap.to_ns
                self.cases.remove(case.key)
                self._forget_idle()
                continue
            gap = self._end(case)
            if gap is not None:
                self._reports.append(gap)
                self.closed(gap)
                self.healed += gap.healed
                self.unhealed += not gap.healed
        reports, self._reports = self._reports, []
        return reports

    def _forget_idle(self) -> None:
        """Who was not traded for long, and is in no question, now or to come. All that was traded up to checked_ns is
        known, so nothing is lost with it: its next trade begins a new course, and one before that the next check finds.
        And what was fetched so long ago that no hole will count it."""
        open_ns = [case.gap.from_ns for case in self.cases] + [from_ns for *_, from_ns, _ in self._lasting]
        known_ns = min([self.checked_ns, *open_ns])
        idle_ns = known_ns - IDLE_NS
        for instrument, course in list(self.courses.items()):
            course.forget_fetched(known_ns - LATE_NS)
            wanted = self.cases.wanting(instrument) or instrument in self._due_ns
            if course.traded_ns < idle_ns and not wanted:
                del self.courses[instrument]
        self._idle_ns = max(self._idle_ns, idle_ns + CLOCK_NS)  # the venue's clock may be a little ahead of ours

    def _end(self, case: Case) -> Gap | None:
        """None while something is still being asked for."""
        rows = lost = 0
        why = ""
        for instrument, spans in case.wanted.items():
            course = self.courses.get(instrument)
            if course is None:  # forgotten: what became of it is not known
                lost += total(spans)
                continue
            for first, last in spans:
                absent = [part for low, high in course.absent.within(first, last)
                          for part in course.seen.missing(low, high)]  # fmt: skip
                if total(course.seen.missing(first, last)) > total(absent):
                    return None
                rows += total(course.fetched.within(first, last))
                lost += total(absent)
                why = course.why or why
        return case.closing(rows, lost, why)

    @property
    def missing(self) -> int:
        """Trades that are known to be missing and not given up."""
        return sum(total(self.courses[instrument].missing()) for instrument in self._due_ns)

    # ---------------------------------------------------------------- the file

    def said(self) -> dict[str, Any]:
        return {
            "courses": {name: course.said() for name, course in self.courses.items()},
            "cases": [case.said() for case in self.cases if not case.is_check],
            "checked_ns": self.checked_ns or self._began_ns,
            "forgotten_ns": self._forgotten_ns,
            "idle_ns": self._idle_ns,
            "lasting": list(self._lasting),
        }

    def remember(self, said: dict[str, Any], mono_ns: int) -> None:
        """What said() gave in an earlier life. KeyError, ValueError, TypeError: it is none of ours."""
        self.courses = {str(name): Course.of(course) for name, course in said["courses"].items()}
        self.cases = Cases(Case.of(case) for case in said["cases"])
        self.checked_ns, self._forgotten_ns = int(said["checked_ns"]), int(said["forgotten_ns"])
        self._idle_ns = int(said["idle_ns"])
        self._lasting = {(feed, Cause(cause), *rest) for feed, cause, *rest in said["lasting"]}
        for instrument in self.courses:
            self._look(instrument, mono_ns)


def _windows(gap: Gap, markets: Sequence[str], due_ns: int) -> list[Window]:
    if gap.from_ns == 0:
        return []  # nobody knows since when
    from_ns, to_ns = gap.from_ns - SLACK_NS, gap.to_ns + SLACK_NS
    return [Window(market, from_ns, to_ns, due_ns=due_ns) for market in markets]


def _by_instrument(found: Iterable[Printed]) -> dict[str, list[Printed]]:
    trades: dict[str, list[Printed]] = {}
    for each in found:
        trades.setdefault(each.instrument, []).append(each)
    return trades
