/* folded_book.h: one order book as its records make it: the prices of both sides, and what the best ones were a moment ago.
 *
 * In: the records of a stream `<feed>.book`, of one instrument, in order. A book is known from a snapshot on, until a change
 * does not follow the one before: then it is unknown, and its feed brings a new snapshot by itself. Amounts are not kept: what
 * is compared with tickers are best prices. The room is the caller's. One thread.
 */
#ifndef TICKBAY_FOLDED_BOOK_H
#define TICKBAY_FOLDED_BOOK_H

#include "record.h"

#include <stdbool.h>

/* How long a best price that ceased is remembered, and how many are, a side: a ticker is looked at within two seconds, and may
 * be late by one; a channel of 100 ms has ten in a second. */
#define FOLDED_PAST_NS INT64_C(10000000000)
#define FOLDED_PAST_MAX 256u

struct folded_past {
    double rank;      /* NaN: that side was empty */
    int64_t ended_ns; /* when it ceased to be the best */
};

/* Prices are kept as ranks, that of the best one the greatest: a bid's is its price, an ask's the same below zero. */
struct folded_side {
    double *ranks;            /* of the levels, rising */
    struct folded_past *past; /* oldest first */
    uint32_t count, room;     /* of ranks */
    uint32_t past_count, past_room;
    double best;      /* since the last whole message; NaN: empty */
    int64_t known_ns; /* since when every best price is remembered */
};

struct folded_book {
    int64_t whole_ns; /* recv_ns of the snapshot; 0: the book is not known */
    int64_t spoke_ns; /* recv_ns of the newest record */
    uint64_t change_id;
    uint32_t conn;
    bool in_message; /* records of it are still to come */
    bool skips;      /* it is not taken */
    struct folded_side bids, asks;
};

enum folded_verdict {
    FOLDED_AGREES = 0,
    FOLDED_DIFFERS,
    FOLDED_UNKNOWN, /* the book is not known, not of that connection or time, or has forgotten what it was then */
};

/* Zeroed memory becomes an unknown book without room. */
void folded_begin(struct folded_book *book);
/* Whether each side has room for one more price and one more of the past. If not, the caller makes room (count < room;
 * past_count < past_room, which need not be more than FOLDED_PAST_MAX) before the next record. */
bool folded_has_room(const struct folded_book *book);
/* The next record of this book. */
void folded_take(struct folded_book *book, const struct book *record);
/* The book is not known before its next snapshot. */
void folded_forget(struct folded_book *book);
/* A ticker of connection `conn`, received at `recv_ns`: is its best bid the book's, or was it at `since_ns` or later, and so
 * its ask? NaN: none. */
enum folded_verdict folded_compare(const struct folded_book *book, uint32_t conn, int64_t recv_ns, double bid, double ask,
                                   int64_t since_ns);
/* The best prices; NaN: none. */
double folded_bid(const struct folded_book *book);
double folded_ask(const struct folded_book *book);

/* A book that was known to an earlier process: after folded_begin() or folded_forget(), each of its prices (there is room),
 * then what else it was. Nothing depends on its being new: what does not follow it makes it unknown. */
void folded_restore_price(struct folded_side *side, double rank);
void folded_restore(struct folded_book *book, int64_t whole_ns, uint32_t conn, uint64_t change_id);

#endif
