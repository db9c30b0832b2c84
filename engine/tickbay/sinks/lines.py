"""Bodies of requests to QuestDB: records of one table, made into lines (native/ilp.c) while they are sent.

A body is pieces in the chunked coding of HTTP, each encoded into the same small buffer when it is asked for. So
the server parses what it has while we encode what comes next: it waits for us only if we are slower than it is, and no
body is ever in memory as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tickbay.sinks.columns import Table
from tickbay.sinks.load import Pieces, cut_out
from tickbay.sinks.questdb_columns import plan

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
