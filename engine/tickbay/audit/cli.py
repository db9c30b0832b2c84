"""`tickbay audit`: arguments in, one line with the verdict out, and above it what was found."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from tickbay.audit.verdict import audit_ledger, audit_sequences
from tickbay.config import add_argument, find, load
from tickbay.errors import TickbayError
from tickbay.sim.ledger import LedgerReader
from tickbay.sinks.connection import connect, conninfo_of, translated

STATEMENT_TIMEOUT_S = 3600


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_argument(parser)
    parser.add_argument(
        "--ledger", type=Path, metavar="DIR", help="what `tickbay sim --ledger DIR` sent; without it only sequences"
    )
    parser.epilog = "Exit status 0: all is there; 1: it is not; 2: it could not be told."


def main(arguments: argparse.Namespace) -> int:
    """0 all is stored that was sent, 1 it is not, 2 where that cannot be told: the database is away, say."""
    try:
        return _audit(arguments)
    except TickbayError as error:
        print(f"tickbay audit: {error}", file=sys.stderr)
        return 2


def _audit(arguments: argparse.Namespace) -> int:
    settings = load(find(arguments.config, os.environ), os.environ).timescale
    ledger = LedgerReader(arguments.ledger) if arguments.ledger else None
    with (
        connect(conninfo_of(settings), name="audit", statement_timeout_s=STATEMENT_TIMEOUT_S) as connection,
        translated(),
    ):
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")  # all questions see one moment
        connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        verdict = audit_ledger(connection, ledger, progress=show) if ledger else audit_sequences(connection)
    show(0, 0)
    for line in verdict.lines:
        print(line)
    print(verdict)
    return 0 if verdict.good else 1


def show(due: int, done: int) -> None:
    """How far it is, on a terminal only; with `due` 0 the line is cleared."""
    if sys.stderr.isatty():
        print(f"\x1b[2K\r{f'comparing … {done:,} of {due:,} rows' if due else ''}", end="", file=sys.stderr, flush=True)
