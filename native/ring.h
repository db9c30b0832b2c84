/* ring.h: one stream's newest records in shared memory. One producer, any number of readers, no locks, no system calls.
 *
 * The memory is the caller's: RING_HEADER_SIZE bytes of header, then the slots. The slots must be mapped TWICE, back to
 * back (ringmap.c does that), so that any run of up to `capacity` slots is contiguous: the decoder writes a whole message,
 * and a reader copies a whole slice, without ever seeing the end of the ring.
 *
 * Positions are sequence numbers: the record with sequence s lies in slot s mod capacity. Four of them, never decreasing:
 *
 *     durable <= head - 1,   head <= claim,   claim - 1 - durable <= capacity
 *
 *     head     the next record to be published      (producer stores, readers load)
 *     claim    what the producer may be writing now (producer stores, readers load: how they learn they were lapped)
 *     durable  the last record synced to disk       (journal stores, everyone loads)
 *     epoch, epoch_first_seq: the journal epoch of all records from epoch_first_seq on (journal stores before durable)
 *
 * RING-1: a reader sees a record whole or not at all; ring_read() says RING_LAPPED when it was too slow.
 * RING-2: only `durable` holds the producer back, and only the journal stores it.
 * RING-3: ring_attach() checks everything it reads before it uses it.
 */
#ifndef TICKBAY_RING_H
#define TICKBAY_RING_H

#include "record.h"

#define RING_HEADER_SIZE 65536u /* a multiple of every page size (aarch64: up to 64 KiB), so that the slots can be mapped twice */
#define RING_PAGE 4096u         /* the slots fill whole pages of this size at least */
#define RING_SLOTS_MAX (1ull << 32) /* far above any memory; keeps every product below 2^64 */
#define RING_STREAM_MAX 32     /* bytes of a stream's name, "<feed>.<kind>", NUL-padded */

enum ring_result {
    RING_OK = 0,
    RING_EMPTY,    /* reader: nothing published at this position yet */
    RING_LAPPED,   /* reader: overwritten; go on from the journal at the same sequence */
    RING_FULL,     /* producer: fewer free slots than asked for; the journal is behind */
    RING_NOT_YET,  /* attach: still being created (magic not published); try again */
    RING_WRONG,    /* attach: not a ring, or one of another version, layout or size */
};

struct ring_header; /* in ring.c; its first 128 bytes are the identity, written once by ring_create() */

/* A process's own view of a ring. Producer and reader keep their cached positions here, not in shared memory. */
struct ring {
    struct ring_header *header;
    unsigned char *slots;
    uint64_t capacity; /* slots, a power of two */
    uint64_t mask;
    uint32_t record_size;
    uint32_t kind;
    uint64_t cached_durable; /* producer: last seen; refreshed only when the ring looks full */
};

/* Bytes of the file for `capacity` slots (a power of two with capacity * record_size a multiple of RING_PAGE; where the
 * machine's pages are larger, of those), or 0 where the arguments are out of bounds. 512 slots do for any kind. */
uint64_t ring_file_size(enum record_kind kind, uint64_t capacity);

/* Journal: make a new ring in `memory` (header and slots zeroed, `file_size` from ring_file_size()). The first record
 * published will have sequence `first_seq` (>= 1); durable starts at first_seq - 1. Publishes the magic last. */
enum ring_result ring_create(void *memory, uint64_t file_size, enum record_kind kind, uint64_t capacity,
                             const char stream[RING_STREAM_MAX], const char boot_id[40], uint32_t epoch, uint64_t first_seq);

/* Anyone: check the header of a mapped file of `file_size` bytes and fill `ring`. `kind` is what the caller expects. */
enum ring_result ring_attach(struct ring *ring, void *memory, uint64_t file_size, enum record_kind kind);

/* Producer, once, after attach: take the ring over (its pid and start time are for status and adoption). Returns the
 * connection epoch stored last by ring_set_conn(), so that the next one can be greater. A claim left by a producer that
 * died is kept: its slots may be half overwritten, so readers must not trust them. They are claimed again; what had not
 * been published was never there. */
uint32_t ring_produce(struct ring *ring, uint32_t pid, uint64_t start_time);
void ring_set_conn(struct ring *ring, uint32_t conn);

/* Producer: `count` contiguous slots to write records into (zeroed or not: write every byte). They are not visible until
 * ring_publish(). Claiming again without publishing reuses the same slots. RING_FULL leaves *slots alone.
 * Claim little: what was claimed is lost to the readers (as the oldest records) even when it is never published. */
enum ring_result ring_claim(struct ring *ring, uint64_t count, void **slots);
/* Producer: free slots right now (refreshes the cached durable position). */
uint64_t ring_free(struct ring *ring);
/* Producer: stamp the sequence into the first `count` claimed records and make them visible. 0 is allowed. */
void ring_publish(struct ring *ring, uint64_t count);

/* Anyone. */
uint64_t ring_head(const struct ring *ring);    /* next sequence to be published */
uint64_t ring_durable(const struct ring *ring);
/* The oldest sequence that can still be read (may already be overwritten when you use it). */
uint64_t ring_oldest(const struct ring *ring);

/* Reader: copy up to `max` records from sequence `seq` on, not beyond `limit` (inclusive; UINT64_MAX: up to head), to `out`
 * (aligned to 8 bytes); *count is how many. Whole records only. */
enum ring_result ring_read(const struct ring *ring, uint64_t seq, uint64_t limit, uint64_t max, void *out, uint64_t *count);

/* Journal only (it is never lapped, RING-2): the records from `seq` on, in place, up to `max`. Valid until ring_set_durable()
 * passes them. */
enum ring_result ring_peek(const struct ring *ring, uint64_t seq, uint64_t max, const void **records, uint64_t *count);
/* Journal only: everything up to and including `seq` is on disk (JRNL-2). */
void ring_set_durable(struct ring *ring, uint64_t seq);
/* Journal only, before any ring_set_durable() of the new epoch. `epoch_first_seq` is greater than durable (or equal to it,
 * where nothing is), so that no reader can take an old record for one of the new epoch while the two are being stored. */
void ring_set_epoch(struct ring *ring, uint32_t epoch, uint64_t epoch_first_seq);
/* Anyone. Load durable first, then the epoch: records of [*first_seq, durable] have *epoch; older ones are asked of the journal. */
void ring_epoch(const struct ring *ring, uint32_t *epoch, uint64_t *first_seq);

/* Anyone: who made and who feeds this ring. */
struct ring_identity {
    char stream[RING_STREAM_MAX];
    char boot_id[40];
    uint32_t kind, record_size;
    uint64_t capacity;
    uint32_t producer_pid;        /* 0: none yet */
    uint64_t producer_start_time; /* clock ticks after boot, as in /proc/<pid>/stat field 22 */
    uint32_t conn;
};
void ring_identify(const struct ring *ring, struct ring_identity *identity);

#endif
