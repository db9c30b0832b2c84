"""R3: processes that stand still for a while and go on as if nothing had been: SIGSTOP, then SIGCONT.

Some are taken for dead and replaced meanwhile; of the two writers, the one that is awake takes over.
"""

from __future__ import annotations

import heapq
import random
import signal
import time

from faults.figure import Outcome
from faults.rig import RIVAL, counted, rigged

ASKED = "30 processes stopped for 0.1 to 5 s, some of them writers while another took over: 0 lost, 0 twice"
SIZE, SIZE_DEEP = 30, 1000
RATE = 2000.0  # frames/s
STOPPED_MIN_S, STOPPED_MAX_S = 0.1, 5.0
PAUSE_S = 2.0  # longest between two: so two or three stand still at the same time


def run(size: int, seed: int) -> Outcome:
    chance = random.Random(seed)
    with rigged(rate=RATE, seed=seed) as rig:
        rig.start_rival()
        writers = ["writer-timescale", RIVAL]
        targets = [*rig.names, *writers]  # twice the writers: it is they who can do harm
        stopped, taken_over = 0, 0
        bag: list[str] = []
        asleep: list[tuple[float, str, int]] = []  # until, who, what was committed when it fell asleep
        while stopped < size or asleep:
            now_s = time.monotonic()
            while asleep and asleep[0][0] <= now_s:
                _, name, committed = heapq.heappop(asleep)
                taken_over += name in writers and rig.stored() > committed
                rig.signal(name, signal.SIGCONT)
            bag = bag or chance.sample(targets, len(targets))  # each as often as every other
            name = bag.pop()
            if stopped < size and all(name != each for _, each, _ in asleep) and rig.signal(name, signal.SIGSTOP):
                until_s = now_s + chance.uniform(STOPPED_MIN_S, STOPPED_MAX_S)
                heapq.heappush(asleep, (until_s, name, rig.stored()))
                stopped += 1
            time.sleep(chance.uniform(0, PAUSE_S))
        replaced = rig.restarts()
        verdict = rig.finish()
    return Outcome(
        f"{stopped} stopped for {STOPPED_MIN_S:g} to {STOPPED_MAX_S:g} s, {taken_over} of them writers while the other "
        f"went on, {replaced} replaced: {counted(verdict)}",
        good=verdict.good and taken_over > 0,
    )
