"""How long each tick took from the venue to us, and from us to the disk; and when what was received became durable.

Used by the journal process, which has every record in its hands anyway: nothing of this costs a feed. The writers read
DurableTimes to tell the rest of the way.
"""

from __future__ import annotations

import mmap
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tickbay.histogram import Histogram
from tickbay.record import DTYPES, TICKS, Flag, Kind, parse_stream

EXCHANGE_TO_RECEIVE, RECEIVE_TO_DURABLE = "exchange_to_receive", "receive_to_durable"
FILE = "durable.times"
COMMITS = 1024  # remembered: 100 s of them at the default commit_ms, 10 s when the rings fill fast


class Delays:
    """The two first stages of a tick, by feed."""

    def __init__(self) -> None:
        self._stages: dict[str, defaultdict[str, Histogram]] = {
            EXCHANGE_TO_RECEIVE: defaultdict(Histogram),
            RECEIVE_TO_DURABLE: defaultdict(Histogram),
        }

    def synced(self, parts: Iterable[tuple[str, memoryview]], durable_ns: int) -> None:
        """Records of streams, as they lie in memory, became durable at `durable_ns` (our clock)."""
        for stream, payload in parts:
            feed, kind = parse_stream(stream)
            if kind not in TICKS:
                continue
            records = np.frombuffer(payload, DTYPES[kind])
            recv_ns = records["recv_ns"]
            self._stages[RECEIVE_TO_DURABLE][feed].add(durable_ns - recv_ns)
            took_ns = recv_ns - records["exch_ns"]
            if kind is Kind.TRADE:  # what was fetched long after it happened tells nothing of the live path
                took_ns = took_ns[records["flags"] & Flag.HEALED == 0]
            self._stages[EXCHANGE_TO_RECEIVE][feed].add(took_ns)

    def report(self, now_s: float) -> dict[str, dict[str, dict[str, object]]]:
        """For health: stage → feed → Histogram.report()."""
        return {
            stage: {feed: histogram.report(now_s) for feed, histogram in sorted(feeds.items())}
            for stage, feeds in self._stages.items()
        }


class DurableTimes:
    """`run_dir/durable.times`: for each of the last group commits, when it looked at the rings and when what it found
    there was on disk. The journal writes it, writers read it. Figures only: nothing is decided by it."""

    def __init__(self, run_dir: Path, *, write: bool = False) -> None:
        """OSError where it cannot be made, or is not there to be read."""
        access = os.O_RDWR | os.O_CREAT if write else os.O_RDONLY
        fd = os.open(run_dir / FILE, access | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            size = COMMITS * 2 * 8
            if write:
                os.posix_fallocate(fd, 0, size)
            elif os.fstat(fd).st_size < size:
                raise OSError(f"{run_dir / FILE} is being made")
            protection = mmap.PROT_READ | (mmap.PROT_WRITE if write else 0)
            memory = mmap.mmap(fd, size, mmap.MAP_SHARED, protection)
        finally:
            os.close(fd)
        self._commits: npt.NDArray[np.int64] = np.frombuffer(memory, np.int64).reshape(COMMITS, 2)
        self._next = (int(self._commits[:, 0].argmax()) + 1) % COMMITS

    def add(self, looked_ns: int, durable_ns: int) -> None:
        """A commit took what the rings held at `looked_ns`."""
        self._commits[self._next, 0] = 0  # a reader leaves a line alone while it changes
        self._commits[self._next, 1] = durable_ns
        self._commits[self._next, 0] = looked_ns
        self._next = (self._next + 1) % COMMITS

    def durable_ns(self, recv_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """When records that were received at `recv_ns` became durable: at the first commit that looked after that. What
        is older than the oldest commit remembered, of a writer that is far behind, counts as durable when it was
        received: next to such a delay the difference is nothing."""
        commits = self._commits[self._commits[:, 0] > 0]
        if not len(commits):
            return recv_ns
        commits = commits[commits[:, 0].argsort()]
        places = np.searchsorted(commits[:, 0], recv_ns)
        found = commits[np.minimum(places, len(commits) - 1), 1]
        unknown = (recv_ns < commits[0, 0]) | (places == len(commits))
        return np.where(unknown, recv_ns, found)
