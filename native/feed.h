/* feed.h: one frame of a venue into the rings of a feed: decode in place, publish, check that nothing is missing.
 *
 * What is left for the caller are the rare things, told by bits: a message for the session, a frame to keep, a book that
 * broke, a ring that is full. One thread uses a feed; it allocates nothing and never waits.
 *
 * A ring that is full (the journal is behind, RING-2) makes an overflow episode: the caller waits once, for a bounded time,
 * then every frame of that kind is counted as lost until an eighth of the ring is free again. So a journal that stands still
 * costs the connection one wait and not one for each frame. FEED-1: every episode is told with how many records it lost.
 */
#ifndef TICKBAY_FEED_H
#define TICKBAY_FEED_H

#include "continuity.h"
#include "decode.h"
#include "ring.h"

enum { FEED_RING_COUNT = RECORD_KIND_COUNT }; /* rings lie at their kind */

/* What feed_frame() and feed_settle() tell; several can come together. */
enum feed_tell {
    FEED_TELL_MESSAGE = 1u << 0,     /* a reply, error, heartbeat, test request or unknown: `message`; for the session */
    FEED_TELL_UNDECODABLE = 1u << 1, /* not a message: keep its bytes */
    FEED_TELL_RECORDS = 1u << 2,     /* records were published: ask feed_next() until it has no more */
    FEED_TELL_WAIT = 1u << 3,        /* the ring of `kind` is full: wait a millisecond, then bring the same frame again */
    FEED_TELL_OVERFLOW = 1u << 4,    /* an overflow of `kind` began: this frame is its first loss */
    FEED_TELL_OVERFLOWED = 1u << 5,  /* an overflow of `kind` ended: `overflow` says what it lost */
};

struct feed_overflow {
    uint64_t records;       /* lost in this episode; 0: there is none now */
    int64_t from_ns, to_ns; /* recv_ns of its first and its last lost frame */
};

struct feed_report {
    enum message message;
    enum record_kind kind;
    struct feed_overflow overflow;
};

/* What feed_next() finds in the records just published. */
enum feed_finding {
    FEED_NOTHING = 0, /* no more */
    FEED_BREAK,       /* a change or a trade did not follow: something between `expected` and `got` is missing */
    FEED_LEAP,        /* a snapshot is ahead of an unbroken chain: it was asked for, or what is between is missing */
};

struct feed_found {
    enum record_kind kind;  /* RECORD_BOOK or RECORD_TRADE */
    const char *instrument; /* RECORD_INSTRUMENT_MAX bytes; valid until the next feed_frame() */
    uint64_t expected;      /* the id that should have come before (book) or now (trade) */
    uint64_t got;           /* prev_change_id (book), trade_seq (trade), change_id (leap) */
    int64_t recv_ns;
    int64_t since_ns;       /* recv_ns of its message before, on this connection; 0: there was none */
};

struct feed_counters { /* since feed_init() */
    uint64_t frames, bytes;
    uint64_t quotes, trades, books, bbos, indices, marks, fundings, depths; /* records published */
    uint64_t replies, errors, heartbeats, test_requests, unknown;
    uint64_t undecodable;
    uint64_t breaks, repeats, ignored, unwatched; /* messages that continuity.h called BREAK, REPEAT, IGNORE, FULL */
    uint64_t waits, overflows, lost_records;   /* bounded waits, episodes, records they lost */
};

struct feed {
    struct ring *rings[FEED_RING_COUNT];         /* NULL: such records are not kept */
    struct decode_slots rooms[FEED_RING_COUNT]; /* claimed and not yet published */
    struct feed_overflow overflows[FEED_RING_COUNT];
    struct continuity continuity;
    struct feed_counters counters;
    const unsigned char *unchecked; /* records published by the last frame that feed_next() has yet to look at */
    uint64_t unchecked_count;
    enum record_kind unchecked_kind;
    uint32_t conn;
    uint32_t full_wait_ms;
};

/* `quote`, `trade` and `book` are attached and taken over by ring_produce(); `entries` are zeroed memory for the continuity
 * table, which stays the caller's. The feed starts without a connection. */
void feed_init(struct feed *feed, struct ring *quote, struct ring *trade, struct ring *book, uint32_t full_wait_ms,
               struct continuity_entry *entries, uint64_t capacity);
/* A ring of another kind of what the venue sends, attached and taken over. Without one, messages of that kind count as unknown. */
void feed_add(struct feed *feed, struct ring *ring);
/* A new connection, with its epoch. Books start anew; trade sequences go on, so that what was traded meanwhile is known to be
 * missing, to the number. */
void feed_connect(struct feed *feed, uint32_t conn);
/* The last trade of an instrument that an earlier process recorded: the next one must follow it. Before any frame. */
void feed_remember_trade(struct feed *feed, const char instrument[RECORD_INSTRUMENT_MAX], uint64_t trade_seq);

/* One whole frame. `waited_ms` is how long the caller has waited for this frame's ring already. Returns enum feed_tell bits;
 * `*report` is filled as far as the bits say. */
unsigned feed_frame(struct feed *feed, const char *frame, size_t length, int64_t recv_ns, uint32_t waited_ms,
                    struct feed_report *report);
/* Call until FEED_NOTHING after each feed_frame() that tells FEED_TELL_RECORDS. */
enum feed_finding feed_next(struct feed *feed, struct feed_found *found);
/* End the overflow of `kind` if its ring has space again, or anyway (`closing`). 0 or FEED_TELL_OVERFLOWED. For the quiet
 * time, when no frame comes that would end it. */
unsigned feed_settle(struct feed *feed, enum record_kind kind, int closing, struct feed_report *report);

#endif
