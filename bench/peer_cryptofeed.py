"""cryptofeed's own Deribit handler on frames of ours. Runs in the peer's interpreter: imports nothing of tickbay.

bench.peer_cryptofeed decode FRAMES TURNS      its message_handler() for every frame, callbacks that do nothing
bench.peer_cryptofeed receive URL COUNT        the same behind `websockets`, as its connection does it
"""

from __future__ import annotations

import asyncio
import importlib
import json
import struct
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any


class Callbacks:
    """Counts, and nothing else: what is measured is the handler."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self, _item: object, _receipt: float) -> None:
        self.count += 1


def handler(names: list[str], callbacks: Callbacks) -> Any:
    """A Deribit feed for instruments of these names, without its REST lookup: nothing here talks to the venue."""
    defines = importlib.import_module("cryptofeed.defines")
    symbols = importlib.import_module("cryptofeed.symbols")
    deribit = importlib.import_module("cryptofeed.exchanges.deribit").Deribit
    mapping = {name: name for name in names}
    symbols.Symbols.set(deribit.id, mapping, {"instrument_type": dict.fromkeys(names, "option")})
    channels = (defines.TICKER, defines.L2_BOOK, defines.TRADES)
    feed = deribit(symbols=[], channels=[], callbacks=dict.fromkeys(channels, callbacks))
    feed.normalized_symbol_mapping = mapping
    feed.exchange_symbol_mapping = mapping
    feed._Deribit__reset()  # as subscribe() does
    return feed


def read(path: Path) -> list[str]:
    data, frames, at = path.read_bytes(), [], 0
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        frames.append(data[at + 4 : at + 4 + length].decode())
        at += 4 + length
    return frames


def names_in(frames: list[str]) -> list[str]:
    data = [json.loads(frame)["params"]["data"] for frame in frames]
    return sorted({part["instrument_name"] for item in data for part in (item if isinstance(item, list) else [item])})


async def decode(path: Path, turns: int) -> dict[str, object]:
    frames, callbacks = read(path), Callbacks()
    feed = handler(names_in(frames), callbacks)
    times = []
    for _ in range(turns):
        began = time.process_time_ns()
        for frame in frames:
            await feed.message_handler(frame, None, 1.8e9)
        times.append((time.process_time_ns() - began) / len(frames))
    return {"ns": times, "frames": len(frames), "callbacks": callbacks.count}


async def receive(url: str, count: int, path: Path) -> dict[str, object]:
    websockets = importlib.import_module("websockets")
    callbacks = Callbacks()
    feed = handler(names_in(read(path)), callbacks)
    # The sender is not done when we are, and answers no close: by default that is waited for, for 10 s.
    async with websockets.connect(url, max_size=2**23, close_timeout=0.1) as connection:
        began = time.process_time_ns()
        for _ in range(count):
            await feed.message_handler(await connection.recv(), None, time.time())
        spent = time.process_time_ns() - began
    return {"ns": [spent / count], "frames": count, "callbacks": callbacks.count}


def main(what: str, *arguments: str) -> None:
    if what == "decode":
        answer = asyncio.run(decode(Path(arguments[0]), int(arguments[1])))
    else:
        answer = asyncio.run(receive(arguments[0], int(arguments[1]), Path(arguments[2])))
    print(json.dumps({"version": version("cryptofeed"), **answer}))


if __name__ == "__main__":
    main(*sys.argv[1:])
