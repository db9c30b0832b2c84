"""One power cut at a random call of the journal or of a sink's cursor file, and what the next boot must find (R6)."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from faulty_files import CHANGES
from journal_case import QUOTE, TRADE, JournalCase
from powerless_files import PowerlessFiles
from tickbay.cursor import START, CursorFile, Position, read_cursor
from tickbay.events import Event
from tickbay.files import Files
from tickbay.journal.journal import Journal
from tickbay.journal.recovery import verify

CURSOR = "sink.cursor"  # beside the segments: one disk, one cut
CALLS_MAX = 120  # that change the disk, before the cut


class PowerCut(Exception):
    """Not an OSError: nothing in the journal may handle it."""


class Stop:
    """Raises PowerCut in the call of `files` that comes after `calls` others that change the disk."""

    def __init__(self, files: PowerlessFiles, calls: int) -> None:
        self._left = calls
        for operation in CHANGES:
            setattr(files, operation, partial(self._call, getattr(files, operation)))

    def _call(self, real: Callable[..., object], *arguments: object) -> object:
        self._left -= 1
        if self._left < 0:
            raise PowerCut
        return real(*arguments)


def survive_power_cut(folder: Path, seed: int) -> None:
    """JRNL-1, JRNL-2, JRNL-3 on a disk that keeps any part of what was not synced, with recycled segments.
    AssertionError where something durable is gone, something comes twice, or a cursor is ahead of the journal."""
    chance = random.Random(seed)
    shutil.rmtree(folder / "data", ignore_errors=True)
    case = JournalCase(folder, folder / "data", sinks=False, retain_hours=0)
    files = PowerlessFiles(case.directory)
    journal = case.open(files)
    cursor = CursorFile(case.directory / CURSOR, files)
    Stop(files, chance.randint(5, CALLS_MAX))
    saved = _work(case, journal, cursor, chance)
    durable = _durable(journal)
    journal.rings.close()
    left = files.cut_power(chance)
    shutil.rmtree(case.directory)
    case.directory.mkdir()
    for name, data in left.items():
        (case.directory / name).write_bytes(data)
    case.lose_power()
    again = case.open()
    ends = _check_journal(case, again, durable, seed)
    found = read_cursor(case.directory / CURSOR, Files())
    assert found in saved[-2:], f"seed {seed}: the cursor file has neither of the last two positions"
    for stream, end in ends.items():
        assert found.get(stream, START) <= end, f"seed {seed}: the cursor of {stream} is ahead of the journal"
    assert again.commit()
    assert list(verify(Files(), case.directory)) == [], f"seed {seed}"
    again.close()
    case.lose_power()


def _work(case: JournalCase, journal: Journal, cursor: CursorFile, chance: random.Random) -> list[dict[str, Position]]:
    """Until the power goes; returns all positions that the sink saved or was saving, the last one last."""
    saved: list[dict[str, Position]] = [{}]
    try:
        while True:
            for stream, most in ((QUOTE, 700), (TRADE, 50)):
                case.produce(journal, stream, chance.randint(1, most))
            assert journal.commit()
            if chance.random() < 0.5:
                positions = {stream: Position(journal.epoch, seq) for stream, seq in _durable(journal).items()}
                saved.append(positions)
                cursor.save(positions)
                saved.append(positions)  # the last two are the same now: nothing older may come back
            journal.upkeep()
    except PowerCut:
        return saved


def _durable(journal: Journal) -> dict[str, int]:
    return {stream: journal.rings.sources[stream].ring.durable for stream in (QUOTE, TRADE)}


def _check_journal(case: JournalCase, again: Journal, durable: dict[str, int], seed: int) -> dict[str, Position]:
    """Where each stream ends now, of those that are left."""
    ends = {}
    for stream in (QUOTE, TRADE):
        stored = case.stored(stream)
        last = stored[-1][1] if stored else 0
        if stored:
            ends[stream] = Position(stored[-1][0], last)
        assert durable[stream] <= last or not stored, f"seed {seed}: {stream}"
        assert [seq for _, seq, _ in stored] == [number for _, _, number in stored], f"seed {seed}"
        assert [seq for _, seq, _ in stored] == list(range(last - len(stored) + 1, last + 1)), f"seed {seed}"
        # Old segments were let go: nothing is left only where all of it was in such.
        assert stored or durable[stream] == 0 or again.segments.newest_number > 1, f"seed {seed}"
    assert case.events.of(Event.JOURNAL_HOLE) == [], f"seed {seed}"
    return ends
