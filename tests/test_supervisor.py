"""SUP-1, SUP-2 and the order of stopping, with real processes: tests/children.py says what they do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import NAMES, Engine, engine_in, report_of, stop
from patience import PATIENCE_S, wait_for
from tickbay import control
from tickbay.identity import pid_file
from tickbay.record import Kind, blank
from tickbay.ring import Ring, create


@pytest.fixture
def engine(tmp_path: Path, shm_dir: Path) -> Iterator[Engine]:
    with engine_in(tmp_path, shm_dir) as engine:
        yield engine


@pytest.mark.slow
def test_a_killed_child_is_replaced_and_its_siblings_are_untouched(engine: Engine) -> None:
    """SUP-2"""
    supervisor = engine.up()
    engine.ready()
    before = engine.pids()
    assert set(before) == set(NAMES)
    os.kill(before["feed-1"], signal.SIGKILL)
    wait_for(lambda: engine.replaced("feed-1", before["feed-1"]), "a new feed-1")
    after = engine.pids()
    assert {name: pid for name, pid in after.items() if name != "feed-1"} == {
        name: pid for name, pid in before.items() if name != "feed-1"
    }
    report = wait_for(lambda: engine.report_if("live"), "a report")
    assert {name: child["restarts"] for name, child in report.children.items()} == {
        name: int(name == "feed-1") for name in NAMES
    }
    assert stop(supervisor) == 0


@pytest.mark.slow
def test_a_hung_child_is_replaced(engine: Engine) -> None:
    """SUP-2: a stopped process does not die by itself; its heartbeat gives it away."""
    supervisor = engine.up()
    engine.ready()
    before = engine.pids()
    os.kill(before["writer-timescale"], signal.SIGSTOP)
    wait_for(lambda: engine.replaced("writer-timescale", before["writer-timescale"]), "a new writer")
    assert {name for name, pid in engine.pids().items() if pid != before[name]} == {"writer-timescale"}
    assert '"child_hung"' in engine.log.read_text()
    assert stop(supervisor) == 0


@pytest.mark.slow
def test_children_outlive_a_killed_supervisor_and_the_next_one_adopts_them(engine: Engine) -> None:
    """SUP-1"""
    first = engine.up()
    engine.ready()
    before = engine.pids()
    os.kill(before["feed-2"], signal.SIGKILL)
    wait_for(lambda: engine.replaced("feed-2", before["feed-2"]), "a new feed-2")
    before = engine.pids()
    first.kill()
    first.wait()
    beats = {name: report_of(engine, name).heartbeat_ns for name in NAMES}
    wait_for(lambda: all(report_of(engine, name).heartbeat_ns > beats[name] for name in NAMES), "children that beat on")

    second = engine.up()
    report = engine.ready()
    assert engine.pids() == before
    assert all(child["adopted"] for child in report.children.values())
    assert report.children["feed-2"]["restarts"] == 1, "the count survives the supervisor"

    # An adopted child is watched like any other, though it is not ours to wait for.
    os.kill(before["feed-1"], signal.SIGKILL)
    wait_for(lambda: engine.replaced("feed-1", before["feed-1"]), "a new feed-1")
    assert stop(second) == 0
    assert engine.pids() == {}


@pytest.mark.slow
def test_an_adopted_child_of_another_configuration_is_restarted_or_stopped(engine: Engine) -> None:
    engine.configure("[journal]\ncommit_ms = 50\n")
    engine.file.write_text(engine.file.read_text().replace("count = 2", "count = 3"))
    first = engine.up()
    engine.ready()
    before = engine.pids()
    extra = pid_file(engine.run_dir, "feed-3")
    assert extra is not None and extra.identity.alive()
    first.kill()
    first.wait()
    engine.configure("")
    second = engine.up()
    engine.ready()
    wait_for(
        lambda: all(engine.replaced(name, pid) for name, pid in before.items()), "children with the new configuration"
    )
    wait_for(lambda: not extra.identity.alive(), "the third feed to end")
    assert stop(second) == 0


@pytest.mark.slow
def test_the_first_sigterm_ends_feeds_then_writers_then_the_journal(engine: Engine) -> None:
    supervisor = engine.up()
    engine.ready()
    assert stop(supervisor) == 0
    ended = engine.ended()
    assert set(ended[:5]) == {"feed-1", "feed-2", "universe", "healer", "checker"}
    assert ended[5:] == ["writer-timescale", "journal"]
    assert engine.pids() == {}


@pytest.mark.slow
def test_writers_stop_only_when_the_journal_has_synced_what_was_published(engine: Engine) -> None:
    supervisor = engine.up()
    engine.ready()
    path = engine.run_dir / "rings" / "feed-1.quote.ring"
    create(path, Kind.QUOTE, 512, stream="feed-1.quote", boot_id="x", epoch=1, first_seq=1)
    ring = Ring.attach(path, Kind.QUOTE)
    ring.produce(os.getpid(), 1)
    ring.append(blank(Kind.QUOTE, 3))
    supervisor.send_signal(signal.SIGTERM)
    wait_for(lambda: set(engine.pids()) == {"journal", "writer-timescale"}, "the feeds to end")
    time.sleep(0.6)  # two ticks: long enough for a supervisor that does not wait
    assert set(engine.pids()) == {"journal", "writer-timescale"}
    ring.set_durable(3)
    ring.close()
    assert supervisor.wait(PATIENCE_S) == 0


@pytest.mark.slow
def test_a_child_that_ignores_the_stop_is_killed_and_the_exit_status_says_so(engine: Engine) -> None:
    engine.file.write_text(engine.file.read_text().replace("stop_timeout_s = 10", "stop_timeout_s = 2"))
    engine.order("feed-1", "deaf")
    supervisor = engine.up()
    engine.ready()
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(PATIENCE_S) == 1
    assert engine.pids() == {}
    assert "feed-1" not in engine.ended() and "feed-2" in engine.ended()


@pytest.mark.slow
def test_a_second_sigterm_ends_everything_at_once(engine: Engine) -> None:
    engine.order("feed-1", "deaf")
    supervisor = engine.up()
    engine.ready()
    pids = engine.pids()
    supervisor.send_signal(signal.SIGTERM)
    wait_for(lambda: len(engine.pids()) < len(pids), "the stop to begin")
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(PATIENCE_S) == 128 + signal.SIGTERM
    wait_for(lambda: engine.pids() == {}, "everything to be gone")


@pytest.mark.slow
def test_a_second_supervisor_is_refused_in_one_line_with_status_2(engine: Engine) -> None:
    first = engine.up()
    engine.ready()
    command = [sys.executable, "-m", "tickbay", "up", "--config", str(engine.file)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert second.returncode == 2
    assert second.stderr.count("\n") == 1
    assert f"already running, pid {first.pid}" in second.stderr
    assert stop(first) == 0


@pytest.mark.slow
def test_a_journal_that_cannot_run_as_configured_stops_the_start_with_its_own_words(engine: Engine) -> None:
    engine.order("journal", "refuse")
    supervisor = engine.up()
    assert supervisor.wait(PATIENCE_S) == 2
    log = engine.log.read_text()
    assert "is full: free some space" in log.splitlines()[-1] and "child_exited" not in log, "nobody replaces it"
    assert engine.pids() == {}


@pytest.mark.slow
def test_a_child_that_dies_again_and_again_is_tried_on_and_reported_as_degraded(engine: Engine) -> None:
    engine.configure("degraded_restarts = 2\nbackoff_min_s = 0.05\nbackoff_max_s = 0.1\n")
    engine.order("feed-2", "exit 3")
    supervisor = engine.up()
    report = wait_for(lambda: engine.report_if("degraded"), "degraded")
    assert report.children["feed-2"]["excessive"] and not report.children["feed-1"]["excessive"]
    engine.order("feed-2", "live")
    wait_for(lambda: "feed-2" in engine.pids() and report_of(engine, "feed-2").state == "live", "feed-2 to come back")
    assert stop(supervisor) == 0
    assert '"status":"exit 3"' in engine.log.read_text()


@pytest.mark.slow
def test_a_leg_that_was_restarted_is_back_when_its_pair_needs_the_other_one_no_more(engine: Engine) -> None:
    """PAIR-1: whoever restarts all of them, one after another, leaves no gap."""
    engine.configure("[heal]\nenabled = false\n")
    engine.file.write_text(engine.file.read_text().replace("count = 2", "count = 1\nredundancy = 2"))
    supervisor = engine.up()
    engine.ready()
    before = report_of(engine, "feed-1a").identity
    command = [sys.executable, "-m", "tickbay", "restart", "feed-1a", "--config", str(engine.file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as restarting:
        wait_for(lambda: (engine.data_dir / "ended").exists(), "feed-1a to end")
        engine.order("merger-1", "ail")
        wait_for(lambda: report_of(engine, "feed-1a").identity != before, "the next life of feed-1a")
        time.sleep(1)
        assert restarting.poll() is None and report_of(engine, "feed-1a").state == "live"
        (engine.data_dir / "behave" / "merger-1").unlink()
        assert restarting.wait(PATIENCE_S) == 0
    assert stop(supervisor) == 0


@pytest.mark.slow
def test_restart_replaces_a_process_without_counting_a_failure(engine: Engine) -> None:
    supervisor = engine.up()
    engine.ready()
    before = engine.pids()
    command = [sys.executable, "-m", "tickbay", "restart", "feed-1", "writer-timescale", "--config", str(engine.file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    after = engine.pids()
    assert {name for name in NAMES if after[name] != before[name]} == {"feed-1", "writer-timescale"}
    assert engine.ended() == ["feed-1", "writer-timescale"], "each was asked, not killed"
    assert '"child_exited"' not in engine.log.read_text()
    refused = control.ask(engine.run_dir / "sockets" / "supervisor.sock", {"op": "restart", "process": "feed-9"}, 5.0)
    assert not refused["ok"] and "feed-9" in refused["error"]
    assert stop(supervisor) == 0


@pytest.mark.slow
def test_who_had_to_be_killed_for_a_restart_makes_no_later_stop_fail(engine: Engine) -> None:
    engine.file.write_text(engine.file.read_text().replace("stop_timeout_s = 10", "stop_timeout_s = 2"))
    engine.order("feed-1", "deaf")
    supervisor = engine.up()
    engine.ready()
    (engine.data_dir / "behave" / "feed-1").unlink()
    before = engine.pids()["feed-1"]
    asked = control.ask(engine.run_dir / "sockets" / "supervisor.sock", {"op": "restart", "process": "feed-1"}, 5.0)
    assert asked["ok"], asked
    wait_for(lambda: engine.pids().get("feed-1", before) != before, "its replacement")
    engine.ready()
    assert '"stop_overdue"' in engine.log.read_text()
    assert stop(supervisor) == 0


@pytest.mark.slow
def test_systemd_is_told_ready_alive_and_stopping(engine: Engine, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE_S)
        supervisor = engine.up(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="1000000")
        heard: list[str] = []
        while not {"READY=1", "WATCHDOG=1"} <= set(heard):
            heard += manager.recv(4096).decode().splitlines()
        assert set(engine.pids()) == set(NAMES), "ready means that every process runs"
        supervisor.send_signal(signal.SIGTERM)
        while "STOPPING=1" not in heard:
            heard += manager.recv(4096).decode().splitlines()
        assert supervisor.wait(PATIENCE_S) == 0
