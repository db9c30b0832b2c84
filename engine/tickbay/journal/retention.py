"""What the journal keeps and for how long.

JRNL-3: a segment goes only when every enabled sink has committed past it and it is older than retain_hours (or its
space is needed); or, if the quota forces it, told at once with what a sink had not taken. That sink alone records it as
a gap, when it comes to the hole: another one, which had it all, must not seem to lack it.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from tickbay.config import Config
from tickbay.cursor import START, Position, read_cursor
from tickbay.files import Files
from tickbay.journal.lost import Loss, Losses
from tickbay.journal.segment_index import Places, SegmentIndex
from tickbay.journal.segments import Segments, untaken
from tickbay.legs import mergers

RATE_WINDOW_S = 600.0  # what "the current rate" is measured over
RATE_STEP_S = 10.0

Cursors = Mapping[str, Mapping[str, Position]]  # sink → stream → position


def read_cursors(config: Config, files: Files) -> dict[str, dict[str, Position]]:
    """How far every enabled sink, and every merger, is.

    One that has not begun, or whose file cannot be read, has taken nothing.
    """
    cursors: dict[str, dict[str, Position]] = {sink: {} for sink in (*config.sinks, *mergers(config))}
    for sink in cursors:
        with suppress(OSError):
            cursors[sink] = read_cursor(config.data_dir / "cursors" / f"{sink}.cursor", files)
    return cursors


def lost_with(index: SegmentIndex, cursors: Cursors, places: Mapping[str, Places]) -> list[Loss]:
    """What each sink loses when a segment goes now. GAP-1: from when the first batch was received that it lacks, by its
    place; without that, from the segment's first."""
    lost = []
    for sink, cursor in cursors.items():
        for stream, (first, last) in untaken(index, sink, cursor).items():
            span = index.spans[stream]
            after = cursor.get(stream, START)
            lacking = (place.from_ns for place in places.get(stream, []) if place.last > after)
            from_ns = next(lacking, span.from_ns)
            before = after if after >= span.first else Position(span.first.epoch, first - 1)
            lost.append(Loss(sink, stream, before, span.last, last - first + 1, from_ns, span.to_ns))
    return lost


def _sync(files: Files, path: Path) -> None:
    with suppress(FileNotFoundError):  # that sink has taken nothing yet
        fd = files.open(path, os.O_RDONLY)
        try:
            files.fdatasync(fd)
        finally:
            files.close(fd)


class Retention:
    """Lets go of segments."""

    def __init__(
        self,
        config: Config,
        files: Files,
        segments: Segments,
        *,
        clock_ns: Callable[[], int],
        on_lost: Callable[[list[Loss]], None],
    ) -> None:
        """`on_lost` is told what each segment took with it that a sink had not taken, right when it has gone."""
        self._config = config
        self._files = files
        self._segments = segments
        self._clock_ns = clock_ns
        self._on_lost = on_lost
        self._doubted: dict[str, Mapping[str, Position]] = {}  # cursors as they were when their sync failed
        self._losses = Losses(files, config.data_dir / "journal")
        self._retain_ns = int(config.journal.retain_hours * 3600e9)
        self._written: deque[tuple[float, int]] = deque(maxlen=int(RATE_WINDOW_S / RATE_STEP_S))

    def enforce(self) -> None:
        """What age and quota say now. OSError: some of it is left for the next call."""
        sealed = self._segments.sealed
        if not sealed or (not self._expired(sealed[0]) and not self._segments.over_quota()):
            return
        cursors = self._durable_cursors()
        while sealed and self._expired(sealed[0]) and not lost_with(sealed[0], cursors, {}):
            self._segments.drop_oldest()
        while sealed and self._segments.over_quota():
            self._drop(cursors)

    def make_room(self) -> None:
        """Before a segment is begun: space for it within the quota and above the free floor.

        The quota takes the oldest, whatever it costs. A disk that others fill takes only what every sink has, and no
        more than comes: the journal stops growing, it does not vanish. OSError: then the rings must keep what comes.
        """
        freed = 0
        while not self._segments.can_begin() and freed < self._segments.segment_bytes:
            cursors = self._durable_cursors()
            sealed = self._segments.sealed
            forced = self._segments.quota_is_full()
            if not sealed or (not forced and lost_with(sealed[0], cursors, {})):
                raise OSError(errno.ENOSPC, "the disk is full up to journal.free_floor_gb, and no sink has taken more")
            freed += 0 if forced else self._segments.oldest_bytes()
            self._drop(cursors)

    def _durable_cursors(self) -> dict[str, dict[str, Position]]:
        """JRNL-3: what a cursor says counts only when a power cut cannot take it back: else a segment would be gone and
        its sink ask for it again. So it is read, and then synced. OSError: the disk.

        The kernel tells of a sync that failed once, and the next one succeeds without having written anything: what
        such a cursor said counts for nothing until its writer has saved it anew.
        """
        cursors = read_cursors(self._config, self._files)
        for sink in cursors:
            if self._doubted.get(sink) == cursors[sink]:
                cursors[sink] = {}
                continue
            self._doubted.pop(sink, None)
            try:
                _sync(self._files, self._config.data_dir / "cursors" / f"{sink}.cursor")
            except OSError:
                self._doubted[sink] = cursors[sink]
                raise
        return cursors

    def _expired(self, index: SegmentIndex) -> bool:
        return index.written_ns + self._retain_ns < self._clock_ns()

    def _drop(self, cursors: Cursors) -> None:
        """Let the oldest go, and tell what that lost."""
        oldest = self._segments.sealed[0]
        if lost := lost_with(oldest, cursors, {}):
            lost = lost_with(oldest, cursors, self._segments.places_of_oldest())
            # Not at any price: what is not noted now is with the next segment, and else begins nobody knows when.
            with suppress(OSError):
                self._losses.add(lost, cursors)
        self._segments.drop_oldest()
        if lost:
            self._on_lost(lost)

    def hold_hours(self, written_bytes: int, now_s: float) -> float:
        """How long the journal could go on if every sink stopped now, at the current rate; infinite while that is 0."""
        if not self._written or now_s - self._written[-1][0] >= RATE_STEP_S:
            self._written.append((now_s, written_bytes))
        since, written_then = self._written[0]
        if written_bytes <= written_then or now_s <= since:
            return float("inf")
        bytes_per_hour = (written_bytes - written_then) / (now_s - since) * 3600
        needed = self._segments.untaken_bytes(read_cursors(self._config, self._files))
        return max(0.0, self._segments.room_bytes() + self._segments.used_bytes - needed) / bytes_per_hour
