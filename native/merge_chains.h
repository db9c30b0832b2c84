/* merge_chains.h: what was published of each instrument's books and trades, by a merger of two legs (merge.h).
 *
 * A table from kind and instrument to its chain, over the caller's memory, open addressing. What has expired is forgotten now
 * and then, so that a merger may run for ever. One thread.
 */
#ifndef TICKBAY_MERGE_CHAINS_H
#define TICKBAY_MERGE_CHAINS_H

#include "record.h"

#define MERGE_LEGS 2
#define MERGE_CHAINS (1u << 15) /* one for each instrument that has a book, and each that has trades; 3/4 are used */

enum merge_state {
    MERGE_NONE = 0,   /* nothing published */
    MERGE_WHOLE = 1,  /* every message followed the one before */
    MERGE_BROKEN = 2, /* a hole, and no snapshot behind it yet; books only */
};

/* What was published of one instrument's books or trades, and how far each leg is. */
struct merge_chain {
    char instrument[RECORD_INSTRUMENT_MAX]; /* empty: a free place */
    uint64_t last;                          /* id of the newest message published: change id or trade_seq */
    uint64_t missed_first, missed_last;     /* ids of which some are missing: those are taken, should they still come; 0: none */
    int64_t last_ns, last_exch_ns;          /* recv_ns and exch_ns of that message */
    uint64_t leg_last[MERGE_LEGS];          /* id of the newest message of each leg's connection; 0: none yet */
    uint32_t leg_conn[MERGE_LEGS];          /* that connection */
    uint32_t held[MERGE_LEGS];              /* messages held back */
    uint8_t leg_whole[MERGE_LEGS];          /* unbroken since its connection's first message */
    uint8_t state;                          /* enum merge_state */
    uint8_t kind;                           /* RECORD_BOOK, RECORD_TRADE */
    uint8_t reserved[4];
};
_Static_assert(sizeof(struct merge_chain) == 128, "struct merge_chain has another size");

struct merge_chains {
    uint64_t used;
    struct merge_chain places[MERGE_CHAINS];
};

/* The chain of an instrument (RECORD_INSTRUMENT_MAX bytes, NUL-padded, not empty), made if it is new; NULL when the table is
 * full. `chains` must be zeroed memory at first. */
struct merge_chain *merge_chains_find(struct merge_chains *chains, enum record_kind kind, const char *instrument);
/* Give back the places of those of which nothing was published since `before_ns`, and nothing is held. What comes of one
 * nevertheless begins a new chain, without a word of what is missing before it. Returns how many. Pointers to chains are not
 * valid any more: others may have moved. */
uint64_t merge_chains_forget(struct merge_chains *chains, int64_t before_ns);

/* To be kept on disk: writes those in use to `out` (MERGE_CHAINS), nothing held; returns how many. */
uint64_t merge_chains_export(const struct merge_chains *chains, struct merge_chain *out);
/* Into an empty table; what is no sound chain is left out. Returns how many were taken. */
uint64_t merge_chains_import(struct merge_chains *chains, const struct merge_chain *kept, uint64_t count);

#endif
