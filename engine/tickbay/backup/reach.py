"""Does the journal still have all that came after a backup? Else a database that is restored from it cannot be brought
up to date: what lies between is on no disk but that of the database that was lost.

In: the cursors of a backup, and how far the database is now. Out: yes or no. A journal that is not on this machine, or
cannot be read, says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tickbay.cursor import START, Position
from tickbay.errors import JournalFault
from tickbay.files import Files
from tickbay.gap import Cause
from tickbay.journal.journal_reader import JournalReader
from tickbay.sinks.sink import Hole

BYTES_MAX = 1 << 12  # at once: whatever comes first is enough


def gone(directory: Path, since: Mapping[str, Position], now: Mapping[str, Position]) -> bool:
    """Whether the journal in `directory` has let go of anything that came behind `since`. `now` is how far the database
    is: it tells of streams that have ended."""
    try:
        reader = JournalReader(Files(), directory)
        try:
            reader.streams()
            wanted = sorted({*since, *now})
            return any(_is_gone(reader, each, since.get(each, START), now.get(each, START)) for each in wanted)
        finally:
            reader.close()
    except (OSError, JournalFault):
        return False


def _is_gone(reader: JournalReader, stream: str, since: Position, now: Position) -> bool:
    found = reader.read(stream, since, None, rows_max=1, bytes_max=BYTES_MAX)
    if found is None:
        return now > since
    if isinstance(found, Hole):  # what was damaged, the lost database did not have either
        return found.cause is Cause.JOURNAL_QUOTA
    return since == START and int(found.records["seq"][0]) > 1
