"""R8: generated frames, right and wrong, through the decoder under ASan and UBSan; and every prefix of good ones
against a page that cannot be read."""

from __future__ import annotations

import re

from faults.figure import Outcome
from faults.native import run_native

ASKED = "10^6 frames into the decoder under ASan and UBSan, every prefix against a guard page: 0 findings"
SIZE, SIZE_DEEP = 1_000_000, 1_000_000_000
SANITIZER = "address,undefined"


def run(size: int, seed: int) -> Outcome:
    run_native("test_decode_deribit", sanitizer=SANITIZER)  # the prefixes
    told = run_native("fuzz_decode_deribit", size, seed, sanitizer=SANITIZER)
    found = re.search(r"(\d+) frames, (\d+) of them messages", told)
    assert found, told
    frames, messages = int(found[1]), int(found[2])
    return Outcome(f"{frames:,} frames, {messages:,} of them messages, 0 findings", good=frames == size)
