# Order books as their records make them (see folded_book.h), and the tickers beside them. Included by _native.pyx.

FOLDED_AGREES, FOLDED_DIFFERS, FOLDED_UNKNOWN = c.FOLDED_AGREES, c.FOLDED_DIFFERS, c.FOLDED_UNKNOWN
FOLDED_PAST_NS, FOLDED_PAST_MAX = c.FOLDED_PAST_NS, c.FOLDED_PAST_MAX


Ticker = namedtuple("Ticker", "recv_ns conn bid_price ask_price state")

cdef struct ticker:
    int64_t recv_ns  # 0: none
    uint32_t conn
    double bid_price
    double ask_price
    char state[16]


@cython.final
cdef class FoldedBook:
    cdef c.folded_book book
    cdef ticker ticker  # the newest that was heard

    def __cinit__(self):
        c.folded_begin(&self.book)

    def __dealloc__(self):
        PyMem_Free(self.book.bids.ranks)
        PyMem_Free(self.book.bids.past)
        PyMem_Free(self.book.asks.ranks)
        PyMem_Free(self.book.asks.past)

    cdef int make_room(self, c.folded_side *side) except -1:
        # Enough for most books at once: growing by a few now and then for an hour would look like a leak.
        cdef uint32_t room
        cdef void *grown
        if side.count == side.room:
            room = 2 * side.room + 32
            grown = PyMem_Realloc(side.ranks, room * sizeof(double))
            if grown == NULL:
                raise MemoryError
            side.ranks, side.room = <double *> grown, room
        if side.past_count == side.past_room and side.past_count < c.FOLDED_PAST_MAX:
            room = 2 * side.past_room + 32
            grown = PyMem_Realloc(side.past, room * sizeof(c.folded_past))
            if grown == NULL:
                raise MemoryError
            side.past, side.past_room = <c.folded_past *> grown, room
        return 0

    cdef int take(self, const c.book *record) except -1:
        if not c.folded_has_room(&self.book):
            self.make_room(&self.book.bids)
            self.make_room(&self.book.asks)
        c.folded_take(&self.book, record)
        return 0

    def compare(self, uint32_t conn, int64_t recv_ns, double bid, double ask, int64_t since_ns):
        return c.folded_compare(&self.book, conn, recv_ns, bid, ask, since_ns)

    def ticker_heard(self):
        if self.ticker.recv_ns == 0:
            return None
        heard = Ticker(self.ticker.recv_ns, self.ticker.conn, self.ticker.bid_price, self.ticker.ask_price,
                       unpad(self.ticker.state, sizeof(self.ticker.state)))
        self.ticker.recv_ns = 0
        return heard

    def forget(self):
        c.folded_forget(&self.book)

    @property
    def whole_ns(self):
        return self.book.whole_ns

    @property
    def spoke_ns(self):
        return self.book.spoke_ns

    @property
    def bid(self):
        return c.folded_bid(&self.book)

    @property
    def ask(self):
        return c.folded_ask(&self.book)

    def said(self):
        if self.book.whole_ns == 0 or self.book.in_message:
            return None
        bids = [self.book.bids.ranks[place] for place in range(self.book.bids.count)]
        asks = [-self.book.asks.ranks[place] for place in range(self.book.asks.count)]
        return [self.book.whole_ns, self.book.conn, self.book.change_id, bids, asks]

    def remember(self, said):
        whole_ns, conn, change_id, bids, asks = said
        c.folded_forget(&self.book)
        for price in bids:
            self.make_room(&self.book.bids)
            c.folded_restore_price(&self.book.bids, price)
        for price in asks:
            self.make_room(&self.book.asks)
            c.folded_restore_price(&self.book.asks, -price)
        self.make_room(&self.book.bids)
        self.make_room(&self.book.asks)
        c.folded_restore(&self.book, whole_ns, conn, change_id)


def fold(dict books not None, records):
    cdef Held held = Held(records)
    cdef size_t count = whole_records(held, sizeof(c.book)), place
    cdef const c.book *record = <const c.book *> held.buffer.buf
    cdef const char *name = NULL
    cdef FoldedBook book = None
    for place in range(count):
        if book is None or memcmp(name, record.head.instrument, c.RECORD_INSTRUMENT_MAX) != 0:
            name = record.head.instrument
            key = unpad(name, c.RECORD_INSTRUMENT_MAX)
            book = books.get(key)
            if book is None:
                book = books[key] = FoldedBook()
        book.take(record)
        record += 1


def hear(dict books not None, records):
    cdef Held held = Held(records)
    cdef size_t count = whole_records(held, sizeof(c.quote)), place
    cdef const c.quote *quote = <const c.quote *> held.buffer.buf
    cdef FoldedBook book
    for place in range(count):
        book = books.get(unpad(quote.head.instrument, c.RECORD_INSTRUMENT_MAX))
        if book is not None:
            book.ticker.recv_ns, book.ticker.conn = quote.head.recv_ns, quote.head.conn
            book.ticker.bid_price, book.ticker.ask_price = quote.bid_price, quote.ask_price
            memcpy(book.ticker.state, quote.state, sizeof(quote.state))
        quote += 1
