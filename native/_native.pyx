# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The C units of native/ for Python. It converts arguments, releases the GIL where the work is long, and converts results;
every decision about ticks is in a unit. The manual of a function is its unit's header; its signature is in
engine/tickbay/_native.pyi."""

cimport cython
cimport units as c
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_SetFromErrno
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Realloc
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset
from posix.time cimport CLOCK_REALTIME, clock_gettime, nanosleep, timespec

from picows.picows cimport WSFrame, WSListener, WSMsgType, WSTransport

from collections import namedtuple

cdef extern from "string.h" nogil:
    size_t strnlen(const char *text, size_t most)

RING_OK, RING_EMPTY, RING_LAPPED = c.RING_OK, c.RING_EMPTY, c.RING_LAPPED
RING_FULL, RING_NOT_YET, RING_WRONG = c.RING_FULL, c.RING_NOT_YET, c.RING_WRONG
RING_STREAM_MAX = c.RING_STREAM_MAX
BATCH_OK, BATCH_END, BATCH_STOP, BATCH_TORN = c.BATCH_OK, c.BATCH_END, c.BATCH_STOP, c.BATCH_TORN
BATCH_HEADER_SIZE, SEGMENT_HEADER_SIZE = sizeof(c.batch_header), c.SEGMENT_HEADER_SIZE
BATCH_PAYLOAD_MAX = c.BATCH_PAYLOAD_MAX
DECODE_OK, DECODE_MORE, DECODE_BAD, DECODE_FULL = c.DECODE_OK, c.DECODE_MORE, c.DECODE_BAD, c.DECODE_FULL
MESSAGE_QUOTE, MESSAGE_TRADE, MESSAGE_BOOK = c.MESSAGE_QUOTE, c.MESSAGE_TRADE, c.MESSAGE_BOOK
MESSAGE_BBO, MESSAGE_INDEX, MESSAGE_MARK = c.MESSAGE_BBO, c.MESSAGE_INDEX, c.MESSAGE_MARK
MESSAGE_FUNDING, MESSAGE_DEPTH = c.MESSAGE_FUNDING, c.MESSAGE_DEPTH
MESSAGE_REPLY, MESSAGE_ERROR, MESSAGE_HEARTBEAT = c.MESSAGE_REPLY, c.MESSAGE_ERROR, c.MESSAGE_HEARTBEAT
MESSAGE_TEST_REQUEST, MESSAGE_UNKNOWN = c.MESSAGE_TEST_REQUEST, c.MESSAGE_UNKNOWN
BOOK_NONE, BOOK_CHAINED, BOOK_BROKEN = c.BOOK_NONE, c.BOOK_CHAINED, c.BOOK_BROKEN
PGCOPY_INT8_U64, PGCOPY_INT8_U64_NULL0, PGCOPY_INT8_U32 = c.PGCOPY_INT8_U64, c.PGCOPY_INT8_U64_NULL0, c.PGCOPY_INT8_U32
PGCOPY_INT4_U32, PGCOPY_INT4_U32_NULL0, PGCOPY_INT2_U8 = c.PGCOPY_INT4_U32, c.PGCOPY_INT4_U32_NULL0, c.PGCOPY_INT2_U8
PGCOPY_FLOAT8, PGCOPY_TIMESTAMPTZ, PGCOPY_TEXT = c.PGCOPY_FLOAT8, c.PGCOPY_TIMESTAMPTZ, c.PGCOPY_TEXT
PGCOPY_BOOL_U8, PGCOPY_BOOL_FLAG, PGCOPY_ENUM_U8 = c.PGCOPY_BOOL_U8, c.PGCOPY_BOOL_FLAG, c.PGCOPY_ENUM_U8
PGCOPY_CONST_TEXT, PGCOPY_CONST_INT4 = c.PGCOPY_CONST_TEXT, c.PGCOPY_CONST_INT4
PGCOPY_HEADER = PyBytes_FromStringAndSize(c.PGCOPY_HEADER, c.PGCOPY_HEADER_SIZE)
PGCOPY_TRAILER = PyBytes_FromStringAndSize(c.PGCOPY_TRAILER, c.PGCOPY_TRAILER_SIZE)

RecordField = namedtuple("RecordField", "name type offset size")
RecordTable = namedtuple("RecordTable", "name size layout fields")
RecordExtent = namedtuple("RecordExtent", "first_ns last_ns any_flags all_flags")
BatchHeader = namedtuple("BatchHeader", "segment stream kind epoch first_seq records length record_size layout written_ns")
SegmentHeader = namedtuple("SegmentHeader", "segment epoch created_ns")
PgcopyColumn = namedtuple("PgcopyColumn", "type offset width argument words constant", defaults=(0, 0, 0, (), b""))


# ---------------------------------------------------------------- memory


@cython.final
cdef class Held:
    """A caller's buffer, held while C reads or writes it."""

    cdef Py_buffer buffer

    def __cinit__(self, source, bint writable=False):
        PyObject_GetBuffer(source, &self.buffer, PyBUF_WRITABLE if writable else PyBUF_SIMPLE)

    def __dealloc__(self):
        PyBuffer_Release(&self.buffer)


@cython.final
cdef class View:
    """Read-only memory that belongs to another object, which it keeps alive."""

    cdef object owner
    cdef const void *address
    cdef Py_ssize_t size

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, <void *> self.address, self.size, 1, flags)


cdef View view_of(object owner, const void *address, Py_ssize_t size):
    cdef View view = View.__new__(View)
    view.owner = owner
    view.address = address
    view.size = size
    return view


cdef pad(char *field, size_t width, bytes text):
    if <size_t> len(text) > width:
        raise ValueError(f"{text!r} is longer than {width} bytes")
    memset(field, 0, width)
    memcpy(field, PyBytes_AS_STRING(text), len(text))


cdef bytes unpad(const char *field, size_t width):
    return PyBytes_FromStringAndSize(field, strnlen(field, width))


cdef size_t whole_records(Held held, size_t size) except? 0:
    if size == 0 or held.buffer.len % size != 0:
        raise ValueError(f"{held.buffer.len} bytes are not whole records of {size} bytes")
    return held.buffer.len // size


# ---------------------------------------------------------------- record, number, decode, crc32c

RECORD_TYPES = {c.RECORD_U8: "u1", c.RECORD_U32: "<u4", c.RECORD_U64: "<u8", c.RECORD_I64: "<i8", c.RECORD_F64: "<f8"}


def record_tables():
    cdef const c.record_field *field
    cdef c.record_kind kind
    cdef int number
    tables = {}
    for number in range(1, c.RECORD_KIND_COUNT):
        kind = <c.record_kind> number
        fields = []
        field = c.record_fields(kind)
        while field.name != NULL:
            fields.append(RecordField(field.name.decode(), RECORD_TYPES.get(field.type, f"S{field.size}"), field.offset, field.size))
            field += 1
        tables[number] = RecordTable(c.record_name(kind).decode(), c.record_size(kind), c.record_layout(kind), tuple(fields))
    return tables


def record_extent(records, int kind):
    cdef Held held = Held(records)
    cdef uint32_t size = c.record_size(<c.record_kind> kind)
    cdef size_t count = whole_records(held, size)
    cdef c.record_extent extent
    with nogil:
        extent = c.record_extent_of(held.buffer.buf, size, count)
    return RecordExtent(extent.first_ns, extent.last_ns, extent.any_flags, extent.all_flags)


def continuity_table():
    cdef c.continuity_entry *entry = NULL
    return RecordTable("continuity", sizeof(c.continuity_entry), 0, (
        RecordField("instrument", f"S{sizeof(entry.instrument)}", <size_t> &entry.instrument, sizeof(entry.instrument)),
        RecordField("change_id", "<u8", <size_t> &entry.change_id, 8),
        RecordField("trade_seq", "<u8", <size_t> &entry.trade_seq, 8),
        RecordField("quote_ns", "<i8", <size_t> &entry.quote_ns, 8),
        RecordField("trade_ns", "<i8", <size_t> &entry.trade_ns, 8),
        RecordField("book_ns", "<i8", <size_t> &entry.book_ns, 8),
        RecordField("bbo_ns", "<i8", <size_t> &entry.bbo_ns, 8),
        RecordField("index_ns", "<i8", <size_t> &entry.index_ns, 8),
        RecordField("mark_ns", "<i8", <size_t> &entry.mark_ns, 8),
        RecordField("funding_ns", "<i8", <size_t> &entry.funding_ns, 8),
        RecordField("depth_ns", "<i8", <size_t> &entry.depth_ns, 8),
        RecordField("book_state", "<u4", <size_t> &entry.book_state, 4),
    ))


def number_double(bytes text not None):
    cdef double value = 0.0
    cdef const char *start = PyBytes_AS_STRING(text)
    cdef const char *end = c.number_double(start, start + len(text), &value)
    return None if end == NULL else (value, end - start)


def decode_deribit(frame, int64_t recv_ns, uint32_t conn, size_t room=4096):
    cdef Held held = Held(frame)
    cdef size_t record_max = c.record_size(c.RECORD_QUOTE)
    cdef bytes slots = PyBytes_FromStringAndSize(NULL, room * record_max)
    cdef void *address = PyBytes_AS_STRING(slots)
    cdef c.decode_room rooms
    rooms.quotes, rooms.trades, rooms.books = <c.quote *> address, <c.trade *> address, <c.book *> address
    rooms.quotes_max = rooms.trades_max = rooms.books_max = room
    cdef c.decode_slots others[c.RECORD_KIND_COUNT]
    cdef int kind
    for kind in range(c.RECORD_KIND_COUNT):
        others[kind].slots, others[kind].count = address, room
    rooms.others = others
    cdef c.decoded decoded
    memset(&decoded, 0, sizeof(decoded))
    cdef c.decode_result result = c.decode_deribit(<const char *> held.buffer.buf, held.buffer.len, recv_ns, conn, &rooms, &decoded)
    return <int> result, <int> decoded.message, slots[: (decoded.count if result == c.DECODE_OK else 0) * c.record_size(<c.record_kind> <int> decoded.message)], decoded.needed


def crc32c(buffer, uint32_t crc=0):
    cdef Held held = Held(buffer)
    with nogil:
        crc = c.crc32c(crc, held.buffer.buf, held.buffer.len)
    return crc


# ---------------------------------------------------------------- batch


def batch_seal(uint64_t segment, str stream not None, int kind, uint32_t epoch, uint64_t first_seq, int64_t written_ns, records):
    cdef Held held = Held(records)
    cdef uint32_t count = <uint32_t> whole_records(held, c.record_size(<c.record_kind> kind))
    cdef char name[c.BATCH_STREAM_MAX]
    pad(name, sizeof(name), stream.encode())
    cdef c.batch_header header
    with nogil:
        c.batch_seal(&header, segment, name, <c.record_kind> kind, epoch, first_seq, count, written_ns, held.buffer.buf)
    return PyBytes_FromStringAndSize(<const char *> &header, sizeof(header))


def batch_seal_end(uint64_t segment, int64_t written_ns):
    cdef c.batch_header header
    c.batch_seal_end(&header, segment, written_ns)
    return PyBytes_FromStringAndSize(<const char *> &header, sizeof(header))


def batch_check(buffer, uint64_t segment, size_t offset=0):
    cdef Held held = Held(buffer)
    cdef c.batch_header header
    cdef c.batch_result result
    if offset > <size_t> held.buffer.len:
        raise ValueError("the offset lies behind the buffer")
    with nogil:
        result = c.batch_check(<const char *> held.buffer.buf + offset, held.buffer.len - offset, segment, &header)
    if result != c.BATCH_OK:
        return <int> result, None
    return <int> result, BatchHeader(header.segment, unpad(header.stream, sizeof(header.stream)).decode(), header.kind, header.epoch,
                                     header.first_seq, header.count, header.length, header.record_size, header.layout,
                                     header.written_ns)


def segment_seal(uint64_t segment, uint32_t epoch, int64_t created_ns):
    cdef bytes sealed = PyBytes_FromStringAndSize(NULL, c.SEGMENT_HEADER_SIZE)
    c.segment_seal(<c.segment_header *> PyBytes_AS_STRING(sealed), segment, epoch, created_ns)
    return sealed


def segment_check(buffer):
    cdef Held held = Held(buffer)
    cdef c.segment_header header
    if c.segment_check(held.buffer.buf, held.buffer.len, &header) != c.BATCH_OK:
        return None
    return SegmentHeader(header.segment, header.epoch, header.created_ns)


# ---------------------------------------------------------------- pgcopy


cdef uint32_t width_of(int type, uint32_t width):
    """Bytes of the record that a column reads."""
    if type in (c.PGCOPY_INT8_U64, c.PGCOPY_INT8_U64_NULL0, c.PGCOPY_FLOAT8, c.PGCOPY_TIMESTAMPTZ):
        return 8
    if type in (c.PGCOPY_INT8_U32, c.PGCOPY_INT4_U32, c.PGCOPY_INT4_U32_NULL0, c.PGCOPY_BOOL_FLAG):
        return 4
    if type in (c.PGCOPY_INT2_U8, c.PGCOPY_BOOL_U8, c.PGCOPY_ENUM_U8):
        return 1
    return width if type == c.PGCOPY_TEXT else 0


cdef class PgcopyPlan:
    cdef c.pgcopy_column *columns
    cdef const char **words
    cdef size_t count, record_size, row_max
    cdef list kept  # the words and constants that `columns` points to
    cdef bytearray out
    cdef object view  # of `out`

    def __cinit__(self, int kind, columns):
        columns = [PgcopyColumn(*column) for column in columns]
        self.count = len(columns)
        self.record_size = c.record_size(<c.record_kind> kind)
        if self.record_size == 0:
            raise ValueError(f"{kind} is no kind of record")
        self.kept = []
        self.out = bytearray()
        self.view = memoryview(self.out)
        self.columns = <c.pgcopy_column *> PyMem_Calloc(self.count + 1, sizeof(c.pgcopy_column))
        self.words = <const char **> PyMem_Calloc(sum(len(column.words) for column in columns) + 1, sizeof(char *))
        if self.columns == NULL or self.words == NULL:
            raise MemoryError
        cdef const char **words = self.words
        for index, column in enumerate(columns):
            self.set_column(index, column, words)
            words += len(column.words)
        self.row_max = c.pgcopy_row_max(self.columns, self.count)

    def __dealloc__(self):
        PyMem_Free(self.columns)
        PyMem_Free(self.words)

    cdef set_column(self, size_t index, object column, const char **words):
        if column.type < c.PGCOPY_INT8_U64 or column.type > c.PGCOPY_CONST_INT4:
            raise ValueError(f"{column} is of no type")
        if column.offset + width_of(column.type, column.width) > self.record_size:
            raise ValueError(f"{column} reaches beyond a record of {self.record_size} bytes")
        cdef c.pgcopy_column *target = self.columns + index
        target.type = column.type
        target.offset = column.offset
        target.width = column.width
        target.argument = column.argument
        if column.type == c.PGCOPY_ENUM_U8:
            target.width = len(column.words)
            target.words = words
            for place, word in enumerate(column.words):
                self.kept.append(word)
                words[place] = PyBytes_AS_STRING(word)
        elif column.type == c.PGCOPY_CONST_TEXT:
            self.kept.append(column.constant)
            target.constant = PyBytes_AS_STRING(column.constant)
            target.width = len(column.constant)

    def encode(self, records, uint32_t flag_mask=0, uint32_t flag_value=0):
        cdef Held held = Held(records)
        cdef size_t count = whole_records(held, self.record_size)
        cdef size_t out_max = count * self.row_max
        if <size_t> len(self.out) < out_max:
            self.out = bytearray(out_max)  # a new one: the old one may still be in a caller's hands
            self.view = memoryview(self.out)
        cdef unsigned char *out = <unsigned char *> PyByteArray_AS_STRING(self.out)
        cdef size_t taken = 0, rows = 0, size = 0
        with nogil:
            c.pgcopy_encode(self.columns, self.count, held.buffer.buf, self.record_size, count, flag_mask, flag_value, out,
                            out_max, &taken, &rows, &size)
        assert taken == count  # there was room for every row at its longest
        return self.view[:size], rows


include "_ilp.pxi"


# ---------------------------------------------------------------- ring


def ring_file_size(int kind, uint64_t slots):
    return c.ring_file_size(<c.record_kind> kind, slots)


cdef class Ring:
    """A ring's file, mapped; unmapped by close(), or later when the last view of it has gone."""

    cdef c.ring ring
    cdef void *memory
    cdef uint64_t file_size
    cdef bint attached, closed

    def __cinit__(self, int descriptor, uint64_t file_size):
        cdef c.ringmap_result result = c.ringmap_open(descriptor, file_size, &self.memory)
        if result == c.RINGMAP_FAILED:
            PyErr_SetFromErrno(OSError)
        if result == c.RINGMAP_WRONG:
            raise ValueError(f"a file of {file_size} bytes is no ring")
        self.file_size = file_size

    def __dealloc__(self):
        if self.memory != NULL:
            c.ringmap_close(self.memory, self.file_size)

    cdef c.ring *use(self) except NULL:
        if not self.attached:
            raise ValueError("the ring is closed or not attached")
        return &self.ring

    def create(self, int kind, uint64_t slots, str stream not None, str boot_id not None, uint32_t epoch, uint64_t first_seq):
        cdef char name[c.RING_STREAM_MAX]
        cdef char boot[40]
        pad(name, sizeof(name), stream.encode())
        pad(boot, sizeof(boot), boot_id.encode())
        return <int> c.ring_create(self.memory, self.file_size, <c.record_kind> kind, slots, name, boot, epoch, first_seq)

    def attach(self, int kind):
        cdef c.ring_result result = c.ring_attach(&self.ring, self.memory, self.file_size, <c.record_kind> kind)
        self.attached = result == c.RING_OK
        return <int> result

    def close(self):
        self.attached = False

    def produce(self, uint32_t pid, uint64_t start_time):
        return c.ring_produce(self.use(), pid, start_time)

    def set_conn(self, uint32_t conn):
        c.ring_set_conn(self.use(), conn)

    def append(self, records):
        cdef c.ring *ring = self.use()
        cdef Held held = Held(records)
        cdef uint64_t count = whole_records(held, ring.record_size)
        cdef void *slots = NULL
        if c.ring_claim(ring, count, &slots) != c.RING_OK:
            return False
        memcpy(slots, held.buffer.buf, held.buffer.len)
        c.ring_publish(ring, count)
        return True

    @property
    def capacity(self):
        return self.use().capacity

    @property
    def free(self):
        return c.ring_free(self.use())

    @property
    def head(self):
        return c.ring_head(self.use())

    @property
    def durable(self):
        return c.ring_durable(self.use())

    @property
    def oldest(self):
        return c.ring_oldest(self.use())

    def read(self, uint64_t seq, uint64_t limit, out):
        cdef c.ring *ring = self.use()
        cdef Held held = Held(out, True)
        cdef uint64_t most = whole_records(held, ring.record_size)
        cdef uint64_t count = 0
        cdef c.ring_result result
        with nogil:
            result = c.ring_read(ring, seq, limit, most, held.buffer.buf, &count)
        return <int> result, count

    def peek(self, uint64_t seq, uint64_t most):
        cdef c.ring *ring = self.use()
        cdef const void *records = NULL
        cdef uint64_t count = 0
        cdef c.ring_result result = c.ring_peek(ring, seq, most, &records, &count)
        if result != c.RING_OK:
            return <int> result, memoryview(b"")
        return <int> result, memoryview(view_of(self, records, count * ring.record_size))

    def set_durable(self, uint64_t seq):
        c.ring_set_durable(self.use(), seq)

    def set_epoch(self, uint32_t epoch, uint64_t first_seq):
        c.ring_set_epoch(self.use(), epoch, first_seq)

    def epoch(self):
        cdef uint32_t epoch = 0
        cdef uint64_t first_seq = 0
        c.ring_epoch(self.use(), &epoch, &first_seq)
        return epoch, first_seq

    def identity(self):
        cdef c.ring_identity identity
        c.ring_identify(self.use(), &identity)
        return {
            "stream": unpad(identity.stream, sizeof(identity.stream)).decode(errors="replace"),
            "boot_id": unpad(identity.boot_id, sizeof(identity.boot_id)).decode(errors="replace"),
            "kind": identity.kind,
            "record_size": identity.record_size,
            "capacity": identity.capacity,
            "producer_pid": identity.producer_pid,
            "producer_start_time": identity.producer_start_time,
            "conn": identity.conn,
        }


include "_merge.pxi"
include "_folded_book.pxi"
include "_histogram.pxi"
include "_listener.pxi"
