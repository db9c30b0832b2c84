"""Misbehaviour on request: what can be asked for, in which words, and when it is due. Pure.

A fault is one line, on the command line (`--fault`), in a file (`--faults`) or posted to /sim/fault while running:

    drop channel=book.ETH-* after=5000

The first word is the action, the rest says where and when; see ACTIONS and Fault.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from fnmatch import fnmatchcase

from tickbay.errors import ConfigError

# Action → (keys that it takes besides at, after and connection; what it does).
FRAME_ACTIONS = {
    "drop": "the next frame of a channel is never sent (a book's chain breaks, a trade is missing)",
    "duplicate": "the next frame is sent twice",
    "reorder": "the next frame is sent after the following one of its channel",
    "malformed": "the next frame is sent with bytes that are no JSON in its middle",
    "truncated": "the next frame ends in the middle of its JSON",
    "hollow": "the next change of a book is sent without its levels: lost without a trace, the chain goes on",
    "older": "the next frame is sent with times `seconds` ago: they go backwards",
}
CONNECTION_ACTIONS = {
    "oversized": "a frame of `bytes` is sent",
    "stall": "nothing at all is sent for `seconds`, then everything that was due",
    "late": "from now on everything is sent `seconds` later (paced only)",
    "half_open": "the connection is neither written, read nor closed any more",
    "close": "the connection is closed with `code` and `reason`",
    "kill": "the TCP connection is reset",
    "too_slow": "the client is told that it reads too slowly, and closed",
}
VENUE_ACTIONS = {
    "refuse": "subscriptions to `channel` are left out of the reply, `count` times",
    "hasty": "the next `count` requests are answered 10028, and their connections closed",
    "full": "`state=on`: new connections are refused with HTTP 429, as the 33rd of an address is; `state=off`: no more",
    "list": "instrument `name` is listed, and announced",
    "expire": "instruments like `name` are delivered: they end on every channel and in REST",
    "settle": "as at 08:00 UTC: for `seconds` nothing of an index is sent, then instruments like `name` are delivered",
    "state": "instruments like `name` enter `state`",
    "lock": "index `name` (eth_usd) is locked with `state=on`, and no more with `state=off`: its data wait",
    "maintenance": "`state=on`: announced, all connections closed, requests answered 11051; `state=off`: over",
    "clock": "the venue's clock is `seconds` ahead in its replies, and the line back is `delay` seconds longer",
    "forget": "REST has only the trades of the last `seconds`; the history host has them all",
    "gone": "trades of instruments like `name` are nowhere in REST any more",
    "rest": "the next `count` REST requests are answered with `status` (429, 500 …), or not at all with status=timeout",
}
ACTIONS = FRAME_ACTIONS | CONNECTION_ACTIONS | VENUE_ACTIONS
COUNT_MAX = 1_000_000


@dataclass(slots=True, kw_only=True)
class Fault:
    """One request to misbehave. `count` goes down with each time."""

    action: str
    connection: int = 0  # the n-th that was opened, from 1; 0: the first that it fits
    channel: str = "*"  # pattern
    count: int = 1  # times; for `refuse`, 0: for ever
    at: float = 0.0  # not before so many seconds since the data began
    after: int = 0  # not before so many data frames on that connection
    seconds: float = 5.0
    delay: float = 0.0
    bytes: int = 9 << 20  # above the 8 MiB that a client should take
    code: int = 1000
    reason: str = ""
    name: str = ""
    state: str = "on"
    announced: int = 1  # 0: list, expire, settle, state, lock, maintenance happen without a word
    status: str = "500"

    @property
    def of_frame(self) -> bool:
        return self.action in FRAME_ACTIONS

    def due(self, connection: int, seconds: float, frames: int) -> bool:
        """Whether it may happen now on `connection`, which has sent `frames`."""
        return self.connection in (0, connection) and seconds >= self.at and frames >= self.after

    def covers(self, channel: str) -> bool:
        if self.action == "hollow" and not (channel.startswith("book.") and channel.count(".") == 2):
            return False  # a window onto a book has all its levels each time
        return fnmatchcase(channel, self.channel)


def parse(line: str) -> Fault:
    """`drop channel=book.ETH-* count=3`. ConfigError where it is not understood."""
    words = line.split()
    if not words:
        raise ConfigError("a fault without words; known are " + ", ".join(ACTIONS))
    values: dict[str, object] = {"action": words[0]}
    for word in words[1:]:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"fault {line!r}: {word!r} is not KEY=VALUE")
        values[key] = value
    return build(values)


def build(values: dict[str, object]) -> Fault:
    """From the words of a line or the keys of a JSON object. ConfigError where they are not understood."""
    fields = {field.name: field for field in dataclasses.fields(Fault)}
    action = str(values.get("action", ""))
    if action not in ACTIONS:
        raise ConfigError(f"fault {action!r}: unknown; known are " + ", ".join(ACTIONS))
    fault = Fault(action=action)
    for key, value in values.items():
        if key not in fields:
            raise ConfigError(f"fault {action}: unknown key {key}; known are " + ", ".join(fields))
        try:
            setattr(fault, key, type(getattr(fault, key))(str(value)))
        except ValueError as error:
            raise ConfigError(f"fault {action}: {key}={value} is not a number") from error
    if not 0 <= fault.count <= COUNT_MAX:
        raise ConfigError(f"fault {action}: count is 0 to {COUNT_MAX}")
    if action in ("list", "expire", "settle", "state", "lock", "gone") and not fault.name:
        raise ConfigError(f"fault {action}: name=INSTRUMENT is missing")
    if fault.status != "timeout" and not fault.status.isdigit():
        raise ConfigError(f"fault {action}: status is an HTTP status or timeout")
    return fault
