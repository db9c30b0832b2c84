"""cryptofeed's own backends on frames of ours, and asyncpg's executemany. Runs in the peer's interpreter: imports
nothing of tickbay. The database's password is in PGPASSWORD.

bench.peer_stores postgres FRAMES PORT USER DBNAME           message_handler() → its queue → its Postgres backend
bench.peer_stores websocket URL NAMES FRAMES PORT USER DBNAME   the same behind `websockets`, subscribed to the tickers,
                                                             books and trades of the instruments that NAMES lists
bench.peer_stores questdb FRAMES PORT                        the same → its QuestDB backend (ILP over TCP)
bench.peer_stores executemany FIRST ROWS BATCH PORT USER DBNAME   quotes into the table and key of an older collector

Its handler is called as its connection calls it, without the socket or with it, and gives way to the writer every
BREATH frames: in its batches are then as many rows, which suits it better than the few of a live feed.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bench.peer_cryptofeed import Callbacks, handler, names_in, read

BREATH = 1000
CHANNELS_PER_CALL = 400
# Its backends → frames, seconds, CPU seconds.
Source = Callable[[dict[str, Any]], Awaitable[tuple[int, float, float]]]
# As the tables in its documentation, with doubles for its NUMERIC(64, 32), which would cost the server more.
HEAD = "id serial PRIMARY KEY, timestamp timestamp, receipt timestamp, feed text, symbol text"
TABLES = f"""
    DROP TABLE IF EXISTS ticker, trades, book;
    CREATE TABLE ticker ({HEAD}, bid float8, ask float8);
    CREATE TABLE trades ({HEAD}, side text, amount float8, price float8, trade_id text, order_type text);
    CREATE TABLE book ({HEAD}, data jsonb);
"""
QUOTES = """
    CREATE TABLE IF NOT EXISTS older_quotes (timestamp timestamptz NOT NULL, instrument text NOT NULL, bid_price float8,
        bid_size float8, ask_price float8, ask_size float8, underlying_price float8, mark_price float8,
        PRIMARY KEY (timestamp, instrument));
"""
INSERT = "INSERT INTO older_quotes VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING"


async def handled(path: Path, backends: dict[str, Any]) -> tuple[int, float, float]:
    """Frames, seconds and CPU seconds until everything is with the database."""
    frames = read(path)
    feed = handler(names_in(frames), Callbacks())
    feed.callbacks |= {channel: [backend] for channel, backend in backends.items()}
    for backend in backends.values():
        backend.start(asyncio.get_running_loop())
    began, cpu = time.monotonic(), time.process_time()
    for number, frame in enumerate(frames):
        await feed.message_handler(frame, None, time.time())
        if number % BREATH == 0:
            await asyncio.sleep(0)
    for backend in backends.values():
        await backend.queue.join()
    return len(frames), time.monotonic() - began, time.process_time() - cpu


async def received(url: str, names: list[str], count: int, backends: dict[str, Any]) -> tuple[int, float, float]:
    """The same for `count` frames from a WebSocket, from the answer to the last request on: what comes before it is
    handled too, and not counted."""
    websockets = importlib.import_module("websockets")
    feed, link = handler(names, Callbacks()), SimpleNamespace(uuid="peer")
    feed.callbacks |= {channel: [backend] for channel, backend in backends.items()}
    for backend in backends.values():
        backend.start(asyncio.get_running_loop())
    channels = [f"{kind}.{name}.100ms" for name in names for kind in ("ticker", "book")]
    channels.append("trades.option.ETH.100ms")
    async with websockets.connect(url, max_size=2**23, close_timeout=0.1) as connection:
        unanswered = 0
        for first in range(0, len(channels), CHANNELS_PER_CALL):
            params = {"channels": channels[first : first + CHANNELS_PER_CALL]}
            request = {"jsonrpc": "2.0", "id": 101, "method": "public/subscribe", "params": params}
            await connection.send(json.dumps(request))
            unanswered += 1
        while unanswered:
            text = await connection.recv()
            unanswered -= '"id":101' in text
            await feed.message_handler(text, link, time.time())
        began, cpu = time.monotonic(), time.process_time()
        for number in range(count):
            await feed.message_handler(await connection.recv(), link, time.time())
            if number % BREATH == 0:
                await asyncio.sleep(0)
        for backend in backends.values():
            await backend.queue.join()
        return count, time.monotonic() - began, time.process_time() - cpu


async def postgres(source: Source, port: int, user: str, dbname: str) -> dict[str, object]:
    own = importlib.import_module("cryptofeed.backends.postgres")
    defines = importlib.import_module("cryptofeed.defines")
    connection = await connect(port, user, dbname)
    await connection.execute(TABLES)
    where = {"host": "127.0.0.1", "port": port, "user": user, "pw": os.environ["PGPASSWORD"], "db": dbname}
    frames, seconds, cpu_s = await source(
        {
            defines.TICKER: own.TickerPostgres(**where),
            defines.TRADES: own.TradePostgres(**where),
            defines.L2_BOOK: own.BookPostgres(**where),
        },
    )
    rows = [await connection.fetchval(f"SELECT count(*) FROM {table}") for table in ("ticker", "trades", "book")]
    return {"frames": frames, "rows": sum(rows), "seconds": seconds, "cpu_s": cpu_s}


async def questdb(path: Path, port: int) -> dict[str, object]:
    own = importlib.import_module("cryptofeed.backends.quest")
    defines = importlib.import_module("cryptofeed.defines")
    backend = own.TickerQuest(port=port)
    frames, seconds, cpu_s = await handled(path, {defines.TICKER: backend})
    await backend.conn.drain()
    backend.conn.close()
    await backend.conn.wait_closed()
    return {"frames": frames, "seconds": seconds, "cpu_s": cpu_s}


async def executemany(first: int, rows: int, batch: int, port: int, user: str, dbname: str) -> dict[str, object]:
    """Rows `first` …, as same_rows.quotes() makes them."""
    connection = await connect(port, user, dbname)
    await connection.execute(QUOTES)
    began, step = datetime(2026, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
    made = [
        (began + step * number, f"ETH-1JAN27-{number % 830}-C", *(number / 7 + index for index in range(6)))
        for number in range(first, first + rows)
    ]
    at, cpu = time.monotonic(), time.process_time()
    for start in range(0, rows, batch):
        async with connection.transaction():
            await connection.executemany(INSERT, made[start : start + batch])
    seconds, cpu_s = time.monotonic() - at, time.process_time() - cpu
    stored = await connection.fetchval("SELECT count(*) FROM older_quotes")
    return {"rows": stored, "seconds": seconds, "cpu_s": cpu_s}


async def connect(port: int, user: str, dbname: str) -> Any:
    asyncpg = importlib.import_module("asyncpg")
    where = {"host": "127.0.0.1", "port": port, "user": user, "database": dbname}
    return await asyncpg.connect(password=os.environ["PGPASSWORD"], **where)


def main(what: str, *given: str) -> None:
    if what == "postgres":
        answer = asyncio.run(postgres(partial(handled, Path(given[0])), int(given[1]), *given[2:]))
    elif what == "websocket":
        names = Path(given[1]).read_text().split()
        source = partial(received, given[0], names, int(given[2]))
        answer = asyncio.run(postgres(source, int(given[3]), *given[4:]))
    elif what == "questdb":
        answer = asyncio.run(questdb(Path(given[0]), int(given[1])))
    else:
        answer = asyncio.run(executemany(int(given[0]), int(given[1]), int(given[2]), int(given[3]), *given[4:]))
    print(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
