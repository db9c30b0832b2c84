/* continuity.h: what a feed remembers of each instrument on its connection, to tell at once that something is missing.
 *
 * A table from instrument name to its last change id and last time heard, over the caller's memory, open addressing. What
 * has expired is forgotten now and then, so that a connection may last for ever. Written by the feed's own thread only.
 */
#ifndef TICKBAY_CONTINUITY_H
#define TICKBAY_CONTINUITY_H

#include "record.h"

#include <stdbool.h>

enum book_state {
    BOOK_NONE = 0,    /* nothing received: waiting for the snapshot */
    BOOK_CHAINED = 1, /* every change followed the one before */
    BOOK_BROKEN = 2,  /* a change did not follow: waiting for a new snapshot */
};

struct continuity_entry {
    char instrument[RECORD_INSTRUMENT_MAX]; /* empty: a free place */
    uint64_t change_id;                     /* of the last book message */
    uint64_t trade_seq;                     /* of the last trade */
    int64_t quote_ns, trade_ns, book_ns;    /* recv_ns of the last message of that kind; 0: none yet */
    int64_t bbo_ns, index_ns, mark_ns, funding_ns, depth_ns;
    uint32_t book_state;                    /* enum book_state */
    uint32_t reserved;
};

struct continuity {
    struct continuity_entry *entries;
    uint64_t capacity; /* a power of two; at most 3/4 are used */
    uint64_t used;
};

enum continuity_result {
    CONTINUITY_OK = 0,
    CONTINUITY_BREAK,  /* book: prev_change_id is not the last change id, or a snapshot is ahead of an unbroken chain; trade:
                        * trade_seq jumped by more than 1 */
    CONTINUITY_IGNORE, /* book: a change while waiting for a snapshot (already reported) */
    CONTINUITY_REPEAT, /* a change id (of a chained book) or a trade_seq not above the last one: we already have it */
    CONTINUITY_FULL,   /* the table has no place for another instrument */
};

/* `entries` must be zeroed; `capacity` a power of two, at least 4. */
void continuity_init(struct continuity *continuity, struct continuity_entry *entries, uint64_t capacity);
/* The entry of an instrument (RECORD_INSTRUMENT_MAX bytes, NUL-padded, not empty), made if it is new; NULL when the table
 * is full. A feed that knows the last stored trade_seq of an instrument puts it in here before its first trade. */
struct continuity_entry *continuity_find(struct continuity *continuity, const char *instrument);
/* Take an instrument out; false where it is not there. Pointers to entries are not valid any more: others may have moved. */
bool continuity_forget(struct continuity *continuity, const char *instrument);

/* What a message of a chain is compared with. */
struct continuity_before {
    uint64_t expected; /* on a break. Book: the last change id that we have, which prev_change_id should have been; trade: the
                        * trade_seq that should have come now */
    int64_t recv_ns;   /* of its message before, on this connection; 0: there was none */
};

/* Each takes one message's records in order. Any message counts as heard (quote_ns, …), whatever the result. After a break a
 * book waits for a snapshot, unless it was one, which is whole; a trade sequence goes on from the new one. `*before` is filled
 * unless the table is full. */
enum continuity_result continuity_quote(struct continuity *continuity, const struct quote *quote);
enum continuity_result continuity_book(struct continuity *continuity, const struct book *books, uint64_t count,
                                       struct continuity_before *before);
/* One trade (a message may mix instruments). */
enum continuity_result continuity_trade(struct continuity *continuity, const struct trade *trade,
                                        struct continuity_before *before);
/* A message of another kind, by the first of its records (not NULL). It has no sequence: it is heard, under the name of its
 * instrument; a mark under that of its index; a value of an index under `price.eth_usd`, `volatility.eth_usd` or
 * `delivery.eth_usd`, for each comes over a channel of its own. */
enum continuity_result continuity_other(struct continuity *continuity, enum record_kind kind, const void *record);

#endif
