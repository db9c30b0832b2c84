"""A listening port that answers GET requests, each in a thread, all of them bounded. What is answered: answer.py.

The machinery is the standard library's, which prometheus_client serves with, too. It listens to this machine only
unless configured otherwise, and nothing that it does can touch the capture: it runs in a process of its own.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tickbay.metrics.answer import Page, answer

CONNECTIONS_MAX = 16  # Prometheus, a health check, a few people
REQUEST_S = 5.0  # from connection to answer, the peer's slowness included
BACKLOG = 16


class Server(ThreadingHTTPServer):
    """Listens once made; OSError where it cannot. run() in a thread, then close()."""

    daemon_threads = True
    request_queue_size = BACKLOG

    def __init__(self, host: str, port: int, pages: Mapping[str, Page], hosts: tuple[str, ...]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.pages, self.hosts = pages, hosts
        self.failure: BaseException | None = None  # a mistake of ours: the process ends with it, and is restarted
        self.one_at_a_time = threading.Lock()  # the answers: whoever asks much waits, and costs no more
        self._open: dict[socket.socket, float] = {}  # and since when
        self._lock = threading.Lock()
        super().__init__((host, port), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, name=f"port {self.port}", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def close(self) -> None:
        self.shutdown()
        self.server_close()

    def end_overdue(self) -> None:
        """End the connections whose peer takes too long. To be called now and then."""
        with self._lock:
            overdue = [one for one, since in self._open.items() if time.monotonic() - since > REQUEST_S]
        for one in overdue:
            _end(one)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            full = len(self._open) >= CONNECTIONS_MAX
            if not full:
                self._open[request] = time.monotonic()
        if full:
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - as socketserver calls it
        """A peer that left is no news; for anything else see `failure`."""
        error = sys.exception()
        if not isinstance(error, OSError):
            self.failure = error


class _Handler(BaseHTTPRequestHandler):
    """One request, then the connection ends: HTTP/1.0."""

    server: Server
    server_version, sys_version = "tickbay", ""
    error_message_format, error_content_type = "%(code)d %(message)s\n", "text/plain"  # of what http.server refuses
    timeout = REQUEST_S

    def do_GET(self) -> None:
        with self.server.one_at_a_time:
            headers = {name.title(): value for name, value in self.headers.items()}
            found = answer(self.command, self.path, headers, pages=self.server.pages, hosts=self.server.hosts)
        self.send_response(found.status)
        for name, value in found.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(found.body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(found.body)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = do_GET  # answer() refuses them

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: events.py alone logs, and a scrape is no event."""


def _end(connection: socket.socket) -> None:
    with suppress(OSError):  # it has just ended
        connection.shutdown(socket.SHUT_RDWR)
