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
PROGRAM = Path(__file__).with_name("peer_cryptofeed.py")
ABSENT = "peer: cryptofeed is not installed here (make bench installs it): nothing is claimed of it"


def python() -> Path | None:
    """An interpreter that has the peer: $BENCH_PEER_PYTHON, else the one that `make bench` makes."""
    named = os.environ.get("BENCH_PEER_PYTHON")
    path = Path(named) if named else PYTHON
    return path if path.exists() else None


def ask(interpreter: Path, *arguments: str) -> dict[str, Any]:
    """Run the peer's program; it says what it measured as one line of JSON."""
    command = [str(interpreter), str(PROGRAM), *arguments]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(answer.stdout.splitlines()[-1]))
