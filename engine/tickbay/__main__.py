"""The command line: `tickbay <command>`, arguments only. Each command is a module with add_arguments() and main(),
imported when it is used, so that a quick command starts quickly.

Exit status 2 and one line on stderr where the operator must change something; the rest is the command's.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from tickbay import __version__
from tickbay.errors import ConfigError, TickbayError


@dataclass(frozen=True, slots=True)
class Command:
    module: str
    help: str  # "" hides it


COMMANDS = {
    "up": Command("tickbay.supervisor.supervisor", "run the engine in the foreground: record, journal, write"),
    "status": Command(
        "tickbay.status.status",
        "show what every process does; exit status 0 healthy, 1 degraded but recording, 2 down: nothing is recorded",
    ),
    "top": Command("tickbay.top.command", "watch processes, instruments, gaps and logs live; --web: in a browser"),
    "restart": Command(
        "tickbay.supervisor.rolling", "replace running processes one after another, without losing a record"
    ),
    "gaps": Command("tickbay.gaps", "list the known gaps in what was captured, newest first"),
    "sink": Command("tickbay.sinks.cli", "show how far each database is; park, resume or rewind its writer"),
    "journal": Command("tickbay.journal.command", "list, verify or print what the journal holds; changes nothing"),
    "certificate": Command(
        "tickbay.certificate", "prove what was recorded of a day: coverage of each instrument, every gap, checksums"
    ),
    "backup": Command(
        "tickbay.backup.command", "copy what databases and journal hold into a folder; only what changed"
    ),
    "restore": Command("tickbay.backup.command", "take a backup back into empty databases, or an empty data_dir"),
    "schema": Command("tickbay.schema", "make or check the tables of the database"),
    "audit": Command(
        "tickbay.audit", "compare what was journalled with what is stored: counts and checksums; --ledger: row by row"
    ),
    "sim": Command("tickbay.sim.cli", "simulate the venue: WebSocket and REST, with faults on request"),
    "demo": Command("tickbay.demo", "run everything on this machine: simulator or venue, engine and database"),
    "process": Command("tickbay.process", ""),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="tickbay",
        description="Record every tick of an options venue, and know every gap.",
        epilog="Each command explains itself: tickbay COMMAND --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tickbay {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    chosen = next((argument for argument in arguments if not argument.startswith("-")), "")
    for name, command in COMMANDS.items():
        if command.help:
            subparser = subparsers.add_parser(name, help=command.help, description=_sentence(command.help))
        else:
            subparser = subparsers.add_parser(name)  # without help it is not listed
        # Only the chosen command needs its arguments, and so its module.
        if name == chosen:
            importlib.import_module(command.module).add_arguments(subparser)
    subparsers.add_parser("version", help="print the version")
    return _run(parser.parse_args(arguments))


def _run(arguments: argparse.Namespace) -> int:
    if arguments.command == "version":
        print(f"tickbay {__version__}")
        return 0
    try:
        return int(importlib.import_module(COMMANDS[arguments.command].module).main(arguments))
    except TickbayError as error:
        print(f"tickbay {arguments.command}: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `tickbay status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains while it ends
        return 1


def _sentence(help: str) -> str:
    return help[0].upper() + help[1:] + "."


if __name__ == "__main__":
    sys.exit(main())
