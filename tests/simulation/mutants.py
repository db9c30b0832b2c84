"""Bugs that are planted in the real code, one at a time, to see that the simulation finds each of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from simulation.disk import VirtualFiles
from tickbay.config import Supervisor as Limits
from tickbay.cursor import START, Position
from tickbay.errors import SinkRefused
from tickbay.files import Files
from tickbay.journal import opening, recovery, retention, segment
from tickbay.journal.journal_reader import JournalReader
from tickbay.journal.segment import SegmentWriter
from tickbay.journal.stream_reader import StreamReader
from tickbay.sinks import questdb, timescale
from tickbay.sinks.questdb import QuestdbSink
from tickbay.sinks.sink import Chunk, Committed, Hole
from tickbay.sinks.timescale import TimescaleSink
from tickbay.supervisor import restart
from tickbay.supervisor.child import Child


@contextmanager
def patched(place: Any, attribute: str, broken: Any) -> Iterator[None]:
    real = getattr(place, attribute)
    setattr(place, attribute, broken)
    try:
        yield
    finally:
        setattr(place, attribute, real)


def durable_before_sync(writer: SegmentWriter) -> None:
    """JRNL-2: SegmentWriter.sync() forgets to sync."""
    writer.batches += writer._unsynced
    writer._unsynced.clear()
    writer.synced_end = writer.end


def synced_again(writer: SegmentWriter) -> None:
    """After a failed sync the same file is synced once more, and the kernel says that all is well."""
    try:
        _SYNC(writer)
    except OSError:
        _SYNC(writer)


def name_not_synced(files: VirtualFiles, path: Any) -> None:
    """Files are named, and their directory is never synced."""


def crc_ignored(data: Any, number: int) -> segment.Walked:
    """JRNL-1: a header that fits is believed, whatever follows it."""
    walked = segment.Walked()
    view = memoryview(data)
    while len(view) - walked.end >= segment.BATCH_HEADER_SIZE:
        batch = segment.parse_batch(view[walked.end :], number, walked.end)
        if batch is None or batch.end > len(view) or not batch.records:
            return walked
        walked.batches.append(batch)
        walked.end = batch.end
    return walked


def no_swap(sink: TimescaleSink, connection: Any, ends: dict[str, Position]) -> None:
    """SINK-1: the cursor is set, whatever it was."""
    streams = sorted(ends)
    old = [connection._server.cursors.get(stream, START) for stream in streams]
    new = [ends[stream] for stream in streams]
    parts = [[at.epoch for at in old], [at.seq for at in old], [at.epoch for at in new], [at.seq for at in new]]
    connection.execute("UPDATE sink_cursor", [streams, *parts, sink.name])


def cursor_first(sink: TimescaleSink, connection: Any, ends: dict[str, Position]) -> None:
    """SINK-1: the cursor moves in a transaction of its own, before the rows."""
    _SWAP(sink, connection, ends)
    connection.commit()


def acknowledged_is_applied(sink: QuestdbSink, chunks: Sequence[Chunk], holes: Sequence[Hole] = ()) -> Committed:
    """SINK-2: the cursor is saved for rows that were only acknowledged."""
    committed = _COMMIT(sink, chunks, holes)
    sink._settled = sink._settled | {chunk.stream: chunk.end for chunk in chunks}
    sink._forget()
    return committed


def never_back(sink: QuestdbSink, minutes: float, why: str, server: str) -> None:
    """SINK-2: a server that was restarted is believed to have all that it had applied."""
    sink._forget()
    sink._marks.went_back(server, sink._clock.unix_ns() / 1e9)


def taken_by_all(*_: object) -> dict[str, tuple[int, int]]:
    """JRNL-3: every segment may go, as if all sinks were past it."""
    return {}


def neighbours_too(count: int, copy: Any, *, allowed: int) -> list[tuple[int, SinkRefused]]:
    """SINK-4: all rows of a refused batch are taken for bad ones."""
    return [(row, SinkRefused("one of these is refused")) for row in range(count)]


def back_off_without_end(failures: Sequence[float], now_s: float, *, limits: Limits, jitter: float) -> float:
    """SUP-2: every failure multiplies the wait, for ever."""
    return float(limits.backoff_min_s * 30 ** len(failures))


def no_back_off(failures: Sequence[float], now_s: float, *, limits: Limits, jitter: float) -> float:
    """SUP-2: what dies at once is started at once."""
    return 0.0


def never_fresh(child: Child) -> None:
    """SUP-2: a heartbeat is looked at once and never again, so whoever lives is taken for silent."""
    if not child.beaten:
        _OBSERVE(child)


def never_adopted(child: Child) -> bool:
    """SUP-1: the next supervisor starts its own, beside those who live."""
    return False


def name_not_synced_again(files: Files, directory: Path, found: recovery.Recovered, names: Collection[str]) -> None:
    """JRNL-2: recovery goes on in the newest segment without syncing its name."""
    with patched(files, "sync_directory", lambda _: None):
        _SETTLE(files, directory, found, names)


def nothing_said(*_: object) -> None:
    """JRNL-3: of what was deleted before the ring's epoch a sink learns only with the next record."""


def only_own_ends(last: Mapping[str, Position], _: object) -> dict[str, Position]:
    """JRNL-1: a stream whose segments have all gone begins at 1 again."""
    return dict(last)


def met_now(reader: JournalReader, *of: Any, **where: Any) -> Hole:
    """SINK-2: a hole has the time at which it is met, so whoever meets it again tells another one."""
    hole = _MISSING(reader, *of, **where)
    now_ns = reader._clock.unix_ns()
    return replace(hole, from_ns=now_ns, to_ns=now_ns)


def not_synced(*_: object) -> None:
    """JRNL-3: a segment goes when a cursor says so that a power cut may take back."""


def believed(keeper: retention.Retention) -> dict[str, dict[str, Position]]:
    """JRNL-3: a cursor whose sync has failed counts when the next one succeeds."""
    keeper._doubted.clear()
    return _DURABLE(keeper)


_COMMIT, _OBSERVE, _SWAP, _SYNC = QuestdbSink.commit, Child.observe, TimescaleSink._swap, SegmentWriter.sync
_SETTLE, _MISSING, _DURABLE = recovery._settle, JournalReader.missing, retention.Retention._durable_cursors

# Name → where it is planted, and what.
MUTANTS: dict[str, tuple[Any, str, Any]] = {
    "durable before sync": (SegmentWriter, "sync", durable_before_sync),
    "synced again": (SegmentWriter, "sync", synced_again),
    "name not synced": (VirtualFiles, "sync_directory", name_not_synced),
    "CRC ignored": (recovery, "walk", crc_ignored),
    "no compare-and-swap": (TimescaleSink, "_swap", no_swap),
    "cursor before rows": (TimescaleSink, "_swap", cursor_first),
    "acknowledged is applied": (QuestdbSink, "commit", acknowledged_is_applied),
    "never goes back": (QuestdbSink, "_go_back", never_back),
    "deletes what nobody took": (retention, "untaken", taken_by_all),
    "neighbours of a bad row": (timescale, "copy_around", neighbours_too),
    "back-off without end": (restart, "delay_s", back_off_without_end),
    "no back-off": (restart, "delay_s", no_back_off),
    "heartbeats not seen": (Child, "observe", never_fresh),
    "never adopted": (Child, "adopt", never_adopted),
}

# Bugs that were in tickbay until the simulation found them, planted again.
FOUND: dict[str, tuple[Any, str, Any]] = {
    "recovery did not sync a name": (recovery, "_settle", name_not_synced_again),
    "a hole was not told": (StreamReader, "_end_of_older", nothing_said),
    "QuestDB forgot a hole": (questdb, "BEGINNING", START),
    "numbers began anew": (opening, "_ends", only_own_ends),
    "a hole of another time": (JournalReader, "missing", met_now),
    "a cursor was not synced": (retention, "_sync", not_synced),
    "a sync that failed was believed": (retention.Retention, "_durable_cursors", believed),
}


def planted(name: str) -> AbstractContextManager[None]:
    """The bug of this name is there."""
    return patched(*(MUTANTS | FOUND)[name])
