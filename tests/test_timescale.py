"""The sink against real servers: what is stored, what is refused, and who loses when two write."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from rows import DAY_NS, made, row_of, table_of
from servers.cable import Cable
from servers.postgres import fresh_database, running
from tickbay.config import Timescale
from tickbay.cursor import START, Position
from tickbay.embedded import EmbeddedServer, free_port
from tickbay.errors import SinkDown, SinkParked
from tickbay.gap import Cause
from tickbay.record import Kind, Records, stream_name
from tickbay.sinks.connection import conninfo_of
from tickbay.sinks.partitions import Edition
from tickbay.sinks.sink import Chunk, CursorMoved, Hole
from tickbay.sinks.timescale import TimescaleSink

NOW_NS = time.time_ns()
MINUTE_NS = NOW_NS // DAY_NS * DAY_NS  # today's first minute: never split by midnight


@pytest.fixture(params=["postgres_server", "timescale_server"])
def settings(request: pytest.FixtureRequest) -> Timescale:
    """A fresh database of each edition that this machine can run."""
    return fresh_database(request.getfixturevalue(request.param))


@pytest.fixture
def open_sink(settings: Timescale) -> Iterator[Callable[..., TimescaleSink]]:
    """Make sinks on the fixture's database (or on other settings); they are closed afterwards."""
    with ExitStack() as stack:

        def make(settings: Timescale = settings, **options: Any) -> TimescaleSink:
            return stack.enter_context(closing(TimescaleSink(settings, **options)))

        yield make


def query(settings: Timescale, text: Any, *arguments: object) -> list[dict[str, Any]]:
    with psycopg.connect(conninfo_of(settings), row_factory=dict_row) as connection:
        return connection.execute(text, arguments or None).fetchall()


def run(settings: Timescale, text: Any) -> None:
    with psycopg.connect(conninfo_of(settings), autocommit=True) as connection:
        connection.execute(text)


def chunk(kind: Kind, records: Records, *, feed: str = "feed-1", epoch: int = 7) -> Chunk:
    return Chunk(stream=stream_name(feed, kind), kind=kind, epoch=epoch, records=records)


def books(count: int, *, first_seq: int = 1, feed: str = "feed-1", at_ns: int = MINUTE_NS) -> Chunk:
    return chunk(Kind.BOOK, made(Kind.BOOK, count, first_seq=first_seq, at_ns=at_ns), feed=feed)


def sequences(settings: Timescale, table: str = "book_changes") -> list[int]:
    return [row["seq"] for row in query(settings, f"SELECT seq FROM {table} ORDER BY seq")]


BOOKS = "feed-1.book"


@pytest.mark.parametrize("kind", list(Kind))
def test_every_row_is_the_record_that_was_sent(
    settings: Timescale, open_sink: Callable[..., TimescaleSink], kind: Kind
) -> None:
    records = made(kind, 500, at_ns=MINUTE_NS)
    stream = stream_name("feed-1", kind)
    sink = open_sink()
    assert sink.open([stream]) == {stream: START}
    committed = sink.commit([chunk(kind, records[:200]), chunk(kind, records[200:])])
    assert (committed.rows, committed.quarantined) == (500, 0)
    stored = {}
    for table in {table_of(kind, int(record["flags"])) for record in records}:
        for row in query(settings, f"SELECT * FROM {table}"):
            stored[row["seq"]] = (table, row)
    assert len(stored) == 500
    for record in records:
        expected = (table_of(kind, int(record["flags"])), row_of(kind, record, stream, 7))
        assert stored[int(record["seq"])] == expected
    assert open_sink().open([stream]) == {stream: Position(7, 500)}


def test_one_commit_takes_many_streams_kinds_and_epochs(
    settings: Timescale, open_sink: Callable[..., TimescaleSink]
) -> None:
    trades = made(Kind.TRADE, 20, at_ns=MINUTE_NS)
    sink = open_sink()
    sink.open(["feed-1.book", "feed-2.book", "feed-1.trade"])
    before, after = made(Kind.BOOK, 10, at_ns=MINUTE_NS), made(Kind.BOOK, 5, first_seq=8, at_ns=MINUTE_NS)
    # An epoch that begins at a sequence of the one before: the journal lost its tail, and the numbers come again.
    sink.commit(
        [chunk(Kind.BOOK, before), chunk(Kind.BOOK, after, epoch=8), books(3, feed="feed-2"), chunk(Kind.TRADE, trades)]
    )
    rows = query(settings, "SELECT stream, epoch, count(*) FROM book_changes GROUP BY 1, 2 ORDER BY 1, 2")
    assert [tuple(row.values()) for row in rows] == [
        ("feed-1.book", 7, 10),
        ("feed-1.book", 8, 5),
        ("feed-2.book", 7, 3),
    ]
    assert sink.open(["feed-1.book", "feed-2.book", "feed-1.trade"]) == {
        "feed-1.book": Position(8, 12),
        "feed-2.book": Position(7, 3),
        "feed-1.trade": Position(7, 20),
    }


def test_of_two_writers_one_loses_harmlessly(settings: Timescale, open_sink: Callable[..., TimescaleSink]) -> None:
    """SINK-1."""
    first, second = open_sink(), open_sink()
    first.open([BOOKS])
    second.open([BOOKS])
    first.commit([books(10)])
    with pytest.raises(CursorMoved):
        second.commit([books(15)])
    assert sequences(settings) == list(range(1, 11))
    assert second.open([BOOKS]) == {BOOKS: Position(7, 10)}
    second.commit([books(5, first_seq=11)])
    assert sequences(settings) == list(range(1, 16))


def test_two_rival_writers_lose_no_row_and_store_none_twice(
    settings: Timescale, open_sink: Callable[..., TimescaleSink]
) -> None:
    """SINK-1. Both take what the cursor tells, as fast as they can, until everything is there."""
    total, losses = 3000, []

    def write(sink: TimescaleSink) -> None:
        at = sink.open([BOOKS])[BOOKS]
        while at.seq < total:
            try:
                sink.commit([books(min(50, total - at.seq), first_seq=at.seq + 1)])
                at = Position(7, at.seq + 50)
            except (CursorMoved, SinkDown):  # down: the server found a deadlock of the two, which it may
                losses.append(1)
                at = sink.open([BOOKS])[BOOKS]

    sinks = [open_sink(), open_sink()]
    sinks[0].open([BOOKS])  # one makes the tables
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(write, sink) for sink in sinks]:
            done.result(timeout=60)
    assert sequences(settings) == list(range(1, total + 1))
    assert losses


@pytest.mark.parametrize("arrives", [True, False], ids=["commit arrives", "commit is lost"])
def test_a_connection_cut_during_commit_is_settled_by_the_cursor(
    settings: Timescale, open_sink: Callable[..., TimescaleSink], arrives: bool
) -> None:
    """SINK-1. The writer cannot know whether its COMMIT happened: the cursor that it reads again tells."""
    with Cable(settings.port, cut_at=b"COMMIT", deliver=arrives) as cable:
        sink = open_sink(replace(settings, port=cable.port, sslmode="disable"))
        sink.open([BOOKS])
        sink.commit([books(10)])  # makes the partition, which has a COMMIT of its own
        cable.arm()
        with pytest.raises(SinkDown):
            sink.commit([books(90, first_seq=11)])
        at = sink.open([BOOKS])[BOOKS]
        assert at == Position(7, 100 if arrives else 10)
        sink.commit([books(150 - at.seq, first_seq=at.seq + 1)])
    assert sequences(settings) == list(range(1, 151))


def test_a_connection_cut_within_a_copy_leaves_nothing(
    settings: Timescale, open_sink: Callable[..., TimescaleSink]
) -> None:
    with Cable(settings.port, cut_at=b"PGCOPY", deliver=True) as cable:
        sink = open_sink(replace(settings, port=cable.port, sslmode="disable"))
        sink.open([BOOKS])
        cable.arm()
        with pytest.raises(SinkDown):
            sink.commit([books(5000)])
        assert sequences(settings) == []
        assert sink.open([BOOKS]) == {BOOKS: START}
        sink.commit([books(5000)])
    assert len(sequences(settings)) == 5000


def test_a_crashed_server_costs_no_row_and_doubles_none() -> None:
    """SINK-1. Stopped as by a crash between two commits and again within one."""
    with running(fsync="on") as server, closing(TimescaleSink(fresh_database(server))) as sink:
        settings = sink._settings
        sink.open([BOOKS])
        sink.commit([books(1000)])
        server.stop("immediate")
        with pytest.raises(SinkDown):
            sink.commit([books(10, first_seq=1001)])
        with pytest.raises(SinkDown):
            sink.open([BOOKS])
        server.start()
        assert sink.open([BOOKS]) == {BOOKS: Position(7, 1000)}
        sink.commit([books(10, first_seq=1001)])
        assert sequences(settings) == list(range(1, 1011))


# ---------------------------------------------------------------- what the database refuses


def test_poison_rows_are_quarantined_and_their_neighbours_land(
    settings: Timescale, open_sink: Callable[..., TimescaleSink]
) -> None:
    """SINK-4, TIME-1."""
    records = made(Kind.TRADE, 2000, at_ns=MINUTE_NS)
    records["flags"] = 4
    poison = {3: "text", 4: "text", 700: "time", 999: "text", 1500: "empty", 1999: "text"}
    for index, what in poison.items():
        if what == "text":
            records["trade_id"][index] = b"\xff\xfe not UTF-8"
        elif what == "time":
            records["exch_ns"][index] = 148_000 * 365 * DAY_NS // 1000
        else:
            records["instrument"][index] = b""
    sink = open_sink()
    sink.open(["feed-1.trade"])
    committed = sink.commit([chunk(Kind.TRADE, records[:1000]), chunk(Kind.TRADE, records[1000:])])
    assert (committed.rows, committed.quarantined) == (2000 - len(poison), len(poison))
    bad = {int(records["seq"][index]) for index in poison}
    assert sequences(settings, "option_trades") == [seq for seq in range(1, 2001) if seq not in bad]
    rows = query(settings, "SELECT * FROM quarantine ORDER BY seq")
    assert [row["seq"] for row in rows] == sorted(bad)
    states = {"text": "22021", "time": None, "empty": "23502"}
    for row, (index, what) in zip(rows, poison.items(), strict=True):
        assert (row["sink"], row["stream"], row["epoch"]) == ("timescale", "feed-1.trade", 7)
        assert (row["kind"], row["table_name"], row["sqlstate"]) == ("trade", "option_trades", states[what])
        assert row["reason"]
        assert row["record"] == records[index].tobytes()
    assert sink.open(["feed-1.trade"]) == {"feed-1.trade": Position(7, 2000)}


@pytest.mark.parametrize("state", ["22003", "23503", "44000", "P0001"])
def test_a_row_that_a_rule_of_the_operator_refuses_is_quarantined(
    settings: Timescale, open_sink: Callable[..., TimescaleSink], state: str
) -> None:
    """SINK-4. Class 44 (a view's check option) parked the whole sink: the driver counts it among mistakes in SQL."""
    sink = open_sink()
    sink.open([BOOKS])
    sink.commit([books(5)])
    run(
        settings,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$;"
        "CREATE TRIGGER refuse BEFORE INSERT ON book_changes FOR EACH ROW WHEN (NEW.seq = 8) EXECUTE FUNCTION refuse()",
    )
    assert sink.commit([books(5, first_seq=6)]).quarantined == 1
    assert sequences(settings) == [1, 2, 3, 4, 5, 6, 7, 9, 10]
    assert query(settings, "SELECT seq, sqlstate FROM quarantine") == [{"seq": 8, "sqlstate": state}]


def test_rows_of_an_insane_time_make_no_partition(settings: Timescale, open_sink: Callable[..., TimescaleSink]) -> None:
    """TIME-1."""
    batch = books(3)
    batch.records["exch_ns"] = [0, 1, (1 << 63) - 1]
    sink = open_sink()
    sink.open([BOOKS])
    assert sink.commit([batch, books(1, first_seq=4)]).quarantined == 3
    assert sequences(settings) == [4]
    children = query(settings, "SELECT 1 FROM pg_inherits WHERE inhparent = 'book_changes'::regclass")
    assert len(children) == 1


def test_too_much_poison_parks_the_sink_and_stores_nothing(
    settings: Timescale, open_sink: Callable[..., TimescaleSink]
) -> None:
    """SINK-4: above 1 % it is no poison row but another schema."""
    batch = books(20_000)
    batch.records["instrument"][::60] = b""  # 1.7 %, and more than the burst that is allowed
    sink = open_sink()
    sink.open([BOOKS])
    with pytest.raises(SinkParked, match="another schema"):
        sink.commit([batch])
    assert sequences(settings) == []
    assert query(settings, "SELECT * FROM quarantine") == []
    assert sink.open([BOOKS]) == {BOOKS: START}


def test_hostile_names_are_data(settings: Timescale, open_sink: Callable[..., TimescaleSink]) -> None:
    names = [b"'; DROP TABLE book_changes; --", "\u202egnp.exe".encode(), b"%s %(x)s {} \\N \t", b'"; --']
    batch = books(len(names))
    batch.records["instrument"] = names
    sink = open_sink()
    sink.open([BOOKS])
    sink.commit([batch])
    rows = query(settings, "SELECT instrument FROM book_changes ORDER BY seq")
    assert [row["instrument"].encode() for row in rows] == names


# ---------------------------------------------------------------- what the operator must mend


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"password": "hunter2-canary"}, "check timescale.user and the password"),
        ({"dbname": "nowhere"}, "create it with createdb"),
        ({"user": "nobody_here"}, "check timescale.user and the password"),
        ({"sslmode": "require"}, "sslmode"),
    ],
    ids=["password", "database", "user", "TLS"],
)
def test_what_the_operator_must_mend_parks_the_sink_in_one_line(
    postgres_server: EmbeddedServer, change: dict[str, Any], told: str
) -> None:
    settings = replace(fresh_database(postgres_server), **change)
    with closing(TimescaleSink(settings)) as sink, pytest.raises(SinkParked) as caught:
        sink.open([BOOKS])
    message = str(caught.value)
    assert told in message
    assert "\n" not in message
    everything = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert settings.password not in everything


def test_an_unreachable_server_is_down_not_parked() -> None:
    with (
        closing(TimescaleSink(Timescale(port=free_port(), password="hunter2-canary"))) as sink,
        pytest.raises(SinkDown) as caught,
    ):
        sink.open([BOOKS])
    assert "refused" in str(caught.value)
    assert "hunter2-canary" not in "".join(traceback.format_exception(caught.value))


def test_a_missing_column_parks_the_sink_until_it_is_back(
    settings: Timescale, open_sink: Callable[..., TimescaleSink]
) -> None:
    sink = open_sink()
    sink.open([BOOKS])
    sink.commit([books(5)])
    run(settings, "ALTER TABLE book_changes RENAME COLUMN action TO deed")
    with pytest.raises(SinkParked, match="42703"):
        sink.commit([books(5, first_seq=6)])
    with pytest.raises(SinkParked, match=r"book_changes\.action is missing"):
        sink.open([BOOKS])
    run(settings, "ALTER TABLE book_changes RENAME COLUMN deed TO action")
    assert sink.open([BOOKS]) == {BOOKS: Position(7, 5)}
    sink.commit([books(5, first_seq=6)])
    assert sequences(settings) == list(range(1, 11))


# ---------------------------------------------------------------- holes, partitions, retention


def test_a_hole_in_the_journal_is_a_gap_in_the_transaction_that_steps_over_it(
    settings: Timescale, open_sink: Callable[..., TimescaleSink]
) -> None:
    """JRNL-3."""
    sink = open_sink()
    sink.open([BOOKS])
    sink.commit([books(5)])
    from_ns, to_ns = NOW_NS - 3_600_000_000_123, NOW_NS - 1
    deleted = Hole(BOOKS, Kind.BOOK, 7, 6, 105, Cause.JOURNAL_QUOTA, from_ns, to_ns)
    damaged = Hole(BOOKS, Kind.BOOK, 7, 111, 111, Cause.JOURNAL_TORN, to_ns, NOW_NS)
    sink.commit([books(5, first_seq=106)], [deleted])
    sink.commit([books(5, first_seq=112)], [damaged])
    told = query(
        settings,
        "SELECT stream, epoch, seq, first_missing, last_missing, count, feed, kind, instrument, cause, detail,"
        " from_ns, to_ns FROM data_gaps ORDER BY seq",
    )
    assert [tuple(row.values()) for row in told] == [
        (BOOKS, 7, 6, 6, 105, 100, "feed-1", "book", None, "journal_quota",
         "the journal deleted these before they were written here", from_ns, to_ns),
        (BOOKS, 7, 111, 111, 111, 1, "feed-1", "book", None, "journal_torn", "damaged in the journal", to_ns, NOW_NS),
    ]  # fmt: skip
    times = "extract(epoch FROM ts) * 1000000 AS ts, extract(epoch FROM to_ts) * 1000000 AS to_ts"
    (row, _) = query(settings, f"SELECT {times} FROM data_gaps ORDER BY seq")
    assert tuple(map(int, row.values())) == (from_ns // 1000, to_ns // 1000 + 1), "GAP-1: rounded apart"
    assert sink.open([BOOKS]) == {BOOKS: Position(7, 116)}


def test_a_row_of_any_day_finds_its_partition(settings: Timescale, open_sink: Callable[..., TimescaleSink]) -> None:
    """A healed row may be years old, and a chunk may span midnight."""
    sink = open_sink()
    sink.open([BOOKS])
    days = [MINUTE_NS - 4000 * DAY_NS, MINUTE_NS - DAY_NS - 30 * 10**9, MINUTE_NS + DAY_NS - 60 * 10**9]
    for number, at_ns in enumerate(days):
        sink.commit([books(100, first_seq=1 + 100 * number, at_ns=at_ns)])
    assert len(sequences(settings)) == 300
    children = query(settings, "SELECT 1 FROM pg_inherits WHERE inhparent = 'book_changes'::regclass")
    assert len(children) == 4
    if sink.edition is Edition.PLAIN:
        # Dropped behind our back, so that the writer's memory of it is wrong.
        run(settings, f"DROP TABLE book_changes_{datetime.fromtimestamp(days[0] / 1e9, UTC):%Y%m%d}")
        sink.commit([books(10, first_seq=301, at_ns=days[0])])
        assert len(sequences(settings)) == 210


def test_only_days_older_than_wanted_are_dropped(settings: Timescale, open_sink: Callable[..., TimescaleSink]) -> None:
    settings = replace(settings, retain_days=3, status_retain_days=10)
    sink = open_sink(settings)
    sink.open([BOOKS, "feed-1.status"])
    for day in range(15):
        at_ns = MINUTE_NS - day * DAY_NS
        status = made(Kind.STATUS, 1, first_seq=day + 1, at_ns=at_ns)
        sink.commit([books(1, first_seq=day + 1, at_ns=at_ns), chunk(Kind.STATUS, status)])
    told = sink.maintain()
    assert any("book_changes" in line for line in told)
    assert any("collector_status" in line for line in told)
    # A day goes when all of it is too old: of today and 3 days before, the oldest is kept in part.
    assert sequences(settings) == [1, 2, 3, 4]
    assert sequences(settings, "collector_status") == list(range(1, 12))
    assert sink.maintain() == []  # once an hour
    if sink.edition is Edition.PLAIN:
        ahead = f"book_changes_{datetime.fromtimestamp(time.time() + 3 * 86_400, UTC):%Y%m%d}"
        assert query(settings, "SELECT to_regclass(%s) IS NOT NULL AS made", ahead) == [{"made": True}]
    sink.commit([books(1, first_seq=16)])
