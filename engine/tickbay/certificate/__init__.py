"""`tickbay certificate`: what was recorded of a day, proven from what lies in a database, with every hole named.

    spans.py       spans of time, and their arithmetic
    evidence.py    what a store holds of a period: heartbeats, gaps, listings, minutes with rows, sequences
    database.py    … of TimescaleDB, PostgreSQL and QuestDB, in SQL
    journalled.py  … of the journal
    coverage.py    evidence → what was covered of each instrument, and why not
    certificate.py coverage → the certificate, as one value with its checksum and a verdict
    page.py        the certificate as a page for a person
    cli.py         `tickbay certificate`

It decides by what lies in the store alone: no file of the engine can make a certificate better than the data.
"""

from tickbay.certificate.cli import add_arguments, main

__all__ = ["add_arguments", "main"]
