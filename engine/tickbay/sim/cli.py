"""`tickbay sim`: arguments in, a running venue out."""

from __future__ import annotations

import argparse
import asyncio
import signal
from pathlib import Path

import uvloop

from tickbay.errors import ConfigError
from tickbay.sim import faults
from tickbay.sim.instruments import parse_market
from tickbay.sim.logins import TOKEN_S
from tickbay.sim.server import Listen, Server, write_ports
from tickbay.sim.venue import INTERVALS, Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "A venue to record from without the venue: speaks its WebSocket and REST protocols, misbehaves on request."
    )
    _add_where(parser)
    _add_what(parser)
    _add_pace(parser)
    _add_faults(parser)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        "faults, each with channel=PATTERN, connection=N, at=SECONDS, after=FRAMES, count=N where they apply:\n"
        + "\n".join(f"  {action:<12} {text}" for action, text in faults.ACTIONS.items())
    )


def _add_where(parser: argparse.ArgumentParser) -> None:
    where = parser.add_argument_group("where")
    where.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    where.add_argument("--port", type=int, default=8700, help="WebSocket port, 0 for a free one (default 8700)")
    where.add_argument("--rest-port", type=int, default=8701, help="HTTP port, 0 for a free one (default 8701)")
    where.add_argument("--tls", nargs=2, type=Path, metavar=("CERT", "KEY"), help="wss and https with this certificate")
    where.add_argument(
        "--ports-file", type=Path, metavar="FILE", help="write the addresses there as JSON once listening"
    )


def _add_what(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument_group("what")
    what.add_argument(
        "--instruments",
        default="ETH=830,BTC=100",
        metavar="FAMILY=OPTIONS,…",
        help="options of each family; its perpetual, futures, spot and combos are listed too (default ETH=830,BTC=100)",
    )
    what.add_argument("--seed", type=int, default=1, help="the same seed gives the same frames (default 1)")
    what.add_argument(
        "--clock",
        choices=("real", "virtual", "market"),
        default="real",
        help="real: frames have the time of their sending; market: of what they tell, the same on every connection; "
        "virtual: so, too, but beginning on a fixed day, so that they depend on nothing but the seed",
    )
    what.add_argument(
        "--capture",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="play recorded messages instead, each channel's to those who subscribe to it; repeatable",
    )
    what.add_argument(
        "--capture-interval", default="", choices=("", *INTERVALS), help="rename recorded channels to this interval"
    )
    what.add_argument("--ledger", type=Path, metavar="DIR", help="record there what was sent, for `tickbay audit`")


def _add_pace(parser: argparse.ArgumentParser) -> None:
    pace = parser.add_argument_group("how fast")
    pace.add_argument(
        "--rate", type=float, default=0.0, metavar="FRAMES", help="data frames a second in all (default: as recorded)"
    )
    pace.add_argument("--flat-out", action="store_true", help="as fast as the clients take it")
    pace.add_argument("--frames", type=int, default=0, metavar="N", help="stop the data after N frames, stay connected")
    pace.add_argument("--hold", action="store_true", help="no data until POST /sim/start")
    pace.add_argument(
        "--wait-channels", type=int, default=0, metavar="N", help="no data until N channels are subscribed"
    )


def _add_faults(parser: argparse.ArgumentParser) -> None:
    how = parser.add_argument_group("how badly")
    how.add_argument(
        "--fault", action="append", default=[], metavar="'ACTION KEY=VALUE …'", help="misbehave; repeatable; see below"
    )
    how.add_argument("--faults", type=Path, metavar="FILE", help="the same, one a line")
    how.add_argument(
        "--heartbeat-scale",
        type=float,
        default=1.0,
        metavar="F",
        help="multiply heartbeat and idle times (0.1: ten times faster)",
    )
    how.add_argument(
        "--slow-s",
        type=float,
        default=30.0,
        metavar="S",
        help="close a client that reads nothing for S seconds; 0: never",
    )
    how.add_argument(
        "--token-s", type=float, default=TOKEN_S, metavar="S", help="how long a login lasts (any key, but not `wrong`)"
    )
    how.add_argument("--no-limits", action="store_true", help="any number of connections, no credits")


def main(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT. ConfigError where the arguments cannot be served."""
    listen = Listen(host=args.host, port=args.port, rest_port=args.rest_port, tls=tuple(args.tls) if args.tls else None)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(_settings(args), listen, args.ports_file))


def _settings(args: argparse.Namespace) -> Settings:
    lines = list(args.fault)
    if args.faults:
        try:
            lines += [
                line for line in args.faults.read_text().splitlines() if line.strip() and not line.startswith("#")
            ]
        except OSError as error:
            raise ConfigError(f"--faults {args.faults}: {error.strerror}") from error
    if args.flat_out and args.rate:
        raise ConfigError("--rate and --flat-out exclude each other")
    return Settings(
        market=parse_market(args.instruments),
        seed=args.seed,
        rate=args.rate,
        flat_out=args.flat_out,
        frames=args.frames,
        virtual_clock=args.clock in ("virtual", "market"),
        market_clock=args.clock == "market",
        hold=args.hold,
        wait_channels=args.wait_channels,
        heartbeat_scale=args.heartbeat_scale,
        slow_s=args.slow_s,
        token_s=args.token_s,
        limits=not args.no_limits,
        ledger=args.ledger,
        captures=tuple(args.capture),
        capture_interval=args.capture_interval,
        faults=tuple(faults.parse(line) for line in lines),
    )


async def _serve(settings: Settings, listen: Listen, ports_file: Path | None) -> int:
    server = Server(settings, listen)
    await server.start()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    if ports_file:
        write_ports(server, ports_file)
    listed = len(server.venue.instruments)
    print(f"tickbay sim: {listed} instruments at {server.ws_url} and {server.rest_url}", flush=True)
    await server.run()
    print(f"tickbay sim: {server.venue.frames_sent:,} data frames sent", flush=True)
    return 0
