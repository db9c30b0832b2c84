/* fuzz_batch.c: any bytes as the batches of a segment. JRNL-1: whatever they are, the walk stays inside them, and what it
 * accepts is whole. With FUZZ_MAIN also: exactly the batches before the first damage. */
#include "../batch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../crc32c.h"

#define SEGMENT 3u

static void require(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "fuzz_batch: %s\n", what);
        abort();
    }
}

static uint32_t crc_of(const struct batch_header *header, const void *payload, size_t length)
{
    size_t begin = offsetof(struct batch_header, length);
    uint32_t crc = crc32c_portable(0, (const unsigned char *)header + begin, sizeof *header - begin);
    return crc32c_portable(crc, payload, length);
}

/* As the journal walks (journal/segment.py), but for the order of the streams: the whole batches from the beginning on. */
static enum batch_result walk(const unsigned char *bytes, size_t size, size_t *end, uint64_t *batches)
{
    enum batch_result result;
    struct batch_header header;
    *end = *batches = 0;
    while ((result = batch_check(bytes + *end, size - *end, SEGMENT, &header)) == BATCH_OK) {
        *end += sizeof header + header.length;
        *batches += 1;
    }
    *end += result == BATCH_END ? sizeof header : 0;
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned char *bytes = malloc(size == 0 ? 1 : size); /* of just this size, so that AddressSanitizer sees a step beyond it */
    require(bytes != NULL, "has memory");
    memcpy(bytes, data, size);
    size_t end, at = 0;
    uint64_t batches, seen = 0;
    enum batch_result result = walk(bytes, size, &end, &batches);
    require(end <= size, "ends inside");
    while (at < end) {
        struct batch_header header;
        require(end - at >= sizeof header, "accepts whole headers only");
        memcpy(&header, bytes + at, sizeof header);
        require(header.magic == BATCH_MAGIC && header.segment == SEGMENT, "accepts this segment's batches only");
        require(header.length <= end - at - sizeof header, "accepts whole batches only");
        require((uint64_t)header.count * header.record_size == header.length && header.length % 8 == 0, "accepts sizes that agree");
        require(header.crc == crc_of(&header, bytes + at + sizeof header, header.length), "accepts a right CRC only");
        at += sizeof header + header.length;
        require(header.kind != 0 || (at == end && result == BATCH_END), "stops at the batch that ends a segment");
        seen += header.kind != 0;
    }
    require(at == end && seen == batches, "counts what it accepts");
    struct segment_header header;
    (void)segment_check(bytes, size, &header);
    free(bytes);
    return 0;
}

#ifdef FUZZ_MAIN
/* A segment of right batches, and then at most one thing done to it. */
enum { BATCHES_MAX = 8, RECORDS_MAX = 5 };
struct input {
    unsigned char bytes[BATCHES_MAX * (sizeof(struct batch_header) + RECORDS_MAX * RECORD_SIZE_MAX)]; /* whatever kinds come */
    size_t size, starts[BATCHES_MAX];
    uint64_t batches; /* with records */
};

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1du;
}

static void append_batch(struct input *input, uint64_t *random)
{
    unsigned char records[RECORDS_MAX * RECORD_SIZE_MAX];
    char stream[BATCH_STREAM_MAX] = "feed-1.any";
    enum record_kind kind = (enum record_kind)(1 + next_random(random) % (RECORD_KIND_COUNT - 1));
    uint32_t count = 1 + (uint32_t)(next_random(random) % RECORDS_MAX);
    struct batch_header header;
    memset(records, (int)next_random(random), sizeof records);
    batch_seal(&header, SEGMENT, stream, kind, 1, 1 + next_random(random) % 1000, count, 5, records);
    memcpy(input->bytes + input->size, &header, sizeof header);
    memcpy(input->bytes + input->size + sizeof header, records, header.length);
    input->starts[input->batches++] = input->size;
    input->size += sizeof header + header.length;
}

/* One field of one header changed, under a CRC that is right again: only the checks of sizes are left. Not to be expected
 * back, unless the change makes no difference to them. */
static void forge(struct input *input, uint64_t *random)
{
    struct batch_header header;
    unsigned char *at = input->bytes + input->starts[next_random(random) % input->batches];
    memcpy(&header, at, sizeof header);
    uint32_t length = header.length, word = (uint32_t)next_random(random) >> next_random(random) % 32;
    switch (next_random(random) % 6) {
    case 0: header.length = word; break;
    case 1: header.count = word; break;
    case 2: header.record_size = (uint16_t)word; break;
    case 3: header.kind = (uint16_t)(word % 9); break;
    case 4: header.first_seq = word % 2 == 0 ? 0 : UINT64_MAX - word; break;
    default: header.length += header.record_size, header.count++; break; /* agrees, but takes in the next batch's header */
    }
    size_t left = (size_t)(input->bytes + input->size - at) - sizeof header;
    header.crc = crc_of(&header, at + sizeof header, header.length < left ? header.length : length);
    memcpy(at, &header, sizeof header);
}

static void expect(const struct input *input, size_t damage, const char *what)
{
    size_t end;
    uint64_t whole = 0, batches;
    while (whole < input->batches && (whole + 1 < input->batches ? input->starts[whole + 1] : input->size) <= damage) {
        whole++;
    }
    (void)walk(input->bytes, input->size, &end, &batches);
    require(batches == whole, what);
}

int main(int argc, char **argv)
{
    static struct input input;
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000, random = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    random = random * 2 + 1; /* never 0 */
    for (uint64_t i = 0; i < count; i++) {
        input.size = input.batches = 0;
        for (uint64_t batches = 1 + next_random(&random) % BATCHES_MAX; batches > 0; batches--) {
            append_batch(&input, &random);
        }
        size_t at = (size_t)(next_random(&random) % input.size);
        switch (next_random(&random) % 4) {
        case 0:
            expect(&input, input.size, "every batch of a whole segment comes back");
            break;
        case 1:
            input.bytes[at] ^= (unsigned char)(1 + next_random(&random) % 255);
            expect(&input, at, "exactly the batches before a changed byte come back");
            break;
        case 2:
            LLVMFuzzerTestOneInput(input.bytes, at); /* cut off */
            break;
        default:
            forge(&input, &random);
        }
        LLVMFuzzerTestOneInput(input.bytes, input.size);
    }
    printf("fuzz_batch: %llu inputs\n", (unsigned long long)count);
    return 0;
}
#endif
