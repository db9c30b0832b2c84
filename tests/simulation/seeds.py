"""Seeds by name: each found a bug, and stays. And playing many of them, on every core."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from simulation.history import folder, run

# Seed → the bugs of mutants.FOUND that it meets when they are planted again, which the tests do: a change of what is
# drawn from a seed shows there, and another seed has to be named (python -m tests.simulation --plant NAME).
NAMED: dict[int, tuple[str, ...]] = {
    203: ("a hole of another time",),
    298: ("recovery did not sync a name",),
    411: ("numbers began anew",),
    4408: ("QuestDB forgot a hole",),
    11849: ("a cursor was not synced",),
    21374: ("a sync that failed was believed",),
    40649: ("a hole was not told",),
}

BATCH = 250  # seeds of one process: what it leaks or caches stays small


@dataclass
class Played:
    seeds: int = 0
    calls: int = 0
    rows: int = 0
    hours: float = 0.0
    broken: dict[int, str] = field(default_factory=dict)

    def add(self, other: Played) -> None:
        self.seeds += other.seeds
        self.calls += other.calls
        self.rows += other.rows
        self.hours += other.hours
        self.broken |= other.broken


def play_here(seeds: Sequence[int]) -> Played:
    """One after another, in this process."""
    played = Played()
    with folder() as path:
        for seed in seeds:
            verdict = run(seed, path)
            played.add(Played(1, verdict.calls, verdict.rows, verdict.seconds / 3600))
            if verdict.broken:
                played.broken[seed] = verdict.broken
    return played


def play(seeds: Sequence[int], *, jobs: int) -> Played:
    """In `jobs` processes, each a fresh interpreter: what one seed does cannot reach another's."""
    batches = [seeds[first : first + BATCH] for first in range(0, len(seeds), BATCH)]
    played = Played()
    running: list[subprocess.Popen[bytes]] = []
    try:
        while batches or running:
            while batches and len(running) < jobs:
                running.append(_start(batches.pop(0)))
            output, _ = running[0].communicate()
            assert running.pop(0).returncode == 0, "a process of the simulation died: see above"
            told = orjson.loads(output)
            played.add(Played(**told | {"broken": {int(seed): broken for seed, broken in told["broken"].items()}}))
    finally:
        for process in running:
            process.kill()
            process.wait()
    return played


def _start(seeds: Sequence[int]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "simulation.seeds", *map(str, seeds)]
    environment = {"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": "0"}
    return subprocess.Popen(command, cwd=Path(__file__).parent.parent, env=environment, stdout=subprocess.PIPE)


if __name__ == "__main__":
    result = play_here([int(seed) for seed in sys.argv[1:]])
    sys.stdout.buffer.write(
        orjson.dumps(
            {
                "seeds": result.seeds,
                "calls": result.calls,
                "rows": result.rows,
                "hours": result.hours,
                "broken": {str(seed): broken for seed, broken in result.broken.items()},
            }
        )
    )
