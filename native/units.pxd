# units.pxd: what _native.pyx uses of the C units. The headers are the manual.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "record.h" nogil:
    enum record_kind:
        RECORD_QUOTE
        RECORD_TRADE
        RECORD_BOOK
        RECORD_BBO
        RECORD_INDEX
        RECORD_MARK
        RECORD_FUNDING
        RECORD_DEPTH
        RECORD_KIND_COUNT
    enum:
        RECORD_INSTRUMENT_MAX
    enum record_type:
        RECORD_U8
        RECORD_U32
        RECORD_U64
        RECORD_I64
        RECORD_F64
        RECORD_TEXT
    struct record_field:
        const char *name
        record_type type
        uint32_t offset
        uint32_t size
    struct record_head:
        int64_t recv_ns
        uint32_t conn
        char instrument[48]
    struct quote:
        record_head head
        double bid_price
        double ask_price
        char state[16]
    struct trade:
        pass
    struct book:
        record_head head
    const record_field *record_fields(record_kind kind)
    const char *record_name(record_kind kind)
    uint32_t record_size(record_kind kind)
    uint64_t record_layout(record_kind kind)
    struct record_extent:
        int64_t first_ns
        int64_t last_ns
        uint32_t any_flags
        uint32_t all_flags
    record_extent record_extent_of(const void *records, uint32_t size, size_t count)

cdef extern from "ring.h" nogil:
    enum:
        RING_HEADER_SIZE
        RING_STREAM_MAX
    enum ring_result:
        RING_OK
        RING_EMPTY
        RING_LAPPED
        RING_FULL
        RING_NOT_YET
        RING_WRONG
    struct ring:
        uint64_t capacity
        uint32_t record_size
        uint32_t kind
    struct ring_identity:
        char stream[32]
        char boot_id[40]
        uint32_t kind
        uint32_t record_size
        uint64_t capacity
        uint32_t producer_pid
        uint64_t producer_start_time
        uint32_t conn
    uint64_t ring_file_size(record_kind kind, uint64_t capacity)
    ring_result ring_create(void *memory, uint64_t file_size, record_kind kind, uint64_t capacity, const char *stream,
                            const char *boot_id, uint32_t epoch, uint64_t first_seq)
    ring_result ring_attach(ring *ring, void *memory, uint64_t file_size, record_kind kind)
    uint32_t ring_produce(ring *ring, uint32_t pid, uint64_t start_time)
    void ring_set_conn(ring *ring, uint32_t conn)
    ring_result ring_claim(ring *ring, uint64_t count, void **slots)
    uint64_t ring_free(ring *ring)
    void ring_publish(ring *ring, uint64_t count)
    uint64_t ring_head(const ring *ring)
    uint64_t ring_durable(const ring *ring)
    uint64_t ring_oldest(const ring *ring)
    ring_result ring_read(const ring *ring, uint64_t seq, uint64_t limit, uint64_t max, void *out, uint64_t *count)
    ring_result ring_peek(const ring *ring, uint64_t seq, uint64_t max, const void **records, uint64_t *count)
    void ring_set_durable(ring *ring, uint64_t seq)
    void ring_set_epoch(ring *ring, uint32_t epoch, uint64_t epoch_first_seq)
    void ring_epoch(const ring *ring, uint32_t *epoch, uint64_t *first_seq)
    void ring_identify(const ring *ring, ring_identity *identity)

cdef extern from "ringmap.h" nogil:
    enum ringmap_result:
        RINGMAP_OK
        RINGMAP_WRONG
        RINGMAP_FAILED
    ringmap_result ringmap_open(int descriptor, uint64_t file_size, void **memory)
    void ringmap_close(void *memory, uint64_t file_size)

cdef extern from "crc32c.h" nogil:
    uint32_t crc32c(uint32_t crc, const void *bytes, size_t length)

cdef extern from "number.h" nogil:
    const char *number_double(const char *text, const char *end, double *value)

cdef extern from "batch.h" nogil:
    enum:
        BATCH_STREAM_MAX
        BATCH_PAYLOAD_MAX
        SEGMENT_HEADER_SIZE
    struct batch_header:
        uint32_t length
        uint32_t count
        uint64_t segment
        uint64_t first_seq
        uint64_t layout
        int64_t written_ns
        uint32_t epoch
        int kind
        int record_size
        char stream[32]
    struct segment_header:
        uint64_t segment
        uint32_t epoch
        int64_t created_ns
    enum batch_result:
        BATCH_OK
        BATCH_END
        BATCH_STOP
        BATCH_TORN
    void batch_seal(batch_header *header, uint64_t segment, const char *stream, record_kind kind, uint32_t epoch,
                    uint64_t first_seq, uint32_t count, int64_t written_ns, const void *records)
    void batch_seal_end(batch_header *header, uint64_t segment, int64_t written_ns)
    batch_result batch_check(const void *bytes, size_t available, uint64_t segment, batch_header *header)
    void segment_seal(segment_header *header, uint64_t segment, uint32_t epoch, int64_t created_ns)
    batch_result segment_check(const void *bytes, size_t available, segment_header *header)

cdef extern from "pgcopy.h" nogil:
    const char *PGCOPY_HEADER
    const char *PGCOPY_TRAILER
    enum:
        PGCOPY_HEADER_SIZE
        PGCOPY_TRAILER_SIZE
    enum pgcopy_type:
        PGCOPY_INT8_U64
        PGCOPY_INT8_U64_NULL0
        PGCOPY_INT8_U32
        PGCOPY_INT4_U32
        PGCOPY_INT4_U32_NULL0
        PGCOPY_INT2_U8
        PGCOPY_FLOAT8
        PGCOPY_TIMESTAMPTZ
        PGCOPY_TEXT
        PGCOPY_BOOL_U8
        PGCOPY_BOOL_FLAG
        PGCOPY_ENUM_U8
        PGCOPY_CONST_TEXT
        PGCOPY_CONST_INT4
    struct pgcopy_column:
        pgcopy_type type
        uint32_t offset
        uint32_t width
        uint32_t argument
        const char *const *words
        const char *constant
    enum pgcopy_result:
        PGCOPY_OK
        PGCOPY_FULL
    size_t pgcopy_row_max(const pgcopy_column *columns, size_t column_count)
    pgcopy_result pgcopy_encode(const pgcopy_column *columns, size_t column_count, const void *records, size_t record_size,
                                size_t count, uint32_t flag_mask, uint32_t flag_value, unsigned char *out, size_t out_max,
                                size_t *taken, size_t *rows, size_t *size)

cdef extern from "ilp.h" nogil:
    enum ilp_type:
        ILP_SYMBOL_TEXT
        ILP_SYMBOL_ENUM
        ILP_SYMBOL_CONST
        ILP_LONG_U64
        ILP_LONG_U64_ABSENT0
        ILP_LONG_U32
        ILP_LONG_U32_ABSENT0
        ILP_LONG_U8_ABSENT255
        ILP_LONG_CONST
        ILP_DOUBLE
        ILP_TIMESTAMP
        ILP_STRING
        ILP_BOOL_U8
        ILP_BOOL_FLAG
    struct ilp_column:
        ilp_type type
        const char *name
        uint32_t offset
        uint32_t width
        uint32_t argument
        const char *const *words
        const char *constant
    struct ilp_table:
        const char *name
        const ilp_column *columns
        size_t column_count
        uint32_t at_offset
        uint32_t at_else_offset
    enum ilp_result:
        ILP_OK
        ILP_FULL
    size_t ilp_row_max(const ilp_table *table)
    ilp_result ilp_encode(const ilp_table *table, const void *records, size_t record_size, size_t count, uint32_t flag_mask,
                          uint32_t flag_value, unsigned char *out, size_t out_max, size_t *taken, size_t *rows, size_t *size)

cdef extern from "decode.h" nogil:
    enum:
        DECODE_RECORDS_MAX
    enum decode_result:
        DECODE_OK
        DECODE_MORE
        DECODE_BAD
        DECODE_FULL
    enum message:
        MESSAGE_QUOTE
        MESSAGE_TRADE
        MESSAGE_BOOK
        MESSAGE_BBO
        MESSAGE_INDEX
        MESSAGE_MARK
        MESSAGE_FUNDING
        MESSAGE_DEPTH
        MESSAGE_REPLY
        MESSAGE_ERROR
        MESSAGE_HEARTBEAT
        MESSAGE_TEST_REQUEST
        MESSAGE_UNKNOWN
    struct decode_slots:
        void *slots
        uint64_t count
    struct decode_room:
        quote *quotes
        trade *trades
        book *books
        uint64_t quotes_max
        uint64_t trades_max
        uint64_t books_max
        const decode_slots *others
    struct decoded:
        message message
        uint64_t count
        uint64_t needed
    decode_result decode_deribit(const char *frame, size_t length, int64_t recv_ns, uint32_t conn, const decode_room *room,
                                 decoded *decoded)

cdef extern from "continuity.h" nogil:
    enum book_state:
        BOOK_NONE
        BOOK_CHAINED
        BOOK_BROKEN
    struct continuity_entry:
        char instrument[48]
        uint64_t change_id
        uint64_t trade_seq
        int64_t quote_ns
        int64_t trade_ns
        int64_t book_ns
        int64_t bbo_ns
        int64_t index_ns
        int64_t mark_ns
        int64_t funding_ns
        int64_t depth_ns
        uint32_t book_state
    struct continuity:
        uint64_t used
    bint continuity_forget(continuity *continuity, const char *instrument)

cdef extern from "histogram.h" nogil:
    enum:
        HISTOGRAM_FIRST_BITS
        HISTOGRAM_LAST_BITS
        HISTOGRAM_PART_BITS
        HISTOGRAM_BUCKETS
    struct histogram:
        int64_t counts[130]
        int64_t sum_ns
        int64_t negative
    void histogram_add(histogram *histogram, const int64_t *durations_ns, uint64_t count)

cdef extern from "folded_book.h" nogil:
    enum:
        FOLDED_PAST_MAX
    int64_t FOLDED_PAST_NS
    enum folded_verdict:
        FOLDED_AGREES
        FOLDED_DIFFERS
        FOLDED_UNKNOWN
    struct folded_past:
        pass
    struct folded_side:
        double *ranks
        folded_past *past
        uint32_t count
        uint32_t room
        uint32_t past_count
        uint32_t past_room
    struct folded_book:
        int64_t whole_ns
        int64_t spoke_ns
        uint64_t change_id
        uint32_t conn
        bint in_message
        folded_side bids
        folded_side asks
    void folded_begin(folded_book *book)
    bint folded_has_room(const folded_book *book)
    void folded_take(folded_book *book, const book *record)
    void folded_forget(folded_book *book)
    folded_verdict folded_compare(const folded_book *book, uint32_t conn, int64_t recv_ns, double bid, double ask,
                                  int64_t since_ns)
    double folded_bid(const folded_book *book)
    double folded_ask(const folded_book *book)
    void folded_restore_price(folded_side *side, double rank)
    void folded_restore(folded_book *book, int64_t whole_ns, uint32_t conn, uint64_t change_id)

cdef extern from "feed.h" nogil:
    enum feed_tell:
        FEED_TELL_MESSAGE
        FEED_TELL_UNDECODABLE
        FEED_TELL_RECORDS
        FEED_TELL_WAIT
        FEED_TELL_OVERFLOW
        FEED_TELL_OVERFLOWED
    enum feed_finding:
        FEED_NOTHING
        FEED_BREAK
        FEED_LEAP
    struct feed_overflow:
        uint64_t records
        int64_t from_ns
        int64_t to_ns
    struct feed_report:
        message message
        record_kind kind
        feed_overflow overflow
    struct feed_found:
        record_kind kind
        const char *instrument
        uint64_t expected
        uint64_t got
        int64_t recv_ns
        int64_t since_ns
    struct feed_counters:
        uint64_t frames
        uint64_t bytes
        uint64_t quotes
        uint64_t trades
        uint64_t books
        uint64_t bbos
        uint64_t indices
        uint64_t marks
        uint64_t fundings
        uint64_t depths
        uint64_t replies
        uint64_t errors
        uint64_t heartbeats
        uint64_t test_requests
        uint64_t unknown
        uint64_t undecodable
        uint64_t breaks
        uint64_t repeats
        uint64_t ignored
        uint64_t unwatched
        uint64_t waits
        uint64_t overflows
        uint64_t lost_records
    struct feed:
        continuity continuity
        feed_counters counters
        uint32_t conn
    void feed_init(feed *feed, ring *quote, ring *trade, ring *book, uint32_t full_wait_ms, continuity_entry *entries,
                   uint64_t capacity)
    void feed_add(feed *feed, ring *ring)
    void feed_connect(feed *feed, uint32_t conn)
    void feed_remember_trade(feed *feed, const char *instrument, uint64_t trade_seq)
    unsigned feed_frame(feed *feed, const char *frame, size_t length, int64_t recv_ns, uint32_t waited_ms, feed_report *report)
    feed_finding feed_next(feed *feed, feed_found *found)
    unsigned feed_settle(feed *feed, record_kind kind, int closing, feed_report *report)

cdef extern from "merge_chains.h" nogil:
    enum:
        MERGE_CHAINS
    struct merge_chain:
        char instrument[48]
    struct merge_chains:
        uint64_t used
    uint64_t merge_chains_forget(merge_chains *chains, int64_t before_ns)
    uint64_t merge_chains_export(const merge_chains *chains, merge_chain *out)
    uint64_t merge_chains_import(merge_chains *chains, const merge_chain *kept, uint64_t count)

cdef extern from "merge.h" nogil:
    enum:
        MERGE_LEGS
        MERGE_WINDOW
        MERGE_LATE_BUCKETS
    int64_t MERGE_SETTLE_NS
    struct merge_figures:
        uint64_t records
        uint64_t first
        uint64_t second
        uint64_t repeats
        uint64_t only
        uint64_t late[64]
    struct merge:
        merge_figures legs[2]
        merge_chains chains
        uint64_t unchained
    struct merge_break:
        char instrument[48]
        uint64_t first_missing
        uint64_t last_missing
        int64_t from_ns
        int64_t to_ns
        uint32_t conn
        uint8_t kind
        uint8_t ends
    struct merge_turn:
        record_kind kind
        int again
        const void *records[2]
        uint64_t counts[2]
        int64_t release_ns[2]
        void *out
        void *held[2]
        merge_break *breaks
        uint64_t breaks_max
        uint64_t consumed[2]
        uint64_t out_count
        uint64_t held_counts[2]
        uint64_t breaks_count
    void merge_run(merge *merge, merge_turn *turn)
    void merge_connected(merge *merge, int leg, uint32_t conn)
    void merge_lost(merge *merge, int leg)
    void merge_published(merge *merge, merge_turn *turn)
    void merge_judge(merge *merge, int64_t now_ns)
    int64_t merge_late_ns(unsigned bucket)
