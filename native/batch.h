/* batch.h: the journal's unit on disk: a header and the records of one stream as they are.
 *
 * A segment file is a SEGMENT_HEADER_SIZE header followed by batches back to back, each starting at a multiple of 8. The
 * files are recycled, so behind the last batch lie the bytes of an older life: what tells a batch from those is that
 * `segment` is this segment's number, that the CRC (which covers it) is right, and that the batch follows the one before.
 * A segment that is complete ends with a batch of kind 0 and count 0; the newest segment may simply stop.
 */
#ifndef TICKBAY_BATCH_H
#define TICKBAY_BATCH_H

#include "record.h"

#define BATCH_MAGIC 0x31424254u   /* "TBB1" */
#define SEGMENT_MAGIC 0x3130474553424b54u /* "TKBSEG01" */
#define SEGMENT_VERSION 1u
#define SEGMENT_HEADER_SIZE 4096u
#define BATCH_STREAM_MAX 32
#define BATCH_PAYLOAD_MAX (16u << 20) /* bytes; a length above it is damage, not a large batch */

struct batch_header {
    uint32_t magic;
    uint32_t crc;         /* CRC-32C of the header from `length` on and of the payload */
    uint32_t length;      /* payload bytes: count * record_size */
    uint32_t count;       /* records; 0 in the batch that ends a segment */
    uint64_t segment;     /* number of the segment */
    uint64_t first_seq;
    uint64_t layout;      /* record_layout(kind) when written */
    int64_t written_ns;   /* our clock */
    uint32_t epoch;       /* of the stream's records */
    uint16_t kind;        /* enum record_kind; 0 ends the segment */
    uint16_t record_size; /* bytes */
    char stream[BATCH_STREAM_MAX];
    uint8_t reserved[8]; /* 0 */
};
_Static_assert(sizeof(struct batch_header) == 96, "struct batch_header has another size");

struct segment_header {
    uint64_t magic;
    uint32_t crc; /* CRC-32C of the bytes behind it up to `reserved` */
    uint32_t version;
    uint64_t segment; /* number, from 1 */
    uint32_t epoch;   /* of the journal when the segment was begun */
    uint32_t zero;
    int64_t created_ns;
    uint8_t reserved[SEGMENT_HEADER_SIZE - 40];
};
_Static_assert(sizeof(struct segment_header) == SEGMENT_HEADER_SIZE, "struct segment_header has another size");

enum batch_result {
    BATCH_OK = 0,
    BATCH_END,   /* the batch that ends a complete segment */
    BATCH_STOP,  /* no batch of this segment here: the end of what was written */
    BATCH_TORN,  /* a batch of this segment begins here, but it is damaged or cut off */
};

/* Fill `header` (all of it, CRC last) for `count` (at least 1, at most BATCH_PAYLOAD_MAX bytes) records at `records`, which
 * the caller writes right behind it. */
void batch_seal(struct batch_header *header, uint64_t segment, const char stream[BATCH_STREAM_MAX], enum record_kind kind,
                uint32_t epoch, uint64_t first_seq, uint32_t count, int64_t written_ns, const void *records);
/* The batch that ends a segment. */
void batch_seal_end(struct batch_header *header, uint64_t segment, int64_t written_ns);

/* Check what lies at `bytes` (`available` bytes up to the end of the file) as a batch of `segment`. Trusts nothing: sizes are
 * checked by dividing. With BATCH_OK and BATCH_END, `*header` is a copy and the payload starts at bytes + sizeof *header.
 * The record's size and layout are those of the writer's version: compare them before you take the payload for records.
 * That it follows the batch before is not looked at here: one stream of several may have a hole (journal/segment.py). */
enum batch_result batch_check(const void *bytes, size_t available, uint64_t segment, struct batch_header *header);

void segment_seal(struct segment_header *header, uint64_t segment, uint32_t epoch, int64_t created_ns);
/* BATCH_OK, or BATCH_STOP where it is no header of this version. */
enum batch_result segment_check(const void *bytes, size_t available, struct segment_header *header);

#endif
