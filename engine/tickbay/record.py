"""The records as numpy sees them: dtypes, kinds and streams.

native/record.h is the source of truth. The dtypes are made from the field tables of native/record.c and checked here,
at import, so that a process with a wrong layout never starts. Used by every process.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum, IntFlag
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from tickbay import _native

Records: TypeAlias = npt.NDArray[np.void]  # a structured array of one of DTYPES


class Kind(IntEnum):
    QUOTE = 1
    TRADE = 2
    BOOK = 3
    GAP = 4
    INSTRUMENT = 5
    STATUS = 6
    BBO = 7
    INDEX = 8
    MARK = 9
    FUNDING = 10
    DEPTH = 11


USUAL_TICKS: Final = ("quote", "trade", "book")  # every feed has rings for these
# What a venue sends, each to a ring of its own; the rest is what we say about it.
TICKS: Final = (Kind.QUOTE, Kind.TRADE, Kind.BOOK, Kind.BBO, Kind.INDEX, Kind.MARK, Kind.FUNDING, Kind.DEPTH)
# By which field of a heartbeat, and which counter in health, the records of each are counted.
COUNTERS: Final = {
    Kind.QUOTE: "quotes",
    Kind.TRADE: "trades",
    Kind.BOOK: "books",
    Kind.BBO: "bbos",
    Kind.INDEX: "indices",
    Kind.MARK: "marks",
    Kind.FUNDING: "fundings",
    Kind.DEPTH: "depths",
}


class Flag(IntFlag):
    SNAPSHOT = 1
    LAST = 2
    OPTION = 4
    HEALED = 8


class FeedState(IntEnum):
    CONNECTING = 1
    SUBSCRIBING = 2
    LIVE = 3
    WAITING = 4
    STOPPING = 5


def _dtype(table: _native.RecordTable) -> np.dtype[np.void]:
    """The dtype of a field table. Offsets are checked by their sum: no field overlaps another or leaves the record."""
    end = 0
    for field in table.fields:
        assert end <= field.offset and field.size == np.dtype(field.type).itemsize, f"{table.name}.{field.name}"
        end = field.offset + field.size
    assert end <= table.size and table.size % 8 == 0, table.name
    return np.dtype(
        {
            "names": [field.name for field in table.fields],
            "formats": [field.type for field in table.fields],
            "offsets": [field.offset for field in table.fields],
            "itemsize": table.size,
        }
    )


_TABLES: Final = {Kind(number): table for number, table in _native.record_tables().items()}

DTYPES: Final[dict[Kind, np.dtype[np.void]]] = {kind: _dtype(table) for kind, table in _TABLES.items()}
LAYOUTS: Final[dict[Kind, int]] = {kind: table.layout for kind, table in _TABLES.items()}
CONTINUITY: Final = _dtype(_native.continuity_table())  # the entries of FeedListener.instruments

assert tuple(COUNTERS) == TICKS and set(COUNTERS.values()) <= set(DTYPES[Kind.STATUS].names or ())
assert set(DTYPES) == set(Kind) and all(_TABLES[kind].name == kind.name.lower() for kind in Kind)
_HEAD: Final = ("seq", "exch_ns", "recv_ns", "conn", "flags", "instrument")
assert all((dtype.names or ())[: len(_HEAD)] == _HEAD for dtype in DTYPES.values())


def feed_kinds(ticks: Iterable[str]) -> tuple[Kind, ...]:
    """Every kind that a feed writes which has these kinds of ticks (config.tick_kinds)."""
    return (*(Kind[name.upper()] for name in ticks), Kind.GAP, Kind.STATUS)


def stream_name(feed: str, kind: Kind) -> str:
    """`feed-1.quote`: the stream of a kind of records from one feed (or from `universe`, `journal`)."""
    return f"{feed}.{kind.name.lower()}"


def parse_stream(stream: str) -> tuple[str, Kind]:
    """(feed, kind) of a stream's name; ValueError where it is none."""
    feed, dot, kind = stream.rpartition(".")
    if not feed or not dot or kind.upper() not in Kind.__members__ or len(stream.encode()) > _native.RING_STREAM_MAX:
        raise ValueError(f"{stream!r} is not the name of a stream, such as feed-1.quote")
    return feed, Kind[kind.upper()]


def blank(kind: Kind, count: int = 1) -> Records:
    """`count` records with nothing known: numbers 0, texts empty, prices and the like NaN."""
    records = np.zeros(count, DTYPES[kind])
    for name in DTYPES[kind].names or ():
        if records.dtype[name].kind == "f":
            records[name] = np.nan
    return records


def set_text(records: Records, name: str, text: str) -> None:
    """Store a text whole; ValueError where it does not fit or has a NUL (a name is refused, never cut)."""
    encoded = text.encode()
    if len(encoded) > records.dtype[name].itemsize or b"\0" in encoded:
        raise ValueError(f"{text!r} does not fit {name}, {records.dtype[name].itemsize} bytes")
    records[name] = encoded
