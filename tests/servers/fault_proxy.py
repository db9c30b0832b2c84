"""A network between the engine and the simulated venue that fails as networks do: TLS towards the client, plain to the
venue, on loopback, in a thread of its own.

What it does not let through it has taken: to the sender it is sent.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import threading
from collections.abc import Coroutine
from contextlib import suppress
from enum import Enum, auto
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

PIECE = 64 << 10
THROTTLED_PIECE = 2 << 10  # bytes every THROTTLED_S: far less than what comes
THROTTLED_S = 0.02
NO_LINGER = struct.pack("ii", 1, 0)  # close() sends a reset

Answer = TypeVar("Answer")


class Fault(Enum):
    """What becomes of the connections that there are, and of new ones until restore()."""

    RESET = auto()  # reset; new ones are reset
    CLOSE = auto()  # ended without a word of TLS or WebSocket; new ones are reset
    TLS_CLOSE = auto()  # ended by TLS, without a WebSocket close frame; new ones are reset
    HTTP_503 = auto()  # reset; new ones are answered so
    HTTP_429 = auto()
    STALL = auto()  # nothing moves; new ones are taken, and nothing moves on them either
    THROTTLE = auto()  # hardly anything moves; new ones likewise
    HALF_OPEN = auto()  # all is swallowed, for ever; new ones are well
    DEAF = auto()  # all that the venue sends is swallowed, its heartbeats too, for ever; new ones are well


REFUSING = {Fault.RESET, Fault.CLOSE, Fault.TLS_CLOSE}
ANSWERS = {
    Fault.HTTP_503: b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
    Fault.HTTP_429: b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n",
}


class Connection:
    """One client and its way to the venue."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.swallows_in = self.swallows_out = False  # from the venue, from the client

    def end(self, fault: Fault) -> None:
        if fault in (Fault.RESET, *ANSWERS):
            own: socket.socket = self.writer.get_extra_info("socket")
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            self.writer.transport.abort()
        elif fault is Fault.CLOSE:
            self.writer.transport.abort()  # the socket ends, and TLS has not said so
        else:
            self.writer.close()  # close_notify first


class FaultProxy:
    def __init__(self, port: int, certificate: tuple[Path, Path]) -> None:
        self._target = port
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(*certificate)
        self._connections: set[Connection] = set()
        self._fault: Fault | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self.port = self._do(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    # ---------------------------------------------------------------- what a test asks for

    def fail(self, fault: Fault) -> None:
        self._do(self._break(fault))

    def restore(self) -> None:
        """The network is well again, for new connections and for those that still are."""
        self._do(self._mend())

    # ---------------------------------------------------------------- on the loop

    async def _listen(self) -> int:
        self._moving = asyncio.Event()
        self._moving.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        return int(self._server.sockets[0].getsockname()[1])

    async def _end(self) -> None:
        """Each _serve() ends by itself when its connection does: asyncio complains of those that are cancelled."""
        self._server.close()
        await self._mend()
        for connection in self._connections:
            connection.writer.transport.abort()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=5)

    async def _break(self, fault: Fault) -> None:
        self._fault = fault
        for connection in list(self._connections):
            if fault in REFUSING or fault in ANSWERS:
                connection.end(fault)
            elif fault in (Fault.HALF_OPEN, Fault.DEAF):
                connection.swallows_in = True
                connection.swallows_out = fault is Fault.HALF_OPEN
        if fault is Fault.STALL:
            self._moving.clear()

    async def _mend(self) -> None:
        self._fault = None
        self._moving.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        if self._fault in REFUSING:
            connection.end(Fault.RESET)
            return
        if self._fault in ANSWERS:
            with suppress(OSError, asyncio.IncompleteReadError):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(ANSWERS[self._fault])
                await writer.drain()
            writer.close()
            return
        self._connections.add(connection)
        try:
            venue_reader, venue_writer = await asyncio.open_connection("127.0.0.1", self._target)
            inward = self._loop.create_task(self._carry(connection, venue_reader, writer, inward=True))
            await self._carry(connection, reader, venue_writer, inward=False)
            venue_writer.close()
            await inward
        except OSError:
            pass  # either end went away: so does the other
        finally:
            self._connections.discard(connection)
            writer.transport.abort()

    async def _carry(
        self, connection: Connection, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, inward: bool
    ) -> None:
        """Until the source ends, and then end the target."""
        with suppress(OSError):
            while data := await source.read(THROTTLED_PIECE if self._fault is Fault.THROTTLE else PIECE):
                await self._moving.wait()
                if connection.swallows_in if inward else connection.swallows_out:
                    continue
                target.write(data)
                await target.drain()
                if self._fault is Fault.THROTTLE:
                    await asyncio.sleep(THROTTLED_S)
        target.close()
