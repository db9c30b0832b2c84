"""The sink against a real QuestDB: what is stored, what is sent again, what is refused."""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rows import DAY_NS, FLAGS, TIMES, made, row_of, table_of
from servers.questdb import QuestdbServer, running
from tickbay.clock import Clock
from tickbay.config import Questdb
from tickbay.cursor import START, CursorFile, Position
from tickbay.embedded import free_port
from tickbay.errors import SinkDown, SinkParked
from tickbay.files import Files
from tickbay.gap import Cause
from tickbay.record import Kind, Records, stream_name
from tickbay.sinks.orders import Orders
from tickbay.sinks.questdb import BEGINNING, QuestdbSink
from tickbay.sinks.questdb_columns import SHAPES
from tickbay.sinks.rewind import Marks
from tickbay.sinks.sink import Chunk, Hole

NOW_NS = time.time_ns()
MINUTE_NS = NOW_NS // DAY_NS * DAY_NS
BOOKS = "feed-1.book"
WAIT_S = 20.0


class Keeper(Clock):
    """Sinks over one folder, as the writers of one machine one after another."""

    def __init__(self, folder: Path, stack: ExitStack, server: QuestdbServer) -> None:
        (folder / "cursors").mkdir(exist_ok=True)
        self.folder, self.server, self._stack = folder, server, stack
        self.now_ns = NOW_NS
        self.rewinds: list[str] = []

    def unix_ns(self) -> int:
        return self.now_ns

    def sink(self, settings: Questdb | None = None) -> QuestdbSink:
        settings = settings or self.server.settings
        path = self.folder / "cursors" / "questdb"
        cursor = CursorFile(path.with_suffix(".cursor"), Files())
        self._stack.callback(cursor.close)
        marks = Marks(path.with_suffix(".marks"), Files(), keep_s=settings.rewind_minutes * 60)
        sink = QuestdbSink(
            settings,
            cursor,
            marks,
            Orders(self.folder, "questdb"),
            clock=self,
            on_rewind=lambda why, minutes: self.rewinds.append(f"{minutes:g} {why}"),
        )
        self._stack.callback(sink.close)
        return sink

    def settle(self, sink: QuestdbSink) -> dict[str, Position]:
        """As the writer at its end: wait and save."""
        settled = dict(sink.settled(WAIT_S))
        sink._cursor.save(settled)
        return settled


@pytest.fixture
def keeper(tmp_path: Path, questdb: QuestdbServer) -> Iterator[Keeper]:
    with ExitStack() as stack:
        yield Keeper(tmp_path, stack, questdb)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Callable[..., Keeper]]:
    """A server of its own for a test that ends or changes it."""
    with ExitStack() as stack:

        def make(**settings: str) -> Keeper:
            return Keeper(tmp_path, stack, stack.enter_context(running(**settings)))

        yield make


def chunk(kind: Kind, records: Records, *, feed: str = "feed-1", epoch: int = 7) -> Chunk:
    return Chunk(stream=stream_name(feed, kind), kind=kind, epoch=epoch, records=records)


def books(count: int, *, first_seq: int = 1, feed: str = "feed-1") -> Chunk:
    records = made(Kind.BOOK, count, first_seq=first_seq, at_ns=MINUTE_NS)
    records["exch_ns"] = MINUTE_NS + records["seq"].astype("<i8") * 1000  # the same whenever it is sent again
    return chunk(Kind.BOOK, records, feed=feed)


def stored(server: QuestdbServer, table: str) -> list[dict[str, Any]]:
    """Rows with times as nanoseconds."""
    shape = SHAPES[table]
    chosen = [f"{name}::LONG" if type == "TIMESTAMP_NS" else name for name, type in shape.items()]
    rows = server.query(f"SELECT {', '.join(chosen)} FROM {table} ORDER BY stream, epoch, seq")
    return [dict(zip(shape, row, strict=True)) for row in rows]


def maintain(sink: QuestdbSink) -> None:
    """As a writer that has nothing to write."""
    for _ in range(100):
        sink.maintain()
        time.sleep(0.05)


def sequences(server: QuestdbServer, table: str = "book_changes") -> list[int]:
    return [seq for (seq,) in server.query(f"SELECT seq FROM {table} ORDER BY seq")]


def expected(kind: Kind, record: Any, stream: str, epoch: int = 7) -> dict[str, Any]:
    """The row, out of what the other database has."""
    row = row_of(kind, record, stream, epoch)
    for column, field in ({"ts": "exch_ns"} | TIMES.get(kind, {})).items():
        row[column] = int(record[field]) or None
    del row["exch_ns"]
    return row


@pytest.mark.parametrize("kind", list(Kind))
def test_every_row_is_the_record_that_was_sent(keeper: Keeper, kind: Kind) -> None:
    records = made(kind, 500, at_ns=MINUTE_NS)
    stream = stream_name("feed-1", kind)
    sink = keeper.sink()
    assert sink.open([stream]) == {stream: START}
    committed = sink.commit([chunk(kind, records[:200]), chunk(kind, records[200:])])
    assert (committed.rows, committed.quarantined) == (500, 0)
    assert keeper.settle(sink) == {stream: Position(7, 500)}
    tables = {table_of(kind, int(record["flags"])) for record in records}
    found = {(table, row["seq"]): row for table in tables for row in stored(keeper.server, table)}
    assert len(found) == 500
    for record in records:
        assert found[table_of(kind, int(record["flags"])), int(record["seq"])] == expected(kind, record, stream)
    assert FLAGS.get(kind, {}).keys() <= SHAPES[tables.pop()].keys()
    assert keeper.sink().open([stream]) == {stream: Position(7, 500)}


def test_what_is_sent_again_is_there_once(keeper: Keeper) -> None:
    """SINK-2: the writer died after the server had the rows and before it saved its cursor."""
    for _ in range(3):
        sink = keeper.sink()
        assert sink.open([BOOKS]) == {BOOKS: START}
        sink.commit([books(3000)])
        sink.settled(WAIT_S)
    assert sequences(keeper.server) == list(range(1, 3001))


def test_rows_of_another_epoch_are_other_rows(keeper: Keeper) -> None:
    """SINK-2: a journal that was made anew counts from 1 again, and a replayed day has the same times."""
    sink = keeper.sink()
    sink.open([BOOKS])
    records = made(Kind.BOOK, 10, at_ns=MINUTE_NS)
    sink.commit([chunk(Kind.BOOK, records), chunk(Kind.BOOK, records, epoch=8), books(3, feed="feed-2")])
    sink.settled(WAIT_S)
    found = keeper.server.query("SELECT stream, epoch, count() FROM book_changes ORDER BY stream, epoch")
    assert found == [["feed-1.book", 7, 10], ["feed-1.book", 8, 10], ["feed-2.book", 7, 3]]


def test_a_batch_of_several_requests_arrives_whole(keeper: Keeper) -> None:
    """Each request is encoded while the one before is on its way."""
    sink = keeper.sink()
    streams = [BOOKS, "feed-1.quote", "feed-2.quote"]
    sink.open(streams)
    quotes = made(Kind.QUOTE, 15_000, at_ns=MINUTE_NS)
    committed = sink.commit(
        [
            chunk(Kind.QUOTE, quotes),
            books(60_000),
            chunk(Kind.QUOTE, quotes[:9000], feed="feed-2"),
            books(9, first_seq=60_001),
        ]
    )
    assert committed.bytes > 3 * (8 << 20)
    assert committed.rows == 84_009
    sink.settled(WAIT_S)
    assert sequences(keeper.server) == list(range(1, 60_010))
    counts = [
        keeper.server.query(f"SELECT count() FROM {table}")[0][0] for table in ("option_quotes", "delta_one_quotes")
    ]
    assert sum(counts) == 24_000


def test_rows_are_those_that_the_client_s_own_encoder_makes(keeper: Keeper) -> None:
    """The lines of native/ilp.c and those of QuestDB's client, by what the server returns of both."""
    client = pytest.importorskip("questdb", reason="QuestDB's client is not installed")
    records = made(Kind.QUOTE, 300, at_ns=MINUTE_NS)
    records["flags"] = 4
    sink = keeper.sink()
    sink.open(["feed-1.quote"])
    sink.commit([chunk(Kind.QUOTE, records)])
    shape = SHAPES["option_quotes"]
    with client.Sender.from_conf(f"http::addr=127.0.0.1:{keeper.server.port};auto_flush=off;") as sender:
        for record in records:
            row = {
                name: value
                for name, value in expected(Kind.QUOTE, record, "feed-1.quote", 8).items()
                if value is not None
            }
            at = client.TimestampNanos(row.pop("ts"))
            symbols = {name: row.pop(name) for name, type in shape.items() if type == "SYMBOL" and name in row}
            sender.row("option_quotes", symbols=symbols, columns=row, at=at)
    sink.settled(WAIT_S)
    while keeper.server.query("SELECT name FROM wal_tables() WHERE writerTxn < sequencerTxn"):
        time.sleep(0.05)
    rows = stored(keeper.server, "option_quotes")
    ours, theirs = ([row | {"epoch": 0} for row in rows if row["epoch"] == epoch] for epoch in (7, 8))
    assert len(ours) == 300
    assert ours == theirs


# ---------------------------------------------------------------- the cursor


def test_the_cursor_waits_until_the_rows_are_applied(keeper: Keeper) -> None:
    """SINK-2: a suspended table acknowledges all the same."""
    sink = keeper.sink()
    sink.open([BOOKS])
    sink.commit([books(100)])
    assert sink.settled(WAIT_S) == {BOOKS: Position(7, 100)}
    keeper.server.query("ALTER TABLE book_changes SUSPEND WAL")
    committed = sink.commit([books(50, first_seq=101)])
    assert committed.rows == 50
    assert sink.settled(1.0) == {BOOKS: Position(7, 100)}
    with pytest.raises(SinkDown, match=r"suspended: book_changes.*tickbay sink resume questdb"):
        sink.open([BOOKS])
    keeper.server.query("ALTER TABLE book_changes RESUME WAL")
    assert sink.open([BOOKS]) == {BOOKS: Position(7, 100)}
    sink.commit([books(60, first_seq=101)])
    assert sink.settled(WAIT_S) == {BOOKS: Position(7, 160)}
    assert sequences(keeper.server) == list(range(1, 161))


def test_a_suspended_table_is_noticed_while_nothing_is_written(keeper: Keeper) -> None:
    sink = keeper.sink()
    sink.open([BOOKS])
    keeper.server.query("ALTER TABLE option_trades SUSPEND WAL")
    with pytest.raises(SinkDown, match="suspended: option_trades"):
        maintain(sink)


@pytest.mark.slow
def test_a_restarted_server_gets_the_last_quarter_of_an_hour_again(own: Callable[..., Keeper]) -> None:
    """SINK-2: what was acknowledged may have been in the page cache only."""
    keeper = own()
    sink = keeper.sink()
    sink.open([BOOKS])
    for number in range(40):  # a minute each
        sink.commit([books(100, first_seq=1 + 100 * number)])
        assert keeper.settle(sink) == {BOOKS: Position(7, 100 * (number + 1))}
        keeper.now_ns += 60 * 10**9
    keeper.server.query("TRUNCATE TABLE book_changes")  # as if all of it had been lost
    keeper.server.stop(signal.SIGKILL)
    with pytest.raises(SinkDown):
        sink.commit([books(1, first_seq=4001)])
    keeper.server.start()
    assert sink.open([BOOKS]) == {BOOKS: Position(7, 2600)}
    assert keeper.rewinds[0].startswith("15 the server was started at")
    sink.commit([books(1500, first_seq=2601)])
    assert keeper.settle(sink) == {BOOKS: Position(7, 4100)}
    assert sequences(keeper.server) == list(range(2601, 4101))
    # The same where the writer did not run meanwhile; and once only.
    keeper.server.stop(signal.SIGKILL)
    keeper.server.start()
    keeper.now_ns += 60 * 10**9
    again = keeper.sink()
    assert again.open([BOOKS])[BOOKS] < Position(7, 4100)
    again.commit([books(4100)])
    keeper.settle(again)
    assert keeper.sink().open([BOOKS]) == {BOOKS: Position(7, 4100)}
    assert len(keeper.rewinds) == 2


@pytest.mark.slow
def test_a_server_restarted_between_two_batches_is_noticed(own: Callable[..., Keeper]) -> None:
    keeper = own()
    sink = keeper.sink()
    sink.open([BOOKS])
    sink.commit([books(10)])
    keeper.settle(sink)
    keeper.server.stop(signal.SIGKILL)
    keeper.server.start()
    with pytest.raises(SinkDown, match="restarted"):
        maintain(sink)


def test_the_operator_can_ask_to_go_back(keeper: Keeper) -> None:
    sink = keeper.sink()
    sink.open([BOOKS])
    sink.commit([books(10)])
    keeper.settle(sink)
    Orders(keeper.folder, "questdb").go_back(30)
    with pytest.raises(SinkDown, match="as asked"):
        maintain(sink)
    assert sink.open([BOOKS]) == {BOOKS: BEGINNING}
    assert keeper.sink().open([BOOKS]) == {BOOKS: BEGINNING}  # once asked, and kept
    assert len(keeper.rewinds) == 1


def test_a_hole_that_was_applied_before_the_cursor_went_back_is_none(keeper: Keeper) -> None:
    """JRNL-3: a real one is told in data_gaps."""
    sink = keeper.sink()
    sink.open([BOOKS])
    sink.commit([books(100)])
    keeper.settle(sink)
    Orders(keeper.folder, "questdb").go_back(30)
    sink = keeper.sink()
    assert sink.open([BOOKS]) == {BOOKS: BEGINNING}
    from_ns, to_ns = NOW_NS - 60 * 10**9, NOW_NS - 1
    hole = Hole(BOOKS, Kind.BOOK, 7, 1, 90, Cause.JOURNAL_QUOTA, from_ns, to_ns)
    further = Hole(BOOKS, Kind.BOOK, 7, 96, 120, Cause.JOURNAL_QUOTA, from_ns, to_ns)
    sink.commit([books(5, first_seq=91), books(5, first_seq=121)], [hole, further])
    sink.close()  # killed before it knew that this was applied: the successor meets the same hole once more
    sink = keeper.sink()
    sink.open([BOOKS])
    sink.commit([books(5, first_seq=91), books(5, first_seq=121)], [hole, further])
    assert keeper.settle(sink) == {BOOKS: Position(7, 125)}
    (row,) = stored(keeper.server, "data_gaps")
    assert (row["first_missing"], row["last_missing"], row["count"]) == (101, 120, 20)
    assert (row["cause"], row["kind"], row["stream"], row["expected"]) == ("journal_quota", "book", BOOKS, False)
    assert (row["from_ns"], row["to_ns"], row["feed"]) == (from_ns, to_ns, "feed-1")


# ---------------------------------------------------------------- what the server refuses


def test_poison_rows_are_quarantined_and_their_neighbours_land(keeper: Keeper) -> None:
    """SINK-4, TIME-1."""
    records = made(Kind.TRADE, 2000, at_ns=MINUTE_NS)
    records["flags"] = 4
    poison = {3: "text", 4: "text", 700: "time", 999: "text", 1500: "varchar", 1999: "text"}
    for index, what in poison.items():
        if what == "text":
            records["instrument"][index] = b"\xff\xfe not UTF-8"
        elif what == "varchar":  # the server would store it as it is
            records["combo_id"][index] = b"\xc3"
        else:
            records["exch_ns"][index] = 148_000 * 365 * DAY_NS // 1000
    sink = keeper.sink()
    sink.open(["feed-1.trade"])
    committed = sink.commit([chunk(Kind.TRADE, records[:1000]), chunk(Kind.TRADE, records[1000:])])
    assert (committed.rows, committed.quarantined) == (2000 - len(poison), len(poison))
    keeper.settle(sink)
    bad = {int(records["seq"][index]) for index in poison}
    assert sequences(keeper.server, "option_trades") == [seq for seq in range(1, 2001) if seq not in bad]
    rows = stored(keeper.server, "quarantine")
    assert [row["seq"] for row in rows] == sorted(bad)
    for row, index in zip(rows, poison, strict=True):
        assert (row["sink"], row["stream"], row["epoch"]) == ("questdb", "feed-1.trade", 7)
        assert (row["kind"], row["table_name"]) == ("trade", "option_trades")
        assert row["reason"]
        assert bytes.fromhex(row["record"]) == records[index].tobytes()


def test_hostile_names_are_data(keeper: Keeper) -> None:
    names = [
        b"'; DROP TABLE book_changes; --",
        "\u202egnp.exe".encode(),
        b'a b,c=d\\ "e"\t',
        b"x,y=1 z=2i 3\nbook_changes,stream=evil seq=1i 4",
        b"tr;drop",
    ]
    batch = books(len(names))
    batch.records["instrument"] = names
    sink = keeper.sink()
    sink.open([BOOKS])
    sink.commit([batch])
    keeper.settle(sink)
    assert [row["instrument"].encode() for row in stored(keeper.server, "book_changes")] == names


# ---------------------------------------------------------------- what the operator must mend


@pytest.mark.slow
def test_a_server_with_a_password_takes_ours_and_no_other(own: Callable[..., Keeper]) -> None:
    keeper = own(http__user="tick", http__password="canary-right")
    right = replace(keeper.server.settings, user="tick", password="canary-right")
    sink = keeper.sink(right)
    sink.open([BOOKS])
    sink.commit([books(10)])
    assert keeper.settle(sink) == {BOOKS: Position(7, 10)}
    for wrong in (keeper.server.settings, replace(right, password="canary-wrong")):
        with pytest.raises(SinkParked) as caught:
            keeper.sink(wrong).open([BOOKS])
        assert str(caught.value) == "HTTP 401: check questdb.user and the password, or the token"
        assert "canary" not in "".join(traceback.format_exception(caught.value)) + repr(keeper.sink(wrong))


def test_an_unreachable_server_is_down_not_parked(keeper: Keeper) -> None:
    with pytest.raises(SinkDown, match="refused"):
        keeper.sink(Questdb(port=free_port())).open([BOOKS])


def test_a_server_that_is_another_one_parks_the_sink(keeper: Keeper) -> None:
    with pytest.raises(SinkParked, match="is called qdb, not ticks"):
        keeper.sink(replace(keeper.server.settings, database="ticks")).open([BOOKS])


@pytest.mark.parametrize(
    ("made_before", "told"),
    [
        ("(ts TIMESTAMP_NS, stream SYMBOL, epoch INT, seq LONG, price LONG) TIMESTAMP(ts) PARTITION BY DAY WAL"
         " DEDUP UPSERT KEYS(ts, stream, epoch, seq)", "book_changes.price is LONG, should be DOUBLE"),
        ("(ts TIMESTAMP, stream SYMBOL, epoch INT, seq LONG) TIMESTAMP(ts) PARTITION BY DAY WAL",
         "book_changes.ts is TIMESTAMP, should be TIMESTAMP_NS"),
        ("(ts TIMESTAMP_NS, stream SYMBOL) TIMESTAMP(ts) PARTITION BY DAY BYPASS WAL", "book_changes is no WAL table"),
    ],
    ids=["column", "time", "WAL"],
)  # fmt: skip
def test_a_table_of_another_shape_parks_the_sink_and_names_what_differs(
    keeper: Keeper, made_before: str, told: str
) -> None:
    keeper.server.query(f"CREATE TABLE book_changes {made_before}")
    with pytest.raises(SinkParked) as caught:
        keeper.sink().open([BOOKS])
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_column_that_vanishes_parks_the_sink_until_it_is_back(keeper: Keeper) -> None:
    sink = keeper.sink()
    sink.open([BOOKS])
    sink.commit([books(5)])
    keeper.settle(sink)
    keeper.server.query("ALTER TABLE book_changes RENAME COLUMN action TO deed")

    def commit_twice() -> None:
        """A connection that has written before may learn of it only with its next request."""
        for _ in range(2):
            sink.commit([books(500, first_seq=6)])

    with pytest.raises(SinkParked, match=r"action does not exist|refused"):
        commit_twice()
    with pytest.raises(SinkParked, match=r"book_changes\.action is missing"):
        sink.open([BOOKS])
    keeper.server.query("ALTER TABLE book_changes RENAME COLUMN deed TO action")
    while "action" not in {row[0] for row in keeper.server.query("SHOW COLUMNS FROM book_changes")}:
        time.sleep(0.05)
    (known,) = sink.open([BOOKS]).values()
    assert known in (Position(7, 5), Position(7, 505)), "what was taken before it noticed is applied, or comes again"
    again = books(500, first_seq=known.seq + 1)
    sink.commit([again])
    keeper.settle(sink)
    found = {row["seq"]: row for row in stored(keeper.server, "book_changes")}
    assert sorted(found) == list(range(1, known.seq + 501))
    for record in (*books(500, first_seq=6).records, *again.records):
        assert found[int(record["seq"])] == expected(Kind.BOOK, record, BOOKS)


# ---------------------------------------------------------------- the tables


def test_ticks_are_kept_as_long_as_the_settings_say(keeper: Keeper) -> None:
    def kept() -> dict[str, list[Any]]:
        time.sleep(0.5)  # the server carries it out later
        rows = keeper.server.query("SELECT table_name, ttlValue, ttlUnit, partitionBy FROM tables()")
        return {row[0]: row[1:] for row in rows}

    keeper.sink(replace(keeper.server.settings, retain_days=30, partition="HOUR")).open([BOOKS])
    assert kept()["book_changes"] == [30, "DAY", "HOUR"]
    assert kept()["collector_status"] == [90, "DAY", "DAY"]
    assert kept()["data_gaps"][0] == kept()["instruments"][0] == 0
    keeper.sink().open([BOOKS])
    assert kept()["book_changes"][0] == 0
