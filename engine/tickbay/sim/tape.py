"""What one connection is sent in one cycle: its channels' strips in order of time, patched and cut into slices.

In: strips, each with how many cycles it is ahead. Out: bytes that go to the socket as they are. A frame costs no
Python: digits of a slice are computed and written by numpy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tickbay.sim import rows
from tickbay.sim.strip import NARROW, WIDE, Integers, Patches, Strip

# What the ledger keeps of a frame of a tape.
FRAME = np.dtype([("kind", "u1"), ("first_row", "<i8"), ("row_count", "<u4"), ("ahead", "<i8")])
DIGITS = np.frombuffer(b"".join(b"%04d" % value for value in range(10_000)), np.uint32)  # four digits at a time
MILLISECONDS_BASE = 10**WIDE  # the leading 1 of a time is not patched


class Tape:
    """Immutable but for the digits. `ahead` of a channel: its cycle number is the tape's plus so many."""

    def __init__(self, number: int, strips: Sequence[tuple[Strip, int]], cycle_ms: int) -> None:
        """`cycle_ms`: what a time grows by with each cycle (virtual clock), 0 where the clock is given with each
        slice."""
        self.number = number
        self.channels = tuple(strip.channel for strip, _ in strips)
        key = _joined([strip.key for strip, _ in strips])
        order = np.argsort(key)
        self.key = key[order]
        self.channel = np.repeat(np.arange(len(strips)), [len(strip) for strip, _ in strips])[order]
        self.frames = self._frame_table(strips)[order]
        self.trades = np.flatnonzero(self.frames["kind"] == rows.TRADE)
        size = _joined([np.diff(strip.start) for strip, _ in strips])[order]
        self.start = np.concatenate(([0], np.cumsum(size)))
        pieces = [
            strip.payload[begin:end]
            for strip, _ in strips
            for begin, end in zip(strip.start[:-1], strip.start[1:], strict=True)
        ]
        self._bytes = bytearray(b"".join([pieces[place] for place in order.tolist()]))
        place_of = np.empty(len(order), np.int64)
        place_of[order] = np.arange(len(order))
        self._stamps = self._patches([strip.stamps for strip, _ in strips], strips, place_of, cycle_ms)
        self._wide = self._patches([strip.wide for strip, _ in strips], strips, place_of, 0)
        self._narrow = self._patches([strip.narrow for strip, _ in strips], strips, place_of, 0)

    def __len__(self) -> int:
        return len(self.key)

    @staticmethod
    def _frame_table(strips: Sequence[tuple[Strip, int]]) -> NDArray[np.void]:
        table = np.zeros(sum(len(strip) for strip, _ in strips), FRAME)
        begin = 0
        for strip, ahead in strips:
            part = table[begin : begin + len(strip)]
            part["kind"], part["first_row"], part["row_count"], part["ahead"] = (
                strip.kind,
                strip.first_row,
                strip.row_count,
                ahead,
            )
            begin += len(strip)
        return table

    def _patches(
        self, parts: Sequence[Patches], strips: Sequence[tuple[Strip, int]], place_of: Integers, more_step: int
    ) -> tuple[Integers, ...]:
        """The strips' patches, moved to where their frames now lie: place, base, step, and the first patch of each
        frame."""
        before = np.cumsum([0] + [len(strip) for strip, _ in strips])
        frame = place_of[_joined([part.frame + first for part, first in zip(parts, before[:-1], strict=True)])]
        inside = _joined([part.place - strip.start[part.frame] for part, (strip, _) in zip(parts, strips, strict=True)])
        step = _joined([part.step for part in parts]) + more_step
        ahead = _joined([np.full(len(part.place), ahead) for part, (_, ahead) in zip(parts, strips, strict=True)])
        base = _joined([part.base for part in parts]) + step * ahead
        place = self.start[frame] + inside
        order = np.argsort(place)
        first_of = np.searchsorted(frame[order], np.arange(len(self.key) + 1))
        return place[order], base[order], step[order], first_of

    def position(self, key: int) -> int:
        """The first frame due at `key` or later."""
        return int(np.searchsorted(self.key, key))

    def end_of_slice(self, first: int, bytes_max: int) -> int:
        """How far a slice from `first` may go to have about `bytes_max` bytes, at least one frame."""
        return max(first + 1, int(np.searchsorted(self.start, self.start[first] + bytes_max)) - 1)

    def render(self, first: int, last: int, loop: int, clock_ms: int) -> bytes:
        """Frames first … last-1 of cycle `loop`."""
        self._write(self._stamps, WIDE, first, last, loop, clock_ms - MILLISECONDS_BASE)
        self._write(self._wide, WIDE, first, last, loop, 0)
        self._write(self._narrow, NARROW, first, last, loop, 0)
        return bytes(memoryview(self._bytes)[self.start[first] : self.start[last]])

    def _write(self, patches: tuple[Integers, ...], width: int, first: int, last: int, loop: int, more: int) -> None:
        place, base, step, first_of = patches
        begin, end = first_of[first], first_of[last]
        if begin == end:
            return
        values = base[begin:end] + step[begin:end] * loop + more
        assert values.min() >= 0 and values.max() < 10**width, (
            "ids have outgrown their digits: the simulator ran too long"
        )
        groups = width // 4
        digits = np.empty((end - begin, groups), np.uint32)
        for group in range(groups - 1, 0, -1):
            values, rest = np.divmod(values, 10_000)
            digits[:, group] = DIGITS[rest]
        digits[:, 0] = DIGITS[values]
        # One item per byte of the tape, each `width` bytes long, so a place is an index.
        windows = np.ndarray((len(self._bytes) - width + 1,), f"V{width}", self._bytes, strides=(1,))
        windows[place[begin:end]] = digits.view(f"V{width}").ravel()


def _joined(parts: Sequence[Integers]) -> Integers:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)
