"""`data/universe/assignment.json`: which channels each feed shall have. The universe writes it, feeds read it.

{"version": 7,
 "feeds": {"feed-1": ["ticker.ETH-27NOV26-3000-C.100ms", "book.ETH-27NOV26-3000-C.100ms", "trades.option.ETH.100ms"]},
 "expires_ns": {"ticker.ETH-27NOV26-3000-C.100ms": 1795766400000000000, …},
 "refused": {"ETH-27NOV26-9000-C": 1795249178058031141},
 "paused_ns": {"ticker.XRP_USDC-27NOV26-0d5-C.100ms": 1795249178058031141},
 "maintenance_ns": 0}

`expires_ns` has the channels whose instrument ends; `refused` has what no feed had room for, and since when;
`paused_ns` and `maintenance_ns` what the venue announced: whose silence is expected, and since when. It is a desired
state: a feed compares it with what it has. It is replaced as a whole, so a reader never sees half of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from tickbay.errors import VenueFault
from tickbay.identity import write_atomically
from tickbay.legs import place_of

FILE_BYTES_MAX = 64 << 20


@dataclass(frozen=True, slots=True)
class Assignment:
    version: int = 0  # grows with each change
    feeds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    expires_ns: Mapping[str, int] = field(default_factory=dict)  # by channel; absent: never
    refused: Mapping[str, int] = field(default_factory=dict)  # unit → since when, our clock
    paused_ns: Mapping[str, int] = field(default_factory=dict)  # by channel: locked, or in settlement, since then
    maintenance_ns: int = 0  # all of the venue is under maintenance since then; 0: it is not

    def channels_of(self, feed: str) -> dict[str, int]:
        """Channel → when its instrument expires (our clock, 0: never), for one feed; both legs of a pair have the
        same."""
        return {channel: self.expires_ns.get(channel, 0) for channel in self.feeds.get(place_of(feed), ())}


def assignment_path(data_dir: Path) -> Path:
    return data_dir / "universe" / "assignment.json"


def read_assignment(path: Path) -> Assignment | None:
    """None where there is none yet. VenueFault where the file cannot be read or is no assignment."""
    try:
        with path.open("rb") as file:
            value = orjson.loads(file.read(FILE_BYTES_MAX))
        return Assignment(
            version=int(value["version"]),
            feeds={str(feed): tuple(map(str, channels)) for feed, channels in value["feeds"].items()},
            expires_ns={str(channel): int(ns) for channel, ns in value.get("expires_ns", {}).items()},
            refused={str(unit): int(ns) for unit, ns in value.get("refused", {}).items()},
            paused_ns={str(channel): int(ns) for channel, ns in value.get("paused_ns", {}).items()},
            maintenance_ns=int(value.get("maintenance_ns", 0)),
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise VenueFault(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise VenueFault(f"{path} is no assignment: {error}") from error


def write_assignment(path: Path, assignment: Assignment) -> None:
    """OSError where the disk does not take it."""
    write_atomically(path, orjson.dumps(assignment))
