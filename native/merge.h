/* merge.h: of the records of two connections that carry the same channels (the legs of a pair), each one once.
 *
 * Whatever either leg brought is published once, by whichever leg brought it first (PAIR-1). What is "the same" is told
 *   books      by the chain of change ids of their instrument: a leg's hole is filled by the other leg, in order
 *   trades     by their trade_seq, which is a chain too
 *   all else   by being equal: the digest of a record is remembered in a window of the newest MERGE_WINDOW ones; where best
 *              prices come back to what they were, all with one time of the venue, by how often
 *
 * A message that does not follow what was published is held back while the other leg may still bring what is between: that
 * leg is connected and not beyond it. The caller keeps what is held, gives it again after each turn, and says
 * from when on it has waited long enough (`release_ns`). Then the hole is told (struct merge_break), and what should come
 * even later is still taken.
 *
 * All memory is the caller's, and there are no pointers in it. One thread.
 */
#ifndef TICKBAY_MERGE_H
#define TICKBAY_MERGE_H

#include "digest.h"
#include "merge_chains.h"

#define MERGE_WINDOW (1u << 18)  /* messages: 26 s of 10,000 a second on one pair */
#define MERGE_SUBJECTS (1u << 14) /* each has at most one instrument's quotes or best bids and offers to remember */
#define MERGE_LATE_BUCKETS 64    /* see merge_late_ns() */

struct merge_seen {
    uint64_t digest[2];
    int64_t recv_ns; /* of the first arrival */
    uint32_t next;   /* place + 1 of the next one in its bucket */
    uint32_t conn[MERGE_LEGS]; /* of quotes and best bids and offers: the connection that brought it last, */
    uint8_t times[MERGE_LEGS]; /* and how often */
    uint8_t legs;    /* bit of each leg that brought it */
    uint8_t judged;
    uint8_t published; /* times */
};

/* One leg, in messages that have a digest. What one leg has `only`, the other one has missed. */
struct merge_figures {
    uint64_t records;                   /* given to us */
    uint64_t first, second, repeats;    /* arrived before the other leg's copy, after it, or again on the same leg */
    uint64_t only;                      /* the other leg did not bring it within MERGE_SETTLE_NS */
    /* Of `second`: how long after the first. Not of what a new connection begins with, which is older than it: the last ticker
     * of each instrument. */
    uint64_t late[MERGE_LATE_BUCKETS];
};

struct merge {
    struct merge_figures legs[MERGE_LEGS];
    uint32_t conn[MERGE_LEGS];      /* the connection of each leg; 0: lost */
    uint32_t lost_conn[MERGE_LEGS]; /* the last one that was lost */
    int64_t conn_ns[MERGE_LEGS];    /* recv_ns of the connection's first record */
    uint64_t seen_count;            /* ever; the place of the next is this modulo MERGE_WINDOW */
    uint64_t judged;                /* how many of them are counted in `only` or known to have two */
    uint64_t unchained;             /* messages of instruments that the table of chains has no place for */
    struct merge_chains chains;
    struct digest newest[MERGE_LEGS][MERGE_SUBJECTS]; /* by instrument: the last one that the leg brought, unless displaced */
    uint32_t buckets[MERGE_WINDOW]; /* place + 1 of the first one */
    struct merge_seen seen[MERGE_WINDOW];
};

/* How long the other leg may take before a message counts as missed by it. */
#define MERGE_SETTLE_NS (10 * (int64_t)1000000000)

/* A hole in both legs' chains of an instrument, or the end of one. */
struct merge_break {
    char instrument[RECORD_INSTRUMENT_MAX];
    uint64_t first_missing, last_missing; /* as in struct gap; 0 at an end */
    int64_t from_ns, to_ns;               /* recv_ns of the messages around it; to_ns 0 while it lasts */
    uint32_t conn;
    uint8_t kind;
    uint8_t ends;                         /* 1: the hole that began last of this instrument ends at to_ns */
    uint8_t reserved[2];
};

/* One turn: in, per leg, records of one kind, in order; out, what is to be published, in order of arrival. */
struct merge_turn {
    enum record_kind kind;
    int again;                              /* 1: these were held before */
    const void *records[MERGE_LEGS];
    uint64_t counts[MERGE_LEGS];
    int64_t release_ns[MERGE_LEGS];         /* what that leg received up to then has waited long enough */
    void *out;                              /* room for all records */
    void *held[MERGE_LEGS];                 /* room for that leg's records: those that are held back (again) */
    struct merge_break *breaks;
    uint64_t breaks_max;
    /* results */
    uint64_t consumed[MERGE_LEGS];          /* less than counts: a message is not complete, or `breaks` is full */
    uint64_t out_count, held_counts[MERGE_LEGS], breaks_count;
};

/* `merge` must be zeroed memory. */
void merge_run(struct merge *merge, struct merge_turn *turn);
/* The connection of a leg, as soon as it is known; merge_run() learns it from the records too. */
void merge_connected(struct merge *merge, int leg, uint32_t conn);
/* The leg's connection is gone: it will not bring what it has not brought. */
void merge_lost(struct merge *merge, int leg);
/* After a restart: records[0] were published by an earlier life. They count for no leg. Of the results there are consumed[0]
 * and the breaks: that life may have ended before it told them. */
void merge_published(struct merge *merge, struct merge_turn *turn);
/* Count as missed what one leg alone has brought before `now_ns` - MERGE_SETTLE_NS. */
void merge_judge(struct merge *merge, int64_t now_ns);

/* The upper end of a bucket of `late`: they double every two. */
int64_t merge_late_ns(unsigned bucket);

#endif
