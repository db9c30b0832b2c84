/* test_batch.c: what was written comes back, and whatever happens to the bytes, only what was wholly written does. JRNL-1.
 *
 *     test_batch             damages each byte of the batches in a few ways
 *     test_batch DEEP        in more: every bit */
#define _GNU_SOURCE /* MAP_ANONYMOUS */

#include "../batch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../crc32c.h"

static int failures, checks;

static void check(int holds, const char *what)
{
    checks++;
    if (!holds && failures++ < 20) {
        fprintf(stderr, "test_batch: %s\n", what);
    }
}

static const char STREAM[BATCH_STREAM_MAX] = "feed-1.book";
#define SEGMENT 12u
#define BATCHES 6u
#define TAIL 512u /* bytes of the file's older life behind the last batch */

/* A segment of BATCHES batches and, if asked, the one that ends it, which ends where an unreadable page begins: a read
 * behind the file dies. `ends[i]` is the offset behind batch i; ends[0] that behind the segment's header. */
struct segment {
    unsigned char *bytes, *guarded;
    size_t size, guarded_size;
    size_t ends[BATCHES + 2];
};

static void append(struct segment *segment, const void *bytes, size_t length)
{
    memcpy(segment->bytes + segment->size, bytes, length);
    segment->size += length;
}

static void append_batches(struct segment *segment, uint64_t number, int ended)
{
    struct batch_header header;
    struct book records[8];
    uint64_t seq = 100;
    for (unsigned i = 0; i < BATCHES; i++) {
        memset(records, (int)(i + 1), sizeof records);
        batch_seal(&header, number, STREAM, RECORD_BOOK, 5, seq, i + 1, 1000 + i, records);
        append(segment, &header, sizeof header);
        append(segment, records, (i + 1) * sizeof records[0]);
        seq += i + 1;
        segment->ends[i + 1] = segment->size;
    }
    if (ended) {
        batch_seal_end(&header, number, 2000);
        append(segment, &header, sizeof header);
        segment->ends[BATCHES + 1] = segment->size;
    }
}

static struct segment make_segment(int ended)
{
    struct segment segment = {.guarded_size = 5 * 4096};
    segment.guarded = mmap(NULL, segment.guarded_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    segment.bytes = calloc(1, segment.guarded_size);
    if (segment.guarded == MAP_FAILED || segment.bytes == NULL ||
        mprotect(segment.guarded + segment.guarded_size - 4096, 4096, PROT_NONE) != 0) {
        perror("test_batch: no memory");
        exit(2);
    }
    struct segment_header header;
    segment_seal(&header, SEGMENT, 3, 77);
    append(&segment, &header, sizeof header);
    segment.ends[0] = segment.size;
    append_batches(&segment, SEGMENT, ended);
    return segment;
}

static void drop_segment(struct segment *segment)
{
    munmap(segment->guarded, segment->guarded_size);
    free(segment->bytes);
}

/* Walk the first `size` bytes with the guard page right behind them. */
static enum batch_result walk(const struct segment *segment, size_t size, size_t *end, uint64_t *batches)
{
    unsigned char *bytes = segment->guarded + segment->guarded_size - 4096 - size;
    memcpy(bytes, segment->bytes, size);
    enum batch_result result;
    struct batch_header header;
    *end = SEGMENT_HEADER_SIZE, *batches = 0;
    while ((result = batch_check(bytes + *end, size - *end, SEGMENT, &header)) == BATCH_OK) {
        *end += sizeof header + header.length;
        *batches += 1;
    }
    *end += result == BATCH_END ? sizeof header : 0;
    return result;
}

/* How many batches lie wholly before `offset`. */
static uint64_t whole_before(const struct segment *segment, size_t offset)
{
    uint64_t whole = 0;
    while (whole < BATCHES && segment->ends[whole + 1] <= offset) {
        whole++;
    }
    return whole;
}

static void batches_come_back_as_they_were_sealed(void)
{
    struct segment segment = make_segment(1);
    size_t end;
    uint64_t batches, seq = 100;
    check(walk(&segment, segment.size, &end, &batches) == BATCH_END && batches == BATCHES && end == segment.size, "a complete segment");
    for (unsigned i = 0; i < BATCHES; i++) {
        struct batch_header header;
        check(batch_check(segment.bytes + segment.ends[i], segment.size - segment.ends[i], SEGMENT, &header) == BATCH_OK, "a batch");
        check(header.first_seq == seq && header.count == i + 1 && header.length == (i + 1) * sizeof(struct book), "its records");
        check(header.segment == SEGMENT && header.epoch == 5 && header.kind == RECORD_BOOK && header.written_ns == 1000 + i, "its place");
        check(header.record_size == sizeof(struct book) && header.layout == record_layout(RECORD_BOOK), "its layout");
        check(memcmp(header.stream, STREAM, sizeof STREAM) == 0, "its stream");
        check(segment.ends[i] % 8 == 0, "at a multiple of 8");
        seq += i + 1;
    }
    drop_segment(&segment);
    segment = make_segment(0);
    check(walk(&segment, segment.size, &end, &batches) == BATCH_STOP && batches == BATCHES && end == segment.size, "the newest segment");
    check(walk(&segment, SEGMENT_HEADER_SIZE, &end, &batches) == BATCH_STOP && batches == 0 && end == SEGMENT_HEADER_SIZE, "no batch yet");
    drop_segment(&segment);
}

static void the_bytes_of_an_older_life_are_not_taken_for_batches(void) /* JRNL-1 */
{
    struct segment segment = make_segment(0);
    size_t end, size = segment.size;
    uint64_t batches;
    append_batches(&segment, SEGMENT - 4, 1); /* whole batches with right CRCs, but of the segment that the file once was */
    check(walk(&segment, segment.size, &end, &batches) == BATCH_STOP && batches == BATCHES && end == size, "older batches");
    memset(segment.bytes + size, 0, segment.size - size);
    check(walk(&segment, segment.size, &end, &batches) == BATCH_STOP && end == size, "zeros of a new file");
    drop_segment(&segment);
}

static void a_cut_anywhere_leaves_the_batches_before_it(void) /* JRNL-1 */
{
    struct segment segment = make_segment(1);
    for (size_t size = SEGMENT_HEADER_SIZE; size < segment.size; size++) {
        size_t end;
        uint64_t batches, whole = whole_before(&segment, size);
        enum batch_result result = walk(&segment, size, &end, &batches);
        check(batches == whole && end == segment.ends[whole], "exactly the whole batches before the cut");
        int bare = size - end < sizeof(uint32_t); /* not even the magic is there */
        check(result == (bare ? BATCH_STOP : BATCH_TORN), "a batch cut off is reported");
    }
    drop_segment(&segment);
}

/* The segment with `length` bytes from `at` on changed by `change` (ZEROES, GARBAGE or bits to flip): the batches before the
 * first byte that is another one then must come back, and no other. */
enum { ZEROES = -1, GARBAGE = 256 };

static void expect_prefix(struct segment *segment, size_t at, size_t length, int change, uint32_t *random)
{
    unsigned char kept[TAIL];
    length = length < segment->size - at ? length : segment->size - at;
    memcpy(kept, segment->bytes + at, length);
    size_t first = length, end;
    for (size_t i = length; i-- > 0;) {
        unsigned char *byte = &segment->bytes[at + i];
        *random = *random * 1664525 + 1013904223;
        *byte = change == ZEROES ? 0 : change == GARBAGE ? (unsigned char)(*random >> 24) : (unsigned char)(*byte ^ change);
        first = *byte != kept[i] ? i : first;
    }
    uint64_t batches, whole = whole_before(segment, at + first);
    enum batch_result result = walk(segment, segment->size, &end, &batches);
    if (first == length) {
        check(result == BATCH_END && batches == BATCHES, "overwritten with itself");
    } else {
        check(batches == whole && end == segment->ends[whole], "exactly the batches before the damage");
        check(result == BATCH_STOP || result == BATCH_TORN, "a damaged segment has no end");
    }
    memcpy(segment->bytes + at, kept, length);
}

static void damage_anywhere_leaves_the_batches_before_it(int deep) /* JRNL-1 */
{
    struct segment segment = make_segment(1);
    uint32_t random = 7;
    for (size_t at = SEGMENT_HEADER_SIZE; at < segment.size; at++) {
        for (int bit = 0; bit < 8; bit++) {
            if (deep || bit == (int)(at % 8)) {
                expect_prefix(&segment, at, 1, 1 << bit, &random);
            }
        }
        expect_prefix(&segment, at, 1, 0xff, &random);
        expect_prefix(&segment, at, TAIL, ZEROES, &random); /* a block that never reached the disk */
        expect_prefix(&segment, at, TAIL, GARBAGE, &random);
        expect_prefix(&segment, at, TAIL, 0x55, &random);
    }
    drop_segment(&segment);
}

/* A header of someone who can compute CRCs but not sizes; sealed again after the change, so that only the checks of sizes
 * and ranges stand between it and us. */
static enum batch_result check_forged(const struct batch_header *forged, const unsigned char *bytes, size_t available)
{
    static unsigned char copy[4096];
    struct batch_header header = *forged;
    size_t begin = offsetof(struct batch_header, length);
    header.crc = crc32c(0, (unsigned char *)&header + begin, sizeof header - begin);
    size_t payload = available - sizeof header;
    header.crc = crc32c(header.crc, bytes + sizeof header, header.length < payload ? header.length : payload);
    memcpy(copy, bytes, available);
    memcpy(copy, &header, sizeof header);
    return batch_check(copy, available, SEGMENT, &header);
}

static void sizes_that_do_not_agree_are_damage_even_under_a_right_crc(void)
{
    struct segment segment = make_segment(0);
    const unsigned char *bytes = segment.bytes + segment.ends[2];
    size_t available = segment.ends[3] - segment.ends[2];
    struct batch_header good, forged;
    memcpy(&good, bytes, sizeof good);
    check(check_forged(&good, bytes, available) == BATCH_OK, "the forger's tools work");
#define FORGE(change, what) (forged = good, forged.change, check(check_forged(&forged, bytes, available) == BATCH_TORN, what))
    FORGE(count = 4, "more records than bytes");
    FORGE(count = 2, "fewer records than bytes");
    FORGE(count = 0, "no records");
    FORGE(record_size = 0, "records of no size");
    FORGE(record_size = 8, "records smaller than a head");
    good.count = 2, good.record_size = 180; /* 360 bytes, too */
    FORGE(epoch = 6, "a size that is no multiple of 8");
    memcpy(&good, bytes, sizeof good);
    FORGE(length = 359, "bytes left over");
    FORGE(length = 0, "no bytes");
    FORGE(length = 0xfffffff8u, "more bytes than there are");
    FORGE(length = BATCH_PAYLOAD_MAX + 8, "more bytes than a batch has");
    FORGE(kind = 0, "an end with records");
    FORGE(first_seq = 0, "sequence 0");
    FORGE(first_seq = (uint64_t)INT64_MAX, "sequences beyond a bigint");
    FORGE(stream[0] = '\0', "no stream");
    forged = good, forged.segment = SEGMENT + 1;
    check(check_forged(&forged, bytes, available) == BATCH_STOP, "another segment's batch");
    drop_segment(&segment);
}

static void a_segment_header_is_believed_only_when_whole(void)
{
    struct segment segment = make_segment(0);
    struct segment_header header;
    check(segment_check(segment.bytes, segment.size, &header) == BATCH_OK, "as sealed");
    check(header.segment == SEGMENT && header.epoch == 3 && header.created_ns == 77, "its fields");
    check(memcmp(segment.bytes, "TKBSEG01", 8) == 0, "a name that od(1) shows");
    for (size_t size = 0; size < SEGMENT_HEADER_SIZE; size += 7) {
        check(segment_check(segment.bytes, size, &header) == BATCH_STOP, "cut off");
    }
    for (size_t at = 0; at < offsetof(struct segment_header, reserved); at++) {
        segment.bytes[at] ^= 0x10;
        check(segment_check(segment.bytes, segment.size, &header) == BATCH_STOP, "damaged");
        segment.bytes[at] ^= 0x10;
    }
    drop_segment(&segment);
}

int main(int argc, char **argv)
{
    int deep = argc > 1 && strcmp(argv[1], "DEEP") == 0;
    batches_come_back_as_they_were_sealed();
    the_bytes_of_an_older_life_are_not_taken_for_batches();
    a_cut_anywhere_leaves_the_batches_before_it();
    damage_anywhere_leaves_the_batches_before_it(deep);
    sizes_that_do_not_agree_are_damage_even_under_a_right_crc();
    a_segment_header_is_believed_only_when_whole();
    printf("test_batch: %d checks\n", checks);
    return failures != 0;
}
