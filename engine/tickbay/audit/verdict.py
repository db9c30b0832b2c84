"""The audit as a whole: matches connections, compares every row, asks the gaps, and says what it comes to.

In: a database (or the journal, which is asked as one), a ledger or none. Out: a Verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tickbay.audit import gaps, healed, pairs
from tickbay.audit.columns import KINDS, Rows
from tickbay.audit.comparison import SAMPLES_MAX, Comparer, Comparison, Lost, Window
from tickbay.audit.database import Database, Sequence
from tickbay.audit.expected import expected_rows
from tickbay.sim.ledger import LedgerReader

# A client that stops may leave unread what was sent in its last moments; anything older should have been read.
IN_DOUBT_NS = 1_000_000_000
NO_MESSAGE = 1 << 62
Progress = Callable[[int, int], None]  # rows in the database, rows compared
RECOGNISED_BY_ROWS = 300  # of each kind: enough to tell connections apart that carry the same instruments


@dataclass(slots=True)
class Verdict:
    frames: int = 0
    expected: int = 0
    stored: int = 0
    lost: int = 0
    twice: int = 0
    different: int = 0
    stray: int = 0
    known: int = 0  # rows missing in a recorded gap
    deleted: int = 0  # rows deleted because they were old
    kept_from_ns: int = 0  # since when nothing was; 0: nothing ever was
    healed: int = 0  # rows fetched afterwards, as they were sent
    unsent: int = 0  # … and of a time when nobody was connected, so in no ledger
    quarantined: int = 0
    in_doubt: int = 0  # sent at the very end of a connection that the client closed
    holes: int = 0  # sequence numbers missing in the database, covered by no gap
    faults: int = 0  # planted, of those that must leave a gap
    unrecorded: int = 0  # … and left none
    streams: int = 0
    lines: list[str] = field(default_factory=list)  # what was found, for a person
    by_ledger: bool = False

    @property
    def good(self) -> bool:
        wrong = self.lost, self.twice, self.different, self.stray, self.holes, self.unrecorded
        return not any(wrong) and self.stored > 0

    def __str__(self) -> str:
        end = "OK" if self.good else "NOTHING STORED" if not self.stored else "DIFFERENT"
        if not self.by_ledger:
            return (
                f"audit: {self.stored:,} rows of {self.streams} streams stored; "
                f"{self.holes:,} lost, {self.twice:,} twice, {self.known:,} in known gaps: {end}"
            )
        parts = [f"{self.lost:,} lost", f"{self.twice:,} twice", f"{self.different:,} different"]
        more = (
            (self.stray, "never sent"), (self.holes, "missing in sequence"), (self.known, "in known gaps"),
            (self.healed, "healed"), (self.unsent, "healed of which the ledger knows nothing"),
            (self.quarantined, "quarantined"), (self.in_doubt, "in doubt at the end of a connection"),
            (self.faults - self.unrecorded, "planted faults found as gaps"),
            (self.unrecorded, "planted faults without a gap"),
            (self.deleted, f"sent before {_stamp(self.kept_from_ns)} and deleted since"),
        )  # fmt: skip
        parts += [f"{count:,} {word}" for count, word in more if count]
        return (
            f"audit: {self.frames:,} frames sent, {self.expected:,} rows expected, {self.stored:,} stored; "
            f"{', '.join(parts)}: {end}"
        )

    def add_line(self, line: str) -> None:
        if len(self.lines) < SAMPLES_MAX:
            self.lines.append(line)


def _stamp(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def audit_sequences(database: Database) -> Verdict:
    """Without a ledger: each stream's sequence has no holes but known ones and nothing twice."""
    return _sequences(database, database.streams())


def _sequences(database: Database, sequences: list[Sequence]) -> Verdict:
    verdict, known = Verdict(), gaps.recorded(database)
    verdict.streams = len({sequence.stream for sequence in sequences})
    for sequence in sequences:
        verdict.stored += sequence.rows
        if sequence.rows > sequence.distinct:
            verdict.twice += sequence.rows - sequence.distinct
            verdict.add_line(f"twice: {sequence.rows - sequence.distinct} rows of {sequence.stream}")
        if sequence.last - sequence.first + 1 > sequence.distinct:
            for first, last in database.holes(sequence):
                _judge_hole(verdict, known, sequence.stream, first, last)
    _judge_seams(verdict, known, sequences)
    return verdict


def _judge_seams(verdict: Verdict, known: list[gaps.Gap], sequences: list[Sequence]) -> None:
    """Where one epoch of a stream ends and the next begins. What was before its first row this database need not have:
    retention drops the oldest, and a record may be older than its database."""
    last: dict[str, int] = {}
    for sequence in sequences:
        before = last.get(sequence.stream)
        if before is None and sequence.first > 1:
            verdict.add_line(f"{sequence.stream} begins at seq {sequence.first:,} here")
        elif before is not None and sequence.first > before + 1:
            _judge_hole(verdict, known, sequence.stream, before + 1, sequence.first - 1)
        last[sequence.stream] = sequence.last


def _judge_hole(verdict: Verdict, known: list[gaps.Gap], stream: str, first: int, last: int) -> None:
    if gaps.covers_sequence(known, stream, first, last):
        verdict.known += last - first + 1
    else:
        verdict.holes += last - first + 1
        verdict.add_line(f"lost: {stream} from seq {first} to {last}")


def audit_ledger(database: Database, ledger: LedgerReader, *, progress: Progress | None = None) -> Verdict:
    """Every row sent against every row stored, and every sequence. `progress` hears of it again and again."""
    sequences = database.streams()
    verdict = _sequences(database, sequences)
    due, verdict.by_ledger, verdict.stored, verdict.twice = verdict.stored, True, 0, 0
    streams = [sequence.stream for sequence in sequences]
    if any(stream.startswith("pair-") for stream in streams):
        for name, count in pairs.judge(database, ledger, sorted({*streams}), verdict.add_line).items():
            setattr(verdict, name, count)
        return verdict
    LedgerAudit(database, ledger, verdict, partial(progress, due) if progress else None).run(streams)
    return verdict


class LedgerAudit:
    """One ledger against one database."""

    def __init__(
        self,
        database: Database,
        ledger: LedgerReader,
        verdict: Verdict,
        progress: Callable[[int], None] | None,
    ) -> None:
        self._database, self._ledger, self._verdict, self._progress = database, ledger, verdict, progress
        self._read = 0  # rows
        self._seam = database.seam()
        self._gaps = gaps.recorded(database)
        self._quarantined = database.quarantined()

    def run(self, streams: list[str]) -> None:
        sent = self._ledger.connections()
        for number in sent:
            frames, rows = self._ledger.count(number)
            self._verdict.frames += frames
            self._verdict.expected += rows
        self._verdict.kept_from_ns = self._seam.to_ns
        matched = self._match(sent)
        compared: dict[int, dict[str, Comparison]] = {number: {} for number in sent}
        feed_of = {number: feed for (feed, _), number in matched.items()}
        for feed in sorted({stream.rpartition(".")[0] for stream in streams}):
            for kind in KINDS:
                self._compare(feed, kind, matched, compared)
        for number in sent:
            for kind in KINDS:
                if kind not in compared[number]:  # nothing of it was stored
                    nothing = Window(iter(()))
                    compared[number][kind] = Comparer(
                        kind, Window(expected_rows(self._ledger, number, kind)), nothing
                    ).compare()
            feeds = {feed_of[number]} if number in feed_of else self._peers(number, feed_of)
            self._judge(number, feeds, compared[number])
        self._verdict.expected -= self._verdict.deleted
        self._judge_faults(feed_of)
        self._judge_healed()

    def _judge_healed(self) -> None:
        """HEAL-1: each once, none that was captured, and as it was sent."""
        found = healed.judge(self._database, self._ledger)
        self._verdict.healed, self._verdict.unsent = found.equal, found.unsent
        self._verdict.twice += found.twice
        self._verdict.different += found.different
        for line in found.lines:
            self._verdict.add_line(line)

    def _match(self, sent: list[int]) -> dict[tuple[str, int], int]:
        """Which (feed, connection epoch) of the database was which connection of the ledger: by their first rows."""
        marks: dict[tuple[str, int], set[Any]] = {}
        for kind in KINDS:
            for key, found in self._database.first_rows(kind, RECOGNISED_BY_ROWS).items():
                marks.setdefault(key, set()).update(found)
        ours = {number: self._first_rows(number) for number in sent}
        scores = sorted(
            ((len(mark & ours[number]), -number, key) for key, mark in marks.items() for number in sent), reverse=True
        )
        matched: dict[tuple[str, int], int] = {}
        for score, minus_number, key in scores:
            if score and key not in matched and -minus_number not in matched.values():
                matched[key] = -minus_number
        return matched

    def _first_rows(self, number: int) -> set[Any]:
        if self._is_cut(number):
            return self._rows_at_seam(number)
        found: set[Any] = set()
        for kind in KINDS:
            for rows, _ in expected_rows(self._ledger, number, kind):
                head = rows[: 2 * RECOGNISED_BY_ROWS]  # more than stored.first_rows(): some may be lost
                found.update((kind, row["instrument"], int(row["exch_ns"])) for row in head)
                break
        return found

    def _is_cut(self, number: int) -> bool:
        """Whether the beginning of a connection may have been deleted."""
        return bool(self._seam.to_ns) and self._ledger.sent_before(number, self._seam.to_ns) > 0

    def _rows_at_seam(self, number: int) -> set[Any]:
        """Those among which the first must be that are held."""
        first = self._ledger.sent_before(number, self._seam.from_ns - gaps.CLOCK_SLACK_NS)
        end = self._ledger.sent_before(number, self._seam.to_ns + gaps.CLOCK_SLACK_NS)
        found: set[Any] = set()
        for kind in KINDS:
            for rows, message in expected_rows(self._ledger, number, kind):
                near = rows[(message >= first) & (message < end)]
                found.update((kind, name, at_ns) for name, at_ns in near[["instrument", "exch_ns"]].tolist())
        return found

    def _compare(
        self, feed: str, kind: str, matched: dict[tuple[str, int], int], compared: dict[int, dict[str, Comparison]]
    ) -> None:
        """One stream of the database: each of its connections against the ledger's."""
        pieces = Connections(self._told(self._database.stored_rows(f"{feed}.{kind}", kind)))
        while (conn := pieces.next_connection()) is not None:
            number = matched.get((feed, conn))
            sent = expected_rows(self._ledger, number, kind) if number else iter(())
            comparer = Comparer(kind, Window(sent), Window(pieces.rows_of(conn)))
            if number and self._is_cut(number):
                comparer.begin_late()
            result = comparer.compare()
            self._verdict.stored += result.stored
            self._verdict.twice += result.twice
            self._verdict.stray += result.stray
            self._verdict.different += result.different
            for sample in result.samples:
                self._verdict.add_line(f"{feed}.{kind}: {sample}")
            if number:
                compared[number][kind] = result

    def _told(self, pieces: Iterator[Rows]) -> Iterator[Rows]:
        for rows in pieces:
            self._read += len(rows)
            if self._progress:
                self._progress(self._read)
            yield rows

    def _peers(self, number: int, feed_of: dict[int, str]) -> set[str]:
        """Whose a connection may have been of which nothing is stored, because its feed died before its first record:
        the feeds that had the same instruments on other connections."""
        names = {name for _, name, _ in self._first_rows(number)}
        return {feed for other, feed in feed_of.items() if names & {name for _, name, _ in self._first_rows(other)}}

    def _life(self, number: int) -> tuple[int, int]:
        """From its first message to its end; one that is open lasts."""
        return int(self._ledger.entries(number)["sent_ns"][0]), self._ledger.ended(number).at_ns or gaps.FOREVER_NS

    def _judge(self, number: int, feeds: set[str], compared: dict[str, Comparison]) -> None:
        """What is missing of a connection: known, in doubt, or lost."""
        life = self._life(number)
        last_stored = max(result.last_message for result in compared.values())
        doubtful = self._first_in_doubt(number)
        for kind, result in compared.items():
            for lost in result.lost:
                if self._was_deleted(number, lost):
                    self._verdict.deleted += lost.rows
                elif any(self._in_quarantine(f"{feed}.{kind}", lost) for feed in feeds):
                    self._verdict.quarantined += lost.rows
                elif any(gaps.covers(self._gaps, feed, kind, lost, life) for feed in feeds):
                    self._verdict.known += lost.rows
                elif lost.first_message > last_stored >= 0 and lost.first_message >= doubtful:
                    self._verdict.in_doubt += lost.rows
                else:
                    self._verdict.lost += lost.rows
                    where = f"connection {number}" + (f" ({', '.join(sorted(feeds))})" if feeds else "")
                    messages = f"messages {lost.first_message} to {lost.last_message}"
                    self._verdict.add_line(f"lost: {lost.rows} rows of {where}, {messages}; first {lost.sample}")

    def _was_deleted(self, number: int, lost: Lost) -> bool:
        """Nothing of the connection is held before it, and all of it was sent before the seam."""
        kept = self._ledger.sent_before(number, self._seam.to_ns + gaps.CLOCK_SLACK_NS) if self._is_cut(number) else 0
        return not any(lost.before) and lost.last_message < kept

    def _first_in_doubt(self, number: int) -> int:
        """From which message on nobody can say whether a client that closed the connection had still read it."""
        ended = self._ledger.ended(number)
        if not ended.how.startswith("client"):
            return NO_MESSAGE
        return self._ledger.sent_before(number, ended.at_ns - IN_DOUBT_NS)

    def _in_quarantine(self, stream: str, lost: Lost) -> bool:
        (epoch, before, _), (_, after, _) = lost.before, lost.after
        between = [seq for each, seq in self._quarantined.get(stream, ()) if each == (epoch or each) and seq > before]
        return len([seq for seq in between if not after or seq < after]) >= lost.rows

    def _judge_faults(self, feed_of: dict[int, str]) -> None:
        """FEED-1: every loss becomes a gap. So must the ones that the simulator planted."""
        for event in self._ledger.events():
            action, number = event["event"], event.get("connection", 0)
            feed = feed_of.get(number, "")
            if action not in gaps.CAUSES or not feed or event["at_ns"] < self._seam.to_ns:
                continue
            instrument = event.get("channel", "").split(".")[1:2]
            name = instrument[0].encode() if instrument else b""
            if action == "drop" and not self._noticeable(number, event):
                continue
            self._verdict.faults += 1
            if not gaps.names_fault(self._gaps, feed, action, name, event["at_ns"]):
                self._verdict.unrecorded += 1
                self._verdict.add_line(
                    f"no gap: {action} of {event.get('channel', 'all')} on connection {number} ({feed})"
                )

    def _noticeable(self, number: int, event: dict[str, Any]) -> bool:
        """Whether a dropped frame could be noticed at all: only a later frame of a numbered channel tells."""
        family, name = event["channel"].split(".")[:2]
        if family == "ticker" or event["channel"].count(".") != 2:
            return False
        kind = "book" if family == "book" else "trade"
        return any(
            bool(((rows["instrument"] == name.encode()) & (message >= event["message"])).any())
            for rows, message in expected_rows(self._ledger, number, kind)
        )


class Connections:
    """A stream's rows, cut where the connection changes."""

    def __init__(self, pieces: Iterator[Rows]) -> None:
        self._pieces = pieces
        self._rest: Rows | None = None

    def next_connection(self) -> int | None:
        """The connection epoch of the next row; None at the end."""
        while self._rest is None or not len(self._rest):
            self._rest = next(self._pieces, None)
            if self._rest is None:
                return None
        return int(self._rest["conn"][0])

    def rows_of(self, conn: int) -> Iterator[tuple[Rows, NDArray[np.int64]]]:
        while self.next_connection() == conn:
            assert self._rest is not None
            other = np.flatnonzero(self._rest["conn"] != conn)
            end = int(other[0]) if len(other) else len(self._rest)
            rows, self._rest = self._rest[:end], self._rest[end:]
            yield rows, rows["seq"]
