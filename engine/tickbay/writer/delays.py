"""How long each tick took from the disk to the database, and all the way since it was received.

Used by a writer, for each batch that its sink has committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tickbay.histogram import Histogram
from tickbay.journal.delays import DurableTimes
from tickbay.record import TICKS
from tickbay.sinks.sink import Chunk

DURABLE_TO_COMMIT, RECEIVE_TO_COMMIT, COMMIT = "durable_to_commit", "receive_to_commit", "commit"


class Delays:
    """The last stage of a tick, and its whole way through this machine, for one sink."""

    def __init__(self, run_dir: Path, sink: str) -> None:
        self._run_dir = run_dir
        self._sink = sink
        self._durable_times: DurableTimes | None = None
        self._stages = {DURABLE_TO_COMMIT: Histogram(), RECEIVE_TO_COMMIT: Histogram(), COMMIT: Histogram()}

    def took(self, commit_s: float) -> None:
        """One commit by itself: how fast the database is, whatever waited for it."""
        self._stages[COMMIT].add(np.array([round(commit_s * 1e9)]))

    def committed(self, chunks: Sequence[Chunk], now_ns: int) -> None:
        """The sink has these since `now_ns` (our clock)."""
        ticks = [chunk.records["recv_ns"] for chunk in chunks if chunk.kind in TICKS]
        if not ticks:
            return
        recv_ns = np.concatenate(ticks)
        self._stages[RECEIVE_TO_COMMIT].add(now_ns - recv_ns)
        if self._durable_times is None:
            try:
                self._durable_times = DurableTimes(self._run_dir)
            except OSError:
                return  # the journal process makes it; until then this stage is not told
        self._stages[DURABLE_TO_COMMIT].add(now_ns - self._durable_times.durable_ns(recv_ns))

    def report(self, now_s: float) -> dict[str, dict[str, dict[str, object]]]:
        """For health: stage → sink → Histogram.report()."""
        return {stage: {self._sink: histogram.report(now_s)} for stage, histogram in self._stages.items()}
