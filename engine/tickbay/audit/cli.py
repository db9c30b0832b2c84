"""`tickbay audit`: arguments in, the verdict out, and above it what was found."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from tickbay.audit import report
from tickbay.audit.across import Across, compare
from tickbay.audit.database import Database
from tickbay.audit.journalled import Extent, Journalled
from tickbay.audit.questdb_store import QuestdbStore
from tickbay.audit.store import Store
from tickbay.audit.stored import Postgres
from tickbay.audit.stored_journal import JournalDatabase
from tickbay.audit.stored_questdb import QuestdbDatabase
from tickbay.audit.timescale_store import TimescaleStore
from tickbay.audit.verdict import Verdict, audit_ledger, audit_sequences
from tickbay.config import Config, add_argument, find, load
from tickbay.errors import ConfigError, JournalFault, TickbayError
from tickbay.files import Files
from tickbay.journal.journal_reader import JournalReader
from tickbay.sim.ledger import LedgerReader
from tickbay.sinks.connection import connect, conninfo_of, translated
from tickbay.sinks.questdb_server import QuestdbServer

STATEMENT_TIMEOUT_S = 3600
JOURNAL = "journal"  # as it is called among the databases
DESCRIPTION = """
Without --ledger: counts and checksums of every stream and minute that the journal still holds, in every enabled
database; and the sequence of every stream, which also covers what is older. With it: every row that the simulator
sent, in the journal and in every enabled database.
"""
EPILOG = (
    "Exit status 0: everything is stored; 1: something is missing, twice or different; 2: it could not be compared."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_argument(parser)
    parser.add_argument("--ledger", type=Path, metavar="DIR", help="what `tickbay sim --ledger DIR` sent")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    parser.add_argument("--heal", action="store_true", help="store from the journal what a database lacks")
    parser.add_argument(
        "--replace", action="store_true", help="with --heal: also what PostgreSQL has differently, or twice"
    )
    parser.description, parser.epilog = DESCRIPTION, EPILOG


def main(arguments: argparse.Namespace) -> int:
    """0 all is stored, 1 it is not, 2 where that cannot be told: a database is away, say."""
    try:
        if arguments.replace and not arguments.heal:
            raise ConfigError("--replace belongs to --heal")
        if arguments.heal and arguments.ledger:
            raise ConfigError("--heal restores from the journal and cannot be combined with --ledger")
        config = load(find(arguments.config, os.environ), os.environ)
    except ConfigError as error:
        return _untold(error)
    return run(config, ledger=arguments.ledger, heal=arguments.heal, replace=arguments.replace, as_json=arguments.json)


def run(
    config: Config, *, ledger: Path | None, heal: bool = False, replace: bool = False, as_json: bool = False
) -> int:
    """As main(): with the simulator's ledger in that folder, else with the journal."""
    try:
        if not config.sinks:
            raise ConfigError("no database is enabled: nothing can be compared")
        if ledger is not None:
            return _by_ledger(config, ledger, as_json=as_json)
        return _by_journal(config, heal=heal, replace=replace, as_json=as_json)
    except TickbayError as error:
        return _untold(error)


def _untold(error: TickbayError) -> int:
    print(f"tickbay audit: {error}", file=sys.stderr)
    return 2


# ---------------------------------------------------------------- with a ledger


def _by_ledger(config: Config, directory: Path, *, as_json: bool) -> int:
    """The journal, then what was written from it. A journal that is not here is no fault of the databases."""
    ledger = LedgerReader(directory)
    good, told = True, {}
    for name in (JOURNAL, *config.sinks):
        with _journal(config) if name == JOURNAL else _database(name, config) as database:
            verdict = audit_ledger(database, ledger, progress=show) if database is not None else None
        show(0, 0)
        if verdict is None:
            print(f"tickbay audit: {config.data_dir / 'journal'} does not exist: not compared", file=sys.stderr)
            continue
        good &= verdict.good
        told[name] = _verdict_document(verdict)
        if not as_json:
            _print(verdict, name)
    if as_json:
        print(orjson.dumps({"good": good, "stores": told}).decode())
    return 0 if good else 1


@contextmanager
def _journal(config: Config) -> Iterator[Database | None]:
    """None where there is none: it was lost, or lies on another machine."""
    with _reading(config) as reader:
        yield JournalDatabase(reader) if reader is not None else None


@contextmanager
def _reading(config: Config) -> Iterator[JournalReader | None]:
    """JournalFault: it is there, but cannot be read."""
    directory = config.data_dir / "journal"
    try:
        reader = JournalReader(Files(), directory)
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        raise JournalFault(f"{error.filename or directory}: {error.strerror}") from error
    try:
        yield reader
    except OSError as error:
        raise JournalFault(f"{error.filename or directory}: {error.strerror}") from error
    finally:
        reader.close()


@contextmanager
def _database(sink: str, config: Config) -> Iterator[Database]:
    if sink == "timescale":
        with (
            connect(conninfo_of(config.timescale), name="audit", statement_timeout_s=STATEMENT_TIMEOUT_S) as connection,
            translated(),
        ):
            # All questions see one moment.
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            yield Postgres(connection)
        return
    assert sink == "questdb", "another sink has a database of its own"
    server = QuestdbServer(config.questdb)
    try:
        yield QuestdbDatabase(server)
    finally:
        server.close()


def _print(verdict: Verdict, sink: str) -> None:
    for line in verdict.lines:
        print(f"{sink}: {line}" if sink else line)
    print(f"{sink}: {verdict}" if sink else verdict)


def _verdict_document(verdict: Verdict) -> dict[str, Any]:
    return {"good": verdict.good} | asdict(verdict)


# ---------------------------------------------------------------- with the journal


def _by_journal(config: Config, *, heal: bool, replace: bool, as_json: bool) -> int:
    stores = [_store(sink, config) for sink in config.sinks]
    try:
        across = _compared(config, stores, heal=heal, replace=replace)
    finally:
        for store in stores:
            store.close()
    show(0, 0)
    verdicts = _sequences(config, across)
    if as_json:
        document = report.document(across, config.journal.retain_hours)
        document["sequences"] = {sink: _verdict_document(verdict) for sink, verdict in verdicts.items()}
        document["good"] = document["good"] and all(_whole(verdict) for verdict in verdicts.values())
        print(orjson.dumps(document).decode())
    else:
        for line in report.lines(across, config.journal.retain_hours):
            print(line)
        for sink, verdict in verdicts.items():
            _print(verdict, sink if len(config.sinks) > 1 else "")
    for sink, why in across.absent.items():
        print(f"tickbay audit: {sink} cannot be compared: {why}", file=sys.stderr)
    if not across.good or not all(_whole(verdict) for verdict in verdicts.values()):
        return 1
    return 2 if across.absent else 0


def _store(sink: str, config: Config) -> Store:
    if sink == "timescale":
        return TimescaleStore(config.timescale)
    assert sink == "questdb", "another sink has a store of its own"
    return QuestdbStore(config.questdb, config.data_dir)


def _compared(config: Config, stores: list[Store], *, heal: bool, replace: bool) -> Across:
    with _reading(config) as reader:
        if reader is None:
            return Across(Extent(), [])  # the sequences tell what they can
        progress: Callable[[int], None] = partial(show, 0)
        return compare(Journalled(reader), stores, heal=heal, replace=replace, progress=progress)


def _sequences(config: Config, across: Across) -> dict[str, Verdict]:
    """What the journal has let go of is judged by its sequence alone."""
    verdicts = {}
    for sink in config.sinks:
        if sink in across.absent:
            continue
        try:
            with _database(sink, config) as database:
                verdicts[sink] = audit_sequences(database)
        except TickbayError as error:
            across.absent[sink] = str(error)
        else:
            if not across.extent.records and not verdicts[sink].stored:
                journal = config.data_dir / "journal"
                across.absent[sink] = f"it is empty, and {journal} has no records: are these the right ones?"
    return verdicts


def _whole(verdict: Verdict) -> bool:
    """An empty database is not wrong by its sequence: the comparison with the journal tells."""
    return verdict.good or not verdict.stored


def show(due: int, done: int) -> None:
    """How far it is, on a terminal only; with nothing done the line is cleared."""
    if sys.stderr.isatty():
        of = f" of {due:,}" if due else ""
        print(f"\x1b[2K\r{f'comparing … {done:,}{of} rows' if done else ''}", end="", file=sys.stderr, flush=True)
