"""R1: `kill -9` at random instants over every kind of process, two rival writers included."""

from __future__ import annotations

import random
import time

from faults.figure import Outcome
from faults.rig import RIVAL, counted, rigged

ASKED = "200 kills over every kind of process, two rival writers: 0 lost, 0 twice"
SIZE, SIZE_DEEP = 200, 10_000
RATE = 1500.0  # frames/s
PAUSE_S = 0.8  # longest between two kills: often the second meets who has just come back from the first
BACKEND = "database backend"


def run(size: int, seed: int) -> Outcome:
    chance = random.Random(seed)
    with rigged(rate=RATE, seed=seed) as rig:
        rig.start_rival()
        targets = [*rig.names, RIVAL, BACKEND]
        kinds = {name.partition("-")[0] for name in targets}
        killed = 0
        bag: list[str] = []
        while killed < size:
            time.sleep(chance.uniform(0, PAUSE_S))
            if not bag:  # each as often as every other
                bag = chance.sample(targets, len(targets))
            target = bag.pop()
            killed += rig.kill_backend() if target == BACKEND else rig.kill(target)
        verdict = rig.finish()
    return Outcome(
        f"{killed} kills over {len(kinds)} kinds of process, two rival writers: {counted(verdict)}", good=verdict.good
    )
