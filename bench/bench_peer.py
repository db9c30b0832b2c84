"""The whole way of a frame into a database, beside the peer: cryptofeed's Deribit handler with its own Postgres and
QuestDB backends; and the writer's commits beside asyncpg's executemany into the table and key of an older collector.

Frames are the simulator's for both. The peer gets them from memory, and once more over a WebSocket, as ours come: no
journal, and what is in its queue is lost where it dies; of a ticker it stores bid and ask, of a book's message one row
of JSON. Into QuestDB it gets tickers only: its backend wants ten levels on each side of a book, and writes a trade's id
as a number, which Deribit's is not.
Ours is the running engine: sockets, rings, journal, exactly once, 43 columns of a ticker, a row for each level, every
row compared with what was sent.
"""

from __future__ import annotations

import json
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import orjson

from bench import corpus, peer, same_rows, usage
from bench.pipeline import questdb_absent
from bench.result import Result, Size, main
from bench.whole_path import Outcome, Plan, database, environment, postmaster, run, simulated
from tickbay import demo
from tickbay.config import Questdb
from tickbay.embedded import USER, free_port
from tickbay.embedded_questdb import EmbeddedQuestdb
from tickbay.sinks.questdb_server import QuestdbServer

PEER_FRAMES = 100_000
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
        live = over_websocket(python, Path(name), where, size)
        rates = same_rows.measure(server, python, size)
    ours = run(Plan(name="peer", options=size.of(830, 10), pace=("--flat-out",), frames=size.of(500_000, 2_000)), size)
    alike = f"{rates.rows:,} rows of 8 columns are alike"
    result.checked = f"{theirs['rows']} rows of the peer's are there; {alike}; ours: {ours.verdict}"
    tell_postgres(result, theirs, ours)
    tell_live(result, live, ours)
    tell_rows(result, rates)
    if (absent := questdb_absent()) != "":
        result.notes.append(f"into QuestDB: not measured: {absent}")
        return result
    tell_questdb(result, python, frames, size)
    return result


def over_websocket(python: Path, folder: Path, where: tuple[str, ...], size: Size) -> dict[str, Any]:
    """The peer behind a WebSocket of the simulator, all options on one connection, flat out."""
    options, frames = size.of(830, 10), size.of(PEER_FRAMES, 1_000)
    waits = ("--wait-channels", str(2 * options + 1))
    plan = Plan(name="peer", options=options, pace=("--flat-out", "--no-limits", *waits))
    with simulated(folder, plan, size.seed) as simulator:
        query = f"{simulator.rest_url}/public/get_instruments?currency=ETH&kind=option"
        with urllib.request.urlopen(query, timeout=demo.HTTP_TIMEOUT_S) as answer:
            listed = [each["instrument_name"] for each in json.load(answer)["result"]]
        (folder / "names").write_text("\n".join(listed))
        before_s = server_cpu_s(folder)
        arguments = (simulator.ws_url, str(folder / "names"), str(frames), *where)
        live = peer.ask(python, "websocket", *arguments, program=peer.STORES)
        live["cpu_s"] += server_cpu_s(folder) - before_s
    assert live["frames"] == frames and live["rows"] >= frames, live
    return live


def server_cpu_s(folder: Path) -> float:
    return sum(process.cpu_s for process in usage.below([postmaster(folder / "postgres")]))


def events_in(frames: list[bytes]) -> int:
    """A trade is one, and so is a ticker or a book's message."""
    data = [orjson.loads(frame)["params"]["data"] for frame in frames]
    return sum(len(each) if isinstance(each, list) else 1 for each in data)


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


def tell_live(result: Result, live: dict[str, Any], ours: Outcome) -> None:
    """Both from the simulator's sockets."""
    rows, own_rows = live["rows"] / live["seconds"], ours.stored.rows / ours.stored.seconds
    result.add("peer behind a WebSocket, as ours is", live["frames"] / live["seconds"], "frames/s")
    cpu_us = 1e6 * live["cpu_s"] / live["frames"]
    result.add("peer behind a WebSocket: CPU of a frame, its server's too", cpu_us, "µs")
    result.add("rows a second, engine / peer behind a WebSocket", own_rows / rows, "x")


def tell_rows(result: Result, rates: same_rows.Rates) -> None:
    each = f"{same_rows.BATCH:,} in a transaction"
    result.add("peer: asyncpg executemany, 8 columns, key", rates.peer, "rows/s", each)
    result.add("writer's commits, the same 8 columns, cursor", rates.same, "rows/s", each)
    result.add("writer's commits, 43 columns, cursor", rates.whole, "rows/s", each)
    result.add("writer's 43 columns over the peer's 8", rates.whole / rates.peer, "x")
    if not result.size.small:
        over = rates.same / rates.peer
        result.aim("Timescale path", "over asyncpg executemany with a key, same columns", 3, over, "x")


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
