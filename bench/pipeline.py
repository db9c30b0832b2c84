"""The whole path, `python -m bench.pipeline`: simulator → feeds → journal → writer → embedded PostgreSQL.

Three runs, each with a server, a journal and a ledger of its own:

    flat out    the simulator sends as fast as it is taken: frames and rows a second, CPU of each process, bytes a row
    paced       10,000 frames a second: how long after its reception a tick is written, and committed
    idle        830 options, 825 frames a second as recorded: what the engine costs when nothing much happens

After each run the audit compares every stored row with the simulator's ledger; without its "good" no rate is printed.
The simulator and the database share the cores with the engine: what they take is told, and is part of the limit.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import time
import urllib.request
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from bench import usage
from bench.result import Result, Size, main
from tickbay import audit, demo
from tickbay.embedded import USER, EmbeddedServer
from tickbay.health import Report, read_reports
from tickbay.journal.segment import segment_number, walk

TICKS = ("option_quotes", "delta_one_quotes", "option_trades", "delta_one_trades", "book_changes")
READY_S = 60.0
DRAIN_S = 120.0
STALE_S = 300
EVERY = 7  # each so many-th row is asked when it was committed
PERCENTILES = (0.5, 0.99)
ENGINE = ("supervisor", "universe", "journal", "feed-", "writer-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run: what the simulator is told, and for how long."""

    name: str
    options: int
    pace: tuple[str, ...]
    frames: int = 0  # 0: for `seconds`
    seconds: float = 0.0
    feeds: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What the database says."""

    rows: int
    seconds: float  # from the start of the data to the last row's commit
    committed_ms: tuple[float, ...]  # received → committed, PERCENTILES
    table_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    frames: int
    stored: Stored
    lost_records: int
    cpu_s: dict[str, float]
    measured_s: float  # what cpu_s spans
    rss_bytes: int  # of the engine's processes
    pss_bytes: int
    journal_bytes: int
    sync_ms: float  # p99
    written_ms: tuple[float, ...] = ()  # received → written to the journal, PERCENTILES
    verdict: str = ""  # the audit's line


def measure(size: Size) -> Result:
    result = Result("pipeline", size)
    flat = run(
        Plan(name="flat out", options=size.of(830, 10), pace=("--flat-out",), frames=size.of(1_500_000, 3_000)), size
    )
    result.checked = f"flat out: {flat.verdict}"
    tell_rates(result, flat)
    if not size.small:
        paced = run(Plan(name="paced", options=830, pace=("--rate", "10000"), seconds=12.0), size)
        result.checked += f"; paced: {paced.verdict}"
        tell_latency(result, paced)
        idle = run(Plan(name="idle", options=830, pace=("--rate", "825"), seconds=25.0), size)
        result.checked += f"; idle: {idle.verdict}"
        tell_idle(result, idle)
    return result


# ------------------------------------------------------------ one run


def run(plan: Plan, size: Size) -> Outcome:
    """AssertionError with the audit's words where anything is lost, twice or different."""
    with tempfile.TemporaryDirectory(prefix="tickbay-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        server = stack.enter_context(database(folder / "postgres"))
        run_dir = stack.enter_context(demo.memory_dir())
        os.environ["DB_PASSWORD"] = server.password
        with simulated(folder, plan, size.seed) as simulator:
            config = write_config(folder, run_dir, server, simulator, plan)
            with demo.engine(folder, config) as up:
                outcome = watch(plan, server, simulator, run_dir, [up.pid, sim_pid(simulator), server_pid(folder)])
        journal = folder / "engine" / "journal"
        # The engine has ended: nothing is stored while the audit reads.
        return replace(outcome, written_ms=written_ms(journal), verdict=audited(config, simulator))


def watch(
    plan: Plan, server: EmbeddedServer, simulator: demo.Simulator, run_dir: Path, roots: Sequence[int]
) -> Outcome:
    """From the first frame to the last row."""
    wait_until_live(run_dir, plan)
    before, began = usage.cpu_by_name(usage.below(roots)), time.monotonic()
    start_ns = time.time_ns()
    simulator.ask("start")
    wait_until_sent(simulator, plan)
    measured_s = time.monotonic() - began
    if plan.frames:
        reports = wait_until_taken(simulator, run_dir)
        wait_until_stored(server, run_dir)
        measured_s = time.monotonic() - began
    processes = usage.below(roots)
    if not plan.frames:
        reports = wait_until_taken(simulator, run_dir)
        wait_until_stored(server, run_dir)
    ours = [process for process in processes if process.name.startswith(ENGINE)]
    return Outcome(
        frames=int(str(status(simulator)["frames"])),
        lost_records=sum(report.counters.get("lost_records", 0) for report in reports.values()),
        cpu_s={name: used - before.get(name, 0.0) for name, used in usage.cpu_by_name(processes).items()},
        measured_s=measured_s,
        rss_bytes=sum(process.rss_bytes for process in ours),
        pss_bytes=sum(process.pss_bytes for process in ours),
        sync_ms=reports["journal"].gauges.get("sync_p99_ms", 0.0),
        journal_bytes=reports["journal"].counters.get("bytes", 0),
        stored=stored(server, start_ns),
    )


@contextmanager
def database(folder: Path) -> Iterator[EmbeddedServer]:
    """The database remembers when each transaction was committed: that is how latency is known for every row."""
    server = EmbeddedServer(folder, settings={"track_commit_timestamp": "on"})
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


def write_config(folder: Path, run_dir: Path, server: EmbeddedServer, simulator: demo.Simulator, plan: Plan) -> Path:
    """The defaults but for the feeds' number; and no channel is asked for again only because the data have ended."""
    path = folder / "tickbay.toml"
    path.write_text(
        f'data_dir = "engine"\nrun_dir = "{run_dir}"\n[feeds]\ncount = {plan.feeds}\n'
        "[metrics]\nport = 0\n[health]\nport = 0\n[web]\nport = 0\n"
        f'[venue]\nws_url = "{simulator.ws_url}"\nrest_url = "{simulator.rest_url}"\nstale_s = {STALE_S}\n'
        f'[timescale]\nport = {server.port}\nuser = "{USER}"\ndbname = "{demo.DATABASE}"\n'
    )
    return path


def sim_pid(simulator: demo.Simulator) -> int:
    return int(str(status(simulator)["pid"]))


def server_pid(folder: Path) -> int:
    return int((folder / "postgres" / "db" / "postmaster.pid").read_text().splitlines()[0])


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
    time.sleep(2.0)


def wait_until_sent(simulator: demo.Simulator, plan: Plan) -> None:
    if not plan.frames:
        time.sleep(plan.seconds)
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


def wait_until_stored(server: EmbeddedServer, run_dir: Path) -> None:
    """Until the database's own cursors are at the end of each stream of ticks."""
    kinds = ("quote", "trade", "book")
    with psycopg.connect(server.conninfo(demo.DATABASE), autocommit=True) as connection:

        def done() -> bool:
            cursors: dict[str, int] = dict(connection.execute("SELECT stream, seq FROM sink_cursor").fetchall())
            journal = read_reports(run_dir)["journal"].streams
            heads = {stream: at["head"] for stream, at in journal.items() if stream.endswith(kinds)}
            return bool(heads) and all(cursors.get(stream, 0) >= head - 1 for stream, head in heads.items())

        demo.wait_for(done, "the writer does not store what was received", DRAIN_S)


def audited(config: Path, simulator: demo.Simulator) -> str:
    said = io.StringIO()
    with redirect_stdout(said):
        bad = audit.main(Namespace(config=config, ledger=simulator.ledger))
    assert not bad, said.getvalue()
    return said.getvalue().splitlines()[-1]


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
        (size,) = _one(
            connection,
            "SELECT sum(pg_total_relation_size(relid)) FROM unnest(%s::regclass[]) AS parent,"
            " pg_partition_tree(parent) WHERE isleaf",
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


# ------------------------------------------------------------ what is told


def tell_cpu(result: Result, outcome: Outcome) -> None:
    for process, seconds in sorted(outcome.cpu_s.items(), key=lambda item: -item[1]):
        share = 100 * seconds / outcome.measured_s
        result.add(f"CPU {process}", share, "% of a core", f"{seconds:.2f} s")


def tell_rates(result: Result, outcome: Outcome) -> None:
    frames, rows = outcome.frames / outcome.stored.seconds, outcome.stored.rows / outcome.stored.seconds
    result.add("flat out: frames sent, stored and audited", outcome.frames, "")
    result.add("flat out: frames a second, to the last commit", frames, "/s")
    result.add("flat out: rows a second stored", rows, "/s")
    result.add("flat out: records lost", outcome.lost_records, "")
    tell_cpu(result, outcome)
    ours = sum(seconds for process, seconds in outcome.cpu_s.items() if process.startswith(ENGINE))
    everyone = sum(outcome.cpu_s.values())
    result.add(
        "flat out: cores that all of it got",
        everyone / outcome.measured_s,
        "",
        "the rest: others' work, or waiting for the disk",
    )
    result.add("rows a CPU second of all processes", outcome.stored.rows / everyone, "/s")
    result.add("engine's CPU a frame", 1e6 * ours / outcome.frames, "µs")
    result.add("database's CPU a row", 1e6 * outcome.cpu_s.get("postgres", 0.0) / outcome.stored.rows, "µs")
    result.add("bytes a row in PostgreSQL", outcome.stored.table_bytes / outcome.stored.rows, "B")
    result.add("bytes a row in the journal", outcome.journal_bytes / outcome.stored.rows, "B")
    for percentile, value in zip(PERCENTILES, outcome.stored.committed_ms, strict=True):
        result.add(f"flat out: received → committed p{percentile * 100:.0f}", value, "ms")
    if not result.size.small:
        result.aim("pipeline", "frames a second, nothing lost", 300_000, frames, "/s")
        result.aim("pipeline", "rows a second stored", 500_000, rows, "/s")


def tell_latency(result: Result, outcome: Outcome) -> None:
    result.add("10k frames/s: frames a second", outcome.frames / outcome.measured_s, "/s")
    for percentile, written, committed in zip(
        PERCENTILES, outcome.written_ms, outcome.stored.committed_ms, strict=True
    ):
        result.add(f"10k frames/s: received → written p{percentile * 100:.0f}", written, "ms", "commit_ms = 100")
        result.add(f"10k frames/s: received → committed p{percentile * 100:.0f}", committed, "ms", "flush_ms = 100")
    result.add("10k frames/s: journal's sync p99", outcome.sync_ms, "ms")
    result.aim(
        "latency", "received → committed p99 at 10k frames/s", 250, outcome.stored.committed_ms[-1], " ms", most=True
    )


def tell_idle(result: Result, outcome: Outcome) -> None:
    result.add("idle: frames a second", outcome.frames / outcome.measured_s, "/s")
    cores = sum(seconds for process, seconds in outcome.cpu_s.items() if process.startswith(ENGINE))
    for process, seconds in sorted(outcome.cpu_s.items()):
        if process.startswith((*ENGINE, "postgres")):
            result.add(f"idle: CPU {process}", 100 * seconds / outcome.measured_s, "% of a core")
    result.add("idle: RSS of all processes, rings counted in each", outcome.rss_bytes / 2**20, "MiB")
    result.add("idle: PSS of all processes", outcome.pss_bytes / 2**20, "MiB")
    share = 100 * cores / outcome.measured_s
    result.aim("idle", "CPU of all processes, 830 options", 5, share, " % of a core", most=True)
    result.aim("idle", "RSS of all processes, shared pages once", 400, outcome.pss_bytes / 2**20, " MiB", most=True)


if __name__ == "__main__":
    main(measure)
