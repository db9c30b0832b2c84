/* decode.h: what every venue's decoder offers: one frame in, records out. No I/O, no memory of its own, no state.
 *
 * A decoder writes records straight into the slots it is given (ring_claim()), every byte of them except head.seq.
 */
#ifndef TICKBAY_DECODE_H
#define TICKBAY_DECODE_H

#include "record.h"

/* Readable bytes that the caller guarantees after the frame, of any value: a decoder may look ahead this far, no farther. */
#define DECODE_PADDING 0 /* picows hands out its read buffer: nothing is promised behind a frame */

enum decode_result {
    DECODE_OK = 0,
    DECODE_MORE, /* the bytes are a proper beginning of a message, but it does not end here */
    DECODE_BAD,  /* not a message of this venue: malformed, or a value out of its bounds; nothing was written that counts */
    DECODE_FULL, /* more records than room; *needed* in struct decoded says how many of its kind */
};

enum message { /* what has records has the number of their kind */
    MESSAGE_QUOTE = RECORD_QUOTE,
    MESSAGE_TRADE = RECORD_TRADE,
    MESSAGE_BOOK = RECORD_BOOK,
    MESSAGE_BBO = RECORD_BBO,
    MESSAGE_INDEX = RECORD_INDEX,
    MESSAGE_MARK = RECORD_MARK,
    MESSAGE_FUNDING = RECORD_FUNDING,
    MESSAGE_DEPTH = RECORD_DEPTH,
    MESSAGE_REPLY = 32,   /* has "id" and "result": for the session */
    MESSAGE_ERROR,        /* has "id" (or null) and "error": for the session */
    MESSAGE_HEARTBEAT,    /* nothing to do */
    MESSAGE_TEST_REQUEST, /* must be answered */
    MESSAGE_UNKNOWN,      /* well-formed, but of a method or channel that we do not record */
};

struct decode_slots {
    void *slots; /* for `count` records of a kind */
    uint64_t count;
};

/* Room for the records of one frame: one kind of all is written. */
struct decode_room {
    struct quote *quotes;
    struct trade *trades;
    struct book *books;
    uint64_t quotes_max, trades_max, books_max;
    const struct decode_slots *others; /* of the other kinds, RECORD_KIND_COUNT of them by their number; NULL: none */
};

struct decoded {
    enum message message;
    uint64_t count;  /* records written of that message's kind */
    uint64_t needed; /* with DECODE_FULL: how many would have been written */
};

/* Bounds on what a venue may send; anything beyond is DECODE_BAD. */
#define DECODE_FRAME_MAX (8u << 20) /* bytes */
#define DECODE_DEPTH_MAX 64         /* nested objects and arrays */
#define DECODE_NUMBER_MAX 64        /* bytes of one number */
#define DECODE_RECORDS_MAX 65536    /* records of one frame */

/* Deribit v2 JSON-RPC. `recv_ns` and `conn` go into every record's head. Each value stored is the double nearest to its
 * text. An empty side of the book, which Deribit spells as price 0 and amount 0 (or null), becomes NaN for price, amount and iv.
 *
 * The keys may come in any order; unknown ones are skipped, and null is the same as absent. The channel says what a notification
 * carries. A frame ends with its closing brace, or with whitespace behind it.
 *
 * DECODE_BAD is, beyond what is no JSON: a known key that comes twice in one object; a known key whose value is of another type
 * or out of its bounds (also: text that does not fit its field, or has a NUL; an unknown direction, action or liquidation); any
 * string that is not valid Unicode; a record without what identifies it (time, name, sequence or change id, and for a trade also
 * id, price, amount and direction). What the data of a channel does not say is taken from the channel's name: the index, and the
 * instrument of a funding; a delivery price is sent without a time and gets recv_ns. DECODE_MORE: every proper beginning of a message, and of some that would turn out bad. */
enum decode_result decode_deribit(const char *frame, size_t length, int64_t recv_ns, uint32_t conn,
                                  const struct decode_room *room, struct decoded *decoded);

#endif
