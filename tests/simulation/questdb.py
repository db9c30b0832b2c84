"""A database that acknowledges first and applies later, as far as QuestdbSink speaks to it: transactions of lines per
table, applied in their order some time after, with DEDUP keys; suspended tables; a server that is restarted, also with
what it had not written to its disk gone.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from simulation.ledger import NUMBERED, Broken, Ledger, Stored, Told
from simulation.world import BEGAN_NS, Process, World
from tickbay.config import Questdb as Settings
from tickbay.cursor import Position
from tickbay.errors import SinkDown, SinkRefused
from tickbay.sinks.columns import CUT_TABLES
from tickbay.sinks.questdb_columns import SHAPES
from tickbay.sinks.questdb_schema import KEYS, STATUS_TABLE, steps
from tickbay.sinks.questdb_server import Lines, QuestdbServer

SINK = "questdb"
APPLIED_S = 0.1  # after the acknowledgement, on average
PAGE_CACHE_S = 60.0  # what is older has been written to the disk by the system

_ROW = re.compile(rb"stream=([^, ]+)[^\n]* recv_ns=\d+i,epoch=(\d+)i,seq=(\d+)i[^\n]* (\d+)n\n")
_HOLE = re.compile(rb"first_missing=(\d+)i,last_missing=(\d+)i")
_TIMES = re.compile(rb"from_ns=(\d+)i,to_ns=(\d+)i")
_DETAIL = re.compile(rb'detail="([^":]*)')
MET = re.compile(rb"the journal deleted|damaged in the journal")  # the detail of a hole that a writer met
_KEY = re.compile(rb"epoch=(\d+)i,seq=(\d+)i[^\n]* (\d+)n\n")
_QUARANTINED = re.compile(rb"stream=([^, ]+)[^\n]* epoch=\d+i,seq=(\d+)i")

Line = tuple[str, int, int, int]  # stream, epoch, seq, number
Met = tuple[str, tuple[int, ...], Told]  # a hole that a writer met: stream, DEDUP keys


@dataclass
class Write:
    """One acknowledged request."""

    at_s: float
    number: int  # of its transaction
    rows: list[Line]
    quarantined: list[tuple[str, int]]
    holes: list[tuple[str, int, int]]
    met: list[Met] = field(default_factory=list)


@dataclass
class Table:
    sequencer: int = 0
    writer: int = 0
    suspended: bool = False
    waiting: deque[Write] = field(default_factory=deque)
    applied: list[Write] = field(default_factory=list)


class Questdb:
    """The server."""

    def __init__(self, world: World, ledger: Ledger, refuses: Callable[[int], bool]) -> None:
        self.world = world
        self.ledger = ledger
        self.refuses = refuses
        self.up = True
        self.starts = 1
        self.lost = False  # with the power, something that it had told of as applied
        self.tables = {table: Table() for table in SHAPES}
        self.stored = Stored()
        self.requests = 0
        self.trap: tuple[int, str] | None = None  # at which request, how it breaks: before, after
        self.answers = _schema_answers()
        self._kept: dict[str, int] = {}  # how far the cursor file has ever been

    # -------- what becomes of it

    def crash(self) -> None:
        """As kill -9: what it had acknowledged lies in the page cache."""
        self.up = False

    def restart(self) -> None:
        self.up, self.starts = True, self.starts + 1
        for name in self.tables:
            self._apply_later(name)

    def lose_power(self) -> None:
        """What came in the last minute may be gone, table by table."""
        self.up, self.lost = False, True
        for table in self.tables.values():
            since_s = self.world.now_s - self.world.chance.uniform(0, PAGE_CACHE_S)
            every = [*table.applied, *table.waiting]
            kept = [write for write in every if write.at_s < since_s]
            table.applied = kept[: min(len(table.applied), len(kept))]
            table.waiting = deque(kept[len(table.applied) :])
            table.writer = table.applied[-1].number if table.applied else 0
            table.sequencer = kept[-1].number if kept else 0
        self.stored = Stored()
        for table in self.tables.values():
            for write in table.applied:
                self._store(write)

    def suspend(self, name: str) -> None:
        self.tables[name].suspended = True

    def resume(self, name: str) -> None:
        self.tables[name].suspended = False
        self._apply_later(name)

    # -------- requests

    def accept(self, name: str, body: bytes) -> None:
        write = Write(self.world.now_s, 0, [], [], [])
        if name == "quarantine":
            write.quarantined = [(stream.decode(), int(seq)) for stream, seq in _QUARANTINED.findall(body)]
        else:
            write.rows = _lines(body)
        if name == "data_gaps":
            for line in body.splitlines(keepends=True):
                if (found := _HOLE.search(line)) is not None:
                    hole = _hole_stream(line), int(found[1]), int(found[2])
                    write.holes.append(hole)
                    if MET.search(line) and (key := _KEY.search(line)) is not None:
                        times = _TIMES.search(line)
                        assert times is not None
                        told = hole[1], hole[2], int(times[1]), int(times[2])
                        write.met.append((hole[0], tuple(map(int, key.groups())), told))
            self._check_told(write.met)
            # A hole that a writer met is a line in the name of the stream that has it, and no record.
            write.rows = [
                row for line in body.splitlines(keepends=True) if not MET.search(line) for row in _lines(line)
            ]
        for at, (stream, _, _, number) in enumerate(write.rows, 1):
            if stream in NUMBERED and self.refuses(number):
                raise SinkRefused("a line is refused", line=at if self.world.chance.random() < 0.5 else None)
        ends: dict[str, Position] = {}
        for stream, epoch, seq, _ in write.rows:
            ends[stream] = max(Position(epoch, seq), ends.get(stream, Position(0, 0)))
        if name != "data_gaps":
            self.ledger.committed(SINK, ends)
        table = self.tables[name]
        table.sequencer += 1
        write.number = table.sequencer
        table.waiting.append(write)
        self._apply_later(name)

    def _check_told(self, met: list[Met]) -> None:
        for stream, position in self.ledger.cursor_of(SINK).items():
            self._kept[stream] = max(position.seq, self._kept.get(stream, 0))
        for stream, _, (first, *_) in met:
            if first <= self._kept.get(stream, 0):
                raise Broken(f"GAP-1: {SINK} tells that it lacks {stream} {first}, behind which its cursor was")

    def _apply_later(self, name: str) -> None:
        if self.tables[name].waiting:
            self.world.at(self.world.chance.expovariate(1 / APPLIED_S), lambda: self._apply(name))

    def _apply(self, name: str) -> None:
        table = self.tables[name]
        if not self.up or table.suspended or not table.waiting:
            return
        write = table.waiting.popleft()
        table.applied.append(write)
        table.writer = write.number
        self._store(write)
        self._apply_later(name)

    def _store(self, write: Write) -> None:
        for stream, epoch, seq, number in write.rows:
            rows = self.stored.rows.setdefault(stream, {})
            if seq in rows and rows[seq] != (epoch, number) and stream not in self.ledger.forgotten:
                raise Broken(f"SINK-2: {stream} {seq} is stored twice: {rows[seq]} and {(epoch, number)}")
            rows[seq] = (epoch, number)
        for stream, seq in write.quarantined:
            self.stored.quarantined.setdefault(stream, set()).add(seq)
        for stream, first, last in write.holes:
            self.stored.holes.setdefault(stream, []).append((first, last))
        for stream, key, told in write.met:  # SINK-2: told again, it is the same row
            self.stored.met.setdefault(stream, {})[key] = told

    def answer(self, query: str) -> list[list[Any]]:
        if "pg_postmaster_start_time" in query:
            return [[f"start {self.starts}"]]
        if "wal_tables" in query:
            return [
                [name, table.suspended, table.writer, table.sequencer, "", ""] for name, table in self.tables.items()
            ]
        return self.answers[query]


def _lines(body: bytes) -> list[Line]:
    return [
        (stream.decode(), int(epoch), int(seq), int(ts) - BEGAN_NS) for stream, epoch, seq, ts in _ROW.findall(body)
    ]


def _hole_stream(line: bytes) -> str:
    """The journal names the stream in `detail`; a hole that the writer met is of the row's own stream."""
    detail, stream = _DETAIL.search(line), re.search(rb"stream=([^, ]+)", line)
    assert detail is not None and stream is not None
    return (stream[1] if MET.search(line) else detail[1]).decode()


def _schema_answers() -> dict[str, list[list[Any]]]:
    """What a server with the newest schema says."""
    tables = list(SHAPES)
    answers: dict[str, list[list[Any]]] = {
        "SELECT current_database()": [["qdb"]],
        "SELECT build()": [["Build Information: QuestDB 9.0.0, virtual"]],
        "SELECT table_name FROM tables() WHERE table_name = 'schema_version'": [["schema_version"]],
        "SELECT max(version) FROM schema_version": [[len(steps())]],
        "SELECT table_name, walEnabled, dedup FROM tables()": [[table, True, True] for table in tables],
    }
    settings = Settings()
    days = dict.fromkeys(CUT_TABLES, settings.retain_days) | {STATUS_TABLE: settings.status_retain_days}
    answers["SELECT table_name, ttlValue, ttlUnit FROM tables()"] = [[table, days[table], "DAY"] for table in days]
    for table, shape in SHAPES.items():
        answers[f"SHOW COLUMNS FROM {table}"] = [[name, type, name in KEYS] for name, type in shape.items()]
    return answers


def _unframed(piece: bytes | memoryview) -> bytes:
    """What a piece of the chunked coding holds."""
    head, _, rest = bytes(piece).partition(b"\r\n")
    return rest[: int(head, 16)]


class Client(QuestdbServer):
    """The connection of one writer."""

    def __init__(self, server: Questdb, process: Process) -> None:
        super().__init__(Settings())
        self._engine = server
        self._process = process

    def _request(self) -> None:
        server = self._engine
        server.world.call(self._process)
        server.requests += 1
        self._break("before")
        if not server.up:
            raise SinkDown("connection refused")

    def _break(self, how: str) -> None:
        server = self._engine
        if server.trap is not None and server.requests >= server.trap[0] and server.trap[1] == how:
            server.trap = None
            server.world.note(f"{self._process.name}: its connection breaks: {how}")
            raise SinkDown("connection reset")

    def send(self, lines: Lines) -> None:
        self._request()
        body = bytes(lines) if isinstance(lines, bytes | memoryview) else b"".join(map(_unframed, lines))
        self._engine.accept(body[: body.index(b",")].decode(), body)
        self._break("after")

    def query(self, sql: str) -> list[list[Any]]:
        self._request()
        answer = self._engine.answer(sql)
        self._break("after")
        return answer
