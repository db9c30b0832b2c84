"""`tickbay demo`: what it started ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine import wait_for
from simulator import ENGINE

pytestmark = pytest.mark.slow
STOP_S = 60.0
FEEDS = 4


def test_when_its_terminal_is_closed_all_that_it_started_stops_in_order(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tickbay", "demo", "--dir", str(tmp_path)]
    said, log = tmp_path / "said", tmp_path / "sim" / "engine.log"
    with said.open("wb") as output:
        demo = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            env=os.environ | {"PYTHONPATH": str(ENGINE)},
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # were these tests run under nohup
        )
    with demo:
        try:
            wait_for(lambda: log.exists() and log.read_text().count('"session_live"') >= FEEDS, "live feeds")
            demo.send_signal(signal.SIGHUP)  # what the kernel sends then
            demo.wait(STOP_S)
        finally:
            demo.terminate()  # not kill: it stops its servers
    # Not what the audit says: on a busy machine more may be on its way at the end than it takes for granted.
    assert "captured in" in said.read_text() and "audit: " in said.read_text(), said.read_text()
    assert '"supervisor","event":"process_stopped"' in log.read_text()
    assert not (tmp_path / "sim" / "postgres" / "db" / "postmaster.pid").exists()
