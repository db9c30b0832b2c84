"""R9: the decoder in C against the slow reference in Python, field by field, over random frames."""

from __future__ import annotations

import sys

import test_decode
from faults.figure import Outcome

ASKED = "10^5 frames decoded in C as the reference reads them: 0 differences"
SIZE, SIZE_DEEP = 100_000, 100_000_000
TOLD = 3


def run(size: int, seed: int) -> Outcome:
    generator = test_decode.Generator(seed)
    records = refused = different = 0
    for _ in range(size):
        frame = generator.frame()
        try:
            test_decode.check(frame)
        except AssertionError as error:
            different += 1
            if different <= TOLD:
                print(f"     {frame!r}: {error}", file=sys.stderr)
        decoded = test_decode.decoded(frame)
        refused += decoded is None
        records += 0 if decoded is None else len(decoded[1])
    return Outcome(
        f"{different} differences in {size:,} frames ({records:,} records, {refused:,} refused by both)",
        good=different == 0 and records > 0 and refused > 0,
    )
