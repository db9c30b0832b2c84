# The feed's side of picows: frames go straight from its read buffer through feed_frame() into the rings, with no Python
# object for each. Included by _native.pyx.
#
# What one read of the socket brought was received at one moment: the clock is read for its first frame, and each next one is
# a nanosecond later, so that recv_ns keeps their order, until the one that picows calls the last in its buffer. So every
# frame must come here, pings too (enable_auto_pong=False).


@cython.final  # picows then calls it directly: no look-up of an overriding Python method for each frame
cdef class FeedListener(WSListener):
    cdef c.feed feed
    cdef c.continuity_entry *entries
    cdef uint64_t instruments_max
    cdef tuple rings  # keeps mapped what `feed` points to
    cdef object handler
    cdef WSTransport transport
    cdef int64_t recv_ns  # of the next frame in picows' buffer; 0: there is none
    cdef bytearray fragments  # the beginning of a message that came in several frames; None: there is none
    cdef Py_ssize_t frame_bytes_max

    def __cinit__(self, handler, Ring quote not None, Ring trade not None, Ring book not None, *, tuple others=(),
                  uint32_t full_wait_ms=200, Py_ssize_t frame_bytes_max=8 << 20, uint64_t instruments_max=1 << 14):
        cdef Ring ring
        if instruments_max & (instruments_max - 1) or instruments_max < 4:
            raise ValueError("instruments_max is a power of two, at least 4")
        if (quote.use().kind, trade.use().kind, book.use().kind) != (c.RECORD_QUOTE, c.RECORD_TRADE, c.RECORD_BOOK):
            raise ValueError("the rings are those of quotes, trades and books, in this order")
        self.entries = <c.continuity_entry *> PyMem_Calloc(instruments_max, sizeof(c.continuity_entry))
        if self.entries == NULL:
            raise MemoryError
        self.instruments_max = instruments_max
        self.frame_bytes_max = frame_bytes_max
        self.handler = handler
        self.rings = (quote, trade, book, *others)
        c.feed_init(&self.feed, quote.use(), trade.use(), book.use(), full_wait_ms, self.entries, instruments_max)
        for ring in others:
            c.feed_add(&self.feed, ring.use())

    def __dealloc__(self):
        PyMem_Free(self.entries)

    def start(self, uint32_t conn):
        if conn <= self.feed.conn:
            raise ValueError(f"connection epoch {conn} does not follow {self.feed.conn}")
        self.transport = None
        self.recv_ns = 0
        self.fragments = None
        c.feed_connect(&self.feed, conn)

    def remember_trade(self, bytes instrument not None, uint64_t trade_seq):
        cdef char name[c.RECORD_INSTRUMENT_MAX]
        pad(name, sizeof(name), instrument)
        c.feed_remember_trade(&self.feed, name, trade_seq)

    def forget(self, bytes instrument not None):
        cdef char name[c.RECORD_INSTRUMENT_MAX]
        pad(name, sizeof(name), instrument)
        return c.continuity_forget(&self.feed.continuity, name)

    def counters(self):
        return self.feed.counters

    @property
    def conn(self):
        return self.feed.conn

    @property
    def instruments_used(self):
        return self.feed.continuity.used

    @property
    def instruments(self):
        return memoryview(view_of(self, self.entries, self.instruments_max * sizeof(c.continuity_entry)))

    def settle(self, bint closing=False):
        cdef c.feed_report report
        cdef c.record_kind kind
        cdef Ring ring
        for ring in self.rings:
            kind = <c.record_kind> ring.use().kind
            self.tell(c.feed_settle(&self.feed, kind, closing, &report), &report, NULL, 0, 0)

    # -------- called by picows

    cpdef on_ws_connected(self, WSTransport transport):
        self.transport = transport
        self.handler.on_connected(transport)

    cpdef on_ws_disconnected(self, WSTransport transport):
        if transport is self.transport:
            self.transport = None
            self.fragments = None
        self.handler.on_disconnected(transport)

    cpdef on_ws_frame(self, WSTransport transport, WSFrame frame):
        cdef timespec now
        cdef int64_t recv_ns
        if transport is not self.transport:
            return  # of a connection that has been given up
        recv_ns = self.recv_ns
        if recv_ns == 0:
            clock_gettime(CLOCK_REALTIME, &now)
            recv_ns = <int64_t> now.tv_sec * 1_000_000_000 + now.tv_nsec
        self.recv_ns = 0 if frame.last_in_buffer else recv_ns + 1
        if frame.msg_type == WSMsgType.TEXT and frame.fin:
            self.take(frame.payload_ptr, frame.payload_size, recv_ns)
        elif frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION):
            self.take_fragment(frame, recv_ns)
        elif frame.msg_type == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.CLOSE:
            self.handler.on_close(int(frame.get_close_code()), frame.get_close_reason() or "")
            transport.send_close(frame.get_close_code())
            transport.disconnect()

    cdef take_fragment(self, WSFrame frame, int64_t recv_ns):
        if self.fragments is None or frame.msg_type != WSMsgType.CONTINUATION:
            self.fragments = bytearray()
        cdef Py_ssize_t room = self.frame_bytes_max + 1 - len(self.fragments)  # one more: then it is seen to be too long
        self.fragments += frame.get_payload_as_memoryview()[:room]
        if not frame.fin:
            return
        message, self.fragments = self.fragments, None
        self.take(PyByteArray_AS_STRING(message), len(message), recv_ns)

    # -------- into the rings

    cdef take(self, const char *frame, Py_ssize_t length, int64_t recv_ns):
        cdef c.feed_report report
        cdef c.feed_found found
        cdef c.feed_finding finding
        cdef timespec millisecond
        cdef uint32_t waited_ms = 0
        cdef unsigned told = c.feed_frame(&self.feed, frame, length, recv_ns, waited_ms, &report)
        while told & c.FEED_TELL_WAIT:
            self.tell(told, &report, frame, length, recv_ns)
            millisecond.tv_sec, millisecond.tv_nsec = 0, 1_000_000
            with nogil:
                nanosleep(&millisecond, NULL)
            waited_ms += 1
            told = c.feed_frame(&self.feed, frame, length, recv_ns, waited_ms, &report)
        if told != c.FEED_TELL_RECORDS:
            self.tell(told, &report, frame, length, recv_ns)
        while True:
            finding = c.feed_next(&self.feed, &found)
            if finding == c.FEED_NOTHING:
                break
            self.tell_finding(finding, &found)

    cdef tell(self, unsigned told, c.feed_report *report, const char *frame, Py_ssize_t length, int64_t recv_ns):
        try:
            if told & c.FEED_TELL_OVERFLOWED:
                self.handler.on_overflow_end(<int> report.kind, report.overflow.records, report.overflow.from_ns,
                                             report.overflow.to_ns)
            if told & c.FEED_TELL_OVERFLOW:
                self.handler.on_overflow_begin(<int> report.kind, recv_ns)
            if told & c.FEED_TELL_MESSAGE:
                self.handler.on_message(<int> report.message, PyBytes_FromStringAndSize(frame, length), recv_ns)
            if told & c.FEED_TELL_UNDECODABLE:
                self.handler.on_undecodable(PyBytes_FromStringAndSize(frame, length), recv_ns)
        except:
            self.transport = None  # picows ends the connection, a little later: nothing more is taken from it
            raise

    cdef tell_finding(self, c.feed_finding finding, c.feed_found *found):
        instrument = unpad(found.instrument, c.RECORD_INSTRUMENT_MAX)
        try:
            if finding == c.FEED_BREAK:
                self.handler.on_break(<int> found.kind, instrument, found.expected, found.got, found.recv_ns,
                                      found.since_ns)
            else:
                self.handler.on_leap(instrument, found.expected, found.got, found.recv_ns, found.since_ns)
        except:
            self.transport = None
            raise
