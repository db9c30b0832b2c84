"""R6: the power goes at a random call of the journal or of a cursor file, and the disk keeps any subset of the unsynced
512-byte blocks and any first part of the unsynced names. The real code, on files that forget (powerless_files.py)."""

from __future__ import annotations

import sys

from faults.figure import Outcome
from faults.rig import folders
from power_cut import survive_power_cut

ASKED = "10,000 power cuts with any subset of unsynced 512-byte blocks lost: nothing durable lost, no cursor ahead"
SIZE, SIZE_DEEP = 10_000, 1_000_000
TOLD = 10


def run(size: int, seed: int) -> Outcome:
    failed = []
    with folders() as (_, memory):
        for each in range(seed, seed + size):
            try:
                survive_power_cut(memory, each)
            except AssertionError as error:
                failed.append(f"{error}".splitlines()[0])
                if len(failed) <= TOLD:
                    print(f"     {failed[-1]}", file=sys.stderr)
    return Outcome(f"{size:,} power cuts, {len(failed)} with something durable lost or a cursor ahead", good=not failed)
