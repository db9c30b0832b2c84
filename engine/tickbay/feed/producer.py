"""A feed's own rings, from the side that writes: attached when the journal has made them, taken over, and filled with
the records that are not ticks. The ticks go in through the compiled listener (native/feed.c).

RING-2: one producer; that is the process that holds the feed's lock (identity.py).
FEED-1: a gap record that its ring has no space for waits here, in order, until there is.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection
from pathlib import Path

from tickbay.errors import RingFault
from tickbay.gap import Gap
from tickbay.identity import Identity, boot_id
from tickbay.record import USUAL_TICKS, FeedState, Kind, Records, blank, feed_kinds, set_text, stream_name
from tickbay.ring import Ring, RingFull, RingMissing

USUAL_KINDS = feed_kinds(USUAL_TICKS)
ATTACH_S = 30.0  # the journal makes its rings within a second, unless it first recovers a long journal
ATTACH_AGAIN_S = 0.1
# Gaps that wait while the journal stands still. More cannot come of one outage: each channel has one hole at a time.
PENDING_MAX = 100_000


class Producer:
    def __init__(self, feed: str, rings: dict[Kind, Ring]) -> None:
        """`rings` has one of each kind that this feed writes (feed_kinds()), and nobody else writes them."""
        self.feed = feed
        self.rings = rings
        self.lost_gaps = 0  # beyond PENDING_MAX: counted, and in the log
        self.missed_status = 0  # heartbeats that their ring had no space for
        own = Identity.own()
        self._conn = max(ring.produce(own.pid, own.start_time) for ring in rings.values())
        self._inodes = {kind: ring.path.stat().st_ino for kind, ring in rings.items()}
        self._pending: deque[Records] = deque()

    @classmethod
    def attach(
        cls, run_dir: Path, feed: str, *, wait: Callable[[float], bool], kinds: Collection[Kind] = USUAL_KINDS
    ) -> Producer | None:
        """Wait for the rings of `kinds`. `wait` sleeps so many seconds and says whether we are to stop: then None.
        RingFault where they do not appear in time, or are wrong."""
        rings: dict[Kind, Ring] = {}
        ends = time.monotonic() + ATTACH_S
        while True:
            try:
                for kind in kinds:
                    if kind not in rings:
                        rings[kind] = _attach(run_dir / "rings" / f"{stream_name(feed, kind)}.ring", kind)
                return cls(feed, rings)
            except RingMissing as error:
                if time.monotonic() >= ends:
                    raise RingFault(f"{error} (waited {ATTACH_S:g} s)") from error
            if wait(ATTACH_AGAIN_S):
                return None

    @property
    def conn(self) -> int:
        """The connection epoch."""
        return self._conn

    def next_conn(self, wall_s: int) -> int:
        """A greater one, for a new connection."""
        self._conn = max(wall_s, self._conn + 1)
        for kind in (Kind.GAP, Kind.STATUS):  # the listener sets those of the ticks
            self.rings[kind].set_conn(self._conn)
        return self._conn

    def check(self) -> None:
        """RingFault where the journal has put another ring in the place of one of ours, as one of another layout does:
        nobody reads what we write any more."""
        for kind, ring in self.rings.items():
            try:
                inode = ring.path.stat().st_ino
            except FileNotFoundError:
                inode = 0
            if inode != self._inodes[kind]:
                raise RingFault(f"ring {ring.path} is not ours any more: start again with the one that is there")

    def write_gap(self, gap: Gap, recv_ns: int) -> None:
        if len(self._pending) >= PENDING_MAX:
            self.lost_gaps += 1
            return
        self._pending.append(gap.record(recv_ns=recv_ns, conn=self._conn, writer=self.feed))
        self.flush()

    def flush(self) -> int:
        """Write the gaps that wait; returns how many still do."""
        try:
            while self._pending:
                self.rings[Kind.GAP].append(self._pending[0])
                self._pending.popleft()
        except RingFull:
            pass  # the journal stands still: it is told as such by what waits
        return len(self._pending)

    def write_status(self, recv_ns: int, state: FeedState, figures: dict[str, int]) -> None:
        """A heartbeat; `figures` are fields of struct status."""
        record = blank(Kind.STATUS)
        record["exch_ns"] = record["recv_ns"] = recv_ns
        record["conn"] = self._conn
        record["state"] = state
        set_text(record, "process", self.feed)
        for name, value in figures.items():
            record[name] = value
        try:
            self.rings[Kind.STATUS].append(record)
        except RingFull:
            self.missed_status += 1

    def fills(self) -> dict[Kind, float]:
        """How full each ring is with what is not durable, from 0 to 1."""
        return {kind: (ring.head - 1 - ring.durable) / ring.capacity for kind, ring in self.rings.items()}

    def close(self) -> None:
        for ring in self.rings.values():
            ring.close()


def _attach(path: Path, kind: Kind) -> Ring:
    ring = Ring.attach(path, kind)
    if ring.identity().boot_id != boot_id():
        ring.close()
        raise RingMissing(f"ring {path} is of an earlier boot: is the journal process running?")
    return ring
