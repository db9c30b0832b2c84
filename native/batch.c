/* batch.c: see batch.h. */
#include "batch.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "crc32c.h"

_Static_assert(sizeof(struct batch_header) % 8 == 0, "a payload begins at a multiple of 8");
_Static_assert(offsetof(struct batch_header, length) == 8, "the CRC covers what lies behind it");
_Static_assert(offsetof(struct segment_header, version) == 12, "the CRC covers what lies behind it");

static uint32_t batch_crc(const struct batch_header *header, const void *payload)
{
    size_t begin = offsetof(struct batch_header, length);
    uint32_t crc = crc32c(0, (const unsigned char *)header + begin, sizeof *header - begin);
    return crc32c(crc, payload, header->length);
}

void batch_seal(struct batch_header *header, uint64_t segment, const char stream[BATCH_STREAM_MAX], enum record_kind kind,
                uint32_t epoch, uint64_t first_seq, uint32_t count, int64_t written_ns, const void *records)
{
    uint32_t size = record_size(kind);
    assert(size != 0 && count != 0 && count <= BATCH_PAYLOAD_MAX / size && first_seq != 0 && stream[0] != '\0');
    *header = (struct batch_header){
        .magic = BATCH_MAGIC,
        .length = count * size,
        .count = count,
        .segment = segment,
        .first_seq = first_seq,
        .layout = record_layout(kind),
        .written_ns = written_ns,
        .epoch = epoch,
        .kind = (uint16_t)kind,
        .record_size = (uint16_t)size,
    };
    memcpy(header->stream, stream, sizeof header->stream);
    header->crc = batch_crc(header, records);
}

void batch_seal_end(struct batch_header *header, uint64_t segment, int64_t written_ns)
{
    *header = (struct batch_header){.magic = BATCH_MAGIC, .segment = segment, .written_ns = written_ns};
    header->crc = batch_crc(header, "");
}

/* Do the sizes in the header agree with each other? True for the batch that ends a segment, too. */
static bool sizes_hold(const struct batch_header *header)
{
    if (header->kind == 0) {
        return header->count == 0 && header->length == 0 && header->record_size == 0;
    }
    /* Not record_size(kind): an older version's records may have had another size. */
    uint32_t size = header->record_size;
    return size >= sizeof(struct record_head) && size % 8 == 0 && header->count != 0 && header->length / size == header->count &&
           header->length % size == 0 && header->length <= BATCH_PAYLOAD_MAX;
}

static bool range_holds(const struct batch_header *header)
{
    return header->kind == 0 ||
           (header->first_seq != 0 && header->first_seq <= (uint64_t)INT64_MAX - header->count && header->stream[0] != '\0');
}

enum batch_result batch_check(const void *bytes, size_t available, uint64_t segment, struct batch_header *header)
{
    struct batch_header found = {0};
    memcpy(&found, bytes, available < sizeof found ? available : sizeof found);
    if (available < sizeof found.magic || found.magic != BATCH_MAGIC) {
        return BATCH_STOP;
    }
    if (available < offsetof(struct batch_header, first_seq)) {
        return BATCH_TORN; /* the file ends before it says whose batch this is: rather report too much than too little */
    }
    if (found.segment != segment) {
        return BATCH_STOP; /* of the file's older life */
    }
    if (available < sizeof found || !sizes_hold(&found) || found.length > available - sizeof found || !range_holds(&found) ||
        batch_crc(&found, (const unsigned char *)bytes + sizeof found) != found.crc) {
        return BATCH_TORN;
    }
    *header = found;
    return found.kind == 0 ? BATCH_END : BATCH_OK;
}

static uint32_t segment_crc(const struct segment_header *header)
{
    size_t begin = offsetof(struct segment_header, version);
    return crc32c(0, (const unsigned char *)header + begin, offsetof(struct segment_header, reserved) - begin);
}

void segment_seal(struct segment_header *header, uint64_t segment, uint32_t epoch, int64_t created_ns)
{
    *header = (struct segment_header){
        .magic = SEGMENT_MAGIC, .version = SEGMENT_VERSION, .segment = segment, .epoch = epoch, .created_ns = created_ns};
    header->crc = segment_crc(header);
}

enum batch_result segment_check(const void *bytes, size_t available, struct segment_header *header)
{
    if (available < sizeof *header) {
        return BATCH_STOP;
    }
    struct segment_header found;
    memcpy(&found, bytes, sizeof found);
    if (found.magic != SEGMENT_MAGIC || found.version != SEGMENT_VERSION || found.crc != segment_crc(&found)) {
        return BATCH_STOP;
    }
    *header = found;
    return BATCH_OK;
}
