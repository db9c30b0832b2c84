"""From a loopback socket to records in rings, CPU of the receiving process alone: the compiled listener under uvloop,
beside a C socket reader with the same decoder, and cryptofeed's handler behind `websockets`.

The listener does more than the C reader: rings, continuity of every book and trade, counters, and an event loop that
could do other things meanwhile. Over TLS, as a venue speaks, it is held against reading and decrypting alone. The first
half of each run's frames is not timed: memory is touched for the first time then, which a recorder does once in months.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import multiprocessing
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import picows
import uvloop

from bench import corpus, peer, rings
from bench.result import Result, Size, main, median, native
from tickbay._native import FeedListener
from tickbay.record import Kind
from tickbay.sim.strip import websocket_frame

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455
DRAIN_S = 0.002  # how often the rings are emptied, as a journal with a fast disk would


def measure(size: Size) -> Result:
    result = Result("receive", size)
    found = corpus.load(size)
    rounds = size.of(120, 40)  # half of them: each ring once around
    frames = rounds * len(found.frames)
    with sending(found.frames, rounds) as port, tempfile.TemporaryDirectory() as folder:
        limits, ours, records = [], [], set()
        for _ in range(size.of(7, 1)):
            answer = native("bench_receive", port, frames)
            limits.append(float(str(answer["ns"])))
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                spent_ns, counters = runner.run(receive(port, frames))
            ours.append(spent_ns)
            records |= {answer["records"], counters["quotes"] + counters["trades"] + counters["books"]}
            assert not counters["undecodable"] and not counters["lost_records"]
        assert len(records) == 1, f"the two received different records: {records}"
        result.checked = f"{frames} frames, {records.pop()} records by both, none lost"
        limit_ns = result.add("limit: C socket reader, same decoder", median(limits), "ns/frame", "CPU")
        ours_ns = result.add("compiled listener, uvloop, into rings", median(ours), "ns/frame", "CPU")
        result.add("compiled listener, best run", min(ours), "ns/frame", "CPU")
        result.aim("receive", "time / C socket reader with the decoder", 1.2, ours_ns / limit_ns, "x", most=True)
        python = peer.python()
        if python is None:
            result.notes.append(peer.ABSENT)
        else:
            path = corpus.write(Path(folder) / "frames", found.frames)
            theirs = peer.ask(python, "receive", f"ws://127.0.0.1:{port}/", str(len(found.frames)), str(path))
            peer_ns = result.add("peer: cryptofeed behind websockets", theirs["ns"][0], "ns/frame", "CPU")
            result.aim("receive", "frames a CPU second, over cryptofeed's", 35, peer_ns / ours_ns, "x")
    over_tls(result, found.frames, rounds)
    return result


def over_tls(result: Result, frames: list[bytes], rounds: int) -> None:
    """The same from wss://, and what the encryption costs of it."""
    if shutil.which("openssl") is None:
        result.notes.append("over TLS: not measured: openssl, which makes the certificate, is not installed")
        return
    count = rounds * len(frames)
    with tempfile.TemporaryDirectory() as folder:
        certificate = self_signed(Path(folder))
        with sending(frames, rounds, certificate) as port:
            context = ssl.create_default_context(cafile=certificate)
            size = rounds * sum(len(websocket_frame(frame)) for frame in frames)
            decrypted, ours = [], []
            for _ in range(result.size.of(5, 1)):
                decrypted.append(decrypt(port, size, context) / count)
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    spent_ns, counters = runner.run(receive(port, count, context))
                ours.append(spent_ns)
                assert not counters["undecodable"] and not counters["lost_records"]
    result.add("limit over TLS: read and decrypt, no more", median(decrypted), "ns/frame", "CPU")
    result.add("compiled listener over TLS, into rings", median(ours), "ns/frame", "CPU")


def self_signed(folder: Path) -> Path:
    """A certificate for this machine, and its key in the same file."""
    path = folder / "localhost.pem"
    command: list[str | Path] = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", path, "-out", f"{path}.crt"]
    subprocess.run(command, check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


def decrypt(port: int, size: int, context: ssl.SSLContext) -> int:
    """CPU nanoseconds of reading `size` bytes as they come, with OpenSSL by Python's means, 64 KiB at a time."""
    room = bytearray(1 << 16)
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        key = base64.b64encode(bytes(16)).decode()
        connection.sendall(f"GET / HTTP/1.1\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode())
        began, read = time.process_time_ns(), 0
        while read < size:
            read += connection.recv_into(room)
        return time.process_time_ns() - began


async def receive(port: int, frames: int, tls: ssl.SSLContext | None = None) -> tuple[float, dict[str, int]]:
    """CPU nanoseconds of this process for a frame of the second half, and the feed's counters."""
    done = asyncio.Event()
    url = f"wss://localhost:{port}/" if tls else f"ws://127.0.0.1:{port}/"
    with rings.produced() as made:
        listener = FeedListener(Ends(done), made[Kind.QUOTE].native, made[Kind.TRADE].native, made[Kind.BOOK].native)
        listener.start(1)

        async def until(count: int) -> tuple[int, int]:
            """How many frames there were then, and what they had cost."""
            while (found := listener.counters()["frames"]) < count:
                for each in made.values():
                    each.set_durable(each.head - 1)  # what a journal does: the slots are free again
                await asyncio.sleep(DRAIN_S)
            return found, time.process_time_ns()

        transport, _ = await picows.ws_connect(lambda: listener, url, enable_auto_pong=False, ssl_context=tls)
        began, began_ns = await until(frames // 2)
        ended, ended_ns = await until(frames)
        transport.disconnect()
        await done.wait()
    return (ended_ns - began_ns) / (ended - began), listener.counters()


class Ends:
    """A FeedHandler that wants to know only of the end; breaks are the corpus's repetitions."""

    def __init__(self, done: asyncio.Event) -> None:
        self._done = done

    def on_connected(self, transport: picows.WSTransport) -> None:
        pass

    def on_disconnected(self, transport: picows.WSTransport) -> None:
        self._done.set()

    def on_close(self, code: int, reason: str) -> None:
        pass

    def on_message(self, message: int, payload: bytes, recv_ns: int) -> None:
        raise AssertionError("only data were sent")

    def on_undecodable(self, payload: bytes, recv_ns: int) -> None:
        raise AssertionError(payload)

    def on_break(self, kind: int, instrument: bytes, expected: int, got: int, recv_ns: int, since_ns: int) -> None:
        pass

    def on_leap(self, instrument: bytes, expected: int, got: int, recv_ns: int, since_ns: int) -> None:
        pass

    def on_overflow_begin(self, kind: int, recv_ns: int) -> None:
        raise AssertionError("a ring was full")

    def on_overflow_end(self, kind: int, records: int, from_ns: int, to_ns: int) -> None:
        pass


# ------------------------------------------------------------ the sender, a process of its own


@contextmanager
def sending(frames: list[bytes], rounds: int, certificate: Path | None = None) -> Iterator[int]:
    """A server that sends every client all frames, `rounds` times, as fast as it takes them. Yields its port.
    `certificate`: it speaks TLS."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    data = b"".join(map(websocket_frame, frames))
    process = context.Process(target=_serve, args=(theirs, data, rounds, certificate), daemon=True)
    process.start()
    try:
        yield int(ours.recv())
    finally:
        process.terminate()
        process.join()


def _serve(parent: Connection, data: bytes, rounds: int, certificate: Path | None) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    if certificate is not None:
        context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as server:
        parent.send(server.getsockname()[1])
        while True:
            plain, _ = server.accept()
            with context.wrap_socket(plain, server_side=True) if certificate else plain as client:
                upgrade(client)
                try:
                    for _ in range(rounds):
                        client.sendall(data)
                    client.recv(1 << 16)  # until the client goes
                except OSError:
                    continue  # it went before the end


def upgrade(client: socket.socket) -> None:
    request = b""
    while b"\r\n\r\n" not in request:
        request += client.recv(4096)
    key = next(line for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:"))
    accept = base64.b64encode(hashlib.sha1(key.split(b":")[1].strip() + GUID).digest())
    client.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


if __name__ == "__main__":
    main(measure)
