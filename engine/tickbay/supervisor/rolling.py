"""`tickbay restart`: replace running processes one after another through the supervisor, without losing a record.

Each is asked to end (it drains), started anew and waited for, before the next. It counts as no failure.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace

from tickbay import config as configuration
from tickbay import control
from tickbay.errors import ConfigError, ControlDown
from tickbay.supervisor.child import process_names
from tickbay.supervisor.supervisor import RESTART_WAIT_S
from tickbay.tables import nearest


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("process", nargs="*", help="feed-1, writer-timescale, journal, …")
    parser.add_argument("--all", action="store_true", help="every process but the supervisor")
    configuration.add_argument(parser)


def main(arguments: Namespace) -> int:
    """Restart the processes asked for; returns the exit status, 1 when one did not come back."""
    config = configuration.load(configuration.find(arguments.config, os.environ), os.environ)
    known = process_names(config)
    for name in arguments.process:
        if name not in known:
            raise ConfigError(f"no process is called {name!r}{nearest(name, known)}")
    names = known if arguments.all else arguments.process
    if not names:
        raise ConfigError(f"name the processes to restart, or give --all; there are {', '.join(known)}")
    socket = config.run_dir / "sockets" / "supervisor.sock"
    if not socket.exists():
        raise ControlDown(f"no supervisor runs in {config.run_dir}: start one with tickbay up")
    for name in names:
        reply = control.ask(socket, {"op": "restart", "process": name}, timeout_s=RESTART_WAIT_S + 5)
        if not reply.get("ok"):
            print(f"{name}: {reply.get('error', 'refused')}")
            return 1
        print(f"{name}: pid {reply['old_pid']} replaced by {reply['pid']}")
    return 0
