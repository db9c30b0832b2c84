"""One run of the whole path: simulator → feeds → journal → writers → PostgreSQL (or TimescaleDB, where a plan says so),
and QuestDB where it has that.

In: a Plan. Out: an Outcome, after the audit has compared every row in every database with what the simulator sent:
where anything is lost, twice or different there is none. Used by every bench that needs the running engine.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from bench import usage
from bench.result import Size
from tickbay import audit, demo
from tickbay import config as configuration
from tickbay.config import Questdb
from tickbay.embedded import USER, EmbeddedServer
from tickbay.embedded_questdb import EmbeddedQuestdb
from tickbay.health import Report, read_reports
from tickbay.journal.segment import segment_number, walk
from tickbay.sinks.questdb_server import QuestdbServer

TICKS = ("option_quotes", "delta_one_quotes", "option_trades", "delta_one_trades", "book_changes")
READY_S = 180.0  # of which the simulator needs most, where there are 10,000 options
DRAIN_S = 120.0
STALE_S = 300
EVERY = 7  # each so many-th row is asked when it was committed
PERCENTILES = (0.5, 0.99)
ENGINE = ("supervisor", "universe", "journal", "feed-", "writer-", "healer", "checker", "metrics")
SETTLED_S = 2.0  # after the last channel came to life: what starting costs is over


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run: what the simulator is told, and for how long."""

    name: str
    options: int
    pace: tuple[str, ...]
    frames: int = 0  # 0: for `seconds`
    seconds: float = 0.0
    feeds: int = 2
    channels_max: int = 1_000  # of one feed, the default
    questdb: bool = False
    hypertables: bool = False  # needs timescale_programs()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What the database says."""

    rows: int
    seconds: float  # from the start of the data to the last row's commit
    committed_ms: tuple[float, ...]  # received → committed, PERCENTILES
    table_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What QuestDB says."""

    rows: int
    seconds: float  # from the start of the data until the last row was applied
    table_bytes: int  # without its write-ahead log


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    frames: int
    stored: Stored
    applied: Applied | None  # QuestDB's; None: the plan has none
    lost_records: int
    cpu_s: dict[str, float]
    measured_s: float  # what cpu_s spans
    rss_bytes: int  # of the engine's processes
    pss_bytes: int
    own_bytes: tuple[int, int]  # without files and rings: after half the time of a paced run, and at its end
    journal_bytes: int
    sync_ms: float  # p99
    written_ms: tuple[float, ...] = ()  # received → written to the journal, PERCENTILES
    verdict: str = ""  # the audit's line


# ------------------------------------------------------------ one run


@dataclass(frozen=True, slots=True)
class Servers:
    postgres: EmbeddedServer
    questdb: EmbeddedQuestdb | None
    pids: tuple[int, ...]  # of both


def run(plan: Plan, size: Size) -> Outcome:
    """AssertionError with the audit's words where anything is lost, twice or different."""
    with tempfile.TemporaryDirectory(prefix="tickbay-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        servers = started(folder, plan, stack)
        run_dir = stack.enter_context(demo.memory_dir())
        stack.enter_context(environment("DB_PASSWORD", servers.postgres.password))
        with simulated(folder, plan, size.seed) as simulator:
            config = write_config(folder, run_dir, servers, simulator, plan)
            with demo.engine(folder, config) as up:
                outcome = watch(plan, servers, simulator, run_dir, [up.pid, sim_pid(simulator), *servers.pids])
        journal = folder / "engine" / "journal"
        # The engine has ended: nothing is stored while the audit reads.
        return replace(outcome, written_ms=written_ms(journal), verdict=audited(config, simulator))


@contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    """For the programs that are started meanwhile, and none after them."""
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


def timescale_programs() -> Path | None:
    """The programs of a PostgreSQL that has TimescaleDB: $BENCH_TIMESCALE, else what `make test` unpacked; None."""
    if named := os.environ.get("BENCH_TIMESCALE"):
        return Path(named)
    unpacked = sorted((Path.home() / ".cache" / "tickbay").glob("timescaledb-*/usr/lib/postgresql/*/bin"))
    return unpacked[0] if unpacked else None


def started(folder: Path, plan: Plan, stack: ExitStack) -> Servers:
    programs = timescale_programs() if plan.hypertables else None
    assert programs or not plan.hypertables, "no TimescaleDB"
    postgres = stack.enter_context(database(folder / "postgres", programs))
    pids = [postmaster(folder / "postgres")]
    if not plan.questdb:
        return Servers(postgres, None, tuple(pids))
    before = set(usage.children(os.getpid()))
    questdb = stack.enter_context(demo.questdb_server(folder / "questdb"))
    pids += [pid for pid in usage.children(os.getpid()) if pid not in before]
    return Servers(postgres, questdb, tuple(pids))


def postmaster(folder: Path) -> int:
    """The process above all of an embedded server's."""
    return int((folder / "db" / "postmaster.pid").read_text().splitlines()[0])


def watch(plan: Plan, servers: Servers, simulator: demo.Simulator, run_dir: Path, roots: Sequence[int]) -> Outcome:
    """From the first frame to the last row. CPU and memory: of a run of so many frames, until all is stored; of one of
    so many seconds, while the simulator sends."""
    wait_until_live(run_dir, plan)
    before, began = usage.cpu_by_name(usage.below(roots)), time.monotonic()
    start_ns = time.time_ns()
    simulator.ask("start")
    time.sleep(plan.seconds / 2)
    half = [process for process in usage.below(roots) if process.name.startswith(ENGINE)]
    wait_until_sent(simulator, plan)
    measured_s, processes = time.monotonic() - began, usage.below(roots)
    reports = wait_until_taken(simulator, run_dir)
    applied = wait_until_stored(servers, run_dir, start_ns)
    if plan.frames:
        measured_s, processes = time.monotonic() - began, usage.below(roots)
    ours = [process for process in processes if process.name.startswith(ENGINE)]
    return Outcome(
        frames=int(str(status(simulator)["frames"])),
        lost_records=sum(report.counters.get("lost_records", 0) for report in reports.values()),
        cpu_s={name: used - before.get(name, 0.0) for name, used in usage.cpu_by_name(processes).items()},
        measured_s=measured_s,
        rss_bytes=sum(process.rss_bytes for process in ours),
        pss_bytes=sum(process.pss_bytes for process in ours),
        own_bytes=(sum(process.own_bytes for process in half), sum(process.own_bytes for process in ours)),
        sync_ms=reports["journal"].gauges.get("sync_p99_ms", 0.0),
        journal_bytes=reports["journal"].counters.get("bytes", 0),
        stored=stored(servers.postgres, start_ns),
        applied=applied,
    )


@contextmanager
def database(folder: Path, timescale: Path | None = None) -> Iterator[EmbeddedServer]:
    """The database remembers when each transaction was committed: that is how latency is known for every row.
    `timescale`: programs other than the embedded ones, with that extension."""
    settings = {"track_commit_timestamp": "on"}
    if timescale is not None:
        settings |= {"shared_preload_libraries": "timescaledb", "timescaledb.telemetry_level": "off"}
    server = EmbeddedServer(folder, binaries=timescale, settings=settings)
    server.start()
    try:
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {demo.DATABASE}")
        yield server
    finally:
        server.stop()


@contextmanager
def simulated(folder: Path, plan: Plan, seed: int) -> Iterator[demo.Simulator]:
    ports, ledger = folder / "sim.json", folder / "ledger"
    command = ["sim", "--port", "0", "--rest-port", "0", "--instruments", f"ETH={plan.options}", "--seed", str(seed)]
    command += ["--ledger", str(ledger), "--ports-file", str(ports), "--slow-s", "0", "--hold", *plan.pace]
    command += ["--frames", str(plan.frames)] if plan.frames else []
    with demo.child(command, folder / "sim.log"):
        demo.wait_for(ports.exists, "the simulator does not start")
        addresses = json.loads(ports.read_text())
        yield demo.Simulator(addresses["ws_url"], addresses["rest_url"], ledger)


def write_config(folder: Path, run_dir: Path, servers: Servers, simulator: demo.Simulator, plan: Plan) -> Path:
    """The defaults but for the feeds' number; and no channel is asked for again only because the data have ended."""
    path = folder / "tickbay.toml"
    path.write_text(
        f'data_dir = "engine"\nrun_dir = "{run_dir}"\n[feeds]\ncount = {plan.feeds}\n'
        f"channels_max = {plan.channels_max}\n"
        "[metrics]\nport = 0\n[health]\nport = 0\n[web]\nport = 0\n"
        f'[venue]\nws_url = "{simulator.ws_url}"\nrest_url = "{simulator.rest_url}"\nstale_s = {STALE_S}\n'
        f"ticker_stale_s = {STALE_S}\n"
        f'[timescale]\nport = {servers.postgres.port}\nuser = "{USER}"\ndbname = "{demo.DATABASE}"\n'
        + (f"[questdb]\nenabled = true\nport = {servers.questdb.port}\n" if servers.questdb else "")
    )
    return path


def sim_pid(simulator: demo.Simulator) -> int:
    return int(str(status(simulator)["pid"]))


def status(simulator: demo.Simulator) -> dict[str, object]:
    origin = simulator.rest_url.split("/api/")[0]
    with urllib.request.urlopen(f"{origin}/sim/status", timeout=demo.HTTP_TIMEOUT_S) as answer:
        return dict(json.load(answer))


def feeds(run_dir: Path) -> dict[str, Report]:
    return {name: report for name, report in read_reports(run_dir).items() if report.role == "feed"}


def wait_until_live(run_dir: Path, plan: Plan) -> None:
    """Every feed has its channels, and what starting costs is over."""

    def live() -> bool:
        states = [report.state for report in feeds(run_dir).values()]
        return len(states) == plan.feeds and set(states) == {"live"}

    demo.wait_for(live, "the engine does not come to life", READY_S)
    time.sleep(SETTLED_S)


def wait_until_sent(simulator: demo.Simulator, plan: Plan) -> None:
    if not plan.frames:
        time.sleep(plan.seconds / 2)  # the first half is over
        simulator.ask("stop")
        return
    demo.wait_for(lambda: bool(status(simulator)["done"]), "the simulator does not come to its end", DRAIN_S)


def wait_until_taken(simulator: demo.Simulator, run_dir: Path) -> dict[str, Report]:
    """Until the feeds have all that was sent; returns what every process says of itself then."""
    sent = int(str(status(simulator)["frames"]))

    def taken() -> bool:
        return sum(report.counters.get("frames", 0) for report in feeds(run_dir).values()) >= sent

    demo.wait_for(taken, "the feeds do not take what was sent", DRAIN_S)
    time.sleep(1.0)  # a beat of everyone
    return read_reports(run_dir)


def wait_until_stored(servers: Servers, run_dir: Path, start_ns: int) -> Applied | None:
    """Until each database's own cursors are at the end of each stream of ticks, and QuestDB has applied it all."""
    with psycopg.connect(servers.postgres.conninfo(demo.DATABASE), autocommit=True) as connection:

        def in_postgres() -> bool:
            query = "SELECT stream, seq FROM sink_cursor WHERE sink = 'timescale'"
            return reached(run_dir, dict(connection.execute(query).fetchall()))

        if servers.questdb is None:
            demo.wait_for(in_postgres, "the writer does not store what was received", DRAIN_S)
            return None
        applied = until_applied(servers.questdb, run_dir, start_ns)
        demo.wait_for(in_postgres, "the writer does not store what was received", DRAIN_S)
        return applied


def reached(run_dir: Path, cursors: dict[str, int]) -> bool:
    kinds = ("quote", "trade", "book")
    streams = read_reports(run_dir)["journal"].streams
    heads = {stream: at["head"] for stream, at in streams.items() if stream.endswith(kinds)}
    return bool(heads) and all(cursors.get(stream, 0) >= head - 1 for stream, head in heads.items())


def until_applied(questdb: EmbeddedQuestdb, run_dir: Path, start_ns: int) -> Applied:
    """All rows are visible."""
    server = QuestdbServer(Questdb(port=questdb.port))

    def done() -> bool:
        report = read_reports(run_dir)["writer-questdb"]
        if not reached(run_dir, {stream: at["committed"] for stream, at in report.streams.items()}):
            return False
        return not server.query("SELECT name FROM wal_tables() WHERE writerTxn < sequencerTxn")

    try:
        demo.wait_for(done, "QuestDB does not store what was received", DRAIN_S)
        seconds = (time.time_ns() - start_ns) / 1e9
        rows = sum(server.query(f"SELECT count() FROM {table}")[0][0] for table in TICKS)
        sizes = [server.query(f"SELECT sum(diskSize) FROM table_partitions('{table}')")[0][0] for table in TICKS]
        return Applied(rows=rows, seconds=seconds, table_bytes=sum(size or 0 for size in sizes))
    finally:
        server.close()


def audited(config: Path, simulator: demo.Simulator) -> str:
    said = io.StringIO()
    with redirect_stdout(said):
        bad = audit.run(configuration.load(config, os.environ), ledger=simulator.ledger)
    assert not bad, said.getvalue()
    return "; ".join(line for line in said.getvalue().splitlines() if "OK" in line)


# ------------------------------------------------------------ what the database and the journal know


def stored(server: EmbeddedServer, start_ns: int) -> Stored:
    """Asked of the tables themselves: pg_xact_commit_timestamp() knows when each row was committed."""
    ticks = " UNION ALL ".join(f"SELECT recv_ns, seq, xmin FROM {table}" for table in TICKS)
    with psycopg.connect(server.conninfo(demo.DATABASE)) as connection:
        rows, last_ns = _one(
            connection,
            "WITH t AS MATERIALIZED (SELECT xmin::text AS x, count(*) AS n FROM"
            f" ({ticks}) AS ticks GROUP BY 1)"
            " SELECT sum(n)::bigint, (extract(epoch FROM max(pg_xact_commit_timestamp(x::xid))) * 1e9)::bigint"
            " FROM t",
        )
        (committed,) = _one(
            connection,
            "SELECT percentile_cont(%s::float8[]) WITHIN GROUP (ORDER BY"
            " (extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000 - recv_ns / 1e6)::float8)"
            f" FROM ({ticks}) AS ticks WHERE seq %% {EVERY} = 0 AND recv_ns >= %s",
            [list(PERCENTILES), start_ns],
        )
        # Partitions and chunks alike inherit from their table.
        (size,) = _one(
            connection,
            "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = ANY(%s::regclass[])",
            [list(TICKS)],
        )
    return Stored(
        rows=int(rows),
        seconds=(last_ns - start_ns) / 1e9,
        committed_ms=tuple(committed),
        table_bytes=int(size),
    )


def _one(connection: psycopg.Connection, query: str, values: list[object] | None = None) -> tuple[Any, ...]:
    row = connection.execute(query.encode(), values).fetchone()
    assert row is not None
    return row


def written_ms(directory: Path) -> tuple[float, ...]:
    """From a record's reception to its batch's write, over all records in the journal but those of starting."""
    lags = []
    for path in sorted(directory.glob("*.seg")):
        number = segment_number(path.name)
        data = path.read_bytes()
        for batch in walk(data, number or 0).batches:
            if batch.stream.startswith("feed-") and batch.stream.endswith(("quote", "trade", "book")):
                begin = batch.end - batch.records * batch.record_size
                received = np.ndarray(batch.records, "<i8", data, begin + 16, (batch.record_size,))
                lags.append((batch.written_ns - received) / 1e6)
    return tuple(np.quantile(np.concatenate(lags), PERCENTILES).tolist())
