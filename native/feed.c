#include "feed.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

/* Slots claimed ahead, renewed when half of them are used, so that most frames need one decode and no claim. A quote frame has
 * one record, a change of a book a few; what needs more is decoded twice (the first time it learns how many). Claimed slots
 * are lost to slow readers, hence at most a sixteenth of the ring. */
#define ROOM_AHEAD 128u
#define ROOM_SHARE 16u

/* An overflow ends when this share of the ring is free: far enough from full not to begin again at once. */
#define SETTLE_SHARE 8u

void feed_init(struct feed *feed, struct ring *quote, struct ring *trade, struct ring *book, uint32_t full_wait_ms,
               struct continuity_entry *entries, uint64_t capacity)
{
    assert(quote->kind == RECORD_QUOTE && trade->kind == RECORD_TRADE && book->kind == RECORD_BOOK);
    memset(feed, 0, sizeof *feed);
    feed->rings[RECORD_QUOTE] = quote;
    feed->rings[RECORD_TRADE] = trade;
    feed->rings[RECORD_BOOK] = book;
    feed->full_wait_ms = full_wait_ms;
    continuity_init(&feed->continuity, entries, capacity);
}

void feed_add(struct feed *feed, struct ring *ring)
{
    assert(ring->kind >= RECORD_BBO && ring->kind <= RECORD_DEPTH && feed->rings[ring->kind] == NULL);
    feed->rings[ring->kind] = ring;
}

void feed_connect(struct feed *feed, uint32_t conn)
{
    assert(conn > feed->conn); /* rows of two connections are told apart by it */
    struct continuity *table = &feed->continuity;
    feed->conn = conn;
    feed->unchecked_count = 0;
    /* What has expired is forgotten once an hour; one that is half full all the same starts empty. */
    bool keep = table->used <= table->capacity / 2;
    for (uint64_t i = 0; keep && i < table->capacity; i++) {
        struct continuity_entry *entry = &table->entries[i];
        entry->change_id = 0;
        entry->quote_ns = entry->trade_ns = entry->book_ns = 0;
        entry->bbo_ns = entry->index_ns = entry->mark_ns = entry->funding_ns = entry->depth_ns = 0;
        entry->book_state = BOOK_NONE;
    }
    if (!keep) {
        memset(table->entries, 0, table->capacity * sizeof *table->entries);
        continuity_init(table, table->entries, table->capacity);
    }
    for (int kind = 0; kind < FEED_RING_COUNT; kind++)
        if (feed->rings[kind] != NULL)
            ring_set_conn(feed->rings[kind], conn);
}

void feed_remember_trade(struct feed *feed, const char instrument[RECORD_INSTRUMENT_MAX], uint64_t trade_seq)
{
    struct continuity_entry *entry = continuity_find(&feed->continuity, instrument);
    if (entry != NULL && trade_seq > entry->trade_seq)
        entry->trade_seq = trade_seq;
}

/* At least `count` slots of `kind`, claimed. */
static bool make_room(struct feed *feed, enum record_kind kind, uint64_t count)
{
    struct decode_slots *room = &feed->rooms[kind];
    if (room->count >= count)
        return true;
    if (ring_claim(feed->rings[kind], count, &room->slots) != RING_OK)
        return false;
    room->count = count;
    return true;
}

/* The usual room, or as much of it as is free: an overflow is only known when a frame does not fit. */
static void make_usual_room(struct feed *feed, enum record_kind kind)
{
    struct ring *ring = feed->rings[kind];
    uint64_t usual = ring->capacity / ROOM_SHARE;
    usual = usual > ROOM_AHEAD ? ROOM_AHEAD : usual;
    if (feed->rooms[kind].count >= usual / 2 || make_room(feed, kind, usual))
        return;
    uint64_t free = ring_free(ring);
    if (free > 0)
        (void)make_room(feed, kind, free < usual ? free : usual);
}

static enum decode_result decode(struct feed *feed, const char *frame, size_t length, int64_t recv_ns, struct decoded *decoded)
{
    const struct decode_room room = {
        .quotes = feed->rooms[RECORD_QUOTE].slots,
        .trades = feed->rooms[RECORD_TRADE].slots,
        .books = feed->rooms[RECORD_BOOK].slots,
        /* While a kind overflows it has no room: the decoder then only counts. */
        .quotes_max = feed->overflows[RECORD_QUOTE].records > 0 ? 0 : feed->rooms[RECORD_QUOTE].count,
        .trades_max = feed->overflows[RECORD_TRADE].records > 0 ? 0 : feed->rooms[RECORD_TRADE].count,
        .books_max = feed->overflows[RECORD_BOOK].records > 0 ? 0 : feed->rooms[RECORD_BOOK].count,
        .others = feed->rooms, /* their room is given up while they overflow */
    };
    return decode_deribit(frame, length, recv_ns, feed->conn, &room, decoded);
}

/* The kind of the records of a message; 0 where it has none. */
static enum record_kind kind_of(enum message message)
{
    return (int)message < RECORD_KIND_COUNT ? (enum record_kind)(int)message : 0;
}

static uint64_t *counter_of(struct feed_counters *counters, enum message message)
{
    switch (message) {
    case MESSAGE_QUOTE:
        return &counters->quotes;
    case MESSAGE_TRADE:
        return &counters->trades;
    case MESSAGE_BOOK:
        return &counters->books;
    case MESSAGE_BBO:
        return &counters->bbos;
    case MESSAGE_INDEX:
        return &counters->indices;
    case MESSAGE_MARK:
        return &counters->marks;
    case MESSAGE_FUNDING:
        return &counters->fundings;
    case MESSAGE_DEPTH:
        return &counters->depths;
    case MESSAGE_REPLY:
        return &counters->replies;
    case MESSAGE_ERROR:
        return &counters->errors;
    case MESSAGE_HEARTBEAT:
        return &counters->heartbeats;
    case MESSAGE_TEST_REQUEST:
        return &counters->test_requests;
    case MESSAGE_UNKNOWN:
        break;
    }
    return &counters->unknown;
}

unsigned feed_settle(struct feed *feed, enum record_kind kind, int closing, struct feed_report *report)
{
    struct feed_overflow *overflow = &feed->overflows[kind];
    const struct ring *ring = feed->rings[kind];
    if (overflow->records == 0 || (!closing && ring_free(feed->rings[kind]) < ring->capacity / SETTLE_SHARE))
        return 0;
    report->kind = kind;
    report->overflow = *overflow;
    *overflow = (struct feed_overflow){0};
    return FEED_TELL_OVERFLOWED;
}

/* A frame of `records` records that the ring has no space for. FEED-1: it is counted, and told when the episode ends. */
static unsigned lose(struct feed *feed, enum record_kind kind, uint64_t records, int64_t recv_ns, struct feed_report *report)
{
    struct feed_overflow *overflow = &feed->overflows[kind];
    bool begins = overflow->records == 0;
    if (begins) {
        overflow->from_ns = recv_ns;
        feed->counters.overflows++;
        feed->rooms[kind].count = 0; /* claimed again when it ends */
    }
    overflow->records += records;
    overflow->to_ns = recv_ns;
    feed->counters.lost_records += records;
    report->kind = kind;
    return begins ? FEED_TELL_OVERFLOW : 0;
}

static unsigned take_records(struct feed *feed, const struct decoded *decoded, enum record_kind kind)
{
    struct decode_slots *room = &feed->rooms[kind];
    assert(decoded->count <= room->count);
    feed->unchecked = room->slots;
    feed->unchecked_count = decoded->count;
    feed->unchecked_kind = kind;
    ring_publish(feed->rings[kind], decoded->count);
    room->slots = (unsigned char *)room->slots + decoded->count * feed->rings[kind]->record_size;
    room->count -= decoded->count;
    *counter_of(&feed->counters, decoded->message) += decoded->count;
    make_usual_room(feed, kind); /* for its next message */
    return FEED_TELL_RECORDS;
}

/* A message that is not kept: not one of ours, or of a kind without a ring. */
static unsigned tell_message(struct feed *feed, enum message message, struct feed_report *report)
{
    ++*counter_of(&feed->counters, message);
    report->message = message;
    return FEED_TELL_MESSAGE;
}

/* The frame did not fit the room it was given: more room, or a wait, or a loss. */
static unsigned retry(struct feed *feed, const char *frame, size_t length, int64_t recv_ns, uint32_t waited_ms,
                      struct decoded *decoded, struct feed_report *report)
{
    enum record_kind kind = kind_of(decoded->message);
    uint64_t needed = decoded->needed;
    assert(kind != 0 && needed > 0);
    if (feed->rings[kind] == NULL)
        return tell_message(feed, MESSAGE_UNKNOWN, report);
    unsigned told = feed_settle(feed, kind, 0, report);
    if (feed->overflows[kind].records > 0)
        return told | lose(feed, kind, needed, recv_ns, report);
    if (make_room(feed, kind, needed)) {
        enum decode_result result = decode(feed, frame, length, recv_ns, decoded);
        assert(result == DECODE_OK); /* the same bytes, with the room that they asked for */
        (void)result;
        return told | take_records(feed, decoded, kind);
    }
    if (waited_ms >= feed->full_wait_ms || needed > feed->rings[kind]->capacity)
        return told | lose(feed, kind, needed, recv_ns, report);
    feed->counters.waits += waited_ms == 0;
    report->kind = kind;
    return told | FEED_TELL_WAIT;
}

unsigned feed_frame(struct feed *feed, const char *frame, size_t length, int64_t recv_ns, uint32_t waited_ms,
                    struct feed_report *report)
{
    assert(feed->conn > 0);
    assert(feed->unchecked_count == 0); /* feed_next() has seen all of the last frame */
    if (waited_ms == 0) {
        feed->counters.frames++;
        feed->counters.bytes += length;
    }

    struct decoded decoded = {0};
    switch (decode(feed, frame, length, recv_ns, &decoded)) {
    case DECODE_OK:
        break;
    case DECODE_FULL:
        return retry(feed, frame, length, recv_ns, waited_ms, &decoded, report);
    case DECODE_MORE: /* a frame is a whole message: one that does not end is damaged */
    case DECODE_BAD:
        feed->counters.undecodable++;
        return FEED_TELL_UNDECODABLE;
    }
    enum record_kind kind = kind_of(decoded.message);
    if (kind == 0 || feed->rings[kind] == NULL)
        return tell_message(feed, kind == 0 ? decoded.message : MESSAGE_UNKNOWN, report);
    return take_records(feed, &decoded, kind);
}

/* Count a result of continuity.h and say whether the caller must be told. */
static enum feed_finding judge(struct feed_counters *counters, enum continuity_result result)
{
    switch (result) {
    case CONTINUITY_OK:
        break;
    case CONTINUITY_BREAK:
        counters->breaks++;
        return FEED_BREAK;
    case CONTINUITY_IGNORE:
        counters->ignored++;
        break;
    case CONTINUITY_REPEAT:
        counters->repeats++;
        break;
    case CONTINUITY_FULL: /* the instrument is recorded but not watched */
        counters->unwatched++;
        break;
    }
    return FEED_NOTHING;
}

/* One message is one instrument's: all of it at once. */
static enum feed_finding check_books(struct feed *feed, struct feed_found *found)
{
    const struct book *books = (const struct book *)feed->unchecked;
    uint64_t count = feed->unchecked_count;
    feed->unchecked_count = 0;
    struct continuity_before before = {0};
    enum feed_finding finding = judge(&feed->counters, continuity_book(&feed->continuity, books, count, &before));
    found->expected = before.expected;
    found->since_ns = before.recv_ns;
    found->instrument = books->head.instrument;
    found->recv_ns = books->head.recv_ns;
    bool leaps = finding == FEED_BREAK && (books->head.flags & RECORD_SNAPSHOT);
    found->got = leaps ? books->change_id : books->prev_change_id;
    return leaps ? FEED_LEAP : finding;
}

static enum feed_finding check_trade(struct feed *feed, struct feed_found *found)
{
    const struct trade *trade = (const struct trade *)feed->unchecked;
    feed->unchecked += sizeof *trade;
    feed->unchecked_count--;
    struct continuity_before before = {0};
    enum feed_finding finding = judge(&feed->counters, continuity_trade(&feed->continuity, trade, &before));
    found->expected = before.expected;
    found->since_ns = before.recv_ns;
    found->instrument = trade->head.instrument;
    found->got = trade->trade_seq;
    found->recv_ns = trade->head.recv_ns;
    return finding;
}

static enum feed_finding check_quote(struct feed *feed, struct feed_found *found)
{
    const struct quote *quote = (const struct quote *)feed->unchecked;
    feed->unchecked += sizeof *quote;
    feed->unchecked_count--;
    found->instrument = quote->head.instrument;
    found->recv_ns = quote->head.recv_ns;
    return judge(&feed->counters, continuity_quote(&feed->continuity, quote));
}

/* What has no sequence: all of the message at once is heard. */
static enum feed_finding hear_other(struct feed *feed)
{
    enum continuity_result result = continuity_other(&feed->continuity, feed->unchecked_kind, feed->unchecked);
    feed->unchecked_count = 0;
    return judge(&feed->counters, result);
}

enum feed_finding feed_next(struct feed *feed, struct feed_found *found)
{
    while (feed->unchecked_count > 0) {
        if (feed->unchecked_kind > RECORD_BOOK)
            return hear_other(feed);
        *found = (struct feed_found){.kind = feed->unchecked_kind};
        enum feed_finding finding = feed->unchecked_kind == RECORD_BOOK    ? check_books(feed, found)
                                    : feed->unchecked_kind == RECORD_TRADE ? check_trade(feed, found)
                                                                           : check_quote(feed, found);
        if (finding != FEED_NOTHING)
            return finding;
    }
    return FEED_NOTHING;
}
