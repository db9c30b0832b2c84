"""QuestDB as a sink: lines over HTTP, a cursor of our own behind what the server has applied. Runs in writer-questdb.

SINK-2: rows carry (ts, stream, epoch, seq) as DEDUP keys, and the cursor is saved only for rows that were seen
        applied; so after any trouble all behind the cursor is sent again, and changes nothing where it was there.
SINK-4: a row that the server refuses goes to its table quarantine with its reason; its neighbours land.
TIME-1: rows of an insane time are quarantined too (load.py).

An acknowledgement alone says little: a suspended table goes on giving it. So after it the table's sequencerTxn is
asked for, and the rows count as kept when its writerTxn has come as far. Lines are our own (native/ilp.c) instead of
the client's: that takes several times the CPU for a row, and its one advantage, to keep what it could not send, is our
journal.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tickbay.clock import MACHINE, Clock
from tickbay.config import Questdb
from tickbay.cursor import START, CursorFile, Position
from tickbay.errors import SinkDown, SinkParked, SinkRefused, SinkSuspended
from tickbay.sinks import questdb_schema
from tickbay.sinks.columns import KIND_WORDS, Table
from tickbay.sinks.connection import one_line
from tickbay.sinks.lines import bodies, without_bad_texts
from tickbay.sinks.load import Load, Pieces, Poison, chosen, cut_out, sort
from tickbay.sinks.orders import Orders
from tickbay.sinks.poison import Breaker, copy_around
from tickbay.sinks.questdb_columns import SHAPES, line
from tickbay.sinks.questdb_schema import Applied
from tickbay.sinks.questdb_server import QuestdbServer
from tickbay.sinks.rewind import Marks
from tickbay.sinks.sink import Chunk, Committed, Hole, ends_of

LOOK_S = 0.2  # between looks at what is applied, while something is not
IDLE_LOOK_S = 1.0  # and while nothing is outstanding: a table may be suspended all the same
# Acknowledged and not applied: then wait, or the server's disk fills with what it cannot apply.
UNAPPLIED_ROWS_MAX = 2_000_000
APPLY_TIMEOUT_S = 30.0  # without any progress
APPLY_WAIT_S = 0.05
REASONS_TOLD = 3
# Before every record, as START, but of a sink that has begun: what is missing before the oldest is a hole.
BEGINNING = Position(1, 0)
_LOOK = "SELECT name, suspended, writerTxn, sequencerTxn, errorTag, errorMessage FROM wal_tables()"


@dataclass(frozen=True, slots=True)
class Outstanding:
    """Rows that were acknowledged: kept when each table has applied the transaction that it had by then."""

    ends: dict[str, Position]
    transactions: dict[str, int]
    rows: int


class QuestdbSink:
    """The sink "questdb". See Sink. `cursor` is the file that its writer saves settled() to."""

    def __init__(
        self,
        settings: Questdb,
        cursor: CursorFile,
        marks: Marks,
        orders: Orders,
        *,
        name: str = "questdb",
        clock: Clock = MACHINE,
        server: QuestdbServer | None = None,
        on_schema: Callable[[Applied], None] | None = None,
        on_rewind: Callable[[str, float], None] | None = None,
    ) -> None:
        """`on_schema` is told what open() found and did to the tables, `on_rewind` why the cursor went back
        and by how many minutes; infinite: to the beginning of the journal."""
        self.name = name
        self._settings = settings
        self._cursor = cursor
        self._marks = marks
        self._orders = orders
        self._clock = clock
        self._on_schema = on_schema
        self._on_rewind = on_rewind
        self._server = server or QuestdbServer(settings)
        self._ready = False
        self._settled: dict[str, Position] = dict(cursor.positions)
        self._acked: dict[str, Position] = {}  # and not yet asked about
        self._acked_rows = 0
        self._outstanding: deque[Outstanding] = deque()
        self._breaker = Breaker()
        self._looked = float("-inf")

    # ------------------------------------------------------------ open, close

    def open(self, streams: Sequence[str]) -> dict[str, Position]:
        """See Sink.open(). What is not known to be applied is sent again."""
        if not self._ready:
            self._server.close()
            self._forget()
            if self._cursor.renewed():  # by a restore: what was there before does not count
                self._settled, self._marks.gone_back = dict(self._cursor.positions), {}
            applied = questdb_schema.apply(self._server, self._settings)
            self._go_back_after_a_restart()
            self._go_back_as_asked()
            self._look()
            self._ready = True
            if self._on_schema is not None:
                self._on_schema(applied)
        # Streams that are new to the writer; the others go on behind what is on its way.
        known = self._settled | {stream: end for each in self._outstanding for stream, end in each.ends.items()}
        known |= self._acked
        return {stream: known.get(stream, START) for stream in streams}

    def _forget(self) -> None:
        self._acked, self._acked_rows = {}, 0
        self._outstanding.clear()

    def _started(self) -> str:
        """When the server was started."""
        ((started,),) = self._query("SELECT pg_postmaster_start_time()")
        return str(started)

    def _go_back_after_a_restart(self) -> None:
        started = self._started()
        if started == self._marks.server:
            return
        minutes = self._settings.rewind_minutes if self._marks.server or self._cursor.positions else 0
        self._go_back(minutes, f"the server was started at {started}", started)

    def _go_back_as_asked(self) -> None:
        minutes = self._orders.minutes_back()
        if minutes is not None:
            self._go_back(minutes, "asked with `tickbay sink rewind`", self._marks.server)
            self._orders.went_back()

    def _go_back(self, minutes: float, why: str, server: str) -> None:
        """To where the cursor was so many minutes ago, or to the beginning of the journal. A crash in the middle goes
        back once more."""
        before_s = self._clock.unix_ns() / 1e9 - minutes * 60
        then = self._marks.before(before_s)
        self._marks.going_back(self._settled)
        self._settled = {stream: min(at, then.get(stream, BEGINNING)) for stream, at in self._settled.items()}
        self._forget()
        if self._settled:
            self._cursor.save(self._settled)
            if self._on_rewind is not None:
                self._on_rewind(why, minutes if then else math.inf)
        self._marks.went_back(server, before_s)

    def close(self) -> None:
        """See Sink.close(). What was acknowledged and is not known to be applied is sent again."""
        self._ready = False
        self._server.close()

    # ------------------------------------------------------------ commit

    def commit(self, chunks: Sequence[Chunk], holes: Sequence[Hole] = ()) -> Committed:
        """See Sink.commit(): here it means acknowledged; settled() tells what is applied."""
        load = sort(chunks, now_ns=self._clock.unix_ns())
        ends = ends_of(chunks, holes)
        try:
            committed = self._send_all(load, self._real(holes))
            self._acked.update(ends)
            self._acked_rows += load.records
            self._breaker.count(load.records, committed.quarantined)
            self._look_now_and_then()
            self._wait_while_too_much_is_outstanding()
        except SinkRefused as error:  # lines of ours in the quarantine: nothing that bisecting could find
            self._ready = False
            raise SinkParked(f"{error}: see `tickbay schema status`") from None
        except (SinkDown, SinkParked):
            self._ready = False
            raise
        return committed

    def _send_all(self, load: Load, holes: Sequence[Hole]) -> Committed:
        allowed = self._breaker.allowed(load.records)
        tables, bad_texts = without_bad_texts(load.tables)
        poison = load.poison + bad_texts
        if len(poison) > allowed:
            raise SinkParked(f"{len(poison)} of {load.records} records: {poison[-1].reason}: check the clock")
        try:
            rows, sent = self._send_tables(tables)
        except SinkRefused:
            # Once more from the beginning, around what is refused: what landed before lands again (SINK-2).
            rows = sent = 0
            for table, pieces in tables:
                bad = self._send_around(table, pieces, allowed - len(poison))
                poison += bad
                rows += sum(int(chosen(table, records).sum()) for _, records in pieces) - len(bad)
        for lines in ([self._quarantine_line(item) for item in poison], [_hole_line(hole) for hole in holes]):
            if lines:
                self._server.send(b"".join(lines))
        reasons = tuple(f"{item.table}: {item.reason}" for item in poison[:REASONS_TOLD])
        return Committed(rows=rows, quarantined=len(poison), bytes=sent, reasons=reasons)

    def _send_tables(self, tables: Sequence[tuple[Table, Pieces]]) -> tuple[int, int]:
        """A request for each table, or several. Returns rows and bytes."""
        rows = sent = 0
        for body in bodies(tables):
            self._server.send(body)
            rows, sent = rows + body.rows, sent + body.bytes
        return rows, sent

    def _send_around(self, table: Table, pieces: Pieces, allowed: int) -> list[Poison]:
        """Send what the server takes of `pieces`; returns the rest."""
        ours = [(chunk, records[chosen(table, records)]) for chunk, records in pieces]

        def send(first: int, last: int) -> None:
            done = 0
            for body in bodies([(table, cut_out(ours, first, last))]):
                try:
                    self._server.send(body)
                except SinkRefused as refusal:
                    line = None if refusal.line is None else done + refusal.line
                    raise SinkRefused(str(refusal), table=table.name, line=line) from None
                done += body.rows

        poison = []
        for index, refusal in copy_around(sum(len(records) for _, records in ours), send, allowed=allowed):
            ((chunk, record),) = cut_out(ours, index, index + 1)
            poison.append(Poison(chunk, record, table.name, "", str(refusal)))
        return poison

    def _quarantine_line(self, poison: Poison) -> bytes:
        chunk, record = poison.chunk, poison.record
        values = {
            "sink": self.name,
            "stream": chunk.stream,
            "kind": KIND_WORDS[chunk.kind],
            "table_name": poison.table,
            "epoch": chunk.epoch,
            "seq": int(record["seq"][0]),
            "reason": poison.reason,
            "layout": poison.layout,
            "record": record.tobytes().hex(),
        }
        return line("quarantine", values, max(0, int(record["recv_ns"][0])))

    def _real(self, holes: Sequence[Hole]) -> list[Hole]:
        """Holes without what is none: records that were applied before the cursor went back."""
        real = []
        for hole in holes:
            known = self._marks.gone_back.get(hole.stream, START)
            if hole.end > known:
                # Numbers go on from epoch to epoch, but for a stream of which the journal knew nothing any more.
                first = known.seq + 1 if known.seq < hole.last_seq else 0
                real.append(replace(hole, first_seq=max(hole.first_seq, first)))
        return real

    # ------------------------------------------------------------ what is applied

    def maintain(self) -> list[str]:
        """See Sink.maintain(). SinkDown where a table is suspended or the server was restarted."""
        try:
            self._look_now_and_then()
        except (SinkDown, SinkParked):
            self._ready = False
            raise
        return []

    def settled(self, wait_s: float = 0.0) -> Mapping[str, Position]:
        """See Sink.settled()."""
        deadline = self._clock.now_s() + wait_s
        try:
            while (self._acked or self._outstanding) and self._clock.now_s() < deadline:
                self._look()
                self._clock.sleep(APPLY_WAIT_S)
        except (SinkDown, SinkParked):
            self._ready = False  # what is not applied is sent again by who comes next
        return self._settled

    def _look_now_and_then(self) -> None:
        busy = self._acked or self._outstanding
        if self._clock.now_s() - self._looked >= (LOOK_S if busy else IDLE_LOOK_S):
            if self._orders.minutes_back() is not None:
                raise SinkDown("going back, as asked with `tickbay sink rewind`")
            self._look()

    def _wait_while_too_much_is_outstanding(self) -> None:
        progress = self._clock.now_s()
        while (before := sum(each.rows for each in self._outstanding)) > UNAPPLIED_ROWS_MAX:
            self._clock.sleep(APPLY_WAIT_S)
            self._look()
            if sum(each.rows for each in self._outstanding) < before:
                progress = self._clock.now_s()
            elif self._clock.now_s() - progress > APPLY_TIMEOUT_S:
                raise SinkDown(f"{before} rows are acknowledged and none is applied: see the server's log")

    def _look(self) -> None:
        """SINK-2: see what is applied, then remember what was acknowledged since the last look."""
        self._looked = self._clock.now_s()
        started = self._started()
        if started != self._marks.server and self._ready:
            raise SinkDown("the server was restarted: what it may have lost is sent again")
        tables = {row[0]: row[1:] for row in self._query(_LOOK) if row[0] in SHAPES}
        if missing := SHAPES.keys() - tables.keys():
            raise SinkParked(
                f"tables are missing: {', '.join(sorted(missing))}: `tickbay schema apply` makes them again"
            )
        if suspended := [_suspended(name, row) for name, row in tables.items() if row[0]]:
            told = f"suspended: {', '.join(suspended)}: mend it, then `tickbay sink resume {self.name}`"
            raise SinkSuspended(told, tables=len(suspended))
        if self._acked:
            transactions = {name: row[2] for name, row in tables.items()}
            self._outstanding.append(Outstanding(self._acked, transactions, self._acked_rows))
            self._acked, self._acked_rows = {}, 0
        while self._outstanding:
            oldest = self._outstanding[0]
            if any(tables[table][1] < number for table, number in oldest.transactions.items()):
                break
            self._settle(self._outstanding.popleft())

    def _settle(self, applied: Outstanding) -> None:
        for stream, end in applied.ends.items():
            assert end > self._settled.get(stream, START), "SINK-2: the cursor moves only forward"
        self._settled = self._settled | applied.ends
        self._marks.add(self._clock.unix_ns() / 1e9, self._settled)

    def _query(self, sql: str) -> list[list[Any]]:
        try:
            return self._server.query(sql)
        except SinkRefused as error:
            raise SinkParked(f"{error}: is this QuestDB 9 or newer?") from None


def _suspended(name: str, row: list[Any]) -> str:
    tag, why = row[3:5]
    return f"{name} ({tag or 'no tag'}: {one_line(str(why))})" if why else name


def _hole_line(hole: Hole) -> bytes:
    gap = hole.gap
    values = {
        "stream": hole.stream,
        "cause": gap.cause.name.lower(),
        "kind": KIND_WORDS[hole.kind],
        "recv_ns": gap.to_ns,
        "epoch": hole.epoch,
        "seq": gap.first_missing,
        "conn": 0,
        "from_ns": gap.from_ns,
        "to_ns": gap.to_ns,
        "to_ts": gap.to_ns,
        "first_missing": gap.first_missing,
        "last_missing": gap.last_missing,
        "count": gap.count,
        "expected": False,
        "healed": False,
        "feed": gap.feed,
        "detail": gap.detail,
    }
    return line("data_gaps", values, gap.from_ns)  # SINK-2: what is told again is the same row
