/* fuzz_ring.c: a ring whose header somebody else has written to, then used. RING-3: either it is refused or every use of
 * it stays inside its memory and keeps its promises. Input: the number of changes to the header, those (offset, word), and
 * then steps of four bytes each. */
#include "../ring.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY 512u
#define SIZE sizeof(struct book)
#define HEADER_USED 512u /* what lies behind it in the header is not read */
#define CHANGES_MAX 4u

static const char STREAM[RING_STREAM_MAX] = "feed-1.book";
static const char BOOT_ID[40] = "6a0e9c9e-0000-4000-8000-000000000001";

static void require(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "fuzz_ring: %s\n", what);
        abort();
    }
}

static uint64_t take(const uint8_t **data, size_t *size, size_t bytes)
{
    uint64_t value = 0;
    size_t taken = bytes < *size ? bytes : *size;
    memcpy(&value, *data, taken);
    *data += taken;
    *size -= taken;
    return value;
}

static void use(struct ring *ring, const uint8_t *data, size_t size)
{
    static struct book out[CAPACITY];
    uint64_t claimed = 0, count;
    const void *records;
    void *slots;
    while (size >= 4) {
        uint64_t what = take(&data, &size, 1), amount = take(&data, &size, 1) * 3, back = take(&data, &size, 2) % (2 * CAPACITY);
        uint64_t head = ring_head(ring), durable = ring_durable(ring), seq = head > back ? head - back + 8 : back;
        switch (what % 5) {
        case 0:
            if (ring_claim(ring, amount, &slots) == RING_OK) {
                require(amount <= ring_free(ring), "claims no more than is free");
                memset(slots, (int)what, amount * SIZE);
                claimed = amount;
            }
            break;
        case 1:
            claimed = claimed < amount ? claimed : amount;
            ring_publish(ring, claimed);
            require(ring_head(ring) == head + claimed, "publishes what it was told");
            claimed = 0;
            break;
        case 2:
            if (head - 1 > durable) {
                ring_set_durable(ring, durable + 1 + amount % (head - 1 - durable));
            }
            break;
        case 3:
            if (ring_read(ring, seq, UINT64_MAX, amount % CAPACITY, out, &count) == RING_OK) {
                require(count > 0 && count <= amount && seq >= ring_oldest(ring) && seq + count <= head, "reads what is there");
            }
            break;
        default:
            if (ring_peek(ring, seq, amount, &records, &count) == RING_OK) {
                require(count > 0 && count <= amount && seq + count <= head, "shows what is there");
                memcpy(out, records, (size_t)(count < CAPACITY ? count : CAPACITY) * SIZE);
            }
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* Header, slots, and the slots' second mapping: here it need not show the same records, only be there. On the heap,
     * so that AddressSanitizer sees a step beyond it. */
    size_t file_size = (size_t)ring_file_size(RECORD_BOOK, CAPACITY), span = file_size + CAPACITY * SIZE;
    static unsigned char *memory;
    if (memory == NULL) {
        memory = aligned_alloc(128, (span + 127) / 128 * 128);
        require(memory != NULL, "has memory");
        memset(memory, 0, span);
    }
    memset(memory, 0, HEADER_USED);
    require(ring_create(memory, file_size, RECORD_BOOK, CAPACITY, STREAM, BOOT_ID, 1, 1 + take(&data, &size, 2)) == RING_OK, "is created");
    for (uint64_t changes = take(&data, &size, 1) % (CHANGES_MAX + 1); changes > 0; changes--) {
        size_t at = (size_t)(take(&data, &size, 2) % (HEADER_USED - 7));
        uint64_t word = take(&data, &size, 8);
        memcpy(memory + at, &word, sizeof word);
    }
    struct ring ring;
    if (ring_attach(&ring, memory, file_size, RECORD_BOOK) == RING_OK) {
        require(ring.capacity == CAPACITY && ring.record_size == SIZE, "has the sizes of its file");
        require(ring_durable(&ring) < ring_head(&ring) && ring_head(&ring) - 1 - ring_durable(&ring) <= CAPACITY &&
                    ring_oldest(&ring) <= ring_durable(&ring) + 1, "has positions that can have come about");
        use(&ring, data, size);
    }
    return 0;
}

#ifdef FUZZ_MAIN
/* Inputs of the right structure: none or few changes, at the places and of the sizes that matter. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1du;
}

int main(int argc, char **argv)
{
    /* The fields that attaching reads: positions, and some of the identity. */
    static const uint16_t places[] = {128, 136, 256, 32, 24, 16, 0, 8, 12, 40, 128, 136, 256};
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000, random = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    random = random * 2 + 1; /* never 0 */
    for (uint64_t i = 0; i < count; i++) {
        uint8_t input[3 + CHANGES_MAX * 10 + 4 * 64];
        size_t size = 3;
        uint64_t changes = next_random(&random) % 3, first_seq = next_random(&random);
        memcpy(input, &first_seq, 2);
        input[2] = (uint8_t)changes;
        for (; changes > 0; changes--) {
            uint16_t at = next_random(&random) % 8 == 0 ? (uint16_t)(next_random(&random) % 512)
                                                        : places[next_random(&random) % (sizeof places / sizeof places[0])];
            uint64_t word = next_random(&random) >> next_random(&random) % 64;
            uint64_t near = (first_seq & 0xffff) + word % 1100 - 20, power = (uint64_t)1 << word % 64;
            word = word % 4 == 0 ? word : word % 4 == 1 ? power : near;
            memcpy(input + size, &at, sizeof at);
            memcpy(input + size + 2, &word, sizeof word);
            size += 10;
        }
        for (uint64_t steps = next_random(&random) % 64; steps > 0; steps--, size += 4) {
            uint32_t step = (uint32_t)next_random(&random);
            memcpy(input + size, &step, sizeof step);
        }
        LLVMFuzzerTestOneInput(input, size);
    }
    printf("fuzz_ring: %llu inputs\n", (unsigned long long)count);
    return 0;
}
#endif
