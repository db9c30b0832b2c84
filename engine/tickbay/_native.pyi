"""Signatures of the compiled module (native/_native.pyx). The manual of each function is the header of its C unit."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, TypedDict, final

import numpy.typing as npt
from picows import WSFrame, WSListener, WSTransport
from typing_extensions import Buffer

Memory: TypeAlias = Buffer | npt.NDArray[Any]  # anything with a buffer; numpy says so only from Python 3.12 on

RING_OK: int
RING_EMPTY: int
RING_LAPPED: int
RING_FULL: int
RING_NOT_YET: int
RING_WRONG: int
RING_STREAM_MAX: int

BATCH_OK: int
BATCH_END: int
BATCH_STOP: int
BATCH_TORN: int
BATCH_HEADER_SIZE: int
BATCH_PAYLOAD_MAX: int
SEGMENT_HEADER_SIZE: int

DECODE_OK: int
DECODE_MORE: int
DECODE_BAD: int
DECODE_FULL: int
MESSAGE_QUOTE: int
MESSAGE_TRADE: int
MESSAGE_BOOK: int
MESSAGE_BBO: int
MESSAGE_INDEX: int
MESSAGE_MARK: int
MESSAGE_FUNDING: int
MESSAGE_DEPTH: int
MESSAGE_REPLY: int
MESSAGE_ERROR: int
MESSAGE_HEARTBEAT: int
MESSAGE_TEST_REQUEST: int
MESSAGE_UNKNOWN: int

BOOK_NONE: int
BOOK_CHAINED: int
BOOK_BROKEN: int

PGCOPY_INT8_U64: int
PGCOPY_INT8_U64_NULL0: int
PGCOPY_INT8_U32: int
PGCOPY_INT4_U32: int
PGCOPY_INT4_U32_NULL0: int
PGCOPY_INT2_U8: int
PGCOPY_FLOAT8: int
PGCOPY_TIMESTAMPTZ: int
PGCOPY_TEXT: int
PGCOPY_BOOL_U8: int
PGCOPY_BOOL_FLAG: int
PGCOPY_ENUM_U8: int
PGCOPY_CONST_TEXT: int
PGCOPY_CONST_INT4: int
PGCOPY_HEADER: bytes
PGCOPY_TRAILER: bytes
ILP_SYMBOL_TEXT: int
ILP_SYMBOL_ENUM: int
ILP_SYMBOL_CONST: int
ILP_LONG_U64: int
ILP_LONG_U64_ABSENT0: int
ILP_LONG_U32: int
ILP_LONG_U32_ABSENT0: int
ILP_LONG_U8_ABSENT255: int
ILP_LONG_CONST: int
ILP_DOUBLE: int
ILP_TIMESTAMP: int
ILP_STRING: int
ILP_BOOL_U8: int
ILP_BOOL_FLAG: int

class RecordField(NamedTuple):
    name: str
    type: str  # as numpy spells it: "<u8", "S48", …
    offset: int
    size: int

class RecordTable(NamedTuple):
    name: str
    size: int
    layout: int
    fields: tuple[RecordField, ...]

class RecordExtent(NamedTuple):
    first_ns: int  # exch_ns of the earliest and the latest; the first above the last where there is no record
    last_ns: int
    any_flags: int  # that at least one has
    all_flags: int  # that all have

def record_tables() -> dict[int, RecordTable]:
    """What record.c says of each kind."""

def record_extent(records: Memory, kind: int) -> RecordExtent:
    """What is known of all `records`, whole ones of `kind`, in one pass over them."""

def continuity_table() -> RecordTable:
    """The entries of FeedListener.instruments."""

def crc32c(buffer: Memory, crc: int = 0) -> int: ...
def number_double(text: bytes) -> tuple[float, int] | None:
    """(value, bytes taken), or None where there is no valid number at the start of `text`."""

def decode_deribit(frame: Memory, recv_ns: int, conn: int, room: int = 4096) -> tuple[int, int, bytes, int]:
    """(DECODE_…, MESSAGE_…, the records as bytes, how many were needed). The message of records has the number of their
    kind: `np.frombuffer(records, record.DTYPES[message])`."""

class BatchHeader(NamedTuple):
    segment: int
    stream: str
    kind: int
    epoch: int
    first_seq: int
    records: int
    length: int  # bytes of the payload, which follows the BATCH_HEADER_SIZE bytes of the header
    record_size: int
    layout: int
    written_ns: int

class SegmentHeader(NamedTuple):
    segment: int
    epoch: int
    created_ns: int

def batch_seal(
    segment: int, stream: str, kind: int, epoch: int, first_seq: int, written_ns: int, records: Memory
) -> bytes:
    """The BATCH_HEADER_SIZE bytes that go before `records`."""

def batch_seal_end(segment: int, written_ns: int) -> bytes: ...
def batch_check(buffer: Memory, segment: int, offset: int = 0) -> tuple[int, BatchHeader | None]:
    """(BATCH_…, header); a header only with BATCH_OK."""

def segment_seal(segment: int, epoch: int, created_ns: int) -> bytes:
    """The SEGMENT_HEADER_SIZE bytes at the start of a segment."""

def segment_check(buffer: Memory) -> SegmentHeader | None: ...

class PgcopyColumn(NamedTuple):
    """struct pgcopy_column; `words` and `constant` are UTF-8."""

    type: int
    offset: int = 0
    width: int = 0
    argument: int = 0
    words: tuple[bytes, ...] = ()
    constant: bytes = b""

@final
class PgcopyPlan:
    def __init__(self, kind: int, columns: Sequence[PgcopyColumn]) -> None:
        """ValueError where a column does not lie in a record of `kind`."""

    def encode(self, records: Memory, flag_mask: int = 0, flag_value: int = 0) -> tuple[memoryview, int]:
        """(rows' bytes, number of rows). The bytes are valid until the next call."""

class IlpColumn(NamedTuple):
    """struct ilp_column; `name`, `words` and `constant` are UTF-8."""

    type: int
    name: bytes
    offset: int = 0
    width: int = 0
    argument: int = 0
    words: tuple[bytes, ...] = ()
    constant: bytes = b""

@final
class IlpPlan:
    row_max: int  # bytes that one row may need

    def __init__(
        self, kind: int, table: bytes, columns: Sequence[IlpColumn], at_offset: int, at_else_offset: int
    ) -> None:
        """ValueError where a column does not lie in a record of `kind`."""

    def encode(
        self, records: Memory, out: bytearray, start: int = 0, flag_mask: int = 0, flag_value: int = 0
    ) -> tuple[int, int, int]:
        """Rows into `out` from `start` on: (records taken, rows, end). Not all are taken where `out` is full."""

def ring_file_size(kind: int, slots: int) -> int:
    """0 where the arguments are out of bounds."""

class RingIdentity(TypedDict):
    stream: str
    boot_id: str
    kind: int
    record_size: int
    capacity: int
    producer_pid: int  # 0: none yet
    producer_start_time: int
    conn: int

@final
class Ring:
    """A mapped ring file. ValueError from every method of a ring that is closed or not attached; ring.py is for use."""

    def __init__(self, descriptor: int, file_size: int) -> None:
        """OSError where the kernel refuses, ValueError where the size is no ring's."""

    def create(self, kind: int, slots: int, stream: str, boot_id: str, epoch: int, first_seq: int) -> int: ...
    def attach(self, kind: int) -> int: ...
    def close(self) -> None: ...
    def produce(self, pid: int, start_time: int) -> int: ...
    def set_conn(self, conn: int) -> None: ...
    def append(self, records: Memory) -> bool:
        """False where the ring is full."""

    @property
    def capacity(self) -> int: ...
    @property
    def free(self) -> int: ...
    @property
    def head(self) -> int: ...
    @property
    def durable(self) -> int: ...
    @property
    def oldest(self) -> int: ...
    def read(self, seq: int, limit: int, out: Memory) -> tuple[int, int]:
        """(RING_…, records written to `out`)."""

    def peek(self, seq: int, most: int) -> tuple[int, memoryview]: ...
    def set_durable(self, seq: int) -> None: ...
    def set_epoch(self, epoch: int, first_seq: int) -> None: ...
    def epoch(self) -> tuple[int, int]: ...
    def identity(self) -> RingIdentity: ...

class FeedHandler(Protocol):
    """What a FeedListener calls, on the loop's thread. An exception from here ends the connection."""

    def on_connected(self, transport: WSTransport) -> None: ...
    def on_disconnected(self, transport: WSTransport) -> None: ...
    def on_close(self, code: int, reason: str) -> None:
        """The venue sent a close frame (0: without a code); it is answered and on_disconnected() follows."""

    def on_message(self, message: int, payload: bytes, recv_ns: int) -> None:
        """MESSAGE_REPLY, _ERROR, _HEARTBEAT, _TEST_REQUEST or _UNKNOWN."""

    def on_undecodable(self, payload: bytes, recv_ns: int) -> None:
        """Also a message in several frames that is longer than frame_bytes_max: its first frame_bytes_max + 1 bytes."""

    def on_break(self, kind: int, instrument: bytes, expected: int, got: int, recv_ns: int, since_ns: int) -> None:
        """A book (once until it is whole again) or a trade did not follow; feed.h, struct feed_found."""

    def on_leap(self, instrument: bytes, expected: int, got: int, recv_ns: int, since_ns: int) -> None:
        """A snapshot is ahead of an unbroken chain of changes; feed.h, struct feed_found."""

    def on_overflow_begin(self, kind: int, recv_ns: int) -> None: ...
    def on_overflow_end(self, kind: int, records: int, from_ns: int, to_ns: int) -> None: ...

@final
class FeedListener(WSListener):
    """One for the life of a feed process; start() before each connection. The rings have been taken over (produce())
    and stay mapped with it; `others` are of the kinds behind RECORD_STATUS, each at most once."""

    def __init__(
        self,
        handler: FeedHandler,
        quote: Ring,
        trade: Ring,
        book: Ring,
        *,
        others: tuple[Ring, ...] = (),
        full_wait_ms: int = 200,
        frame_bytes_max: int = 8 << 20,
        instruments_max: int = 1 << 14,
    ) -> None: ...
    def start(self, conn: int) -> None:
        """A new connection with a greater epoch: books start anew, trade sequences go on, frames of an older connection
        are ignored."""

    def remember_trade(self, instrument: bytes, trade_seq: int) -> None:
        """The last trade that an earlier process recorded: a hole before the first of this process is a break too."""

    def forget(self, instrument: bytes) -> bool:
        """Take an instrument out of the continuity table, if it is there: others may move within it."""

    @property
    def conn(self) -> int: ...
    def counters(self) -> dict[str, int]:
        """struct feed_counters, since the process began."""

    @property
    def instruments(self) -> memoryview:
        """The live continuity table, read-only: `np.frombuffer(listener.instruments, record.CONTINUITY)`."""

    @property
    def instruments_used(self) -> int:
        """How many entries of that table are in use."""

    def settle(self, closing: bool = False) -> None:
        """End the overflows whose rings have space again, or all (`closing`), with on_overflow_end(). To be called each
        second: no frame may come that would end them."""

    def on_ws_connected(self, transport: WSTransport) -> None: ...
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None: ...
    def on_ws_disconnected(self, transport: WSTransport) -> None: ...

MERGE_LEGS: int
MERGE_WINDOW: int
MERGE_SETTLE_NS: int
MERGE_LATE_NS: tuple[int, ...]
MERGE_CHAIN_SIZE: int
MERGE_CHAINS: int

class MergeBreak(NamedTuple):
    kind: int
    instrument: str
    first_missing: int
    last_missing: int
    from_ns: int
    to_ns: int
    conn: int
    ends: bool

class MergeTurn(NamedTuple):
    out: memoryview
    held: tuple[memoryview, memoryview]
    breaks: list[MergeBreak]
    consumed: tuple[int, int]

class MergeFigures(NamedTuple):
    records: int
    first: int
    second: int
    repeats: int
    only: int
    late: list[int]  # by bucket; MERGE_LATE_NS has their upper ends

@final
class Merge:
    """struct merge, with its memory. Records are buffers of whole records of one kind."""

    def run(
        self, kind: int, legs: tuple[Memory, Memory], release_ns: tuple[int, int], again: bool = False
    ) -> MergeTurn:
        """merge_run(): what is not `consumed` is to be given once more."""

    def connected(self, leg: int, conn: int) -> None: ...
    def lost(self, leg: int) -> None: ...
    def published(self, kind: int, records: Memory) -> list[MergeBreak]: ...
    def judge(self, now_ns: int) -> None: ...
    def forget(self, before_ns: int) -> int: ...
    @property
    def chains_used(self) -> int: ...
    def chains(self) -> bytes: ...
    def restore(self, chains: Memory) -> int: ...
    @property
    def unchained(self) -> int: ...
    def figures(self, leg: int) -> MergeFigures: ...

HISTOGRAM_FIRST_BITS: int
HISTOGRAM_LAST_BITS: int
HISTOGRAM_PART_BITS: int
HISTOGRAM_BUCKETS: int

@final
class HistogramCounts:
    """struct histogram, empty."""

    def add(self, durations_ns: Memory) -> None:
        """A contiguous array of int64."""

    @property
    def counts(self) -> memoryview:
        """Live: `np.frombuffer(histogram.counts, np.int64)`."""

    @property
    def sum_ns(self) -> int: ...
    @property
    def negative(self) -> int: ...

FOLDED_AGREES: int
FOLDED_DIFFERS: int
FOLDED_UNKNOWN: int
FOLDED_PAST_NS: int
FOLDED_PAST_MAX: int

class Ticker(NamedTuple):
    """What a ticker says: these fields of a quote. A price is NaN where that side is empty."""

    recv_ns: int
    conn: int
    bid_price: float
    ask_price: float
    state: bytes

@final
class FoldedBook:
    """struct folded_book, with its memory. A book begins unknown; fold() takes its records."""

    def ticker_heard(self) -> Ticker | None:
        """The newest that hear() had since this was asked last."""

    def compare(self, conn: int, recv_ns: int, bid: float, ask: float, since_ns: int) -> int:
        """folded_compare(): FOLDED_…"""

    def forget(self) -> None: ...
    @property
    def whole_ns(self) -> int: ...
    @property
    def spoke_ns(self) -> int: ...
    @property
    def bid(self) -> float: ...
    @property
    def ask(self) -> float: ...
    def said(self) -> list[object] | None:
        """For remember(); None where the book is not known, or not whole at the moment."""

    def remember(self, said: Sequence[Any]) -> None:
        """As it was. Nothing depends on its being new: what does not follow it makes it unknown."""

def fold(books: dict[bytes, FoldedBook], records: Memory) -> None:
    """The next records of a book stream, each into the book of its instrument, which is made where there is none."""

def hear(books: dict[bytes, FoldedBook], records: Memory) -> None:
    """The next records of a quote stream, for the books that there are; FoldedBook.ticker_heard()."""
