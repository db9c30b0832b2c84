"""The whole path, `python -m bench.pipeline`: simulator → feeds → journal → writers → databases.

Five runs, each with servers, a journal and a ledger of its own (whole_path.py):

    flat out    the simulator sends as fast as it is taken: frames and rows a second, CPU of each process, bytes a row
    hypertables the same into TimescaleDB, where there is one
    both        the same into QuestDB beside PostgreSQL
    paced       10,000 frames a second: how long after its reception a tick is written, and committed
    idle        830 options, 825 frames a second as recorded: what the engine costs when nothing much happens

The simulator and the databases share the cores with the engine: what they take is told, and is part of the limit.
"""

from __future__ import annotations

from bench.result import Result, Size, main
from bench.whole_path import ENGINE, PERCENTILES, Outcome, Plan, run, timescale_programs
from tickbay.embedded_questdb import jar, java
from tickbay.errors import ConfigError


def measure(size: Size) -> Result:
    result = Result("pipeline", size)
    frames = size.of(1_500_000, 3_000)
    flat = run(Plan(name="flat out", options=size.of(830, 10), pace=("--flat-out",), frames=frames), size)
    result.checked = f"flat out: {flat.verdict}"
    tell_rates(result, flat)
    if size.small:
        return result
    if timescale_programs() is not None:
        hyper = Plan(name="hypertables", options=830, pace=("--flat-out",), frames=frames, hypertables=True)
        outcome = run(hyper, size)
        result.checked += f"; hypertables: {outcome.verdict}"
        tell_hypertables(result, outcome)
    else:
        result.notes.append("into hypertables: not measured: no TimescaleDB is here ($BENCH_TIMESCALE, or `make test`)")
    if (absent := questdb_absent()) == "":
        both = run(Plan(name="both", options=830, pace=("--flat-out",), frames=frames // 3, questdb=True), size)
        result.checked += f"; both: {both.verdict}"
        tell_both(result, both)
    else:
        result.notes.append(f"into QuestDB: not measured: {absent}")
    paced = run(Plan(name="paced", options=830, pace=("--rate", "10000"), seconds=20.0), size)
    result.checked += f"; paced: {paced.verdict}"
    tell_latency(result, paced)
    idle = run(Plan(name="idle", options=830, pace=("--rate", "825"), seconds=25.0), size)
    result.checked += f"; idle: {idle.verdict}"
    tell_idle(result, idle)
    return result


def questdb_absent() -> str:
    """Why there is no QuestDB on this machine; empty: there is one."""
    try:
        jar()
        java()
    except ConfigError as error:
        return str(error)
    return ""


def tell_cpu(result: Result, outcome: Outcome, name: str) -> None:
    for process, seconds in sorted(outcome.cpu_s.items(), key=lambda item: -item[1]):
        microseconds = 1e6 * seconds / outcome.stored.rows
        result.add(f"{name}: CPU {process}", microseconds, "µs/row", f"{seconds:.2f} s")


def tell_rates(result: Result, outcome: Outcome) -> None:
    frames, rows = outcome.frames / outcome.stored.seconds, outcome.stored.rows / outcome.stored.seconds
    result.add("flat out: frames sent, stored and audited", outcome.frames, "")
    result.add("flat out: frames a second, to the last commit", frames, "/s")
    result.add("flat out: rows a second stored", rows, "/s")
    result.add("flat out: records lost", outcome.lost_records, "")
    tell_cpu(result, outcome, "flat out")
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


def tell_hypertables(result: Result, outcome: Outcome) -> None:
    rows = outcome.stored.rows
    result.add("hypertables: frames a second, to the last commit", outcome.frames / outcome.stored.seconds, "/s")
    result.add("hypertables: rows a second stored", rows / outcome.stored.seconds, "/s")
    result.add("hypertables: records lost", outcome.lost_records, "")
    result.add("hypertables: bytes a row", outcome.stored.table_bytes / rows, "B", "not compressed")
    tell_cpu(result, outcome, "hypertables")


def tell_both(result: Result, outcome: Outcome) -> None:
    applied = outcome.applied
    assert applied is not None and applied.rows == outcome.stored.rows
    seconds = max(applied.seconds, outcome.stored.seconds)
    result.add("both: frames a second, to the last row in both", outcome.frames / seconds, "/s")
    result.add("both: rows a second into each", outcome.stored.rows / seconds, "/s")
    result.add("both: rows a second into QuestDB, applied", applied.rows / applied.seconds, "/s")
    result.add("both: bytes a row in QuestDB", applied.table_bytes / applied.rows, "B")
    result.add("both: records lost", outcome.lost_records, "")
    tell_cpu(result, outcome, "both")


def tell_latency(result: Result, outcome: Outcome) -> None:
    result.add("10k frames/s: frames a second", outcome.frames / outcome.measured_s, "/s")
    for percentile, written, committed in zip(
        PERCENTILES, outcome.written_ms, outcome.stored.committed_ms, strict=True
    ):
        result.add(f"10k frames/s: received → written p{percentile * 100:.0f}", written, "ms", "commit_ms = 100")
        result.add(f"10k frames/s: received → committed p{percentile * 100:.0f}", committed, "ms")
    result.add("10k frames/s: journal's sync p99", outcome.sync_ms, "ms")
    tell_memory(result, outcome, "10k frames/s")
    result.aim(
        "latency", "received → committed p99 at 10k frames/s", 250, outcome.stored.committed_ms[-1], " ms", most=True
    )


def tell_memory(result: Result, outcome: Outcome, name: str) -> None:
    half, end = (each / 2**20 for each in outcome.own_bytes)
    result.add(f"{name}: memory of their own at half time", half, "MiB", "without files and rings")
    result.add(f"{name}: memory of their own at the end", end, "MiB")
    result.aim("memory", f"end / half time, {name}", 1.05, end / half, "x", most=True)


def tell_idle(result: Result, outcome: Outcome) -> None:
    result.add("idle: frames a second", outcome.frames / outcome.measured_s, "/s")
    cores = sum(seconds for process, seconds in outcome.cpu_s.items() if process.startswith(ENGINE))
    for process, seconds in sorted(outcome.cpu_s.items()):
        if process.startswith((*ENGINE, "postgres")):
            result.add(f"idle: CPU {process}", 100 * seconds / outcome.measured_s, "% of a core")
    result.add("idle: RSS of all processes, shared pages in each", outcome.rss_bytes / 2**20, "MiB")
    share = 100 * cores / outcome.measured_s
    result.aim("idle", "CPU of all processes, 830 options", 5, share, " % of a core", most=True)
    result.aim("idle", "RSS of all processes, shared pages once", 400, outcome.pss_bytes / 2**20, " MiB", most=True)


if __name__ == "__main__":
    main(measure)
