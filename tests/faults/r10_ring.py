"""R10: a ring under stress and ThreadSanitizer: a producer, the journal and a reader that is lapped, as threads; then a
producer and the journal as two processes."""

from __future__ import annotations

import re

from faults.figure import Outcome
from faults.native import run_native

ASKED = "10^8 records through a ring with lapping under TSan: 0 torn, 0 undetected"
SIZE, SIZE_DEEP = 100_000_000, 1_000_000_000


def run(size: int, seed: int) -> Outcome:
    told = run_native("test_ring_stress", size, seed, sanitizer="thread")
    found = re.search(r"threads: (\d+) records in .*, (\d+) read, lapped (\d+) times, (\d+) torn", told)
    assert found, told
    records, read, lapped, torn = map(int, found.groups())
    return Outcome(
        f"{records:,} records, {read:,} read and the others known as missed, lapped {lapped:,} times, {torn} torn; "
        "as many between two processes",
        good=records == size and torn == 0 and lapped > 0,
    )
