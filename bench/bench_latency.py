"""Wire → record: from the sender's send() to the frame in the receiver's hands, right before it is decoded. The
compiled listener under uvloop, as a feed has it, beside a C program that waits in epoll. One frame at a time, 10,000 a
second.

Decoding comes on top, under a microsecond for both (bench_decode). Each side's turn meets a machine of its own mood, so
the turns alternate, and what counts is the median of the turns' percentiles. Only tickers are sent: each is one record,
so the n-th record is the n-th frame.
"""

from __future__ import annotations

import array
import asyncio
import multiprocessing
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import numpy.typing as npt
import picows
import uvloop

from bench import corpus, rings
from bench.bench_receive import Ends, upgrade
from bench.result import Result, Size, main, median, native
from tickbay._native import FeedListener
from tickbay.feed.feed import TICK_S
from tickbay.record import Kind
from tickbay.sim.strip import websocket_frame

RATE = 10_000  # frames a second
PERCENTILES = (50, 99)
SETTLED_S = 0.2  # after the upgrade

Times = npt.NDArray[np.int64]


def measure(size: Size) -> Result:
    result = Result("latency", size)
    frames = corpus.load(size).of("ticker")
    count, turns = size.of(20_000, 500), size.of(5, 1)
    ours: list[list[float]] = []
    limit: list[list[float]] = []
    with sending(frames, count) as (port, sent), tempfile.TemporaryDirectory() as name:
        for _ in range(turns):
            ours.append(lateness(sent, lambda: asyncio_received(port, count)))
            limit.append(lateness(sent, lambda: c_received(port, count, Path(name))))
    result.checked = f"{2 * turns * count} frames, each after it was sent and in its order"
    medians = {}
    for who, found in (("limit: C, epoll", limit), ("compiled listener, uvloop", ours)):
        for place, percentile in enumerate(PERCENTILES):
            value = median([turn[place] for turn in found])
            medians[who, percentile] = result.add(f"{who}, p{percentile}", value, "µs")
    if not size.small:
        ratio = medians["compiled listener, uvloop", 99] / medians["limit: C, epoll", 99]
        result.aim("latency", "wire → record, p99 / C epoll", 1.5, ratio, "x", most=True)
    return result


def lateness(sent: Connection, receive: Callable[[], Times]) -> list[float]:
    """Of one turn, PERCENTILES in microseconds."""
    received = receive()
    late = received - np.frombuffer(sent.recv_bytes(), np.int64)
    assert len(late) == len(received) and (late > 0).all() and (np.diff(received) >= 0).all()
    return [float(np.percentile(late, percentile)) / 1e3 for percentile in PERCENTILES]


def c_received(port: int, count: int, folder: Path) -> Times:
    answer = native("bench_receive", port, count, folder / "times")
    assert answer["records"] == count
    return np.fromfile(folder / "times", np.int64)


def asyncio_received(port: int, count: int) -> Times:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_received(port, count))


async def _received(port: int, count: int) -> Times:
    done = asyncio.Event()
    with rings.produced() as made:
        quotes = made[Kind.QUOTE]
        listener = FeedListener(Ends(done), quotes.native, made[Kind.TRADE].native, made[Kind.BOOK].native)
        listener.start(1)
        transport, _ = await picows.ws_connect(lambda: listener, f"ws://127.0.0.1:{port}/", enable_auto_pong=False)
        while listener.counters()["frames"] < count:  # noqa: ASYNC110 - a feed looks around so often, too
            await asyncio.sleep(TICK_S)
        transport.disconnect()
        await done.wait()
        assert listener.counters()["quotes"] == count < rings.SLOTS[Kind.QUOTE]
        return quotes.read(1)["recv_ns"].copy()


# ------------------------------------------------------------ the sender, a process of its own


@contextmanager
def sending(frames: list[bytes], count: int) -> Iterator[tuple[int, Connection]]:
    """A server that sends every client `count` frames at RATE. Yields its port, and where it tells, after each client,
    when it sent each: int64, nanoseconds since 1970."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, [*map(websocket_frame, frames)], count), daemon=True)
    process.start()
    try:
        yield int(ours.recv()), ours
    finally:
        process.terminate()
        process.join()


def _serve(parent: Connection, frames: list[bytes], count: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        parent.send(server.getsockname()[1])
        while True:
            client, _ = server.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with client:
                upgrade(client)
                parent.send_bytes(_paced(client, frames, count).tobytes())
                client.recv(1 << 16)  # until the client goes


def _paced(client: socket.socket, frames: list[bytes], count: int) -> array.array[int]:
    """One frame after the other, each when it is due. Late ones are sent at once."""
    sent = array.array("q")
    time.sleep(SETTLED_S)
    began = time.monotonic()
    for number in range(count):
        due = began + number / RATE
        while (wait_s := due - time.monotonic()) > 0:
            time.sleep(wait_s)
        frame = frames[number % len(frames)]
        sent.append(time.time_ns())
        client.sendall(frame)
    return sent


if __name__ == "__main__":
    main(measure)
