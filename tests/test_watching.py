"""The process that only watches (metrics) can fail in any way: the engine is ready, records and stops without it."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import NAMES, Engine, engine_in, stop
from patience import PATIENCE_S, wait_for
from tickbay.health import read_report
from tickbay.identity import pid_file

pytestmark = pytest.mark.slow
OFF = "[metrics]\nenabled = false\n[health]\nenabled = false\n[web]\nenabled = false\n"


@pytest.fixture
def engine(tmp_path: Path, shm_dir: Path) -> Iterator[Engine]:
    with engine_in(tmp_path, shm_dir) as engine:
        engine.file.write_text(engine.file.read_text().replace(OFF, ""))
        yield engine


def metrics_pid(engine: Engine) -> int:
    written = pid_file(engine.run_dir, "metrics")
    return written.identity.pid if written is not None and written.identity.alive() else 0


def test_the_engine_is_ready_and_pings_without_it(engine: Engine, tmp_path: Path) -> None:
    engine.order("metrics", "mute")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE_S)
        supervisor = engine.up(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="1000000")
        heard: list[str] = []
        ends = time.monotonic() + PATIENCE_S
        while "READY=1" not in heard or "WATCHDOG=1" not in heard[heard.index("READY=1") :]:
            assert time.monotonic() < ends, heard
            heard += manager.recv(4096).decode().splitlines()
    before = engine.pids()
    assert set(before) == set(NAMES)
    engine.order("metrics", "")
    wait_for(lambda: metrics_pid(engine), "it to run, once it can")
    assert engine.pids() == before, "nobody else was touched"
    assert stop(supervisor) == 0


def test_it_is_replaced_when_it_hangs_and_when_it_is_killed(engine: Engine) -> None:
    supervisor = engine.up()
    engine.ready()
    before, first = engine.pids(), wait_for(lambda: metrics_pid(engine), "it to run")
    os.kill(first, signal.SIGSTOP)
    second = wait_for(lambda: (pid := metrics_pid(engine)) not in (0, first) and pid, "another one")
    os.kill(second, signal.SIGKILL)
    wait_for(lambda: metrics_pid(engine) not in (0, first, second), "a third")
    assert engine.pids() == before
    assert stop(supervisor) == 0


def test_one_that_does_not_end_is_killed_when_all_else_has_ended(engine: Engine) -> None:
    engine.order("metrics", "deaf")
    supervisor = engine.up()
    engine.ready()
    wait_for(lambda: (report := read_report(engine.run_dir, "metrics")) is not None and report.state == "live", "it")
    began = time.monotonic()
    assert stop(supervisor) == 0, "a watcher holds nothing that its end could lose"
    assert time.monotonic() - began < 10, "it had a second, not the stop timeout"
    assert sorted(engine.ended()) == sorted(NAMES), "everybody else ended in order"
