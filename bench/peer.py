"""The peer, cryptofeed, runs in an interpreter of its own: it drags in 30 packages that nothing else here wants.

`make bench` makes that interpreter from requirements/peer.lock. Without it every bench runs all the same, just without
the peer.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from bench.result import ROOT

PYTHON = ROOT / "build" / "peer" / "bin" / "python"
# Programs, run by that interpreter.
HANDLER, STORES, CLIENT = "bench.peer_cryptofeed", "bench.peer_stores", "bench.peer_questdb"
ABSENT = "peer: cryptofeed is not installed here (make bench installs it): nothing is claimed of it"
CLIENT_ABSENT = "QuestDB's client and pandas are not installed here (make bench installs them): not measured"


def python() -> Path | None:
    """An interpreter that has the peer: $BENCH_PEER_PYTHON, else the one that `make bench` makes."""
    named = os.environ.get("BENCH_PEER_PYTHON")
    path = Path(named) if named else PYTHON
    return path if path.exists() else None


def stores() -> Path | None:
    """One that also has what the peer's backends need."""
    return _having("asyncpg")


def questdb() -> Path | None:
    """One that has QuestDB's client, and pandas for it."""
    return _having("questdb, pandas")


def _having(modules: str) -> Path | None:
    found = python()
    if found is None or subprocess.run([found, "-c", f"import {modules}"], capture_output=True, check=False).returncode:
        return None
    return found


def ask(interpreter: Path, *arguments: str, program: str = HANDLER) -> dict[str, Any]:
    """Run a program of the peer's; it says what it measured as one line of JSON. AssertionError with its last words."""
    command = [str(interpreter), "-m", program, *arguments]
    answer = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert answer.returncode == 0, answer.stderr[-2000:]
    return dict(json.loads(answer.stdout.splitlines()[-1]))
