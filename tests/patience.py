"""Waiting, in tests, for what must come: never for an amount of time."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

PATIENCE_S = 60.0  # on a busy machine an interpreter alone takes a second

Answer = TypeVar("Answer")


def wait_for(
    question: Callable[[], Answer | None], what: str, patience_s: float = PATIENCE_S, log: Path | None = None
) -> Answer:
    """Ask until the answer is true; the failure says what did not come, and what the log says."""
    ends = time.monotonic() + patience_s
    while not (answer := question()):
        if time.monotonic() > ends:
            raise AssertionError(f"waited {patience_s:g} s for {what}" + (f"\n{log.read_text()}" if log else ""))
        time.sleep(0.02)
    return answer


def seconds_until(done: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> float:
    """How long it took."""
    began = time.monotonic()
    wait_for(done, what, patience_s)
    return time.monotonic() - began
