/* shared_ring.h: a ring in memory that several threads or processes map, and records that show when they are torn. For the
 * tests of ring.c, which define _GNU_SOURCE before anything else (memfd_create(), program_invocation_short_name). */
#ifndef TICKBAY_SHARED_RING_H
#define TICKBAY_SHARED_RING_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "../ring.h"

static int failures, checks;

static inline void check(int holds, const char *what)
{
    checks++;
    if (!holds) {
        fprintf(stderr, "%s: %s\n", program_invocation_short_name, what);
        failures++;
    }
}

static inline uint64_t next_random(uint64_t *state)
{
    /* xorshift64*: small, repeatable, good enough to choose steps. */
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1du;
}

static inline int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* A ring in shared memory, its slots mapped twice as ring.h asks. */
struct mapping {
    unsigned char *memory;
    uint64_t file_size, span;
    int descriptor;
};

static const char STREAM[RING_STREAM_MAX] = "feed-1.book";
static const char BOOT_ID[40] = "6a0e9c9e-0000-4000-8000-000000000001";
#define CAPACITY 512u

static inline struct mapping map_file(int descriptor, uint64_t file_size)
{
    uint64_t slots = file_size - RING_HEADER_SIZE;
    struct mapping mapping = {.file_size = file_size, .span = file_size + slots, .descriptor = descriptor};
    mapping.memory = mmap(NULL, mapping.span, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    int access = PROT_READ | PROT_WRITE, how = MAP_SHARED | MAP_FIXED;
    if (mapping.memory == MAP_FAILED || mmap(mapping.memory, file_size, access, how, descriptor, 0) == MAP_FAILED ||
        mmap(mapping.memory + file_size, slots, access, how, descriptor, RING_HEADER_SIZE) == MAP_FAILED) {
        perror("no mapping of a ring");
        exit(2);
    }
    return mapping;
}

static inline struct mapping map_ring(enum record_kind kind, uint64_t capacity)
{
    uint64_t file_size = ring_file_size(kind, capacity);
    int descriptor = memfd_create("ring", MFD_CLOEXEC);
    if (file_size == 0 || descriptor < 0 || ftruncate(descriptor, (off_t)file_size) != 0) {
        perror("no memory for a ring");
        exit(2);
    }
    return map_file(descriptor, file_size);
}

static inline struct mapping make_ring(struct ring *ring, uint64_t capacity, uint64_t first_seq)
{
    struct mapping mapping = map_ring(RECORD_BOOK, capacity);
    check(ring_create(mapping.memory, mapping.file_size, RECORD_BOOK, capacity, STREAM, BOOT_ID, 7, first_seq) == RING_OK, "create");
    check(ring_attach(ring, mapping.memory, mapping.file_size, RECORD_BOOK) == RING_OK, "attach");
    return mapping;
}

static inline void unmap_ring(struct mapping mapping)
{
    munmap(mapping.memory, mapping.span);
    close(mapping.descriptor);
}

/* Every word of record `seq` but its first (which ring_publish() writes) is one value, made from seq: a torn record has two. */
#define WORDS (sizeof(struct book) / sizeof(uint64_t))

static inline uint64_t content(uint64_t seq)
{
    return seq * 0x9e3779b97f4a7c15u;
}

/* Word by word, not by memcpy(): ThreadSanitizer does not see the stores that gcc makes of a short one. */
static inline void fill(void *record, uint64_t seq)
{
    uint64_t *words = record;
    for (size_t i = 1; i < WORDS; i++) {
        words[i] = content(seq);
    }
}

static inline int is_whole(const void *record, uint64_t seq)
{
    const uint64_t *words = record;
    uint64_t wrong = words[0] ^ seq;
    for (size_t i = 1; i < WORDS; i++) {
        wrong |= words[i] ^ content(seq);
    }
    return wrong == 0;
}

static inline int produce(struct ring *ring, uint64_t count)
{
    void *slots;
    if (ring_claim(ring, count, &slots) != RING_OK) {
        return 0;
    }
    uint64_t seq = ring_head(ring);
    for (uint64_t i = 0; i < count; i++) {
        fill((struct book *)slots + i, seq + i);
    }
    ring_publish(ring, count);
    return 1;
}

#endif
