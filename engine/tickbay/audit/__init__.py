"""`tickbay audit`: is what was sent what is stored? Asked row by row of the simulator's ledger and the database, and
without a ledger of each stream's sequence alone.

    columns.py     what is compared: one form for both sides
    expected.py    the ledger in that form
    stored.py      the database in that form
    comparison.py  two sequences of rows → what is lost, twice, different
    gaps.py        the holes that the database knows of
    verdict.py     all of it together
    cli.py         `tickbay audit`

It shares no list of columns and no decoder with the engine: a mistake there must not hide itself here.
"""

from tickbay.audit.cli import add_arguments, main

__all__ = ["add_arguments", "main"]
