"""Control sockets: who may ask, what a bad request gets, and what becomes of a socket left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tickbay import control
from tickbay.control import CONNECTIONS_MAX, REQUEST_BYTES_MAX, Server, ask
from tickbay.errors import ConfigError, ControlDown, VenueFault

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


async def handle(request: Mapping[str, Any]) -> Mapping[str, Any]:
    match request:
        case {"op": "echo"}:
            return {"echo": dict(request)}
        case {"op": "slow"}:
            await asyncio.sleep(0.5)
            return {}
    raise VenueFault(f"no operation {request['op']!r}")


@contextlib.contextmanager
def serving(path: Path, loop: str = "uvloop") -> Iterator[Server]:
    """A server in a thread with an event loop of its own, as a process has one."""
    server = Server(path, handle)
    ready = threading.Event()
    stop: list[Callable[[], object]] = []

    async def main() -> None:
        done = asyncio.Event()
        asyncio_loop = asyncio.get_running_loop()
        stop.append(lambda: asyncio_loop.call_soon_threadsafe(done.set))
        await server.start()
        ready.set()
        await done.wait()
        await server.stop()

    def run() -> None:
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(main())

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(5)
    try:
        yield server
    finally:
        stop[0]()
        thread.join(5)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_request_gets_the_handlers_reply(tmp_path: Path, loop: str) -> None:
    path = tmp_path / "x.sock"
    with serving(path, loop):
        assert ask(path, {"op": "echo", "n": [1, 2]}, 5) == {"ok": True, "echo": {"op": "echo", "n": [1, 2]}}
        assert ask(path, {"op": "what"}, 5) == {"ok": False, "error": "no operation 'what'"}
        assert path.stat().st_mode & 0o777 == 0o600
    assert not path.exists(), "a process that ends takes its socket away"


def test_one_connection_may_ask_often(tmp_path: Path) -> None:
    with serving(tmp_path / "x.sock"), socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(tmp_path / "x.sock"))
        connection.settimeout(5)
        file = connection.makefile("rb")
        for n in range(3):
            connection.sendall(b'{"op":"echo","n":%d}\n' % n)
            assert file.readline() == b'{"ok":true,"echo":{"op":"echo","n":%d}}\n' % n


@pytest.mark.parametrize("line", [b"\n", b"nonsense\n", b"[]\n", b"{}\n", b'{"op":7}\n', b"\xff\xfe\n"])
def test_what_is_no_request_is_answered_and_the_next_one_too(tmp_path: Path, line: bytes) -> None:
    with serving(tmp_path / "x.sock"), socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(tmp_path / "x.sock"))
        connection.settimeout(5)
        file = connection.makefile("rb")
        connection.sendall(line + b'{"op":"echo"}\n')
        assert b'"ok":false' in file.readline()
        assert b'"ok":true' in file.readline()


def test_a_request_without_end_is_cut_off(tmp_path: Path) -> None:
    """CTRL-2: bytes."""
    with serving(tmp_path / "x.sock"), socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(tmp_path / "x.sock"))
        connection.settimeout(5)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(b"x" * (REQUEST_BYTES_MAX * 4))
        reply = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(4096):
                reply += piece
        assert reply in (b"", b'{"ok":false,"error":"a request is one line of at most 65536 bytes"}\n')


def test_a_peer_that_says_nothing_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CTRL-2: time."""
    monkeypatch.setattr(control, "IDLE_S", 0.2)
    with serving(tmp_path / "x.sock"), socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(tmp_path / "x.sock"))
        connection.settimeout(5)
        assert connection.recv(1) == b""


def test_more_connections_than_allowed_are_closed_and_the_allowed_ones_served(tmp_path: Path) -> None:
    """CTRL-2: connections."""
    path = tmp_path / "x.sock"
    with serving(path), contextlib.ExitStack() as stack:
        peers = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(CONNECTIONS_MAX + 1)]
        for peer in peers:
            peer.settimeout(5)
            peer.connect(str(path))
        assert peers[-1].recv(1) == b""
        peers[0].sendall(b'{"op":"echo"}\n')
        assert peers[0].recv(100).startswith(b'{"ok":true')


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_told_nothing(shm_dir: Path) -> None:
    """CTRL-1: even where the directory and the socket would let him in."""
    path = shm_dir / "x.sock"
    code = (
        "import os,socket,sys; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "s=socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect(sys.argv[1])\n"
        'try: s.sendall(b\'{"op":"echo"}\\n\'); got = s.recv(100)\n'
        "except (BrokenPipeError, ConnectionResetError): got = b''\n"
        "print(len(got))"
    )
    with serving(path) as server:
        shm_dir.chmod(0o711)
        path.chmod(0o666)
        stranger = subprocess.run(
            [sys.executable, "-I", "-c", code, str(path)],
            capture_output=True,
            text=True,
            check=True,
            cwd="/",
        )
        assert stranger.stdout == "0\n"
        assert server.refused == 1
        assert ask(path, {"op": "echo"}, 5)["ok"], "and its own user is served on"


def test_the_socket_of_a_dead_process_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with serving(path):
        assert ask(path, {"op": "echo"}, 5)["ok"]


def test_the_socket_of_a_living_process_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with serving(path):
        with pytest.raises(ConfigError, match="another process listens"):
            asyncio.run(Server(path, handle).start())
        assert ask(path, {"op": "echo"}, 5)["ok"]


def test_a_file_in_the_way_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    path.write_text("precious")
    with pytest.raises(ConfigError, match="is in the way"):
        asyncio.run(Server(path, handle).start())
    assert path.read_text() == "precious"


def test_a_path_that_is_too_long_for_a_socket_says_so(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 120)
    with pytest.raises(ConfigError, match="run_dir"):
        asyncio.run(Server(path, handle).start())
    with pytest.raises(ControlDown):
        ask(path, {"op": "echo"}, 1)


def test_a_successors_socket_stays_when_the_predecessor_ends(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with serving(path):
        path.unlink()
        with socket.socket(socket.AF_UNIX) as successor:
            successor.bind(str(path))
            inode = path.stat().st_ino
    assert path.stat().st_ino == inode


def test_nobody_there_is_control_down(tmp_path: Path) -> None:
    with pytest.raises(ControlDown, match="No such file"):
        ask(tmp_path / "none.sock", {"op": "echo"}, 1)


def test_a_reply_that_takes_too_long_is_control_down(tmp_path: Path) -> None:
    with serving(tmp_path / "x.sock"):
        began = time.monotonic()
        with pytest.raises(ControlDown, match="no reply within"):
            ask(tmp_path / "x.sock", {"op": "slow"}, 0.1)
        assert time.monotonic() - began < 5
