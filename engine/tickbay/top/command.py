"""`tickbay top`: watch the engine live; with --web in a browser (serve.py)."""

from __future__ import annotations

import os
import select
import sys
from argparse import ArgumentParser, Namespace
from dataclasses import replace
from threading import Thread

from textual import constants

from tickbay import config as configuration
from tickbay.config import CONNECT_VARIABLE, SECRET_VARIABLES, Top
from tickbay.errors import ConfigError

GONE_MS = 1000  # how late a terminal may be noticed that went without waking its readers


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--web", action="store_true", help="show it in a browser: the address to open is printed")
    parser.add_argument("--host", help=f"with --web: where to listen (default top.host, {Top().host})")
    parser.add_argument("--port", type=int, help=f"with --web: default top.port, {Top().port}; 0: one that is free")
    parser.add_argument(
        "--name", action="append", default=[], help="with --web: a name by which browsers may call it; see top.hosts"
    )
    configuration.add_argument(parser)
    parser.epilog = (
        "Keys: ? shows them all, q quits. It only reads. --web admits anyone who has the token: TICKBAY_TOP_TOKEN, "
        "that in the file TICKBAY_TOP_TOKEN_FILE, or a new one at each start, which is in the printed address or, if "
        "the output is no terminal, in a file of run_dir."
    )


def main(arguments: Namespace) -> int:
    """Until the user quits; with --web until SIGTERM or Ctrl-C."""
    path = configuration.find(arguments.config, os.environ)
    config = configuration.load(path, os.environ)
    for variable in (*SECRET_VARIABLES, CONNECT_VARIABLE):
        os.environ.pop(variable, None)  # what runs here, and below here, has no use for them
    if arguments.web:
        from tickbay.top.serve import serve

        port = config.top.port if arguments.port is None else arguments.port
        if not 0 <= port < 1 << 16:
            raise ConfigError(f"--port {port}: expected 0 to 65535")
        hosts = (*config.top.hosts, *arguments.name)
        top = replace(config.top, host=arguments.host or config.top.host, port=port, hosts=hosts)
        command = [sys.executable, "-P", "-m", "tickbay", "top"]
        if path is not None:
            command += ["--config", str(path.absolute())]
        serve(replace(config, top=top), command)
        return 0
    if constants.DRIVER is None and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigError("this is no terminal: see tickbay status, or tickbay top --web")
    from tickbay.top.app import Top as Screen

    Thread(target=_end_with_terminal, name="terminal", daemon=True).start()
    app = Screen(config)
    app.run()
    return app.return_code or 0


def _end_with_terminal() -> None:
    """Ends the process when its terminal is gone, or for a browser's screen the server. Where no SIGHUP tells it
    (nohup, setsid) the screen would read end-of-file for ever, or wait for room to write. Nobody reads a farewell.
    """
    poll = select.poll()
    poll.register(sys.stdin, 0)  # no input, only that there will be none
    while not poll.poll(GONE_MS):
        pass
    os._exit(0)
