"""A real `tickbay process journal`, to be killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from journal_case import QUOTE
from patience import wait_for
from tickbay.health import read_report
from tickbay.identity import Identity
from tickbay.record import Kind
from tickbay.ring import Ring

CONFIG = """
data_dir = "{data_dir}"
run_dir = "{run_dir}"
[feeds]
count = 1
[ring]
quote = 8192
trade = 512
book = 2048
gap = 512
instrument = 512
status = 512
[journal]
commit_ms = 5
segment_mb = 1
quota_gb = 5
free_floor_gb = 0
"""


class JournalProcess:
    """`tickbay process journal`, and its rings as their producer sees them."""

    def __init__(self, run_dir: Path, data_dir: Path, file: Path) -> None:
        file.write_text(CONFIG.format(data_dir=data_dir, run_dir=run_dir))
        self.command = [sys.executable, "-m", "tickbay", "process", "journal", "--config", str(file)]
        self.run_dir = run_dir
        self.ring_path = run_dir / "rings" / f"{QUOTE}.ring"
        self.popen = self._start()

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(self.command, stderr=subprocess.PIPE, text=True)

    def restart(self) -> None:
        self.popen.communicate()
        self.popen = self._start()

    def wait_live(self) -> None:
        """Until the process that was started last takes from the rings: before that SIGTERM ends it, and they keep
        what they hold."""

        def lives() -> bool:
            report = read_report(self.run_dir, "journal")
            return report is not None and report.identity.pid == self.popen.pid and report.state == "live"

        wait_for(lives, "the journal to be live")

    def attach(self) -> Ring:
        """Be the producer of the quotes."""
        wait_for(self.ring_path.exists, "its rings")
        ring = Ring.attach(self.ring_path, Kind.QUOTE)
        own = Identity.own()
        ring.produce(own.pid, own.start_time)
        return ring

    def stop(self) -> str:
        self.popen.send_signal(signal.SIGTERM)
        _, log = self.popen.communicate(timeout=20)
        return log
