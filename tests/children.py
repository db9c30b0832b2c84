"""Processes for test_supervisor.py: a supervisor whose children only beat, and those children.

`python children.py supervise FILE` is `tickbay up` with another spawn; `python children.py child NAME FILE` is a
process that does what the file `<data_dir>/behave/NAME` says: nothing (beat until told to stop), "exit N", "refuse",
"deaf" (to SIGTERM), "mute" (it never beats) or "ail" (it says that it is degraded for as long as the file is there).
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tickbay import config as configuration
from tickbay.errors import ConfigError
from tickbay.health import read_report
from tickbay.process import ProcessContext, guarded, running
from tickbay.supervisor.machine import ThisMachine
from tickbay.supervisor.supervisor import Supervisor


def supervise(path: Path) -> int:
    config = configuration.load(path, os.environ)

    def spawn(name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, __file__, "child", name, str(path)]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)

    previous = read_report(config.run_dir, "supervisor")
    with running("supervisor", config) as context:
        machine = ThisMachine(config.run_dir, spawn)
        supervisor = Supervisor(context, machine, env=os.environ, previous=previous)
        return guarded(context, lambda: asyncio.run(supervisor.run()))


def child(name: str, path: Path) -> int:
    config = configuration.load(path, os.environ)
    if (order := config.data_dir / "behave" / name).exists() and order.read_text() == "mute":
        signal.pause()
    with running(name, config) as context:
        return guarded(context, lambda: behave(context))


def behave(context: ProcessContext) -> int:
    order = context.config.data_dir / "behave" / context.name
    words = order.read_text().split() if order.exists() else [""]
    if words[0] == "exit":
        return int(words[1])
    if words[0] == "refuse":
        raise ConfigError("data_dir /somewhere: is full: free some space")
    if words[0] == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while not context.stopping.is_set():
        context.health.state = "degraded" if order.exists() and order.read_text() == "ail" else "live"
        context.health.beat()
        context.stopping.wait(0.1)
    with (context.config.data_dir / "ended").open("a") as file:
        file.write(f"{context.name} {time.monotonic()}\n")
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "supervise":
        sys.exit(supervise(Path(sys.argv[2])))
    sys.exit(child(sys.argv[2], Path(sys.argv[3])))
