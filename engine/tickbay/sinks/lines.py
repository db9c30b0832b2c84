"""Bodies of requests to QuestDB: records of one table, made into lines (native/ilp.c) while they are sent.

A body is pieces in the chunked coding of HTTP, each encoded into the same small buffer when it is asked for. So
the server parses what it has while we encode what comes next: it waits for us only if we are slower than it is, and no
body is ever in memory as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tickbay.sinks.columns import Table
from tickbay.sinks.load import Pieces, Poison, chosen, cut_out
from tickbay.sinks.questdb_columns import VARCHARS, plan

# Small enough to stay in the cache between encoding and sending, large enough that a system call is nothing beside it.
PIECE_BYTES = 256 << 10
# Records of one request, and so of one transaction: 70 MB of quotes on the wire.
REQUEST_RECORDS = 100_000
_HEAD = 10  # %08x and a line's end before each piece
_END = b"\r\n"
_LAST = b"0\r\n\r\n"


class Body:
    """Records of one table. Iterate over it as often as it has to be sent; a piece is valid until the next."""

    def __init__(self, table: Table, pieces: Pieces, buffer: bytearray) -> None:
        self._table, self._pieces = table, pieces
        self._buffer = buffer
        self.rows = self.bytes = 0  # so far, without the coding

    def __iter__(self) -> Iterator[memoryview | bytes]:
        self.rows = self.bytes = 0
        buffer, table = self._buffer, self._table
        end = _HEAD
        for chunk, records in self._pieces:
            encoder, left = plan(table, chunk.stream, chunk.epoch), records
            while True:
                taken, rows, end = encoder.encode(left, buffer, end, table.mask, table.value)
                left = left[taken:]
                self.rows += rows
                if not len(left):
                    break
                yield self._framed(end)
                end = _HEAD
        if end > _HEAD:
            yield self._framed(end)
        yield _LAST

    def _framed(self, end: int) -> memoryview:
        assert end + len(_END) <= len(self._buffer), "a row that fits leaves room (ilp_row_max)"
        self.bytes += end - _HEAD
        self._buffer[:_HEAD] = b"%08x\r\n" % (end - _HEAD)
        self._buffer[end : end + len(_END)] = _END
        return memoryview(self._buffer)[: end + len(_END)]


def bodies(tables: Sequence[tuple[Table, Pieces]]) -> Iterator[Body]:
    """A body for each table, several for one that has many records. Send each before the next is asked for."""
    buffer = bytearray(PIECE_BYTES)
    for table, pieces in tables:
        count = sum(len(records) for _, records in pieces)
        for first in range(0, count, REQUEST_RECORDS):
            yield Body(table, cut_out(pieces, first, first + REQUEST_RECORDS), buffer)


def without_bad_texts(tables: Sequence[tuple[Table, Pieces]]) -> tuple[list[tuple[Table, Pieces]], list[Poison]]:
    """SINK-4: rows whose VARCHAR is not UTF-8 apart from the others. The server refuses that of a symbol, but stores
    that of a VARCHAR as it is, for every reader to stumble over. No decoder of ours lets it through (native/json.h)."""
    good: list[tuple[Table, Pieces]] = []
    poison = []
    for table, pieces in tables:
        fields = [column.field for column in table.columns if column.name in VARCHARS]
        kept: Pieces = []
        for chunk, records in pieces:
            bad = np.zeros(len(records), bool)
            for field in fields:
                bad |= _not_utf8(records[field])
            bad &= chosen(table, records)
            reason = "a text of it is not UTF-8"
            poison += [Poison(chunk, records[at : at + 1], table.name, "", reason) for at in np.flatnonzero(bad)]
            kept.append((chunk, records[~bad] if bad.any() else records))
        good.append((table, kept))
    return good, poison


def _not_utf8(texts: NDArray[np.bytes_]) -> NDArray[np.bool_]:
    """Most texts are ASCII: only the others are looked at one by one."""
    raw = np.ascontiguousarray(texts).view(np.uint8).reshape(len(texts), -1)
    bad = np.zeros(len(texts), bool)
    for at in np.flatnonzero((raw >= 0x80).any(axis=1)):
        try:
            texts[at].decode()
        except UnicodeDecodeError:
            bad[at] = True
    return bad
