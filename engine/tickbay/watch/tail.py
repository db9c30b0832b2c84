"""The rings of one kind, read on from where they were read last; the first time, all that they still have.

It holds no producer back (RING-2). Where it was lapped it goes on with the oldest that is left: who only watches wants
the newest. The legs of a pair are left out: what the two have together is in the pair's stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from tickbay.legs import merger_of
from tickbay.record import Kind, Records
from tickbay.ring import Lapped, Ring
from tickbay.status.positions import open_rings

BLOCK = 8192  # records read at once; of quotes 3 MB
ATTEMPTS = 3  # where a producer laps us


class Tail:
    """Not for several threads."""

    def __init__(self, run_dir: Path, kind: Kind) -> None:
        self._run_dir = run_dir
        self._kind = kind
        self._next: dict[str, tuple[int, int]] = {}  # stream → epoch, sequence to read next

    def blocks(self) -> Iterator[tuple[str, Records]]:
        """What has come since the last time, by stream, in order. A ring may have been made anew since: it is attached
        each time, which costs some microseconds.
        """
        for stream, ring in open_rings(self._run_dir, self._kind):
            with closing(ring):
                if not merger_of(stream):
                    yield from ((stream, block) for block in self._read(stream, ring))

    def _read(self, stream: str, ring: Ring) -> Iterator[Records]:
        epoch, first = ring.epoch()
        known_epoch, seq = self._next.get(stream, (epoch, 0))
        if seq > ring.head or (known_epoch != epoch and seq > first):
            seq = 0  # of a journal that was begun anew
        ahead, lapped = ring.head, 0
        while seq < ahead and lapped < ATTEMPTS:
            try:
                block = ring.read(max(seq, ring.oldest), most=BLOCK)
            except Lapped:
                lapped += 1
                continue
            if not len(block):
                break
            seq = int(block["seq"][-1]) + 1
            yield block
        self._next[stream] = epoch, seq
