"""The audit against a real PostgreSQL: it sees one lost, one doubled or one wrong row among thousands, nothing else."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from audited import EPOCH, Stored, began_ns, insert, play
from servers.postgres import fresh_database
from tickbay import audit, schema
from tickbay.audit.columns import COLUMNS
from tickbay.audit.expected import expected_rows
from tickbay.audit.stored import Postgres
from tickbay.audit.verdict import Verdict, audit_ledger, audit_sequences
from tickbay.config import Timescale
from tickbay.embedded import EmbeddedServer
from tickbay.sim.ledger import LedgerReader
from tickbay.sinks.connection import conninfo_of


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> LedgerReader:
    return play(tmp_path_factory.mktemp("audit") / "ledger")


@pytest.fixture
def settings(postgres_server: EmbeddedServer) -> Timescale:
    return fresh_database(postgres_server)


@pytest.fixture
def good(reader: LedgerReader) -> Stored:
    """Everything that was sent, as it should be stored: two feeds, the first with two connections."""
    found = Stored(began_ns(reader))
    found.add(reader, 1, "feed-1", 1001)
    found.add(reader, 2, "feed-2", 1000)
    found.add(reader, 3, "feed-1", 1002)
    found.gap("feed-1", "disconnect", found.began_ns, found.began_ns + 5 * 10**9)
    return found


@pytest.fixture
def judge(reader: LedgerReader, settings: Timescale) -> Callable[[Stored], Verdict]:
    def verdict(stored: Stored) -> Verdict:
        stored.store(settings)
        with psycopg.connect(conninfo_of(settings)) as connection:
            return audit_ledger(Postgres(connection), reader)

    return verdict


def place_of(stored: Stored, stream: str, conn: int, table: str = "") -> int:
    """A row in the middle of a connection."""
    places = [
        place
        for place, (where, row) in enumerate(stored.streams[stream])
        if row["conn"] == conn and table in ("", where)
    ]
    return places[len(places) // 2]


def counts(verdict: Verdict) -> tuple[int, ...]:
    return verdict.lost, verdict.twice, verdict.different, verdict.stray, verdict.holes


# --- the whole --------------------------------------------------------------------------------------------------------


def test_what_was_sent_and_stored_is_found_good(good: Stored, judge: Callable[[Stored], Verdict]) -> None:
    verdict = judge(good)
    total = sum(map(len, good.streams.values()))
    assert counts(verdict) == (0, 0, 0, 0, 0) and verdict.good
    assert verdict.expected == verdict.stored == total > 2500
    assert str(verdict) == (
        f"audit: {verdict.frames:,} frames sent, {total:,} rows expected, {total:,} stored; "
        "0 lost, 0 twice, 0 different: OK"
    )


def test_progress_is_told_up_to_the_last_row(good: Stored, reader: LedgerReader, settings: Timescale) -> None:
    good.store(settings)
    told: list[tuple[int, int]] = []
    with psycopg.connect(conninfo_of(settings)) as connection:
        verdict = audit_ledger(Postgres(connection), reader, progress=lambda due, done: told.append((due, done)))
    assert told == sorted(told) and told[-1] == (verdict.stored, verdict.stored)


@pytest.mark.parametrize("stream", ["feed-2.quote", "feed-2.trade", "feed-2.book"])
def test_one_lost_row_is_found(good: Stored, judge: Callable[[Stored], Verdict], stream: str) -> None:
    """Sequences and all: the row was never recorded, so the rows behind it moved up."""
    place = place_of(good, stream, 1000)
    _, gone = good.streams[stream].pop(place)
    verdict = judge(good)
    assert counts(verdict) == (1, 0, 0, 0, 0) and not verdict.good
    assert gone["instrument"] in verdict.lines[0] and verdict.lines[0].startswith("lost: 1 rows of connection 2")


def test_a_row_lost_behind_the_feed_is_a_hole_in_the_sequence_too(
    good: Stored, judge: Callable[[Stored], Verdict]
) -> None:
    stream = good.streams["feed-1.book"]
    for seq, (_, row) in enumerate(stream, 1):
        row["seq"] = seq
    stream.pop(place_of(good, "feed-1.book", 1001))
    good.gaps.clear()
    assert counts(judge(good)) == (1, 0, 0, 0, 1)


@pytest.mark.parametrize("stream", ["feed-2.quote", "feed-2.trade", "feed-2.book"])
def test_one_row_stored_twice_is_found(good: Stored, judge: Callable[[Stored], Verdict], stream: str) -> None:
    place = place_of(good, stream, 1000)
    table, row = good.streams[stream][place]
    good.streams[stream].insert(place + 3, (table, dict(row)))
    verdict = judge(good)
    assert counts(verdict) == (0, 1, 0, 0, 0) and not verdict.good
    assert "twice" in verdict.lines[0] and row["instrument"] in verdict.lines[0]


def test_a_row_committed_twice_under_one_sequence_is_found(good: Stored, judge: Callable[[Stored], Verdict]) -> None:
    stream = good.streams["feed-2.quote"]
    for seq, (_, row) in enumerate(stream, 1):
        row["seq"] = seq
    place = place_of(good, "feed-2.quote", 1000)
    stream.insert(place, (stream[place][0], dict(stream[place][1])))
    assert counts(judge(good)) == (0, 1, 0, 0, 0)


WRONG = [
    (stream, name)
    for stream, kind in (("feed-2.quote", "quote"), ("feed-1.trade", "trade"), ("feed-2.book", "book"))
    for name in COLUMNS[kind]
]


def test_one_wrong_value_is_found_in_whatever_column(good: Stored, judge: Callable[[Stored], Verdict]) -> None:
    """One row for each column, each with that column wrong."""
    good.gaps.clear()
    spoilt: dict[str, int] = {}
    for stream, name in WRONG:
        kind = stream.split(".")[1]
        found = good.streams[stream]
        place = spoilt[stream] = spoilt.get(stream, 4) + 1
        value = found[place][1][name]
        found[place][1][name] = other(value, COLUMNS[kind][name])
    verdict = judge(good)
    assert verdict.stored == verdict.expected and not verdict.good
    assert verdict.different + verdict.stray == len(WRONG), "a wrong instrument, time or number makes another row of it"
    assert verdict.lost == verdict.stray


def other(value: Any, form: str) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int) or (value is None and form == "<i8"):
        return (value or 0) + (1 if (value or 0) < 1000 else 1 << 40)  # a number of trade + 1 is that of another one
    if isinstance(value, float) or (value is None and form == "<f8"):
        return np.nextafter(value or 0.0, 1e300)  # the nearest other double
    return (value or "") + "x"


def test_absent_stored_as_nan_or_as_an_empty_text_is_found(good: Stored, judge: Callable[[Stored], Verdict]) -> None:
    numbers = [row for _, row in good.streams["feed-2.quote"] if row["bid_price"] is None]
    texts = [row for _, row in good.streams["feed-2.trade"] if row["liquidation"] is None]
    numbers[0]["bid_price"], texts[0]["liquidation"] = float("nan"), ""
    assert counts(judge(good)) == (0, 0, 2, 0, 0)


def test_a_row_in_the_wrong_table_is_found(good: Stored, judge: Callable[[Stored], Verdict]) -> None:
    place = place_of(good, "feed-2.quote", 1000, "option_quotes")
    good.streams["feed-2.quote"][place] = ("delta_one_quotes", good.streams["feed-2.quote"][place][1])
    verdict = judge(good)
    assert counts(verdict) == (0, 0, 1, 0, 0) and "option sent True stored False" in verdict.lines[0]


def test_rows_out_of_order_are_found(good: Stored, judge: Callable[[Stored], Verdict]) -> None:
    stream = good.streams["feed-2.book"]
    place = place_of(good, "feed-2.book", 1000)
    stream[place], stream[place + 1] = stream[place + 1], stream[place]
    assert not judge(good).good


def test_rows_that_were_never_sent_are_found(good: Stored, judge: Callable[[Stored], Verdict]) -> None:
    for _, row in good.streams["feed-2.trade"][:2]:
        good.streams.setdefault("feed-9.trade", []).append(("option_trades", {**row, "stream": "feed-9.trade"}))
    verdict = judge(good)
    assert verdict.stray == 2 and not verdict.good


def test_a_whole_connection_that_was_not_stored_is_found(good: Stored, judge: Callable[[Stored], Verdict]) -> None:
    gone = [stream.pop() for stream in good.streams.values() for _ in [row for _, row in stream if row["conn"] == 1002]]
    good.gaps.clear()
    verdict = judge(good)
    assert verdict.lost == len(gone) > 800


def without_connection(good: Stored, conn: int) -> int:
    """Take all rows of a connection away; returns how many."""
    gone = 0
    for name, stream in good.streams.items():
        good.streams[name] = [(table, row) for table, row in stream if row["conn"] != conn]
        gone += len(stream) - len(good.streams[name])
    return gone


def test_a_connection_whose_feed_died_before_its_first_record_is_known_by_the_gap_of_that_time(
    good: Stored, judge: Callable[[Stored], Verdict]
) -> None:
    """It was called lost: a feed killed right behind its subscription left no row by which to know it."""
    gone = without_connection(good, 1002)
    verdict = judge(good)
    assert (verdict.lost, verdict.known) == (0, gone) and gone > 800 and verdict.good


def test_the_gap_of_a_feed_with_other_instruments_excuses_no_connection(
    good: Stored, judge: Callable[[Stored], Verdict]
) -> None:
    gone = without_connection(good, 1002)
    good.gaps.clear()
    good.gap("feed-2", "disconnect", good.began_ns, good.began_ns + 5 * 10**9)
    assert judge(good).lost == gone


def test_a_gap_long_after_a_connection_excuses_nothing_of_it(good: Stored, judge: Callable[[Stored], Verdict]) -> None:
    """Any later gap of the feed used to excuse a missing tail."""
    gone = cut_tail(good, "feed-1", 1001, 50)
    good.gaps.clear()
    good.gap("feed-1", "disconnect", good.began_ns + 3600 * 10**9, good.began_ns + 3605 * 10**9)
    verdict = judge(good)
    assert (verdict.lost, verdict.known) == (gone, 0)


def test_an_empty_database_is_not_good(judge: Callable[[Stored], Verdict]) -> None:
    verdict = judge(Stored())
    assert verdict.lost == verdict.expected > 2500 and not verdict.good


# --- known gaps -------------------------------------------------------------------------------------------------------


def cut_tail(good: Stored, feed: str, conn: int, messages: int) -> int:
    """Take the rows of the last messages of a connection away, in every kind; returns how many."""
    mine = [
        (stream, row)
        for name, stream in good.streams.items()
        if name.startswith(feed)
        for _, row in stream
        if row["conn"] == conn
    ]
    times = sorted({row["recv_ns"] for _, row in mine})
    gone = 0
    for name in [name for name in good.streams if name.startswith(feed)]:
        before = len(good.streams[name])
        good.streams[name] = [
            (table, row)
            for table, row in good.streams[name]
            if row["conn"] != conn or row["recv_ns"] < times[-messages]
        ]
        gone += before - len(good.streams[name])
    return gone


def test_the_tail_of_a_cut_connection_is_a_known_gap_only_if_it_was_recorded(
    good: Stored, judge: Callable[[Stored], Verdict]
) -> None:
    gone = cut_tail(good, "feed-1", 1001, 50)
    verdict = judge(good)
    assert verdict.known == gone > 50 and verdict.good
    assert f"{gone} in known gaps: OK" in str(verdict)


def test_the_tail_of_a_cut_connection_without_a_gap_is_lost(good: Stored, judge: Callable[[Stored], Verdict]) -> None:
    gone = cut_tail(good, "feed-1", 1001, 50)
    good.gaps.clear()
    verdict = judge(good)
    assert (verdict.lost, verdict.known) == (gone, 0) and not verdict.good


def test_a_gap_of_one_instrument_excuses_no_other(good: Stored, judge: Callable[[Stored], Verdict]) -> None:
    good.gaps.clear()
    stream = good.streams["feed-2.book"]
    first = place_of(good, "feed-2.book", 1000)
    names = {stream.pop(first)[1]["instrument"] for _ in range(30)}
    assert len(names) > 1
    good.gap("feed-2", "sequence", good.began_ns, good.began_ns + 9 * 10**9, sorted(names)[0])
    verdict = judge(good)
    assert verdict.lost == 30


def test_the_tail_that_a_stopping_engine_did_not_read_is_in_doubt(
    good: Stored, judge: Callable[[Stored], Verdict]
) -> None:
    gone = cut_tail(good, "feed-2", 1000, 20)
    verdict = judge(good)
    assert verdict.in_doubt == gone and verdict.good and "in doubt" in str(verdict)


def test_a_tail_that_was_sent_long_before_the_client_closed_is_lost(
    good: Stored, reader: LedgerReader, settings: Timescale, tmp_path: Path
) -> None:
    """A writer that stops too early must not be taken for a feed that stopped reading."""
    shutil.copytree(reader.directory, tmp_path / "ledger")
    events = [event | {"at_ns": event["at_ns"] + 5 * 10**9} for event in reader.events()]
    (tmp_path / "ledger" / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    gone = cut_tail(good, "feed-2", 1000, 20)
    good.store(settings)
    with psycopg.connect(conninfo_of(settings)) as connection:
        verdict = audit_ledger(Postgres(connection), LedgerReader(tmp_path / "ledger"))
    assert (verdict.lost, verdict.in_doubt) == (gone, 0)


def test_a_row_missing_before_the_tail_is_lost_though_the_client_closed(
    good: Stored, judge: Callable[[Stored], Verdict]
) -> None:
    """The last quotes are missing, but books sent behind them are stored: that is no tail."""
    last = max(
        range(len(good.streams["feed-2.quote"])), key=lambda place: good.streams["feed-2.quote"][place][1]["recv_ns"]
    )
    good.streams["feed-2.quote"].pop(last)
    behind = good.streams["feed-2.quote"][-1][1]["recv_ns"]
    good.streams["feed-2.quote"] = [each for each in good.streams["feed-2.quote"] if each[1]["recv_ns"] < behind]
    verdict = judge(good)
    assert verdict.lost + verdict.in_doubt >= 2


def test_quarantined_rows_are_known(good: Stored, judge: Callable[[Stored], Verdict], settings: Timescale) -> None:
    """SINK-4: a refused row lies in the quarantine with its place in the sequence."""
    stream = good.streams["feed-2.trade"]
    for seq, (_, row) in enumerate(stream, 1):
        row["seq"] = seq
    _, poison = stream.pop(place_of(good, "feed-2.trade", 1000))
    schema.apply(conninfo_of(settings), settings)
    with psycopg.connect(conninfo_of(settings)) as connection:
        connection.execute(
            "INSERT INTO quarantine (sink, stream, epoch, seq, kind, table_name, reason, layout, record)"
            " VALUES ('timescale', 'feed-2.trade', %s, %s, 'trade', 'option_trades', 'test', 0, '')",
            (EPOCH, poison["seq"]),
        )
    verdict = judge(good)
    assert verdict.quarantined == 1 and verdict.good


def with_events(reader: LedgerReader, folder: Path, *more: dict[str, Any]) -> LedgerReader:
    """The same ledger with more events in it."""
    shutil.copytree(reader.directory, folder)
    with (folder / "events.jsonl").open("a") as file:
        file.writelines(json.dumps(event) + "\n" for event in more)
    return LedgerReader(folder)


def planted(reader: LedgerReader, message: int) -> dict[str, Any]:
    """A book change dropped on the second connection, of an instrument that has later ones."""
    book, _ = next(expected_rows(reader, 2, "book"))
    channel = f"book.{book['instrument'][-1].decode()}.100ms"
    return {"event": "drop", "at_ns": began_ns(reader) + 10**9, "connection": 2, "channel": channel, "message": message}


def test_a_planted_fault_must_be_a_recorded_gap(
    good: Stored, reader: LedgerReader, settings: Timescale, tmp_path: Path
) -> None:
    """FEED-1: every loss becomes a gap."""
    event = planted(reader, 10)
    spoilt = with_events(reader, tmp_path / "ledger", event)
    good.store(settings)
    with psycopg.connect(conninfo_of(settings)) as connection:
        verdict = audit_ledger(Postgres(connection), spoilt)
        assert (verdict.faults, verdict.unrecorded, verdict.good) == (1, 1, False)
        good.gaps.clear()
        name = event["channel"].split(".")[1]
        good.gap("feed-2", "sequence", good.began_ns, good.began_ns + 10**9, name)
        insert(connection, "data_gaps", good.gaps)
        verdict = audit_ledger(Postgres(connection), spoilt)
        assert (verdict.faults, verdict.unrecorded, verdict.good) == (1, 0, True)


def test_a_fault_that_nobody_can_notice_needs_no_gap(
    good: Stored, reader: LedgerReader, settings: Timescale, tmp_path: Path
) -> None:
    """The last change of a book was dropped: nothing came behind it."""
    good.store(settings)
    with psycopg.connect(conninfo_of(settings)) as connection:
        verdict = audit_ledger(Postgres(connection), with_events(reader, tmp_path / "ledger", planted(reader, 10**6)))
    assert verdict.faults == 0 and verdict.good


# --- without a ledger -------------------------------------------------------------------------------------------------


def test_without_a_ledger_holes_and_doubles_of_sequences_are_found(good: Stored, settings: Timescale) -> None:
    stream = good.streams["feed-1.book"]
    for seq, (_, row) in enumerate(stream, 1):
        row["seq"] = seq
    del stream[10:13]
    stream.append((stream[0][0], dict(stream[0][1])))
    good.store(settings)
    with psycopg.connect(conninfo_of(settings)) as connection:
        verdict = audit_sequences(Postgres(connection))
        assert (verdict.holes, verdict.twice) == (3, 1)
        assert "lost: feed-1.book from seq 11 to 13" in verdict.lines
        told = """
            INSERT INTO data_gaps (exch_ns, recv_ns, stream, epoch, seq, conn, first_missing, last_missing, cause, kind,
                expected, healed) VALUES (0, 0, 'feed-1.gap', 7, 99, 1, %s, %s, 'journal_torn', 'book', false, false)"""
        connection.execute(told, (13, 20))
        assert audit_sequences(Postgres(connection)).known == 0
        connection.execute(told, (9, 12))  # only both together cover it
        assert audit_sequences(Postgres(connection)).known == 3
        connection.execute("DELETE FROM book_changes WHERE stream = 'feed-1.book' AND seq < 20")
        verdict = audit_sequences(Postgres(connection))  # as retention leaves it
        assert verdict.good and "feed-1.book begins at seq 20 here" in verdict.lines


# --- the command ------------------------------------------------------------------------------------------------------


def run(settings: Timescale, folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    parser = argparse.ArgumentParser()
    audit.add_arguments(parser)
    config = folder / "tickbay.toml"
    config.write_text(f"[timescale]\nport = {settings.port}\nuser = '{settings.user}'\ndbname = '{settings.dbname}'\n")
    monkeypatch.setenv("DB_PASSWORD", settings.password)
    return audit.main(parser.parse_args(["--config", str(config), *arguments]))


def test_the_command_prints_the_verdict_and_its_status_tells(
    good: Stored,
    settings: Timescale,
    reader: LedgerReader,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    good.store(settings)
    assert run(settings, tmp_path, monkeypatch, "--ledger", str(reader.directory)) == 0
    told = capsys.readouterr()
    assert told.out.endswith("0 lost, 0 twice, 0 different: OK\n") and "journal does not exist: not comp" in told.err
    with psycopg.connect(conninfo_of(settings)) as connection:
        one = "SELECT stream, seq FROM option_quotes WHERE seq > 300 LIMIT 1"
        connection.execute(f"DELETE FROM option_quotes WHERE (stream, seq) = ({one})".encode())
        connection.execute("DELETE FROM data_gaps")
    assert run(settings, tmp_path, monkeypatch, "--ledger", str(reader.directory)) == 1
    assert capsys.readouterr().out.endswith("DIFFERENT\n")
    assert run(settings, tmp_path, monkeypatch) == 1


def test_what_cannot_be_audited_is_said_in_one_line_with_status_2(
    settings: Timescale, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, why in ([], "does not exist"), (["--ledger", str(tmp_path)], "no ledger"):
        assert run(settings, tmp_path, monkeypatch, *arguments) == 2
        assert why in (said := capsys.readouterr().err) and said.count("\n") == 1
