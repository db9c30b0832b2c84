/* bench_decode.c: decode every frame of a file, copy its bytes, and let simdjson's first stage read them (where it was built with
 * that), in turn; CPU time of each turn as one line of JSON.
 *
 *     bench_decode FRAMES TURNS
 *
 * `checksum` is the CRC-32C of all records, which the caller knows from another way of calling the decoder.
 */
#define _GNU_SOURCE

#include "../crc32c.h"
#include "frames.h"
#include "stage1.h"

#define RECV_NS 1800000000000000000
#define COPY_BYTES (64u << 10)

struct total {
    uint64_t records;
    uint32_t checksum;
};

static void decode_all(const struct frames *frames, unsigned char *slots, struct total *total)
{
    size_t used = 0;
    for (size_t i = 0; i < frames->count; i++) {
        used = used > SLOTS_BYTES - ROOM_BYTES ? 0 : used;
        struct decode_room room = room_at(slots, used);
        struct decoded decoded;
        if (decode_deribit(frames->at[i], frames->length[i], RECV_NS, 1, &room, &decoded) != DECODE_OK)
            fail("a frame cannot be decoded");
        size_t size = decoded.count * record_size((enum record_kind)(int)decoded.message);
        if (total != NULL) {
            total->records += decoded.count;
            total->checksum = crc32c(total->checksum, slots + used, size);
        }
        used += size;
    }
}

static uint32_t copy_all(const struct frames *frames, unsigned char *copy)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < frames->count; i++) {
        memcpy(copy, frames->at[i], frames->length[i]);
        sum += copy[frames->length[i] / 2];
    }
    return sum;
}

#ifdef STAGE1
static size_t index_all(const struct frames *frames, void *stage1)
{
    size_t words = 0;
    for (size_t i = 0; i < frames->count; i++) {
        size_t found = stage1_find(stage1, frames->at[i], frames->length[i]);
        if (found == 0)
            fail("simdjson finds no JSON in a frame");
        words += found;
    }
    return words;
}
#endif

static void print_turns(const char *name, const double *turns, size_t count)
{
    printf("\"%s\": [", name);
    for (size_t i = 0; i < count; i++)
        printf("%s%.2f", i ? ", " : "", turns[i]);
    printf("], ");
}

int main(int argc, char **argv)
{
    if (argc != 3)
        fail("bench_decode FRAMES TURNS");
    struct frames *frames = read_frames(argv[1]);
    size_t turns = strtoul(argv[2], NULL, 10);
    unsigned char *slots = memory(SLOTS_BYTES), *copy = memory(COPY_BYTES);
    double *decode_ns = memory(turns * sizeof *decode_ns), *copy_ns = memory(turns * sizeof *copy_ns);
#ifdef STAGE1
    double *stage1_ns = memory(turns * sizeof *stage1_ns);
    void *stage1 = stage1_make(COPY_BYTES);
    size_t words = 0;
#endif
    struct total total = {0};
    uint32_t sum = 0;
    for (size_t i = 0; i < frames->count; i++)
        if (frames->length[i] > COPY_BYTES)
            fail("a frame is too long for this bench");
    decode_all(frames, slots, &total);
    for (size_t turn = 0; turn < turns; turn++) {
        double began = cpu_ns();
        decode_all(frames, slots, NULL);
        double middle = cpu_ns();
        sum += copy_all(frames, copy);
        decode_ns[turn] = (middle - began) / (double)frames->count;
        double end = cpu_ns();
        copy_ns[turn] = (end - middle) / (double)frames->count;
#ifdef STAGE1
        words += index_all(frames, stage1);
        stage1_ns[turn] = (cpu_ns() - end) / (double)frames->count;
#endif
    }
    printf("{");
#ifdef STAGE1
    print_turns("stage1_ns", stage1_ns, turns);
    printf("\"stage1\": \"%s\", \"words\": %zu, ", stage1_name(), words / turns);
#endif
    print_turns("decode_ns", decode_ns, turns);
    print_turns("copy_ns", copy_ns, turns);
    printf("\"frames\": %zu, \"bytes\": %zu, \"records\": %llu, \"checksum\": %u, \"sum\": %u}\n", frames->count, frames->bytes,
           (unsigned long long)total.records, total.checksum, sum);
    return 0;
}
