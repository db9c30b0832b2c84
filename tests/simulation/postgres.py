"""A transactional database, as far as TimescaleSink speaks to it: sessions, transactions with savepoints, row locks,
COPY, and connections that break before, while or after the server did what was asked.

A session has the methods of psycopg.Connection that the sink uses, and recognises the sink's statements by their text.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psycopg
from psycopg import errors, sql

from simulation.ledger import NUMBERED, Broken, Ledger, Stored, Told
from simulation.world import BEGAN_NS, Process, World
from tickbay._native import PGCOPY_HEADER, PGCOPY_TRAILER
from tickbay.cursor import START, Position
from tickbay.sinks.columns import TABLES
from tickbay.sinks.connection import IDLE_TIMEOUT_S, LOCK_TIMEOUT_S, TCP_TIMEOUT_MS

SINK = "timescale"
PG_EPOCH_NS = 946_684_800 * 10**9
POLL_S = 0.05  # how often a waiter looks whether a lock is free
NOTICED_S = 0.3  # the server learns of a dead client within this
LATE_S = 1.0  # a COMMIT whose connection broke may still be carried out so much later

_COLUMNS = {table.name: [column.name for column in table.columns] for table in TABLES}
NULL = b"\xff\xff\xff\xff"  # the length of what is not there
_ORIGIN = struct.Struct(">hiqiqiqi")  # columns, then ts, exch_ns, recv_ns with their lengths, the stream's length


@dataclass
class Changes:
    """What a transaction has done and nobody else sees."""

    cursors: dict[str, Position] = field(default_factory=dict)
    rows: list[tuple[str, int, int, int]] = field(default_factory=list)  # stream, epoch, seq, number
    quarantined: list[tuple[str, int]] = field(default_factory=list)
    holes: list[tuple[str, int, int]] = field(default_factory=list)
    met: list[tuple[str, Told]] = field(default_factory=list)  # holes that a writer met


class Postgres:
    """The server. `refuses`: which numbers are rows that it does not take."""

    def __init__(self, world: World, ledger: Ledger, refuses: Callable[[int], bool]) -> None:
        self.world = world
        self.ledger = ledger
        self.refuses = refuses
        self.up = True
        self.stalled_until = 0.0
        self.stored = Stored()
        self.cursors: dict[str, Position] = {}
        self.locks: dict[str, Session] = {}
        self.sessions: list[Session] = []
        self.commits = 0
        self.requests = 0
        self.trap: tuple[int, str] | None = None  # at which request, how it breaks: before, after, late

    def connect(self, process: Process) -> Session:
        self.world.call(process)
        if not self.up:
            raise psycopg.OperationalError("connection refused")
        session = Session(self, process)
        self.sessions.append(session)
        process.ended.append(lambda: self.world.at(self.world.chance.uniform(0, NOTICED_S), session.terminate))
        return session

    def crash(self) -> None:
        """As `-m immediate`: what was committed stays."""
        self.up = False
        for session in list(self.sessions):
            session.terminate()

    def apply(self, changes: Changes) -> None:
        """COMMIT."""
        if changes.cursors:
            self.commits += 1
            self.ledger.committed(SINK, changes.cursors)
            for name, end in changes.cursors.items():
                if end <= self.cursors.get(name, START):
                    raise Broken(f"SINK-1: the cursor of {name} goes from {self.cursors[name]} to {end}")
        self.cursors.update(changes.cursors)
        for stream, epoch, seq, number in changes.rows:
            rows = self.stored.rows.setdefault(stream, {})
            if seq in rows and stream not in self.ledger.forgotten:
                raise Broken(f"SINK-1: {stream} {seq} is stored twice")
            rows[seq] = (epoch, number)
        for stream, seq in changes.quarantined:
            if stream not in NUMBERED or not self.refuses(self.ledger.streams[stream].numbers[seq - 1]):
                raise Broken(f"SINK-4: {stream} {seq} is in quarantine, and was no bad row")
            self.stored.quarantined.setdefault(stream, set()).add(seq)
        for stream, first, last in changes.holes:
            self.stored.holes.setdefault(stream, []).append((first, last))
        for stream, told in changes.met:
            self.stored.holes.setdefault(stream, []).append(told[:2])
            rows_met = self.stored.met.setdefault(stream, {})
            rows_met[(len(rows_met),)] = told  # no key makes two rows one


class Session:
    """One connection and the backend behind it."""

    def __init__(self, server: Postgres, process: Process) -> None:
        self._server = server
        self._process = process
        self._changes = Changes()
        self._open = False  # a transaction
        self.broken = False
        self.used_s = server.world.now_s
        self.closed = False

    # -------- the server's side

    def terminate(self) -> None:
        """The backend ends: its transaction never was."""
        self.broken = True
        self._forget()
        if self in self._server.sessions:
            self._server.sessions.remove(self)

    def _forget(self) -> None:
        self._changes, self._open = Changes(), False
        for stream in [stream for stream, holder in self._server.locks.items() if holder is self]:
            del self._server.locks[stream]

    def _lock(self, streams: Sequence[str]) -> None:
        """Row locks, waited for."""
        server, world = self._server, self._server.world
        until_s = world.now_s + LOCK_TIMEOUT_S
        for stream in streams:
            while (holder := server.locks.get(stream, self)) is not self:
                if world.now_s - holder.used_s > IDLE_TIMEOUT_S:
                    holder.terminate()
                    continue
                if world.now_s > until_s:
                    raise errors.LockNotAvailable("canceling statement due to lock timeout")
                world.sleep(POLL_S)
                self._check_broken()
            server.locks[stream] = self

    # -------- the wire

    def _request(self) -> None:
        """Send a statement and wait for its answer; here nothing of it has been carried out yet."""
        server, world = self._server, self._server.world
        world.call(self._process)
        stalled_s = server.stalled_until - world.now_s
        if stalled_s > 0:
            world.sleep(min(stalled_s, TCP_TIMEOUT_MS / 1000))
            if stalled_s > TCP_TIMEOUT_MS / 1000:
                self.terminate()
        self._check_broken()
        self.used_s, self._open = world.now_s, True
        server.requests += 1
        if self._breaks("before"):
            self.terminate()
            self._check_broken()

    def _answered(self) -> None:
        """It has been carried out."""
        if self._breaks("after"):
            self.terminate()
            self._check_broken()

    def _breaks(self, how: str) -> bool:
        server = self._server
        if server.trap is None or server.requests < server.trap[0] or server.trap[1] != how:
            return False
        server.trap = None
        server.world.note(f"{self._process.name}: its connection breaks: {how}")
        return True

    def _check_broken(self) -> None:
        if self.broken or self.closed:
            self.closed = True
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    # -------- psycopg.Connection

    def execute(self, query: Any, parameters: Sequence[Any] = ()) -> Answer:
        self._request()
        text = query if isinstance(query, str) else ""
        answer = Answer()
        if "UPDATE sink_cursor" in text:
            answer.rowcount = self._swap(*parameters)
        elif "FOR UPDATE" in text:
            self._lock(sorted(parameters[1]))
            answer.rows = [(stream, *self._server.cursors.get(stream, START)) for stream in sorted(parameters[1])]
        elif "tickbay_drop_before" in text:
            answer.rows = [(0,)]
        self._answered()
        return answer

    def _swap(
        self, streams: list[str], old_epochs: list[int], old: list[int], epochs: list[int], new: list[int], sink: str
    ) -> int:
        self._lock(streams)
        moved = 0
        for at, stream in enumerate(streams):
            if self._server.cursors.get(stream, START) == (old_epochs[at], old[at]):
                self._changes.cursors[stream] = Position(epochs[at], new[at])
                moved += 1
        return moved

    def cursor(self) -> Cursor:
        return Cursor(self)

    def insert(self, query: str, parameters: Sequence[Any]) -> None:
        self._request()
        for values in parameters:
            if "INTO quarantine" in query:
                self._changes.quarantined.append((values[1], values[3]))
            else:
                assert "INTO data_gaps" in query
                told = values["first"], values["last"], values["from_ns"], values["to_ns"]
                self._changes.met.append((values["stream"], told))
        self._answered()

    def copied(self, table: str, data: Sequence[bytes]) -> int:
        """The rows of a COPY, all or none of them."""
        self._request()
        assert data[0] == PGCOPY_HEADER and data[-1] == PGCOPY_TRAILER
        rows: list[tuple[str, int, int, int]] = []
        for block in data[1:-1]:
            if table == "data_gaps":
                self._changes.holes += known_holes(block)
            rows += rows_of(block)
        if any(stream in NUMBERED and self._server.refuses(number) for stream, _, _, number in rows):
            raise errors.CheckViolation("a row is refused")
        self._changes.rows += rows
        self._answered()
        return len(rows)

    def commit(self) -> None:
        if not self._open:
            return
        self._request()
        if self._breaks("late"):
            changes, server = self._changes, self._server

            def carry_out() -> None:
                if not self.broken and server.up:
                    server.apply(changes)
                self.terminate()

            server.world.at(server.world.chance.uniform(0, LATE_S), carry_out)
            self._changes, self.closed = Changes(), True
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        self._server.apply(self._changes)
        self._forget()
        self._answered()

    def rollback(self) -> None:
        if self._open and not self.closed:
            self._request()
            self._forget()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A transaction, or a savepoint within one."""
        if not self._open:
            self._open = True
            try:
                yield
            except Exception:
                self.rollback()
                raise
            self.commit()
            return
        at = len(self._changes.rows), len(self._changes.holes)
        try:
            yield
        except Exception:
            del self._changes.rows[at[0] :], self._changes.holes[at[1] :]
            raise

    def close(self) -> None:
        """The server notices a little later."""
        if not self.closed:
            self.closed = True
            self._server.world.at(self._server.world.chance.uniform(0, NOTICED_S), self.terminate)


@dataclass
class Answer:
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    rowcount: int = 0

    def fetchone(self) -> tuple[Any, ...] | None:
        return self.rows[0] if self.rows else None

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self.rows)


class Cursor:
    def __init__(self, session: Session) -> None:
        self._session = session
        self.rowcount = -1

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *_: object) -> None:
        return

    @contextmanager
    def copy(self, query: sql.Composed) -> Iterator[Copy]:
        copy = Copy()
        yield copy
        self.rowcount = self._session.copied(_table_of(query), copy.data)

    def executemany(self, query: str, parameters: Sequence[Any]) -> None:
        if parameters:
            self._session.insert(query, parameters)


class Copy:
    def __init__(self) -> None:
        self.data: list[bytes] = []

    def write(self, data: bytes | memoryview) -> None:
        self.data.append(bytes(data))


_tables: dict[int, str] = {}


def _table_of(query: sql.Composed) -> str:
    """The table of one of the sink's COPY statements, which are made once."""
    if id(query) not in _tables:
        _tables[id(query)] = query.as_string(None).split('"')[1]
    return _tables[id(query)]


# -------- binary rows


def _row_end(block: bytes, start: int) -> int:
    (columns,) = struct.unpack_from(">h", block, start)
    at = start + 2
    for _ in range(columns):
        (length,) = struct.unpack_from(">i", block, at)
        at += 4 + max(length, 0)
    return at


def rows_of(block: bytes) -> list[tuple[str, int, int, int]]:
    """(stream, epoch, seq, number) of the rows of one block: all at once where they have the same length."""
    if not block:
        return []
    if block[2:6] == NULL:
        raise errors.NotNullViolation('null value in column "ts"')
    size = _row_end(block, 0)
    length = _ORIGIN.unpack_from(block)[-1]
    stream = block[_ORIGIN.size : _ORIGIN.size + length].decode()
    at = _ORIGIN.size + length
    count, rest = divmod(len(block), size)
    if rest or (count > 1 and stream not in NUMBERED):  # the feed's ticks all have the same length
        return _rows_one_by_one(block)
    table = np.frombuffer(block, np.uint8).reshape(count, size)
    numbers = table[:, 18:26].copy().view(">i8").ravel() - BEGAN_NS
    epochs = table[:, at + 4 : at + 8].copy().view(">i4").ravel()
    seqs = table[:, at + 12 : at + 20].copy().view(">i8").ravel()
    return [(stream, *row) for row in zip(epochs.tolist(), seqs.tolist(), numbers.tolist(), strict=True)]


def _rows_one_by_one(block: bytes) -> list[tuple[str, int, int, int]]:
    rows, start = [], 0
    while start < len(block):
        end = _row_end(block, start)
        rows += rows_of(block[start:end])
        start = end
    return rows


def known_holes(block: bytes) -> list[tuple[str, int, int]]:
    """What rows of data_gaps say is missing in a stream: the journal names it in `detail`, before a colon."""
    holes, start = [], 0
    names = _COLUMNS["data_gaps"]
    while start < len(block):
        values: dict[str, bytes] = {}
        at = start + 2
        for name in names:
            (length,) = struct.unpack_from(">i", block, at)
            values[name] = block[at + 4 : at + 4 + max(length, 0)]
            at += 4 + max(length, 0)
        start = at
        first, last = values["first_missing"], values["last_missing"]
        if first and last:
            stream = values["detail"].decode().partition(":")[0]
            holes.append((stream, int.from_bytes(first, "big"), int.from_bytes(last, "big")))
    return holes
