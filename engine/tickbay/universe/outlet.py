"""Where a Python process puts its own records: one ring, attached when the journal has made it.

For records that are made in Python: a few a minute, and the trades that the healer fetches. What a feed captures never
comes this way.
"""

from __future__ import annotations

import time

from tickbay.identity import Identity
from tickbay.process import ProcessContext
from tickbay.record import Kind, Records, stream_name
from tickbay.ring import Ring, RingFull, RingMissing


class Outlet:
    """The only producer of its stream (RING-2: the process's lock sees to that)."""

    def __init__(self, context: ProcessContext, kind: Kind) -> None:
        self.stream = stream_name(context.name, kind)
        self.conn = 0  # connection epoch: of this run of the process
        self._kind = kind
        self._path = context.config.run_dir / "rings" / f"{self.stream}.ring"
        self._ring: Ring | None = None

    def attach(self) -> bool:
        """False while there is no ring yet: try again. RingFault where it is none of this version."""
        if self._ring is None:
            try:
                self._ring = Ring.attach(self._path, self._kind)
            except RingMissing:
                return False
            own = Identity.own()
            self.conn = max(int(time.time()), self._ring.produce(own.pid, own.start_time) + 1)
            self._ring.set_conn(self.conn)
        return True

    def put(self, records: Records) -> bool:
        """Publish all of them, or none: False while the ring is full (the journal is behind)."""
        assert self._ring is not None, "attach() first"
        try:
            self._ring.append(records)
        except RingFull:
            return False
        return True

    def has_room(self, count: int) -> bool:
        """For so many records, or all that there ever is."""
        assert self._ring is not None, "attach() first"
        return self._ring.free >= count or self.is_durable()

    def is_durable(self) -> bool:
        """Is everything that was put on disk? (JRNL-2)"""
        assert self._ring is not None, "attach() first"
        return self._ring.durable >= self._ring.head - 1
