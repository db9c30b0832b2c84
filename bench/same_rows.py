"""The same rows of the same 8 columns on both sides: asyncpg's executemany into an older collector's table and key (the
peer's interpreter, peer_stores.py), and the writer's commits, its own code with a table of those columns. And those of
the real table, 43 columns, beside them.

In turn, BATCH rows a transaction. What a commit of ours does more: it moves the cursor, which makes a row come once
where there it is the key. The index is that of our tables. What lies in both tables is compared by the server.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psycopg

from bench import peer
from bench.bench_encode import records_of
from bench.result import Size, median
from tickbay import _native, demo
from tickbay.config import Timescale
from tickbay.embedded import USER, EmbeddedServer
from tickbay.record import DTYPES, Flag, Kind, Records
from tickbay.sinks.columns import Column, Table
from tickbay.sinks.load import sort
from tickbay.sinks.sink import Chunk, ends_of
from tickbay.sinks.timescale import TimescaleSink

BATCH = 10_000
EPOCH = 1
BEGAN_NS = 1_767_225_600 * 10**9  # as in peer_stores.py, and so are the values
OPTIONS = 830
PRICES = (
    ("bid_price", "bid_price"),
    ("bid_size", "bid_amount"),
    ("ask_price", "ask_price"),
    ("ask_size", "ask_amount"),
    ("underlying_price", "underlying_price"),
    ("mark_price", "mark_price"),
)
COPIED = Table(
    "copied_quotes",
    Kind.QUOTE,
    (
        Column("timestamp", _native.PGCOPY_TIMESTAMPTZ, "exch_ns"),
        Column("instrument", _native.PGCOPY_TEXT, "instrument"),
        *(Column(name, _native.PGCOPY_FLOAT8, field) for name, field in PRICES),
    ),
)
MAKE = """
    CREATE TABLE copied_quotes (timestamp timestamptz NOT NULL, instrument text NOT NULL, bid_price float8,
        bid_size float8, ask_price float8, ask_size float8, underlying_price float8, mark_price float8);
    CREATE INDEX ON copied_quotes USING brin (timestamp, date_bin('1 minute', timestamp, '2000-01-01 00:00Z'))
        WITH (pages_per_range = 32, autosummarize = on);
"""
UNLIKE = """
    SELECT count(*) FROM older_quotes FULL JOIN copied_quotes AS copied USING (timestamp, instrument)
    WHERE (older_quotes.bid_price, older_quotes.bid_size, older_quotes.ask_price, older_quotes.ask_size,
           older_quotes.underlying_price, older_quotes.mark_price) IS DISTINCT FROM
          (copied.bid_price, copied.bid_size, copied.ask_price, copied.ask_size, copied.underlying_price,
           copied.mark_price)
"""


@dataclass(frozen=True, slots=True)
class Rates:
    """Rows a second, medians."""

    peer: float
    same: float  # ours, the same 8 columns
    whole: float  # ours, option_quotes
    rows: int  # compared


def measure(server: EmbeddedServer, python: Path, size: Size) -> Rates:
    rows, turns = size.of(10 * BATCH, 1_000), size.of(5, 2)
    batch = size.of(BATCH, 500)
    settings = Timescale(port=server.port, user=USER, password=server.password, dbname=demo.DATABASE)
    wide = np.resize(records_of(size)[Kind.QUOTE], rows)
    wide["exch_ns"] = time.time_ns()
    theirs, same, whole = [], [], []
    with psycopg.connect(server.conninfo(demo.DATABASE)) as connection, closing(TimescaleSink(settings)) as sink:
        connection.execute(MAKE)
        connection.commit()
        sink.open(["same.quote", "whole.quote"])
        for turn in range(turns):
            theirs.append(rows / executemany(server, python, turn * rows, rows, batch))
            records = quotes(turn * rows, rows)
            same.append(rows / commit_same(sink, records, batch))
            wide["seq"] = records["seq"]
            whole.append(rows / commit_whole(sink, wide, batch))
        found = connection.execute(f"SELECT (SELECT count(*) FROM copied_quotes), ({UNLIKE})").fetchone()
        assert found == (turns * rows, 0), f"rows of ours, and rows that are not alike: {found}"
        (stored,) = connection.execute("SELECT count(*) FROM option_quotes").fetchone() or (0,)
        assert stored == turns * rows
    return Rates(median(theirs), median(same), median(whole), turns * rows)


def executemany(server: EmbeddedServer, python: Path, first: int, rows: int, batch: int) -> float:
    """Seconds."""
    arguments = (str(first), str(rows), str(batch), str(server.port), USER, demo.DATABASE)
    answer = peer.ask(python, "executemany", *arguments, program=peer.STORES)
    assert answer["rows"] == first + rows, answer
    return float(answer["seconds"])


def quotes(first: int, rows: int) -> Records:
    """Rows `first` … as peer_stores.executemany() makes them."""
    numbers = np.arange(first, first + rows)
    records = np.zeros(rows, DTYPES[Kind.QUOTE])
    records["seq"], records["flags"] = numbers + 1, Flag.OPTION
    records["exch_ns"] = records["recv_ns"] = BEGAN_NS + numbers * 1000
    records["instrument"] = [f"ETH-1JAN27-{number}-C" for number in (numbers % OPTIONS).tolist()]
    for index, (_, field) in enumerate(PRICES):
        records[field] = numbers / 7 + index
    return records


def commit_same(sink: TimescaleSink, records: Records, batch: int) -> float:
    """Seconds. The sink's own transaction, cursor and COPY; only the table is another one."""
    began = time.monotonic()
    for start in range(0, len(records), batch):
        chunk = Chunk("same.quote", Kind.QUOTE, EPOCH, records[start : start + batch])
        load, ends = sort([chunk], now_ns=time.time_ns()), ends_of([chunk], ())
        load.tables = [(COPIED, pieces) for _, pieces in load.tables]
        assert sink._transact(load, ends, (), careful=False).rows == len(chunk.records)
        sink._cursors.update(ends)
    return time.monotonic() - began


def commit_whole(sink: TimescaleSink, records: Records, batch: int) -> float:
    """Seconds."""
    began = time.monotonic()
    for start in range(0, len(records), batch):
        chunk = Chunk("whole.quote", Kind.QUOTE, EPOCH, records[start : start + batch])
        assert sink.commit([chunk]).rows == len(chunk.records)
    return time.monotonic() - began
