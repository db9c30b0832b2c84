"""A ledger, and the database that should come of it: to be spoilt by a test before the audit sees it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from tickbay import schema
from tickbay.audit.columns import COLUMNS, KINDS, NULL_INTEGER, TABLES
from tickbay.audit.expected import expected_rows
from tickbay.config import Timescale
from tickbay.sim import ledger
from tickbay.sim.ledger import LedgerReader
from tickbay.sim.tape import Tape
from tickbay.sim.venue import Settings, Venue
from tickbay.sinks.connection import conninfo_of
from tickbay.sinks.partitions import make_partitions

EPOCH = 7


def play(folder: Path) -> LedgerReader:
    """A ledger of two connections of different instruments and of a third one after the first was cut."""
    venue = Venue(Settings(market={"ETH": 300}, ledger=folder))
    now_ms = time.time_ns() // 1_000_000
    names = [*list(venue.instruments)[:16], "ETH-PERPETUAL", "ETH_USDC"]
    halves = (names[::2], names[1::2])
    for number, half in ((1, halves[0]), (2, halves[1]), (3, halves[0])):
        channels = [venue.channel(f"{kind}.{name}.100ms") for name in half for kind in ("ticker", "book", "trades")]
        strips = [(venue.strip(channel), 0) for channel in channels if channel]
        tape = Tape(number, strips, venue.cycle_ms)
        venue.ledger.add_tape(tape)
        venue.ledger.event("opened", connection=number)
        clock_ms = now_ms + number
        for channel in channels[:4]:
            assert channel
            first = venue.first_message(channel, number, 0, clock_ms)
            if first:
                venue.ledger.add(
                    number, ledger.MESSAGE, first.kind, first.first_row, first.row_count, first.loop, clock_ms
                )
        for begin in range(0, len(tape), 100):
            venue.ledger.add(number, ledger.RUN, number, begin, min(100, len(tape) - begin), number, clock_ms + begin)
    venue.ledger.event("closed", connection=1, how="killed", frames=0, bytes_unsent=0)
    venue.ledger.event("closed", connection=2, how="client closed 1000", frames=0, bytes_unsent=0)
    venue.ledger.close()
    return LedgerReader(folder)


def began_ns(reader: LedgerReader) -> int:
    """When its first message was sent: a run of all tests imports its modules many minutes before."""
    return int(reader.entries(1)["sent_ns"][0])


@dataclass
class Stored:
    """What goes into the database: rows by stream, to be spoilt by a test before store()."""

    began_ns: int = field(default_factory=time.time_ns)  # when the ledger was made: its connections lived then
    streams: dict[str, list[tuple[str, dict[str, Any]]]] = field(default_factory=dict)  # (table, row)
    gaps: list[dict[str, Any]] = field(default_factory=list)

    def add(self, reader: LedgerReader, connection: int, feed: str, conn: int) -> None:
        for kind in KINDS:
            stream = self.streams.setdefault(f"{feed}.{kind}", [])
            tables = {option: table for table, option in TABLES[kind]}
            for found, message in expected_rows(reader, connection, kind):
                for row, number in zip(found, message.tolist(), strict=True):
                    values = {name: nullable(name, row[name]) for name in COLUMNS[kind]}
                    ts = datetime.fromtimestamp(int(row["exch_ns"]) / 1e9, UTC)
                    recv_ns = self.began_ns + connection * 10**9 + number * 1000
                    origin = {"ts": ts, "recv_ns": recv_ns, "stream": f"{feed}.{kind}", "epoch": EPOCH, "conn": conn}
                    stream.append((tables[bool(row["option"])], {**values, **origin, "healed": False}))

    def gap(self, feed: str, cause: str, from_ns: int, to_ns: int, instrument: str | None = None) -> None:
        origin = {
            "ts": datetime.now(UTC),
            "exch_ns": from_ns,
            "recv_ns": from_ns,
            "stream": f"{feed}.gap",
            "epoch": EPOCH,
        }
        known = {"seq": len(self.gaps) + 1, "conn": 1, "instrument": instrument, "expected": False, "healed": False}
        self.gaps.append({**origin, **known, "from_ns": from_ns, "to_ns": to_ns, "cause": cause})

    def store(self, settings: Timescale) -> None:
        schema.apply(conninfo_of(settings), settings)
        with psycopg.connect(conninfo_of(settings)) as connection:
            make_partitions(connection, {row["ts"].date() for stream in self.streams.values() for _, row in stream})
            for stream in self.streams.values():
                for seq, (_, row) in enumerate(stream, 1):
                    row.setdefault("seq", seq)
                for table in {table for table, _ in stream}:
                    insert(connection, table, [row for each, row in stream if each == table])
            insert(connection, "data_gaps", self.gaps)


def nullable(name: str, value: Any) -> Any:
    """As the database should have it: absent is NULL."""
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, bytes):
        return plain.decode() or None
    if isinstance(plain, float):
        return None if np.isnan(plain) else plain
    if name in ("match_id", "match_ns", "block_trade_leg_count", "prev_change_id"):
        return plain or None
    return None if NULL_INTEGER.get(name) == plain else plain


def insert(connection: psycopg.Connection, table: str, found: list[dict[str, Any]]) -> None:
    if not found:
        return
    columns = sql.SQL(", ").join(map(sql.Identifier, found[0]))
    with connection.cursor().copy(sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), columns)) as copy:
        for row in found:
            copy.write_row(list(row.values()))
