"""R2: the database server crashes under load, at any moment of a commit."""

from __future__ import annotations

import random
import time

from faults.figure import Outcome
from faults.rig import counted, rigged

ASKED = "20 crashes of the database server (stop -m immediate) under load: 0 lost, 0 twice"
SIZE, SIZE_DEEP = 20, 500
RATE = 4000.0  # frames/s
UP_S, DOWN_S = 2.0, 1.0  # longest time between two crashes, and from a crash to the next start


def run(size: int, seed: int) -> Outcome:
    chance = random.Random(seed)
    with rigged(rate=RATE, seed=seed) as rig:
        for _ in range(size):
            rig.wait_commit()  # only a server that is written to has something to lose
            time.sleep(chance.uniform(0, UP_S))
            rig.server.stop("immediate")
            time.sleep(chance.uniform(0, DOWN_S))
            rig.server.start()
        restarts = rig.restarts()
        verdict = rig.finish()
    return Outcome(
        f"{size} crashes under {RATE:,.0f} frames/s: {counted(verdict)}, {restarts} processes died",
        good=verdict.good and not verdict.known and not restarts,  # SINK-3: no feed may notice
    )
