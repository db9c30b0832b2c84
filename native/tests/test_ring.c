/* test_ring.c: positions, claims, epochs, damaged headers, a reader overtaken in mid-copy, and a model. RING-1, RING-2, RING-3.
 *
 *     test_ring SEED       of the model's steps */
#define _GNU_SOURCE

#include "../ring.h"

#include <signal.h>
#include <string.h>

#include "shared_ring.h"

static void a_ring_begins_empty_at_its_first_sequence(void)
{
    struct ring ring;
    struct mapping mapping = make_ring(&ring, CAPACITY, 1000);
    uint64_t count = 9;
    struct book out[2];
    check(ring_head(&ring) == 1000 && ring_durable(&ring) == 999 && ring_oldest(&ring) == 1000, "positions of a new ring");
    check(ring_read(&ring, 1000, UINT64_MAX, 2, out, &count) == RING_EMPTY && count == 0, "nothing published yet");
    check(produce(&ring, 1), "first record");
    check(ring_read(&ring, 999, UINT64_MAX, 2, out, &count) == RING_LAPPED && count == 0, "what came before the ring is the journal's");
    check(ring_read(&ring, 0, UINT64_MAX, 2, out, &count) == RING_LAPPED, "sequence 0 never was");
    check(ring_read(&ring, 1000, UINT64_MAX, 2, out, &count) == RING_OK && count == 1 && is_whole(&out[0], 1000), "first record read");
    check(ring_read(&ring, 1000, 999, 2, out, &count) == RING_EMPTY, "not beyond the limit");
    check(ring_read(&ring, 1000, UINT64_MAX, 0, out, &count) == RING_EMPTY, "no room, no records");
    unmap_ring(mapping);
}

static void only_durable_holds_the_producer_back(void) /* RING-2 */
{
    struct ring ring;
    struct mapping mapping = make_ring(&ring, CAPACITY, 1);
    void *slots = NULL, *unchanged = &slots;
    slots = unchanged;
    check(ring_claim(&ring, CAPACITY + 1, &slots) == RING_FULL, "more than the ring has");
    check(ring_claim(&ring, UINT64_MAX, &slots) == RING_FULL, "far more than the ring has");
    check(produce(&ring, CAPACITY), "the whole ring at once");
    check(ring_free(&ring) == 0 && ring_claim(&ring, 1, &slots) == RING_FULL, "full without a journal");
    check(slots == unchanged, "RING_FULL leaves *slots alone");
    ring_set_durable(&ring, 3);
    check(ring_claim(&ring, 4, &slots) == RING_FULL, "only three are free");
    check(ring_free(&ring) == 3 && produce(&ring, 3), "three are free");
    check(ring_oldest(&ring) == 4, "three were overwritten");
    unmap_ring(mapping);
}

static void claimed_records_are_invisible_until_published(void) /* RING-1 */
{
    struct ring ring;
    struct mapping mapping = make_ring(&ring, CAPACITY, 1);
    void *slots, *again;
    uint64_t count;
    struct book out[4];
    check(ring_claim(&ring, 3, &slots) == RING_OK, "claim");
    for (uint64_t i = 0; i < 3; i++) {
        fill((struct book *)slots + i, 1 + i);
    }
    check(ring_read(&ring, 1, UINT64_MAX, 4, out, &count) == RING_EMPTY, "claimed only");
    check(ring_claim(&ring, 2, &again) == RING_OK && again == slots, "claiming again gives the same slots");
    ring_publish(&ring, 0);
    check(ring_head(&ring) == 1, "publishing nothing");
    ring_publish(&ring, 2);
    check(ring_read(&ring, 1, UINT64_MAX, 4, out, &count) == RING_OK && count == 2, "two of three published");
    check(is_whole(&out[0], 1) && is_whole(&out[1], 2), "the two published");
    check(ring_read(&ring, 1, 1, 4, out, &count) == RING_OK && count == 1, "up to the limit");
    unmap_ring(mapping);
}

static void a_claim_alone_laps_the_oldest_records(void) /* RING-1 */
{
    struct ring ring;
    struct mapping mapping = make_ring(&ring, CAPACITY, 1);
    void *slots;
    uint64_t count;
    struct book out[1];
    check(produce(&ring, CAPACITY), "fill");
    ring_set_durable(&ring, CAPACITY);
    check(ring_read(&ring, 1, UINT64_MAX, 1, out, &count) == RING_OK, "still there");
    check(ring_claim(&ring, 1, &slots) == RING_OK, "claim one");
    check(ring_read(&ring, 1, UINT64_MAX, 1, out, &count) == RING_LAPPED && count == 0, "the first may be half overwritten");
    check(ring_read(&ring, 2, UINT64_MAX, 1, out, &count) == RING_OK && is_whole(out, 2), "the second is whole");
    check(ring_claim(&ring, 5, &slots) == RING_OK, "claim five");
    check(ring_read(&ring, 5, UINT64_MAX, 1, out, &count) == RING_LAPPED && count == 0, "the fifth may be half overwritten");
    check(ring_read(&ring, 6, UINT64_MAX, 1, out, &count) == RING_OK && is_whole(out, 6), "the sixth is whole");
    ring_publish(&ring, 0);
    check(ring_read(&ring, 5, UINT64_MAX, 1, out, &count) == RING_LAPPED, "dropping the claim does not bring it back");
    unmap_ring(mapping);
}

/* A reader stopped in the middle of its copy: its second page of slots is unreadable, and who handles the fault is the
 * producer. What the threads of test_ring_stress.c do by chance, and seldom on a busy machine, happens here every time. */
static struct ring overtaking;
static unsigned char *blocked_page;
static uint64_t overtaking_count;

static void overtake(int signal)
{
    (void)signal;
    if (!produce(&overtaking, overtaking_count) || mprotect(blocked_page, 4096, PROT_READ | PROT_WRITE) != 0) {
        _exit(3);
    }
}

static enum ring_result read_while_overtaken(uint64_t by, struct book out[CAPACITY], uint64_t *count)
{
    struct ring reader;
    struct mapping mapping = make_ring(&overtaking, CAPACITY, 1), readers = map_file(mapping.descriptor, mapping.file_size);
    check(produce(&overtaking, CAPACITY) && ring_attach(&reader, readers.memory, readers.file_size, RECORD_BOOK) == RING_OK, "full");
    ring_set_durable(&reader, CAPACITY);
    overtaking_count = by;
    blocked_page = readers.memory + RING_HEADER_SIZE + 4096;
    struct sigaction action = {.sa_handler = overtake}, before;
    sigaction(SIGSEGV, &action, &before);
    check(mprotect(blocked_page, 4096, PROT_NONE) == 0, "block");
    enum ring_result result = ring_read(&reader, 10, UINT64_MAX, CAPACITY, out, count);
    sigaction(SIGSEGV, &before, NULL);
    check(ring_head(&reader) == CAPACITY + 1 + by, "the producer came between");
    munmap(readers.memory, readers.span);
    unmap_ring(mapping);
    return result;
}

static void a_reader_overtaken_in_the_middle_of_its_copy_learns_it(void) /* RING-1 */
{
    static struct book out[CAPACITY];
    uint64_t count;
    check(read_while_overtaken(9, out, &count) == RING_OK && count == CAPACITY - 9, "overtaken up to the record before");
    for (uint64_t i = 0; i < count; i++) {
        check(is_whole(&out[i], 10 + i), "so all that was copied is whole");
    }
    check(read_while_overtaken(10, out, &count) == RING_LAPPED && count == 0, "overtaken by one more");
    check(read_while_overtaken(CAPACITY, out, &count) == RING_LAPPED && count == 0, "overtaken by a whole lap");
}

static void a_new_producer_goes_on_where_the_dead_one_had_published(void)
{
    struct ring first, second;
    struct mapping mapping = make_ring(&first, CAPACITY, 1);
    struct ring_identity identity;
    void *slots;
    check(ring_produce(&first, 100, 5000) == 0, "no connection yet");
    ring_set_conn(&first, 1234);
    check(produce(&first, 7) && ring_claim(&first, 9, &slots) == RING_OK, "seven published, nine claimed");
    check(ring_attach(&second, mapping.memory, mapping.file_size, RECORD_BOOK) == RING_OK, "attach over a claim left behind");
    check(ring_produce(&second, 200, 6000) == 1234, "the last connection epoch");
    check(produce(&second, 1), "go on");
    uint64_t count;
    struct book out[16];
    check(ring_read(&second, 1, UINT64_MAX, 16, out, &count) == RING_OK && count == 8 && is_whole(&out[7], 8), "no hole, no ghost");
    ring_identify(&first, &identity);
    check(identity.producer_pid == 200 && identity.producer_start_time == 6000 && identity.conn == 1234, "the new producer's name");
    check(identity.kind == RECORD_BOOK && identity.capacity == CAPACITY && identity.record_size == sizeof(struct book) &&
              memcmp(identity.stream, STREAM, sizeof STREAM) == 0 && memcmp(identity.boot_id, BOOT_ID, sizeof BOOT_ID) == 0,
          "the ring's name");
    unmap_ring(mapping);
}

static void an_epoch_comes_with_its_first_sequence(void)
{
    struct ring ring;
    struct mapping mapping = make_ring(&ring, CAPACITY, 11);
    uint32_t epoch;
    uint64_t first_seq;
    ring_epoch(&ring, &epoch, &first_seq);
    check(epoch == 7 && first_seq == 11, "as created");
    ring_set_epoch(&ring, 8, 20);
    ring_epoch(&ring, &epoch, &first_seq);
    check(epoch == 8 && first_seq == 20, "as set");
    unmap_ring(mapping);
}

static void creation_refuses_arguments_out_of_bounds(void)
{
    struct mapping mapping = map_ring(RECORD_BOOK, CAPACITY);
    uint64_t size = mapping.file_size;
    unsigned char *memory = mapping.memory;
    char nameless[RING_STREAM_MAX] = {0};
    check(ring_file_size(RECORD_BOOK, 0) == 0 && ring_file_size(RECORD_BOOK, 511) == 0, "no power of two");
    check(ring_file_size(RECORD_BOOK, 1) == 0 && ring_file_size(RECORD_BOOK, 256) == 0, "no whole pages");
    check(ring_file_size(RECORD_BOOK, 1ull << 33) == 0 && ring_file_size(RECORD_BOOK, 1ull << 63) == 0, "beyond any memory");
    check(ring_file_size((enum record_kind)0, 512) == 0 && ring_file_size(RECORD_KIND_COUNT, 512) == 0, "no kind");
    for (int kind = 1; kind < RECORD_KIND_COUNT; kind++) {
        check(ring_file_size((enum record_kind)kind, 512) != 0, "512 slots do for any kind");
    }
    check(ring_create(memory, size, RECORD_BOOK, CAPACITY, nameless, BOOT_ID, 1, 1) == RING_WRONG, "no name");
    check(ring_create(memory, size, RECORD_BOOK, CAPACITY, STREAM, BOOT_ID, 1, 0) == RING_WRONG, "sequence 0");
    check(ring_create(memory, size, RECORD_BOOK, CAPACITY, STREAM, BOOT_ID, 1, UINT64_MAX) == RING_WRONG, "no room for sequences");
    check(ring_create(memory, size - 8, RECORD_BOOK, CAPACITY, STREAM, BOOT_ID, 1, 1) == RING_WRONG, "another size");
    check(ring_create(memory, 0, RECORD_BOOK, 511, STREAM, BOOT_ID, 1, 1) == RING_WRONG, "no size at all");
    struct ring ring;
    check(ring_attach(&ring, memory, size, RECORD_BOOK) == RING_NOT_YET, "none of these made a ring");
    unmap_ring(mapping);
}

/* Offsets of the header's fields, as other processes and versions rely on them. */
enum { AT_MAGIC = 0, AT_VERSION = 8, AT_KIND = 12, AT_LAYOUT = 16, AT_CAPACITY = 24, AT_FIRST_SEQ = 32, AT_RECORD_SIZE = 40,
       AT_STREAM = 48, AT_HEAD = 128, AT_CLAIM = 136, AT_DURABLE = 256 };

static void attaching_trusts_nothing(void) /* RING-3 */
{
    static const struct { size_t at; uint64_t word; const char *what; } damages[] = {
        {AT_MAGIC, 1, "another magic"}, {AT_VERSION, 2 | (uint64_t)RECORD_BOOK << 32, "another version"},
        {AT_KIND, 9, "no kind"}, {AT_LAYOUT, 1, "another layout"},
        {AT_CAPACITY, 0, "no slots"}, {AT_CAPACITY, 2 * CAPACITY, "more slots than the file has"},
        {AT_CAPACITY, CAPACITY / 2, "fewer slots than the file has"}, {AT_CAPACITY, UINT64_MAX, "slots without end"},
        {AT_CAPACITY, (1ull << 61) + CAPACITY, "slots whose bytes wrap around to the file's"},
        {AT_RECORD_SIZE, 0, "no record size"}, {AT_RECORD_SIZE, 128, "another record size"}, {AT_STREAM, 0, "no name"},
        {AT_FIRST_SEQ, 0, "first sequence 0"}, {AT_FIRST_SEQ, 500, "first sequence after head"},
        {AT_HEAD, 0, "head 0"}, {AT_HEAD, 1, "head before durable"}, {AT_HEAD, 100, "head after claim"},
        {AT_CLAIM, 4, "claim before head"}, {AT_CLAIM, 3 + 1 + CAPACITY + 1, "claim over what is not durable"},
        {AT_CLAIM, UINT64_MAX, "claim without end"}, {AT_DURABLE, 11, "durable not published"},
        {AT_DURABLE, UINT64_MAX, "durable without end"},
    };
    struct ring ring;
    struct mapping mapping = make_ring(&ring, CAPACITY, 1);
    check(produce(&ring, 10), "ten records");
    ring_set_durable(&ring, 3);
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        uint64_t kept;
        memcpy(&kept, mapping.memory + damages[i].at, sizeof kept);
        memcpy(mapping.memory + damages[i].at, &damages[i].word, sizeof kept);
        check(ring_attach(&ring, mapping.memory, mapping.file_size, RECORD_BOOK) == RING_WRONG, damages[i].what);
        memcpy(mapping.memory + damages[i].at, &kept, sizeof kept);
        check(ring_attach(&ring, mapping.memory, mapping.file_size, RECORD_BOOK) == RING_OK, "mended");
    }
    check(ring_attach(&ring, mapping.memory, mapping.file_size, RECORD_TRADE) == RING_WRONG, "another kind than expected");
    check(ring_attach(&ring, mapping.memory, mapping.file_size, (enum record_kind)77) == RING_WRONG, "no kind expected");
    for (uint64_t size = 0; size < mapping.file_size; size += 1021) {
        check(ring_attach(&ring, mapping.memory, size, RECORD_BOOK) == RING_WRONG, "a file cut short");
    }
    memset(mapping.memory, 0, 8);
    check(ring_attach(&ring, mapping.memory, mapping.file_size, RECORD_BOOK) == RING_NOT_YET, "still being created");
    unmap_ring(mapping);
}

/* The ring against a model that keeps four numbers and knows what every record must hold. */
static void random_steps_match_the_model(uint64_t seed, unsigned steps)
{
    struct ring ring;
    struct mapping mapping = make_ring(&ring, CAPACITY, 42);
    static struct book out[2 * CAPACITY];
    uint64_t head = 42, claim = 42, durable = 41, random = seed;
    for (unsigned step = 0; step < steps && failures == 0; step++) {
        uint64_t choice = next_random(&random), size = next_random(&random) % (CAPACITY / (choice >> 8 & 1 ? 1 : 16) + 2);
        uint64_t seq = claim > CAPACITY + 8 ? claim - CAPACITY - 8 + next_random(&random) % (CAPACITY + 16) : next_random(&random) % 600;
        const void *records;
        uint64_t count, oldest = claim > CAPACITY + 42 ? claim - CAPACITY : 42;
        void *slots;
        if (choice % 4 == 0) {
            int room = size <= CAPACITY - (head - 1 - durable);
            check((ring_claim(&ring, size, &slots) == RING_OK) == room, "claim as the model");
            if (room) {
                claim = head + size > claim ? head + size : claim;
                uint64_t publish = size == 0 ? 0 : next_random(&random) % (size + 1);
                for (uint64_t i = 0; i < size; i++) {
                    fill((struct book *)slots + i, i < publish ? head + i : 0);
                }
                ring_publish(&ring, publish);
                head += publish;
            }
        } else if (choice % 4 == 1) {
            durable += next_random(&random) % (head - durable);
            ring_set_durable(&ring, durable);
        } else if (choice % 4 == 2) {
            uint64_t limit = seq + next_random(&random) % 100 - 10;
            enum ring_result want = seq >= head || seq > limit || size == 0 ? RING_EMPTY : seq < oldest ? RING_LAPPED : RING_OK;
            check(ring_read(&ring, seq, limit, size, out, &count) == want, "read as the model");
            uint64_t end = limit < head ? limit + 1 : head;
            check(count == (want != RING_OK ? 0 : end - seq < size ? end - seq : size), "count as the model");
            for (uint64_t i = 0; i < count; i++) {
                check(is_whole(&out[i], seq + i), "record as the model");
            }
        } else {
            enum ring_result want = seq >= head || size == 0 ? RING_EMPTY : seq < oldest ? RING_LAPPED : RING_OK;
            check(ring_peek(&ring, seq, size, &records, &count) == want, "peek as the model");
            for (uint64_t i = 0; i < count; i++) {
                check(is_whole((const struct book *)records + i, seq + i), "record in place as the model");
            }
        }
        check(ring_head(&ring) == head && ring_durable(&ring) == durable && ring_free(&ring) == CAPACITY - (head - 1 - durable) &&
                  ring_oldest(&ring) == (claim > CAPACITY + 42 ? claim - CAPACITY : 42),
              "positions as the model");
    }
    unmap_ring(mapping);
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : (uint64_t)now_ns() | 1;
    printf("test_ring: seed %llu\n", (unsigned long long)seed);
    a_ring_begins_empty_at_its_first_sequence();
    only_durable_holds_the_producer_back();
    claimed_records_are_invisible_until_published();
    a_claim_alone_laps_the_oldest_records();
    a_reader_overtaken_in_the_middle_of_its_copy_learns_it();
    a_new_producer_goes_on_where_the_dead_one_had_published();
    an_epoch_comes_with_its_first_sequence();
    creation_refuses_arguments_out_of_bounds();
    attaching_trusts_nothing();
    random_steps_match_the_model(seed, 20000);
    printf("test_ring: %d checks\n", checks);
    return failures != 0;
}
