"""`tickbay audit`: is what was journalled, and what was sent, what is stored?

Against the journal, in every database: counts and checksums per stream and minute, and each stream's sequence.

    checksum.py         a row as one number, the same by numpy, in PostgreSQL and in QuestDB
    journalled.py       what the journal holds, and what of it a database should have
    store.py            what is asked of a database; timescale_store.py, questdb_store.py: how
    across.py           where they differ, which rows those are, and how they are healed
    report.py           all of it for a person, and as JSON

Against the simulator's ledger, row by row:

    columns.py          what is compared: one form for both sides
    expected.py         the ledger in that form
    database.py         what is asked of a database; stored.py: PostgreSQL, stored_questdb.py: QuestDB,
                        stored_journal.py: the journal, as if it were one
    comparison.py       two sequences of rows → what is lost, twice, different
    gaps.py             the holes that the database knows of
    healed.py, pairs.py what was fetched afterwards; what two connections brought
    verdict.py          all of it together

    cli.py              `tickbay audit`

The comparison with the ledger shares no list of columns and no decoder with the engine: a mistake there must not hide
itself here. The one with the journal goes by sinks/columns.py, but encodes nothing as the sinks do.
"""

from tickbay.audit.cli import add_arguments, main, run

__all__ = ["add_arguments", "main", "run"]
