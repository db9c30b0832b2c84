"""The journal at work on a disk of which one call fails, each call in turn (R7)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from faulty_files import CHANGES, FaultyFiles, is_nth
from journal_case import QUOTE, TRADE, JournalCase
from tickbay.events import Event
from tickbay.files import Files
from tickbay.journal.recovery import verify


def fail_each_call(folder: Path, error: int) -> int:
    """How many calls there are, each of which failed once with `error`. AssertionError where a record was lost or
    came twice, or the journal could not go on."""
    counting = FaultyFiles()
    _work(folder, counting, counting.fails)
    assert set(CHANGES) - {"truncate"} <= set(counting.calls)
    for nth in range(1, len(counting.calls) + 1):
        files = FaultyFiles(error=error)
        case = _work(folder, files, partial(is_nth, nth))
        assert len(files.failed) == 1
        what = f"call {nth}: {counting.calls[nth - 1]}"
        for stream in (QUOTE, TRADE):
            stored = case.stored(stream)
            first = stored[0][1]
            assert [seq for _, seq, _ in stored] == list(range(first, case.produced[stream] + 1)), what
            assert [number for _, _, number in stored] == list(range(first, case.produced[stream] + 1)), what
        # And what it left is in order, and goes on.
        journal = case.open()
        assert case.events.of(Event.JOURNAL_HOLE) == [], what
        case.produce(journal, QUOTE, 1)
        assert journal.commit()
        assert list(verify(Files(), case.directory)) == [], what
        case.lose_power()
    return len(counting.calls)


def _work(folder: Path, files: FaultyFiles, fails: Callable[[str, int], bool]) -> JournalCase:
    """Commits enough for several segments, with spares made, used and recycled; then a clean end and a reboot.
    `fails` holds once the journal is open: what fails before only makes it try again (test_recovery.py)."""
    shutil.rmtree(folder / "data", ignore_errors=True)
    case = JournalCase(folder, folder / "data", sinks=False, retain_hours=0, quota_gb=0.01)
    journal = case.open(files)
    files.calls.clear()
    files.fails = fails
    for _ in range(12):
        case.produce(journal, QUOTE, 700)
        case.produce(journal, TRADE, 20)
        for _ in range(3):
            if journal.commit():
                break
        journal.upkeep()
    while not journal.commit():
        pass
    journal.end()
    case.lose_power()
    return case
