"""The schema: applied once however often and by however many, on every edition, and explained column by column."""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from servers.community import community
from servers.debian import Unavailable
from servers.postgres import fresh_database, running
from servers.timescale import binaries
from tickbay import schema
from tickbay.config import Timescale
from tickbay.embedded import EmbeddedServer
from tickbay.errors import SinkParked
from tickbay.sinks import partitions
from tickbay.sinks.columns import SQL_TYPES, TABLES
from tickbay.sinks.connection import conninfo_of
from tickbay.sinks.partitions import Edition, direct_compress_refused

__all__ = ["community"]

README = Path(__file__).parents[1] / "schema" / "README.md"
EVERY_STEP = tuple(step.name for step in schema.steps())


@pytest.fixture(params=["postgres_server", "timescale_server"])
def settings(request: pytest.FixtureRequest) -> Timescale:
    return fresh_database(request.getfixturevalue(request.param))


def apply(settings: Timescale) -> schema.Applied:
    return schema.apply(conninfo_of(settings), settings)


def rows(settings: Timescale, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(conninfo_of(settings), autocommit=True) as connection:
        cursor = connection.execute(sql.SQL(query))
        return cursor.fetchall() if cursor.description else []


def test_applied_twice_it_is_applied_once(settings: Timescale) -> None:
    first = apply(settings)
    assert first.steps == EVERY_STEP
    again = apply(settings)
    assert again.steps == ()
    assert again.version == first.version == len(EVERY_STEP)
    assert [name for (name,) in rows(settings, "SELECT name FROM schema_version ORDER BY version")] == list(EVERY_STEP)


def test_applied_by_many_at_once_it_is_applied_once(settings: Timescale) -> None:
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(apply, [settings] * 8))
    assert sorted(step for result in results for step in result.steps) == sorted(EVERY_STEP)
    assert len({(result.edition, result.notes) for result in results}) == 1


def test_a_step_that_fails_leaves_nothing_and_is_told_in_one_line(postgres_server: EmbeddedServer) -> None:
    settings = fresh_database(postgres_server)
    rows(settings, "CREATE TABLE data_gaps (another_programs integer)")
    with pytest.raises(SinkParked) as caught:
        apply(settings)
    assert "another program's tables" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert rows(settings, "SELECT max(version) FROM schema_version") == [(1,)]
    assert rows(settings, "SELECT to_regclass('option_quotes')") == [(None,)]
    rows(settings, "DROP TABLE data_gaps")
    assert apply(settings).steps == EVERY_STEP[1:]


def test_a_newer_schema_is_not_touched(postgres_server: EmbeddedServer) -> None:
    settings = fresh_database(postgres_server)
    apply(settings)
    rows(settings, "INSERT INTO schema_version VALUES (999, '999_future', now(), '9.9')")
    with pytest.raises(SinkParked, match="install the newer tickbay"):
        apply(settings)


def test_each_edition_is_known_and_says_once_what_it_cannot_do(
    postgres_server: EmbeddedServer, timescale_server: EmbeddedServer
) -> None:
    first, second = fresh_database(postgres_server), fresh_database(timescale_server)
    plain, apache = apply(first), apply(second)
    assert (plain.edition, plain.notes) == (Edition.PLAIN, ())
    assert apache.edition is Edition.APACHE
    (note,) = apache.notes
    assert "nothing will be compressed" in note
    (refusal,) = apply(replace(first, direct_compress=True)).notes
    assert "direct_compress is refused: it needs TimescaleDB Community, and this is PostgreSQL" in refusal
    assert "this is TimescaleDB Apache" in apply(replace(second, direct_compress=True)).notes[-1]


def test_rows_are_compressed_as_they_come_only_where_the_server_is_known_to_be_able_to() -> None:
    assert direct_compress_refused(Edition.COMMUNITY, "2.28.1") == ""
    assert direct_compress_refused(Edition.COMMUNITY, "2.31.0-dev") == ""
    assert "needs TimescaleDB 2.28.1, and this is 2.23.0" in direct_compress_refused(Edition.COMMUNITY, "2.23.0")
    assert direct_compress_refused(Edition.PLAIN, "") and direct_compress_refused(Edition.APACHE, "2.31.0")


def test_an_extension_that_comes_later_changes_nothing(timescale_server: EmbeddedServer) -> None:
    settings = fresh_database(timescale_server)
    # As where the extension could not be made at first: the tables are plain.
    with psycopg.connect(conninfo_of(settings), autocommit=True) as connection:
        for step in schema.steps():
            assert schema._apply_step(connection, step)
        connection.execute("CREATE EXTENSION timescaledb")
    assert apply(settings).edition is Edition.PLAIN


def test_timescaledb_that_is_not_preloaded_is_left_alone_and_told() -> None:
    try:
        programs = binaries()
    except Unavailable as error:
        pytest.skip(f"no TimescaleDB: {error}")
    with running(programs) as server:
        first = apply(fresh_database(server))
    assert first.edition is Edition.PLAIN
    (note,) = first.notes
    assert "cannot be used" in note
    assert "preloaded" in note


def test_the_tables_have_the_columns_that_the_copy_sends(settings: Timescale) -> None:
    apply(settings)
    for table in TABLES:
        there = rows(
            settings,
            f"SELECT column_name, data_type FROM information_schema.columns WHERE table_name = '{table.name}'"
            " ORDER BY ordinal_position",
        )
        assert there == [(column.name, SQL_TYPES[column.type]) for column in table.columns]


def test_chunks_are_as_long_as_configured(timescale_server: EmbeddedServer) -> None:
    settings = replace(fresh_database(timescale_server), chunk_interval="6 hours")
    apply(settings)
    query = "SELECT DISTINCT time_interval::text FROM timescaledb_information.dimensions"
    assert rows(settings, query) == [("06:00:00",)]
    apply(replace(settings, chunk_interval="2 days"))
    assert rows(settings, query) == [("2 days",)]


def test_the_index_by_instrument_comes_and_goes_with_the_setting(settings: Timescale) -> None:
    there = "SELECT count(*) FROM pg_class WHERE relname ~ '^(option|delta_one|book)_[a-z]+_instrument$'"
    apply(settings)
    assert rows(settings, there) == [(0,)]
    apply(replace(settings, instrument_index=True))
    assert rows(settings, there) == [(5,)]
    apply(settings)
    assert rows(settings, there) == [(0,)]


def test_only_the_tables_of_ticks_can_be_dropped_from(settings: Timescale) -> None:
    apply(settings)
    with pytest.raises(psycopg.errors.RaiseException):
        rows(settings, "SELECT tickbay_drop_before('sink_cursor', now())")


# ---------------------------------------------------------------- TimescaleDB Community

POLICIES = """
    SELECT hypertable_name, coalesce(config ->> 'compress_after', config ->> 'drop_after')
    FROM timescaledb_information.jobs WHERE proc_name = '{}' ORDER BY hypertable_name
"""
TICKS = [
    "bbo_quotes",
    "book_changes",
    "delta_one_quotes",
    "delta_one_trades",
    "depth_levels",
    "index_values",
    "mark_prices",
    "option_quotes",
    "option_trades",
    "perpetual_funding",
]


@pytest.mark.slow
def test_community_compresses_and_drops_by_policies_that_follow_the_settings(community: Timescale) -> None:
    first = apply(community)
    assert (first.edition, first.notes, first.steps) == (Edition.COMMUNITY, (), EVERY_STEP)
    everything = sorted([*TICKS, "collector_status"])
    assert rows(community, POLICIES.format("policy_compression")) == [(table, "7 days") for table in everything]
    assert rows(community, POLICIES.format("policy_retention")) == [("collector_status", "90 days")]
    jobs = (
        "SELECT array_agg(job_id ORDER BY job_id) FROM timescaledb_information.jobs WHERE hypertable_name IS NOT NULL"
    )
    before = rows(community, jobs)
    apply(community)
    assert rows(community, jobs) == before  # nothing is made anew without need

    apply(replace(community, compress_after_days=2, retain_days=30, status_retain_days=10))
    assert rows(community, POLICIES.format("policy_compression")) == [(table, "2 days") for table in everything]
    kept = dict.fromkeys(TICKS, "30 days") | {"collector_status": "10 days"}
    assert dict(rows(community, POLICIES.format("policy_retention"))) == kept
    assert "and this is 2.23" in apply(replace(community, retain_days=0, direct_compress=True)).notes[0]
    assert rows(community, POLICIES.format("policy_retention")) == [("collector_status", "90 days")]


@pytest.mark.slow
def test_community_compresses_by_instrument_in_the_order_of_time(community: Timescale) -> None:
    apply(community)
    rows(
        community,
        "INSERT INTO book_changes (ts, exch_ns, recv_ns, stream, epoch, seq, conn, instrument, healed, snapshot,"
        " message_end, change_id)"
        " SELECT '2026-03-02 12:00Z'::timestamptz + i * interval '1 ms', i, i, 'feed-1.book', 1, i, 1,"
        " 'ETH-' || i % 7, false, false, true, i FROM generate_series(1, 5000) AS i",
    )
    compressed = rows(community, "SELECT compress_chunk(chunk) IS NOT NULL FROM show_chunks('book_changes') AS chunk")
    assert compressed == [(True,)]
    assert rows(
        community,
        "SELECT attname, segmentby_column_index, orderby_column_index, orderby_asc"
        " FROM timescaledb_information.compression_settings WHERE hypertable_name = 'book_changes'"
        " ORDER BY segmentby_column_index, orderby_column_index",
    ) == [("instrument", 1, None, None), ("ts", None, 1, True), ("seq", None, 2, True)]
    query = "SELECT count(*), sum(seq)::bigint FROM book_changes WHERE instrument = 'ETH-3'"
    assert rows(community, query) == [(714, 1783929)]
    assert rows(community, "SELECT tickbay_drop_before('book_changes', '2026-03-04Z')") == [(1,)]
    apply(replace(community, chunk_interval="12 hours", instrument_index=True))  # also with compressed chunks about


# ---------------------------------------------------------------- README


def sections() -> dict[str, str]:
    """The README's sections by heading."""
    parts = re.split(r"^## (.+)$", README.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_readme_explains_every_column_of_every_table(postgres_server: EmbeddedServer) -> None:
    settings = fresh_database(postgres_server)
    apply(settings)
    explained = sections()
    common = explained["What every table of records begins with"]
    for table, column in rows(
        settings,
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name IN"
        " (SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition)",
    ):
        text = explained[table] + (common if table in {each.name for each in TABLES} else "")
        assert f"`{column}`" in text, f"{table}.{column}"


def test_the_readme_names_every_view(postgres_server: EmbeddedServer) -> None:
    settings = fresh_database(postgres_server)
    apply(settings)
    for (view,) in rows(settings, "SELECT viewname FROM pg_views WHERE schemaname = 'public'"):
        if not view.startswith("tickbay_"):
            assert f"`{view}`" in README.read_text()


# ---------------------------------------------------------------- the command


def tickbay(settings: Timescale, tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "tickbay.toml"
    file.write_text(f'[timescale]\nport = {settings.port}\nuser = "{settings.user}"\ndbname = "{settings.dbname}"\n')
    command = [sys.executable, "-m", "tickbay", "schema", *arguments, "--config", str(file)]
    environment = {"PYTHONPATH": ":".join(sys.path), "DB_PASSWORD": settings.password}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.slow
def test_the_command_says_what_is_missing_and_applies_it(postgres_server: EmbeddedServer, tmp_path: Path) -> None:
    settings = fresh_database(postgres_server)
    before = tickbay(settings, tmp_path, "status")
    assert (before.returncode, before.stderr) == (1, "")
    assert "steps to apply" in before.stdout
    applied = tickbay(settings, tmp_path, "apply")
    assert (applied.returncode, applied.stderr) == (0, "")
    assert all(f"applied {step}" in applied.stdout for step in EVERY_STEP)
    after = tickbay(settings, tmp_path, "status")
    assert (after.returncode, after.stderr) == (0, "")
    rows(settings, "ALTER TABLE book_changes DROP COLUMN side")
    drifted = tickbay(settings, tmp_path, "status")
    assert drifted.returncode == 1
    assert "wrong: book_changes.side is missing, should be text" in drifted.stdout
    rows(settings, "ALTER TABLE book_changes ADD COLUMN side text")
    missing = tickbay(replace(settings, dbname="nowhere"), tmp_path, "apply")
    assert missing.returncode == 1
    assert missing.stderr.count("\n") == 1
    assert "create it with createdb" in missing.stderr


def test_the_days_of_a_span_of_time() -> None:
    day = 86_400 * 10**9
    spans = [(0, day - 1), (3 * day - 1, 5 * day)]
    assert [each.isoformat() for each in sorted(partitions.days_of(spans))] == [
        "1970-01-01",
        "1970-01-03",
        "1970-01-04",
        "1970-01-05",
        "1970-01-06",
    ]
