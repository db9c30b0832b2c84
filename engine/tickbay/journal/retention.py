"""What the journal keeps and for how long.

JRNL-3: a segment goes only when every enabled sink has committed past it and it is older than retain_hours (or its
space is needed); or, if the quota forces it, as a recorded gap of what a sink had not taken.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress

from tickbay.config import Config
from tickbay.cursor import Position, read_cursor
from tickbay.files import Files
from tickbay.gap import Cause, Gap
from tickbay.journal.segment_index import SegmentIndex
from tickbay.journal.segments import Segments, untaken
from tickbay.legs import mergers
from tickbay.record import Kind, parse_stream

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


def gaps_of(index: SegmentIndex, cursors: Cursors) -> list[Gap]:
    """What is lost when a segment goes now: for each stream, what the sink that is furthest behind has not taken."""
    lost: dict[str, tuple[int, int, str]] = {}
    for sink, cursor in cursors.items():
        for stream, (first, last) in untaken(index, sink, cursor).items():
            if stream not in lost or first < lost[stream][0]:
                lost[stream] = (first, last, sink)
    return [
        Gap(
            cause=Cause.JOURNAL_QUOTA,
            from_ns=index.spans[stream].from_ns,
            to_ns=index.spans[stream].to_ns,
            kind=Kind(index.spans[stream].kind),
            first_missing=first,
            last_missing=last,
            count=last - first + 1,
            feed=parse_stream(stream)[0],
            detail=f"{stream}: not taken by {sink}",
        )
        for stream, (first, last, sink) in sorted(lost.items())
    ]


def sync_cursors(config: Config, files: Files) -> None:
    """JRNL-3: what a cursor says counts only when a power cut cannot take it back: else a segment would be gone and
    its sink ask for it again. OSError: the disk."""
    for sink in (*config.sinks, *mergers(config)):
        with suppress(FileNotFoundError):  # it has taken nothing yet
            fd = files.open(config.data_dir / "cursors" / f"{sink}.cursor", os.O_RDONLY)
            try:
                files.fdatasync(fd)
            finally:
                files.close(fd)


class Retention:
    """Lets go of segments. Every method returns the gaps that this made, for the caller to record."""

    def __init__(self, config: Config, files: Files, segments: Segments, *, clock_ns: Callable[[], int]) -> None:
        self._config = config
        self._files = files
        self._segments = segments
        self._clock_ns = clock_ns
        self._retain_ns = int(config.journal.retain_hours * 3600e9)
        self._written: deque[tuple[float, int]] = deque(maxlen=int(RATE_WINDOW_S / RATE_STEP_S))

    def enforce(self) -> list[Gap]:
        """What age and quota say now. OSError: some of it is left for the next call."""
        gaps: list[Gap] = []
        sealed = self._segments.sealed
        if not sealed or (not self._expired(sealed[0]) and not self._segments.over_quota()):
            return gaps
        sync_cursors(self._config, self._files)
        cursors = read_cursors(self._config, self._files)
        while sealed and self._expired(sealed[0]) and not gaps_of(sealed[0], cursors):
            self._segments.drop_oldest()
        while sealed and self._segments.over_quota() and self._drop(cursors, gaps):
            pass
        return gaps

    def make_room(self) -> list[Gap]:
        """Before a segment is begun: space for it within the quota and above the free floor.

        The quota takes the oldest, whatever it costs. A disk that others fill takes only what every sink has, and no
        more than comes: the journal stops growing, it does not vanish. OSError: then the rings must keep what comes.
        """
        gaps: list[Gap] = []
        freed = 0
        while not self._segments.can_begin() and freed < self._segments.segment_bytes:
            sync_cursors(self._config, self._files)
            cursors = read_cursors(self._config, self._files)
            sealed = self._segments.sealed
            forced = self._segments.quota_is_full()
            if not sealed or (not forced and gaps_of(sealed[0], cursors)):
                raise OSError(errno.ENOSPC, "the disk is full up to journal.free_floor_gb, and no sink has taken more")
            freed += 0 if forced else self._segments.oldest_bytes()
            if not self._drop(cursors, gaps):
                break
        return gaps

    def _expired(self, index: SegmentIndex) -> bool:
        return index.written_ns + self._retain_ns < self._clock_ns()

    def _drop(self, cursors: Cursors, gaps: list[Gap]) -> bool:
        """Let the oldest go and add what that lost to `gaps`. After an error those that are in it already must be told:
        then False, and the next call meets the error again."""
        lost = gaps_of(self._segments.sealed[0], cursors)
        try:
            self._segments.drop_oldest()
        except OSError:
            if not gaps:
                raise
            return False
        gaps += lost
        return True

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
