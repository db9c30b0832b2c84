"""A cable between a client and a server that can be cut at a chosen moment."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self


class Cable:
    """Forwards connections to a loopback port. Once armed, the first bytes from a client that hold `cut_at` end its
    connection: after they were delivered, or instead. Later connections pass."""

    def __init__(self, port: int, *, cut_at: bytes, deliver: bool) -> None:
        self._target = ("127.0.0.1", port)
        self._cut_at = cut_at
        self._deliver = deliver
        self._armed = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._sockets:
            _shut(end, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(timeout=10)
        for end in self._sockets:
            end.close()

    def arm(self) -> None:
        self._armed.set()

    def _accept(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._sockets += [client, server]
            for source, target, watched in ((client, server, True), (server, client, False)):
                thread = threading.Thread(target=self._forward, args=(source, target, watched))
                self._threads.append(thread)
                thread.start()

    def _forward(self, source: socket.socket, target: socket.socket, watched: bool) -> None:
        try:
            while data := source.recv(65536):
                if watched and self._armed.is_set() and self._cut_at in data:
                    self._armed.clear()
                    if self._deliver:
                        # The client's end goes first, so that no answer reaches it; the server gets its bytes.
                        source.shutdown(socket.SHUT_RDWR)
                        target.sendall(data)
                    break
                target.sendall(data)
        except OSError:
            pass  # either end went away: so does the other
        _shut(source, socket.SHUT_RDWR)
        _shut(target, socket.SHUT_WR)


def _shut(end: socket.socket, how: int) -> None:
    with contextlib.suppress(OSError):  # already gone
        end.shutdown(how)
