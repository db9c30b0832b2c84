"""`tickbay sink ls|park|resume|rewind`: see how far each database is, and tell its writer to wait, to go on, or to send
again.

Park and rewind are orders to the writer (orders.py), which obeys within seconds, or when it starts. Resume takes the
park back and, in QuestDB, makes suspended tables go on.
"""

from __future__ import annotations

import argparse
import os
import time

from tickbay.config import Config, add_argument, find, load
from tickbay.errors import ConfigError, SinkRefused
from tickbay.files import Files
from tickbay.process import make_directories
from tickbay.sinks.orders import Orders
from tickbay.sinks.questdb_columns import SHAPES
from tickbay.sinks.questdb_server import QuestdbServer
from tickbay.sinks.rewind import marks_of
from tickbay.status import snapshot

MINUTES = 15.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_argument(parser)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("ls", help="every enabled sink: state, lag, and how long the journal can hold")
    park = actions.add_parser("park", help="stop writing to it until resumed; the journal keeps what comes")
    park.add_argument("--reason", default="", help="shown in the status")
    resume = actions.add_parser("resume", help="write again, also to tables that QuestDB had suspended")
    rewind = actions.add_parser("rewind", help="QuestDB only: send again what it got in the last minutes")
    rewind.add_argument("--minutes", type=float, default=MINUTES, help=f"default {MINUTES:g}")
    for action in (park, resume, rewind):
        action.add_argument("sink", help="timescale or questdb")


def main(arguments: argparse.Namespace) -> int:
    """Exit status of ls: 0 all are live, 1 one is not."""
    config = load(find(arguments.config, os.environ), os.environ)
    if arguments.action == "ls":
        return _list(config)
    if arguments.sink not in config.sinks:
        raise ConfigError(f"no sink {arguments.sink!r} is enabled: enabled are {', '.join(config.sinks) or 'none'}")
    make_directories(config)  # an order may be given before the first start
    orders = Orders(config.data_dir, arguments.sink)
    try:
        if arguments.action == "park":
            orders.park(arguments.reason)
            print(f"{arguments.sink}: parked; tickbay sink resume {arguments.sink} ends it")
        elif arguments.action == "resume":
            _resume(config, arguments.sink, orders)
        else:
            _rewind(config, arguments.sink, arguments.minutes, orders)
    except OSError as error:
        raise ConfigError(f"{config.data_dir}: {error.strerror}") from error
    return 0


def _list(config: Config) -> int:
    status = snapshot.collect(config)
    writers = {process.name.partition("-")[2]: process for process in status.processes if process.role == "writer"}
    hold = status.totals.hold_hours
    for sink in config.sinks:
        writer = writers[sink]
        lag = "" if writer.lag_rows is None else f"  {writer.lag_rows:,} rows ({writer.lag_s or 0:.1f} s) behind"
        print(f"{sink:<10} {writer.state:<9}{lag}  {writer.detail}".rstrip())
    if hold is not None:
        print(f"the journal can hold {hold:.1f} hours")
    return 0 if all(writers[sink].state == "live" for sink in config.sinks) else 1


def _resume(config: Config, sink: str, orders: Orders) -> None:
    if sink == "questdb":
        server = QuestdbServer(config.questdb)
        try:
            for (table,) in server.query("SELECT name FROM wal_tables() WHERE suspended"):
                if table in SHAPES:  # others are not ours to touch
                    server.query(f"ALTER TABLE {table} RESUME WAL")
                    print(f"{table}: resumed")
        except SinkRefused as error:
            raise ConfigError(f"QuestDB: {error}") from None
        finally:
            server.close()
    orders.unpark()
    orders.resume()
    print(f"{sink}: writing continues within seconds")


def _rewind(config: Config, sink: str, minutes: float, orders: Orders) -> None:
    if sink != "questdb":
        raise ConfigError(f"{sink} needs no rewind: its cursor moves with its rows, and rows sent again would be twice")
    if not 0 < minutes <= 60 * 24 * 366:
        raise ConfigError(f"--minutes {minutes:g}: expected more than 0 and at most a year")
    orders.go_back(minutes)
    # How far it was then is remembered for as long as the journal holds it, since its writer first ran.
    known = marks_of(config, sink, Files()).before(time.time() - minutes * 60)
    what = f"sends the last {minutes:g} minutes again" if known else "sends everything that the journal holds again"
    print(f"{sink}: {what}; what is there already stays as it is")
