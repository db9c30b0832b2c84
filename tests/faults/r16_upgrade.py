"""R16: an upgrade under load. Every process is replaced by a new one, one after another; the supervisor too, which
stops nothing (SUP-1)."""

from __future__ import annotations

from faults.figure import Outcome
from faults.rig import counted, rigged

ASKED = "10 rolling restarts of every process under load: 0 lost, 0 twice"
SIZE, SIZE_DEEP = 10, 100
RATE = 4000.0  # frames/s


def run(size: int, seed: int) -> Outcome:
    with rigged(rate=RATE, seed=seed) as rig:
        for _ in range(size):
            before = {name: rig.identity(name) for name in rig.names}
            rig.restart_all()
            rig.kill("supervisor")  # by SIGTERM it would stop everything
            rig.wait_live("supervisor")
            kept = [name for name, identity in before.items() if rig.identity(name) == identity]
            assert not kept, f"still the old process: {kept}"
            rig.wait_commit()
        replaced = size * len(rig.names)
        verdict = rig.finish()
    return Outcome(
        f"{size} rolling restarts, {replaced} processes replaced under {RATE:,.0f} frames/s: {counted(verdict)}",
        good=verdict.good,
    )
