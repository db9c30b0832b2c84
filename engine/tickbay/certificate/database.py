"""Evidence from a database, TimescaleDB, PostgreSQL or QuestDB: the same SQL for all, an hour of the period at a time.

Rows are found by `ts`, which has an index or is what the tables are cut by, and counted by `recv_ns`, the clock of
heartbeats and gaps. So a row counts if it was received within the period, and the venue's time of it is not further
from that than MARGIN_NS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast

from tickbay.audit.checksum import POSTGRES, QUESTDB, Dialect, hashed
from tickbay.certificate.evidence import (
    FOREVER_NS,
    HOUR_NS,
    TICK_KINDS,
    Evidence,
    GapRecord,
    Heartbeat,
    Listing,
    Period,
    folded,
)
from tickbay.certificate.spans import Span
from tickbay.config import Config
from tickbay.record import Kind
from tickbay.sinks.columns import TABLES, Table
from tickbay.sinks.connection import connect, conninfo_of, translated
from tickbay.sinks.questdb_server import QuestdbServer

MARGIN_NS = HOUR_NS
HEALED_NS = 48 * HOUR_NS  # a trade may be fetched so long after it happened
BEFORE_NS = 600 * 10**9  # how far back the last row before the period is looked for
STATEMENT_TIMEOUT_S = 3600
TICKS = tuple(table for table in TABLES if table.kind.name.lower() in TICK_KINDS)
FUTURE_NS = 48 * HOUR_NS  # gaps are told when they end, and healed later: what was told so long afterwards counts
# The venue's words for an instrument of which nothing more comes.
ENDED = ("ended", "closed", "delivered", "archivized", "expired", "deactivated", "terminated", "settled")

Ask = Callable[[str], Sequence[Sequence[Any]]]

# Questions. What is filled in are numbers and names of our own tables; the servers know no parameters in common.
HEARTBEATS = """SELECT stream, recv_ns, epoch, state, frames, clock_offset_ns FROM collector_status
    WHERE {when} ORDER BY stream, epoch, seq"""
GAPS = """SELECT stream, feed, instrument, kind, cause, from_ns, to_ns, expected, healed, first_missing,
    last_missing, count, detail, recv_ns, seq FROM data_gaps WHERE recv_ns < {until}"""
VERSIONS = """SELECT instrument, kind, price_index, creation_ns, expiration_ns, recv_ns, is_active, state
    FROM instruments WHERE recv_ns < {until} ORDER BY instrument, recv_ns, epoch, seq"""
SEEN = """SELECT stream, epoch, instrument, step, count(*), min(seq), max(seq) FROM (
        SELECT stream, epoch, instrument, seq, recv_ns / {step_ns} AS step FROM {table} WHERE {received}
    ) AS rows GROUP BY stream, epoch, instrument, step"""
SUMS = "SELECT stream, epoch, sum(checksum) FROM ({hashed}) AS rows GROUP BY stream, epoch"
BEFORE = "SELECT stream, epoch, max(seq) FROM {table} WHERE recv_ns < {begin} AND {when} GROUP BY stream, epoch"


@contextmanager
def opened(store: str, config: Config) -> Iterator[Database]:
    """`store` is timescale or questdb. SinkDown, SinkParked."""
    if store == "questdb":
        server = QuestdbServer(config.questdb)
        try:
            yield Database(server.query, QUESTDB)
        finally:
            server.close()
        return
    assert store == "timescale", "another sink has a database of its own"
    with (
        connect(
            conninfo_of(config.timescale), name="certificate", statement_timeout_s=STATEMENT_TIMEOUT_S
        ) as connection,
        translated(),
    ):
        # Every question sees the same moment, and nothing can be changed.
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        yield Database(lambda query: connection.execute(cast("Any", query)).fetchall(), POSTGRES)


class Database:
    def __init__(self, ask: Ask, dialect: Dialect) -> None:
        self._ask = ask
        self._dialect = dialect

    def evidence(self, period: Period, *, progress: Callable[[float], None] = lambda _: None) -> Evidence:
        """`progress` hears again and again how much is done, 0 to 1."""
        found = Evidence(period)
        found.heartbeats = self._heartbeats(period)
        found.gaps = folded(self._gaps(period))
        found.listings = listings_of(self._versions(period))
        self._before(found)
        hours = period.hours()
        for number, hour in enumerate(hours):
            for table in TICKS:
                self._see(found, table, hour)
                self._sum(found, table, hour)
            progress((number + 1) / len(hours))
        self._quarantined(found)
        return found

    def counts(self, period: Period) -> Evidence:
        """Only the sequences and their checksums: to compare another store with."""
        found = Evidence(period)
        for hour in period.hours():
            for table in TICKS:
                self._see(found, table, hour)
                self._sum(found, table, hour)
        return found

    # ---------------------------------------------------------------- what the engine said

    def _heartbeats(self, period: Period) -> list[Heartbeat]:
        rows = self._ask(HEARTBEATS.format(when=_between("ts", period.begin_ns - BEFORE_NS, period.end_ns + BEFORE_NS)))
        return [
            Heartbeat(stream.rpartition(".")[0], int(at), int(epoch), state == "live", int(frames), offset)
            for stream, at, epoch, state, frames, offset in rows
        ]

    def _gaps(self, period: Period) -> list[GapRecord]:
        records = [_gap_record(row) for row in self._ask(GAPS.format(until=period.end_ns + FUTURE_NS))]
        return [record for record in records if record.from_ns < period.end_ns]

    def _versions(self, period: Period) -> list[Version]:
        return [Version(*row) for row in self._ask(VERSIONS.format(until=period.end_ns))]

    # ---------------------------------------------------------------- what the rows say

    def _see(self, found: Evidence, table: Table, hour: Span) -> None:
        """How many rows each instrument has in each step, and from which to which number of their stream."""
        kind, received = table.kind.name.lower(), _received(hour, table)
        rows = self._ask(SEEN.format(step_ns=found.period.step_ns, table=table.name, received=received))
        for stream, epoch, instrument, step, count, first, last in rows:
            found.seen[kind, instrument][stream.rpartition(".")[0]].add(int(step))
            found.rows[kind, instrument] += int(count)
            found.sequence(stream, int(epoch)).add(int(step), int(count), int(first), int(last))

    def _sum(self, found: Evidence, table: Table, hour: Span) -> None:
        for stream, epoch, checksum in self._ask(
            SUMS.format(hashed=hashed(table, self._dialect, _received(hour, table)))
        ):
            found.sequence(stream, int(epoch)).add_checksum(int(checksum))

    def _before(self, found: Evidence) -> None:
        """The last row of each stream before the period."""
        begin = found.period.begin_ns
        when = _between("ts", begin - BEFORE_NS, begin + BEFORE_NS)
        for table in TICKS:
            for stream, epoch, seq in self._ask(BEFORE.format(table=table.name, begin=begin, when=when)):
                sequence = found.sequence(stream, int(epoch))
                sequence.before = max(sequence.before, int(seq))

    def _quarantined(self, found: Evidence) -> None:
        """Rows that the database refused lie there with the reason: they are no holes of the sequence."""
        for stream, epoch, seq in self._ask("SELECT stream, epoch, seq FROM quarantine"):
            sequence = found.sequences.get((stream, int(epoch)))
            if sequence is not None and sequence.steps:
                first = min(first for _, first, _ in sequence.steps.values())
                last = max(last for _, _, last in sequence.steps.values())
                sequence.quarantined += first <= int(seq) <= last


def _between(column: str, begin_ns: int, end_ns: int) -> str:
    return f"{column} >= '{_stamp(begin_ns)}' AND {column} < '{_stamp(end_ns)}'"


def _received(span: Span, table: Table) -> str:
    begin, end = span
    margin_ns = HEALED_NS if table.kind is Kind.TRADE else MARGIN_NS
    return f"recv_ns >= {begin} AND recv_ns < {end} AND {_between('ts', begin - margin_ns, end + MARGIN_NS)}"


def _stamp(ns: int) -> str:
    return datetime.fromtimestamp(ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{ns % 10**9 // 1000:06d}Z"


def _gap_record(row: Sequence[Any]) -> GapRecord:
    (
        stream,
        feed,
        instrument,
        kind,
        cause,
        from_ns,
        to_ns,
        expected,
        healed,
        first,
        last,
        count,
        detail,
        recv_ns,
        seq,
    ) = row
    return GapRecord(
        stream=stream,
        feed=feed or stream.rpartition(".")[0],
        instrument=instrument or "",
        kind=kind or "",
        cause=cause or "",
        from_ns=int(from_ns or 0),
        to_ns=int(to_ns) if to_ns else FOREVER_NS,
        expected=bool(expected),
        healed=bool(healed),
        first_missing=int(first or 0),
        last_missing=int(last or 0),
        count=int(count or 0),
        detail=detail or "",
        recv_ns=int(recv_ns),
        seq=int(seq),
    )


class Version(NamedTuple):
    """One version of an instrument's reference data."""

    instrument: str
    kind: str | None
    price_index: str | None
    creation_ns: int | None
    expiration_ns: int | None
    recv_ns: int
    is_active: bool
    state: str | None


def listings_of(versions: Sequence[Version]) -> dict[str, Listing]:
    """From the versions of the instruments' reference data, each instrument's in order. An instrument ends when it
    expires, or when it is first told to have ended."""
    found: dict[str, Listing] = {}
    for version in versions:
        end_ns = version.expiration_ns or FOREVER_NS
        if not version.is_active and version.state in ENDED:
            end_ns = min(end_ns, version.recv_ns)
        known = found.get(version.instrument)
        found[version.instrument] = Listing(
            version.instrument,
            version.kind or "",
            version.price_index or "",
            known.from_ns if known else version.creation_ns or 0,
            end_ns,
        )
    return found
