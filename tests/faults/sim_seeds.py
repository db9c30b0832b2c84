"""SIM: the whole engine on a virtual clock, disk and network, one history for each seed (tests/simulation)."""

from __future__ import annotations

import os

from faults.figure import Outcome
from simulation.__main__ import told
from simulation.seeds import NAMED, play

ASKED = "10,000 seeds of a simulated engine with faults of processes, disk and network: every invariant holds in each"
SIZE, SIZE_DEEP = 10_000, 1_000_000


def run(size: int, seed: int) -> Outcome:
    first = (seed - 1) * size  # the seed of a figure is 1 where nobody says otherwise
    played = play([*NAMED, *range(first, first + size)], jobs=os.cpu_count() or 1)
    return Outcome(told(played), good=not played.broken)
