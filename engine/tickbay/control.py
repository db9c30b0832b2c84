"""Control sockets: one JSON object in, one JSON object back, over a Unix socket that only our own user may use.

In: requests of other tickbay processes of the same user (universe → feed, `tickbay status` → supervisor). Out: the
reply that the process's own handler makes. Runs in the event loop of each process that has such a socket; ask() is
for any caller.

A request is one line, `{"op": "assign"}`; so is its reply, `{"ok": true, …}` or `{"ok": false, "error": "…"}`. A
connection may send several, one after another.

CTRL-1: a peer of another user is told nothing: its connection is closed before a byte of it is read.
CTRL-2: what a peer sends is bounded: in bytes, in time and in connections.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import struct
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from tickbay.errors import ConfigError, ControlDown, TickbayError

Handler = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]

REQUEST_BYTES_MAX = 64 << 10  # a request names an operation and perhaps an instrument: far below this
REPLY_BYTES_MAX = 16 << 20  # a status of every process and stream is some 100 kB
CONNECTIONS_MAX = 16  # the supervisor, the universe, a few people watching
IDLE_S = 10.0  # a peer that says nothing for so long is closed
PATH_BYTES_MAX = 107  # sun_path of unix(7), without its NUL

_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid


def peer_uid(connection: socket.socket) -> int:
    """The user at the other end, as the kernel recorded it when the connection was made."""
    return int(_PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))[1])


class Server:
    """The listening side. `handle` takes a request and returns the reply's fields; TickbayError becomes `ok: false`."""

    def __init__(self, path: Path, handle: Handler) -> None:
        self.path = path
        self.refused = 0  # peers of another user
        self._handle = handle
        self._open = 0
        self._server: asyncio.Server | None = None
        self._inode = 0

    async def start(self) -> None:
        """Listen. ConfigError when the path is too long, or when a living process listens there already."""
        if len(os.fsencode(self.path)) > PATH_BYTES_MAX:
            raise ConfigError(f"run_dir: {self.path} is longer than the {PATH_BYTES_MAX} bytes a Unix socket may have")
        _clear(self.path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            listener.bind(os.fspath(self.path))
            self.path.chmod(0o600)  # before listen(): nobody can have connected yet
            self._inode = os.lstat(self.path).st_ino
        except OSError as error:
            listener.close()
            raise ConfigError(f"cannot make the control socket {self.path}: {error.strerror}") from error
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=REQUEST_BYTES_MAX)

    async def stop(self) -> None:
        """Close and take the path away, unless a successor has put its own there."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        try:
            if os.lstat(self.path).st_ino == self._inode:
                self.path.unlink()
        except FileNotFoundError:
            pass  # the event loop, or a successor, took it away before us

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if not self._is_ours(writer) or self._open > CONNECTIONS_MAX:  # CTRL-1, CTRL-2
                return
            while await self._answer(reader, writer):
                pass
        except (ConnectionError, TimeoutError):
            pass  # the peer left or fell silent: it has no claim on a reply any more
        finally:
            self._open -= 1
            writer.close()

    def _is_ours(self, writer: asyncio.StreamWriter) -> bool:
        uid = peer_uid(writer.get_extra_info("socket"))
        if uid in (os.geteuid(), 0):
            return True
        self.refused += 1
        return False

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its reply. False when the peer has no more to say."""
        again = True
        try:
            async with asyncio.timeout(IDLE_S):
                line = await reader.readuntil(b"\n")
            reply = await self._reply(line)
        except asyncio.IncompleteReadError:
            return False
        except asyncio.LimitOverrunError:
            reply = {"ok": False, "error": f"a request is one line of at most {REQUEST_BYTES_MAX} bytes"}
            again = False  # where the next request begins is not known
        writer.write(orjson.dumps(reply, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY))
        async with asyncio.timeout(IDLE_S):
            await writer.drain()
        return again

    async def _reply(self, line: bytes) -> dict[str, Any]:
        try:
            request = orjson.loads(line)
        except orjson.JSONDecodeError:
            return {"ok": False, "error": "a request is one JSON object"}
        if not isinstance(request, dict) or not isinstance(request.get("op"), str):
            return {"ok": False, "error": 'a request is one JSON object with a text "op"'}
        try:
            return {"ok": True, **await self._handle(request)}
        except TickbayError as error:
            return {"ok": False, "error": str(error)}


def ask(path: Path, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
    """Send one request and return its reply, `ok` true or false. ControlDown when nobody answers within `timeout_s`."""
    ends = time.monotonic() + timeout_s
    reply = bytearray()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
            connection.settimeout(timeout_s)
            connection.connect(os.fspath(path))
            connection.sendall(orjson.dumps(request, option=orjson.OPT_APPEND_NEWLINE))
            while not reply.endswith(b"\n"):
                connection.settimeout(max(ends - time.monotonic(), 0.001))
                piece = connection.recv(64 << 10)
                if not piece or len(reply) + len(piece) > REPLY_BYTES_MAX:
                    raise ControlDown(f"{path}: the process ended the connection without a reply")
                reply += piece
        answer = orjson.loads(reply)
    except TimeoutError as error:
        raise ControlDown(f"{path}: no reply within {timeout_s:g} s") from error
    except OSError as error:
        raise ControlDown(f"{path}: {error.strerror or error}") from error
    except orjson.JSONDecodeError as error:
        raise ControlDown(f"{path}: the reply is not JSON") from error
    if not isinstance(answer, dict):
        raise ControlDown(f"{path}: the reply is not a JSON object")
    return answer


def _clear(path: Path) -> None:
    """Remove the socket of a process that is gone. ConfigError when one still listens, or when it is no socket."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"{path} is in the way of a control socket: remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise ConfigError(f"cannot try the control socket {path}: {error.strerror or error}") from error
    raise ConfigError(f"another process listens on {path}: stop it first, or choose another run_dir")
