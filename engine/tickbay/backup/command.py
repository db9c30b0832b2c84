"""`tickbay backup FOLDER` and `tickbay restore FOLDER`: every enabled store, or those that are named with --only.

The journal is the last: it then holds what came behind the cursors of the databases' backups, which a restored engine
stores from it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

from tickbay import __version__
from tickbay.backup.folder import Folder, Manifest, Part
from tickbay.backup.journal import JournalBackup
from tickbay.backup.questdb import QuestdbBackup
from tickbay.backup.reach import gone
from tickbay.backup.store import Found, Store
from tickbay.backup.timescale import TimescaleBackup
from tickbay.config import Config, add_argument, find, load
from tickbay.errors import BackupFault, ConfigError, TickbayError

RECOUNT_DAYS = 30
BROKEN = 3  # exit status
STORES = ("timescale", "questdb", "journal")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_argument(parser)
    parser.add_argument("folder", type=Path, help="where the backup lies; one folder in it for each store")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=STORES,
        metavar="STORE",
        help=f"of {', '.join(STORES)}; default: what is enabled",
    )
    parser.add_argument("--quiet", action="store_true", help="one line for each store instead of one for each part")
    if parser.prog.endswith("backup"):
        parser.epilog = (
            "Exit status 0: all is backed up; 1: a store is not; 2: the configuration; 3: all is, but the journal has "
            "let go of what came after the last backup, or after this one began: a database restored from that lacks "
            "it."
        )
        parser.add_argument(
            "--forget", action="store_true", help="also where the store has fewer rows of a day than the last backup"
        )
        parser.add_argument(
            "--recount",
            action="store_true",
            help="count all rows, also of days to which, by the database's own count, nobody has written since",
        )
    else:
        parser.add_argument("--check", action="store_true", help="only see whether every file is whole")
        parser.add_argument("--replace", action="store_true", help="first delete what the database or the journal has")


def main(arguments: argparse.Namespace) -> int:
    """0: all is done. Errors: as TickbayError; what was there before a failed backup is still whole."""
    config = load(find(arguments.config, os.environ), os.environ)
    with ExitStack() as stack:
        stores = [stack.enter_context(closing(store)) for store in _chosen(config, arguments)]
        if arguments.command == "backup":
            return _back_up_each(stores, config.data_dir / "journal", arguments)
        return _restore_all(stores, arguments)


@contextmanager
def _disk_of(folder: Folder) -> Iterator[None]:
    """ConfigError of what the disk refuses."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{error.filename or folder.path}: {error.strerror}") from error


def _chosen(config: Config, arguments: argparse.Namespace) -> list[Store]:
    enabled = (*config.sinks, "journal")
    wanted = tuple(arguments.only or enabled)
    if off := [name for name in wanted if name not in enabled]:
        raise ConfigError(f"{off[0]} is not enabled in the configuration: enable it, or leave it out of --only")
    if arguments.command == "restore":
        there = [name for name in wanted if (arguments.folder / name).is_dir()]
        if absent := [name for name in wanted if name not in there]:
            raise ConfigError(
                f"{arguments.folder}: no backup of {', '.join(absent)} is here: name what there is with --only"
            )
    made: dict[str, type[JournalBackup] | type[TimescaleBackup] | type[QuestdbBackup]] = {
        "journal": JournalBackup,
        "timescale": TimescaleBackup,
        "questdb": QuestdbBackup,
    }
    return [made[name](config) for name in STORES if name in wanted]


# ------------------------------------------------------------ backup


def _back_up_each(stores: list[Store], journal: Path, arguments: argparse.Namespace) -> int:
    """One that is away keeps no other from its backup, least of all the journal. The worst exit status."""
    status, broken = 0, 0
    for store in stores:
        folder = Folder(arguments.folder / store.name)
        try:
            with _disk_of(folder), folder.locked():
                last = folder.manifest()
                back_up(store, folder, arguments)
                if why := _broken(journal, last, folder.manifest()):
                    print(f"tickbay backup: {store.name}: {why}", file=sys.stderr, flush=True)
                    broken = BROKEN
        except TickbayError as error:
            print(f"tickbay backup: {store.name}: {error}", file=sys.stderr, flush=True)
            status = max(status, 2 if isinstance(error, ConfigError) else 1)
    return status or broken


def _broken(journal: Path, last: Manifest | None, made: Manifest | None) -> str:
    """Why a database could not be, or cannot be, brought up to date from its backup and the journal; empty: it can."""
    assert made is not None, "it was finished"
    if gone(journal, made.cursors, {}):
        when = "after this backup began"
    elif last and gone(journal, last.cursors, made.cursors):
        when = f"after the last backup, of {last.made_at}: until this one they were in the database alone"
    else:
        return ""
    return (
        f"the journal has let go of rows that came {when}. Back up more often, or raise journal.retain_hours and "
        "journal.quota_gb"
    )


def back_up(store: Store, folder: Folder, arguments: argparse.Namespace) -> None:
    began = time.monotonic()
    last = folder.manifest()
    known = {part.name: part for part in last.parts} if last else {}
    made_at = datetime.now(UTC).isoformat(timespec="seconds")
    state = store.open()
    today = datetime.now(UTC).date()
    trusted = {} if arguments.recount else {name: part for name, part in known.items() if not is_due(name, today)}
    found = list(store.parts(trusted))
    if not arguments.forget:
        now = {each.name: each.rows for each in found}
        for before in known.values():
            _check_nothing_is_lost(store, before, now.get(before.name, 0))
    parts, fresh = list[Part](), 0
    for each in found:
        old = known.get(each.name)
        if old and old.tally == each.tally:
            parts.append(replace(old, mark=each.mark))
            continue
        new = _copy(store, folder, each)
        if old and not arguments.forget:
            _check_nothing_is_lost(store, old, new.rows if new else 0)
        if new:
            parts.append(new)
            fresh += 1
            if not arguments.quiet:
                print(f"  {_told(new)}", flush=True)
    folder.finish(
        Manifest(
            store.name, made_at, __version__, state.server, state.schema, state.cursors, state.columns, tuple(parts)
        )
    )
    rows, size = sum(part.rows for part in parts), sum(part.bytes for part in parts)
    print(
        f"{store.name}: {_counted(rows, size)} in {len(parts)} files, {fresh} of them new, as of {made_at}; "
        f"took {time.monotonic() - began:.1f} s"
    )


def _copy(store: Store, folder: Folder, found: Found) -> Part | None:
    """None where it went since it was found: rows that were deleted, or a segment of the journal that was let go since
    every database has what was in it."""
    try:
        with store.read(found) as reading:
            part = folder.write(found.name, reading.tally, reading.pieces)
    except FileNotFoundError:
        return None
    return None if found.rows and not part.rows else replace(part, mark=found.mark)


def is_due(name: str, today: date) -> bool:
    """Each day's part is counted once in RECOUNT_DAYS days, whatever its mark says; other days each time."""
    try:
        day = date.fromisoformat(name.rpartition("/")[2])
    except ValueError:
        return False  # no day: it has no mark
    return (today - day).days % RECOUNT_DAYS == 0


def _check_nothing_is_lost(store: Store, part: Part, rows: int) -> None:
    """A backup must not follow a database that somebody has emptied: `part` of the last one has `rows` there now."""
    if rows < part.rows and not store.expires(part.name):
        raise BackupFault(
            f"{part.name} has {rows:,} rows in {store.name} and {part.rows:,} in the backup, "
            "which stays as it is: restore it, make another elsewhere, or say --forget"
        )


# ------------------------------------------------------------ restore


def _restore_all(stores: list[Store], arguments: argparse.Namespace) -> int:
    """Every file of every store is checked before anything of any is touched."""
    folders = [Folder(arguments.folder / store.name) for store in stores]
    manifests = list[Manifest]()
    with ExitStack() as stack:
        for folder in folders:
            with _disk_of(folder):
                stack.enter_context(folder.locked())
                manifests.append(_checked(folder, told=arguments.check))
        for store, folder, manifest in zip(stores, folders, manifests, strict=True):
            if not arguments.check:
                with _disk_of(folder):
                    _restore(store, folder, manifest, arguments)
    return 0


def _checked(folder: Folder, *, told: bool) -> Manifest:
    began = time.monotonic()
    manifest = folder.manifest()
    if manifest is None:
        raise ConfigError(f"{folder.path}: no backup was finished here")
    for part in manifest.parts:
        folder.check(part)
    if told:
        print(f"{manifest.store}: every file is whole: {_held(manifest)}; took {time.monotonic() - began:.1f} s")
    return manifest


def _restore(store: Store, folder: Folder, manifest: Manifest, arguments: argparse.Namespace) -> None:
    began = time.monotonic()
    store.prepare(manifest, replace=arguments.replace)
    for part in manifest.parts:
        if not store.has(part):
            store.write(part, folder.read(part))
            if not arguments.quiet:
                print(f"  {_told(part)}", flush=True)
    store.finish(manifest)
    print(f"{store.name}: restored {_held(manifest)}; took {time.monotonic() - began:.1f} s")


def _held(manifest: Manifest) -> str:
    return f"{_counted(manifest.rows, manifest.bytes)} in {len(manifest.parts)} files, as of {manifest.made_at}"


def _told(part: Part) -> str:
    return f"{part.name:<40} {_counted(part.rows, part.bytes)}"


def _counted(rows: int, size: int) -> str:
    """Of a backup: rows, where it has any, and what the files take."""
    return (f"{rows:,} rows, " if rows else "") + (f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.1f} kB")
