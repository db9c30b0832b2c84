"""An engine whose processes only beat (children.py), in folders of its own: for the tests of the supervisor and of
status.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from patience import PATIENCE_S, wait_for
from tickbay.health import Report, read_report
from tickbay.identity import pid_file

NAMES = ("journal", "writer-timescale", "universe", "feed-1", "feed-2", "healer", "checker")


class Engine:
    """A run_dir, a data_dir and the supervisors that a test starts in them."""

    def __init__(self, tmp_path: Path, run_dir: Path) -> None:
        self.run_dir, self.data_dir = run_dir, tmp_path / "data"
        self.file = tmp_path / "tickbay.toml"
        self.configure("")
        (self.data_dir / "behave").mkdir(parents=True)
        self.log = tmp_path / "log"

    def configure(self, more: str) -> None:
        self.file.write_text(
            f'run_dir = "{self.run_dir}"\ndata_dir = "{self.data_dir}"\n'
            "[feeds]\ncount = 2\n"
            "[metrics]\nenabled = false\n[health]\nenabled = false\n[web]\nenabled = false\n"
            f"[supervisor]\nheartbeat_timeout_s = 2\nstop_timeout_s = 10\n{more}"
        )

    def order(self, name: str, text: str) -> None:
        (self.data_dir / "behave" / name).write_text(text)

    def up(self, **env: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(Path(__file__).with_name("children.py")), "supervise", str(self.file)]
        with self.log.open("ab") as log:
            return subprocess.Popen(command, stderr=log, env=os.environ | env)

    def ready(self) -> Report:
        return wait_for(lambda: self.report_if("live"), "the supervisor to be live")

    def report_if(self, state: str) -> Report | None:
        report = read_report(self.run_dir, "supervisor")
        return report if report and report.identity.alive() and report.state == state else None

    def pids(self) -> dict[str, int]:
        """Of the living children."""
        written = {name: pid_file(self.run_dir, name) for name in NAMES}
        return {name: file.identity.pid for name, file in written.items() if file and file.identity.alive()}

    def replaced(self, name: str, pid: int) -> bool:
        return self.pids().get(name, pid) != pid

    def ended(self) -> list[str]:
        return [line.split()[0] for line in (self.data_dir / "ended").read_text().splitlines()]


@contextmanager
def engine_in(tmp_path: Path, run_dir: Path) -> Iterator[Engine]:
    """Whatever a test leaves running is killed."""
    engine = Engine(tmp_path, run_dir)
    try:
        yield engine
    finally:
        for name in ("supervisor", *sorted(path.stem for path in (engine.run_dir / "pids").glob("*.json"))):
            written = pid_file(engine.run_dir, name)
            if written is not None and (pidfd := written.identity.open()) is not None:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                os.close(pidfd)


def report_of(engine: Engine, name: str) -> Report:
    return wait_for(lambda: read_report(engine.run_dir, name), f"a report of {name}")


def stop(supervisor: subprocess.Popen[bytes]) -> int:
    supervisor.send_signal(signal.SIGTERM)
    return supervisor.wait(PATIENCE_S)
