"""The whole way of a frame into a database, beside the peer: cryptofeed's Deribit handler with its own Postgres and
QuestDB backends, and asyncpg's executemany into the table and key of an older collector, on a server of the same kind.

Frames are the simulator's for both. The peer gets them from memory: no socket, no journal, and what is in its queue is
lost where it dies; of a ticker it stores bid and ask, of a book's message one row of JSON. Into QuestDB it gets tickers
only: its backend wants ten levels on each side of a book, and writes a trade's id as a number, which Deribit's is not.
Ours is the running engine: sockets, rings, journal, exactly once, 43 columns of a ticker, a row for each level, every
row compared with what was sent.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from bench import corpus, peer, usage
from bench.bench_encode import records_of
from bench.pipeline import questdb_absent
from bench.result import Result, Size, main
from bench.whole_path import Outcome, Plan, database, environment, postmaster, run
from tickbay import demo
from tickbay.config import Questdb, Timescale
from tickbay.embedded import USER, EmbeddedServer, free_port
from tickbay.embedded_questdb import EmbeddedQuestdb
from tickbay.record import Kind
from tickbay.sinks.questdb_server import QuestdbServer
from tickbay.sinks.sink import Chunk
from tickbay.sinks.timescale import TimescaleSink

PEER_FRAMES = 100_000
BATCH = 10_000
STREAM, EPOCH = "feed-1.quote", 1
APPLY_S = 60.0
PEER_TABLE = "ticker-DERIBIT"  # as its backend calls it


def measure(size: Size) -> Result:
    result = Result("peer", size)
    python = peer.stores()
    if python is None:
        result.checked = "nothing: there is no peer"
        result.notes.append(peer.ABSENT)
        return result
    with (
        tempfile.TemporaryDirectory(prefix="tickbay-bench-") as name,
        database(Path(name) / "postgres") as server,
        environment("PGPASSWORD", server.password),
    ):
        frames = (corpus.simulated(size.seed) * 1000)[: size.of(PEER_FRAMES, 1_000)]
        path = corpus.write(Path(name) / "frames", frames)
        where = (str(server.port), USER, demo.DATABASE)
        before_s = server_cpu_s(Path(name))
        theirs = peer.ask(python, "postgres", str(path), *where, program=peer.STORES)
        theirs["cpu_s"] += server_cpu_s(Path(name)) - before_s
        # More: after a thousand changes of a book it stores the whole book again.
        assert theirs["frames"] == len(frames) and theirs["rows"] >= events_in(frames), theirs
        by_rows = peer.ask(python, "executemany", str(size.of(300_000, 2_000)), str(BATCH), *where, program=peer.STORES)
        assert by_rows["rows"] == size.of(300_000, 2_000)
        commits = our_commits(server, size)
    ours = run(Plan(name="peer", options=size.of(830, 10), pace=("--flat-out",), frames=size.of(500_000, 2_000)), size)
    result.checked = f"{theirs['rows']} rows of the peer's are there; ours: {ours.verdict}"
    tell_postgres(result, theirs, ours)
    tell_rows(result, by_rows, commits)
    if (absent := questdb_absent()) != "":
        result.notes.append(f"into QuestDB: not measured: {absent}")
        return result
    tell_questdb(result, python, frames, size)
    return result


def server_cpu_s(folder: Path) -> float:
    return sum(process.cpu_s for process in usage.below([postmaster(folder / "postgres")]))


def events_in(frames: list[bytes]) -> int:
    """A trade is one, and so is a ticker or a book's message."""
    data = [orjson.loads(frame)["params"]["data"] for frame in frames]
    return sum(len(each) if isinstance(each, list) else 1 for each in data)


def our_commits(server: EmbeddedServer, size: Size) -> float:
    """Quotes a second by the writer's commits, its defaults but for their size."""
    rows, turns = size.of(BATCH, 500), size.of(30, 4)
    records = np.resize(records_of(size)[Kind.QUOTE], rows)
    records["exch_ns"] = time.time_ns()
    settings = Timescale(port=server.port, user=USER, password=server.password, dbname=demo.DATABASE)
    with closing(TimescaleSink(settings)) as sink:
        sink.open([STREAM])
        began = time.monotonic()
        for turn in range(turns):
            records["seq"] = np.arange(1 + turn * rows, 1 + (turn + 1) * rows)
            assert sink.commit([Chunk(STREAM, Kind.QUOTE, EPOCH, records)]).rows == rows
        return turns * rows / (time.monotonic() - began)


def tell_postgres(result: Result, theirs: dict[str, Any], ours: Outcome) -> None:
    rows, frames = theirs["rows"] / theirs["seconds"], theirs["frames"] / theirs["seconds"]
    own_rows, own_frames = ours.stored.rows / ours.stored.seconds, ours.frames / ours.stored.seconds
    result.add("peer: cryptofeed into its Postgres", frames, "frames/s")
    result.add("peer: rows a second", rows, "/s", "a row for each message")
    cpu_us = 1e6 * theirs["cpu_s"] / theirs["frames"]
    own_cpu_us = 1e6 * sum(ours.cpu_s.values()) / ours.frames
    result.add("engine into PostgreSQL", own_frames, "frames/s")
    result.add("engine: rows a second", own_rows, "/s", "a row for each level")
    result.add("peer: CPU of a frame, its server's too", cpu_us, "µs")
    result.add("engine: CPU of a frame, everybody's", own_cpu_us, "µs", "with the simulator's")
    result.add("CPU of a frame, peer / engine", cpu_us / own_cpu_us, "x", "does not depend on the load")
    if not result.size.small:
        result.aim("pipeline", "rows a second, over cryptofeed → its Postgres", 50, own_rows / rows, "x")


def tell_rows(result: Result, theirs: dict[str, Any], commits: float) -> None:
    rate = theirs["rows"] / theirs["seconds"]
    result.add("peer: asyncpg executemany, 8 columns, key", rate, "rows/s", f"{BATCH:,} in a transaction")
    result.add("writer's commits, 43 columns, cursor", commits, "rows/s", f"{BATCH:,} in a transaction")
    if not result.size.small:
        result.aim("Timescale path", "over asyncpg executemany with a key", 3, commits / rate, "x")


def tell_questdb(result: Result, python: Path, frames: list[bytes], size: Size) -> None:
    """Tickers only."""
    tickers = [frame for frame in frames if b'"channel":"ticker.' in frame]
    with tempfile.TemporaryDirectory(prefix="tickbay-bench-") as name:
        port = free_port()
        open_door = {"line.tcp.enabled": "true", "line.tcp.net.bind.to": f"127.0.0.1:{port}"}
        grows = {"line.auto.create.new.columns": "true", "line.auto.create.new.tables": "true"}
        embedded = EmbeddedQuestdb(Path(name) / "questdb", settings=open_door | grows)
        embedded.start()
        try:
            path = corpus.write(Path(name) / "frames", tickers)
            theirs = peer.ask(python, "questdb", str(path), str(port), program=peer.STORES)
            until_there(QuestdbServer(Questdb(port=embedded.port)), len(tickers))
        finally:
            embedded.stop()
    rate, cpu_us = len(tickers) / theirs["seconds"], 1e6 * theirs["cpu_s"] / len(tickers)
    result.add("peer: cryptofeed into its QuestDB, tickers", rate, "frames/s", "sent; all were found there")
    result.add("peer: CPU of its process", cpu_us, "µs/frame")


def until_there(server: QuestdbServer, rows: int) -> None:
    deadline = time.monotonic() + APPLY_S
    try:
        while True:
            made = server.query(f"SELECT table_name FROM tables() WHERE table_name = '{PEER_TABLE}'")
            found = server.query(f'SELECT count() FROM "{PEER_TABLE}"')[0][0] if made else 0
            if found >= rows:
                return
            assert time.monotonic() < deadline, f"{found} of the peer's {rows} rows are there"
            time.sleep(0.05)
    finally:
        server.close()


if __name__ == "__main__":
    main(measure)
