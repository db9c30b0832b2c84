"""The audit of a database that has pairs (`feeds.redundancy = 2`): what was sent on any connection must be stored once.

Which of two connections brought a row is nobody's business, so rows are compared as a set, kind by kind: each that was
sent on some connection, and was surely read there, is stored once, or missing in a recorded gap of its pair. Snapshots
of books are sent to each connection for itself: one that is stored must have been sent. Needs times that are the same
on every connection (`tickbay sim --clock market`).
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from tickbay.audit import gaps
from tickbay.audit.columns import BOOK, KINDS, Rows
from tickbay.audit.comparison import View, described
from tickbay.audit.database import Database
from tickbay.audit.expected import expected_rows
from tickbay.sim.ledger import MESSAGE, RUN, LedgerReader

DIGEST_BYTES = 16
# What was sent so shortly before the end of a connection may never have been read.
IN_DOUBT_NS = 2_000_000_000
SLACK_NS = 1_000_000_000  # between the simulator's clock at sending and ours at receiving
Report = Callable[[str], None]


class Sent:
    """All rows of a kind that were sent on any connection."""

    def __init__(self, ledger: LedgerReader, kind: str, since_ns: int) -> None:
        """Of what was sent before `since_ns` nothing is required."""
        self.known: set[bytes] = set()  # digests
        self.required: dict[bytes, tuple[int, bytes]] = {}  # digest → when sent, of which instrument
        self.frames = 0
        for number in ledger.connections():
            sent_ns = sent_times(ledger, number)
            ended = ledger.ended(number)
            sure_until_ns = ended.at_ns - IN_DOUBT_NS if ended.how else gaps.FOREVER_NS
            self.frames += len(sent_ns)
            for rows, message in expected_rows(ledger, number, kind):
                self._add(kind, rows, sent_ns[message], (since_ns, sure_until_ns))

    def _add(self, kind: str, rows: Rows, sent_ns: NDArray[np.int64], sure_ns: tuple[int, int]) -> None:
        optional = rows["snapshot"] if kind == BOOK else np.zeros(len(rows), bool)
        sure = (sent_ns >= sure_ns[0]) & (sent_ns < sure_ns[1]) & ~optional
        for digest, at_ns, name, is_sure in zip(
            digests(rows), sent_ns.tolist(), rows["instrument"], sure.tolist(), strict=True
        ):
            self.known.add(digest)
            if is_sure:
                self.required.setdefault(digest, (at_ns, name))


def sent_times(ledger: LedgerReader, number: int) -> NDArray[np.int64]:
    """When each message of a connection was sent that can be read."""
    entries = ledger.entries(number)
    entries = entries[np.isin(entries["what"], (RUN, MESSAGE))]
    return np.repeat(entries["sent_ns"], np.where(entries["what"] == RUN, entries["count"], 1))


def digests(rows: Rows) -> list[bytes]:
    view = View.of(rows, np.zeros(len(rows), np.int64))
    return [blake2b(value.tobytes(), digest_size=DIGEST_BYTES).digest() for value in view.data]


def judge(database: Database, ledger: LedgerReader, streams: list[str], report: Report) -> dict[str, int]:
    """Counts by the names of Verdict's fields; `report` hears of what is wrong."""
    found = dict.fromkeys(("frames", "expected", "stored", "lost", "twice", "stray", "known"), 0)
    recorded = gaps.recorded(database)
    kept_from_ns = database.seam().to_ns
    since_ns = kept_from_ns + gaps.CLOCK_SLACK_NS if kept_from_ns else 0
    for kind in KINDS:
        sent = Sent(ledger, kind, since_ns)
        found["frames"] = sent.frames
        found["expected"] += len(sent.required)
        seen: set[bytes] = set()
        for stream in streams:
            if not stream.endswith(f".{kind}"):
                continue
            for rows in database.stored_rows(stream, kind):
                found["stored"] += len(rows)
                snapshot = rows["snapshot"] if kind == BOOK else np.zeros(len(rows), bool)
                for place, (digest, again) in enumerate(zip(digests(rows), snapshot.tolist(), strict=True)):
                    if digest not in sent.known:
                        found["stray"] += 1
                        report(f"never sent: {described(kind, rows[place])}, stored in {stream}")
                    elif digest in seen and not again:
                        found["twice"] += 1
                        report(f"twice: {described(kind, rows[place])}, stored in {stream}")
                    seen.add(digest)
        for digest, (at_ns, name) in sent.required.items():
            if digest in seen:
                continue
            is_known = _in_gap(recorded, kind, name, at_ns)
            found["known" if is_known else "lost"] += 1
            if not is_known:
                report(f"lost: {kind} of {name.decode()}, sent at {at_ns}")
    return found


def _in_gap(recorded: list[gaps.Gap], kind: str, instrument: bytes, at_ns: int) -> bool:
    return any(
        gap.feed.startswith(("pair-", "journal"))
        and gap.kind in ("", kind)
        and gap.instrument in (b"", instrument)
        and gap.from_ns <= at_ns + SLACK_NS
        and gap.to_ns >= at_ns - SLACK_NS
        for gap in recorded
    )
