"""Opening the journal: what is on disk and what is in the rings, brought in line, and the epoch that follows from both.

Run by the journal process before its first commit ("Sequences and epochs" in ARCHITECTURE.md).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tickbay.clock import Clock
from tickbay.config import Config
from tickbay.cursor import START, Position
from tickbay.errors import ConfigError
from tickbay.events import Event, Events
from tickbay.files import Files
from tickbay.gap import SINCE_EVER_NS, Cause, Gap
from tickbay.identity import boot_id
from tickbay.journal.journal_reader import JournalReader
from tickbay.journal.recovery import Missing, Recovered, recover
from tickbay.journal.retention import read_cursors
from tickbay.journal.ring_set import OWN_GAPS, RingSet
from tickbay.record import Kind, parse_stream
from tickbay.sinks.sink import Chunk

QUOTA_SEGMENTS_MIN = 3  # one to write, one to read from, one to let go
GAPS_AT_A_TIME = 1000


@dataclass(frozen=True, slots=True)
class Parts:
    """What the journal process works with."""

    recovered: Recovered
    rings: RingSet
    epoch: int
    gaps: list[Gap]  # found now, to be recorded


def open_parts(config: Config, files: Files, events: Events, *, clock: Clock) -> Parts:
    """Recover what is on disk and fit the rings to it. ConfigError: the operator must act, nothing was touched.
    OSError: the disk; nothing is lost by calling it again."""
    if config.journal.quota_bytes < QUOTA_SEGMENTS_MIN * config.journal.segment_bytes:
        raise ConfigError(f"journal.quota_gb must hold {QUOTA_SEGMENTS_MIN} segments of journal.segment_mb: raise it")
    began = clock.now_s()
    directory = config.data_dir / "journal"
    rings = RingSet(config.run_dir / "rings", config, boot_id())
    kept = set(rings.sources)
    rings.check_space()  # before anything on disk is touched: the operator's mistake must not look like a crash
    recovered = recover(files, directory)
    cursors = read_cursors(config, files)
    taken = max((position.epoch for cursor in cursors.values() for position in cursor.values()), default=0)
    epoch, missing = recovered.epoch, list(recovered.missing)
    if epoch == 0 or not recovered.clean or rings.strangers(recovered.last, epoch):
        # Greater than any that was ever seen, so that nothing of the past can be mistaken for what comes.
        epoch = max(clock.unix_ns() // 10**9, max(recovered.epoch, rings.epoch, taken) + 1)
        missing += rings.begin_epoch(recovered, epoch)
    else:
        rings.go_on(recovered.last)
    rings.make(_ends(recovered.last, cursors.values()), epoch)
    events.emit(
        Event.JOURNAL_OPENED,
        epoch=epoch,
        clean=recovered.clean,
        segments=len(recovered.sealed),
        rings_kept=len(kept),
        took_s=round(clock.now_s() - began, 3),
    )
    _tell(recovered, missing, events)
    recorded = _recorded(files, directory, missing)
    gaps = [_gap_of(each, clock.unix_ns()) for each in missing if each.key not in recorded]
    lost = _lost_with_rings(recovered, rings.wanted, kept, clock.unix_ns())
    if recovered.epoch == 0 and taken:
        events.emit(Event.JOURNAL_WIPED)
        lost = Gap(
            cause=Cause.JOURNAL_TORN,
            from_ns=SINCE_EVER_NS,
            to_ns=clock.unix_ns(),
            detail="the journal was removed: it is empty",
        )
    return Parts(recovered, rings, epoch, gaps + ([lost] if lost else []))


def _ends(last: Mapping[str, Position], cursors: Iterable[Mapping[str, Position]]) -> dict[str, Position]:
    """Where each stream ended. One of which the journal has nothing any more is known by the sinks that took it all,
    so its numbers go on too."""
    ends = dict(last)
    for cursor in cursors:
        for stream, position in cursor.items():
            if stream not in last:
                ends[stream] = max(position, ends.get(stream, START))
    return ends


def _tell(recovered: Recovered, missing: list[Missing], events: Events) -> None:
    if recovered.torn is not None:
        torn = recovered.torn
        events.emit(Event.JOURNAL_TORN, segment=torn.segment, offset=torn.offset, bytes=torn.bytes, kept=torn.kept)
    for segment in recovered.damaged:
        events.emit(Event.JOURNAL_DAMAGED, segment=segment)
    for each in missing:
        events.emit(
            Event.JOURNAL_HOLE, stream=each.stream, first=each.first_seq, last=each.last_seq, segment=each.segment
        )


def _lost_with_rings(recovered: Recovered, wanted: Collection[str], kept: set[str], now_ns: int) -> Gap | None:
    """The rings went with the power, and with them a commit's time of records. With the rings still there nothing is
    lost: what was torn is written again from them. One that nobody wants any more was removed when it was drained."""
    if recovered.clean or all(stream in kept for stream in recovered.last if stream in wanted or not kept):
        return None
    return Gap(cause=Cause.JOURNAL_TORN, from_ns=recovered.written_ns, to_ns=now_ns, detail="unclean end: rings lost")


def _gap_of(missing: Missing, now_ns: int) -> Gap:
    return Gap(
        cause=Cause.JOURNAL_TORN,
        from_ns=missing.from_ns,
        to_ns=missing.to_ns or now_ns,
        kind=Kind(missing.kind),
        first_missing=missing.first_seq,
        last_missing=missing.last_seq,
        count=missing.last_seq - missing.first_seq + 1,
        feed=parse_stream(missing.stream)[0],
        detail=missing.stream,
    )


def _recorded(files: Files, directory: Path, missing: list[Missing]) -> set[tuple[str, int, int]]:
    """The keys of holes that an earlier opening has recorded in journal.gap: they are found at every one."""
    recorded: set[tuple[str, int, int]] = set()
    if not missing:
        return recorded
    reader = JournalReader(files, directory)
    after = START
    while (found := reader.read(OWN_GAPS, after, None, rows_max=GAPS_AT_A_TIME, bytes_max=1 << 20)) is not None:
        after = found.end
        if isinstance(found, Chunk):
            for gap in found.records:
                recorded.add((gap["detail"].decode(), int(gap["first_missing"]), int(gap["last_missing"])))
    reader.close()
    return recorded
