/* frames.h: what the C benches share: a file of frames in memory, and the clock that they count with.
 *
 * The file is bench/corpus.py's: for each frame its length (uint32_t, little-endian) and its bytes.
 */
#ifndef TICKBAY_BENCH_FRAMES_H
#define TICKBAY_BENCH_FRAMES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../decode.h"

#define FRAMES_MAX 65536
#define ROOM_BYTES (256u << 10) /* more than the records of one frame */
#ifndef SLOTS_BYTES
#define SLOTS_BYTES (8u << 20) /* where records go in turn, as into a ring: more than the inner caches hold */
#endif

struct frames {
    const char *at[FRAMES_MAX];
    uint32_t length[FRAMES_MAX];
    size_t count, bytes;
};

static inline void fail(const char *why)
{
    fprintf(stderr, "%s\n", why);
    exit(1);
}

/* CPU time of this process: on a shared machine the wall clock counts what others do. */
static inline double cpu_ns(void)
{
    struct timespec now;
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now) != 0)
        fail("clock_gettime");
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static inline int64_t wall_ns(void)
{
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0)
        fail("clock_gettime");
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline void *memory(size_t size)
{
    void *found = calloc(1, size);
    if (found == NULL)
        fail("out of memory");
    return found;
}

static inline struct frames *read_frames(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0)
        fail("the file of frames cannot be read");
    size_t size = (size_t)ftell(file);
    rewind(file);
    char *bytes = memory(size + 1);
    if (fread(bytes, 1, size, file) != size)
        fail("the file of frames ends early");
    fclose(file);
    struct frames *frames = memory(sizeof *frames);
    for (size_t at = 0; at + sizeof(uint32_t) <= size && frames->count < FRAMES_MAX; frames->count++) {
        uint32_t length;
        memcpy(&length, bytes + at, sizeof length);
        at += sizeof length;
        if (length > size - at)
            fail("a frame reaches beyond the file");
        frames->at[frames->count] = bytes + at;
        frames->length[frames->count] = length;
        frames->bytes += length;
        at += length;
    }
    return frames;
}

/* Where the next frame's records go: the same ROOM_BYTES for whichever kind they are of. The frames are of these kinds only. */
static inline struct decode_room room_at(unsigned char *slots, size_t used)
{
    void *at = slots + used;
    return (struct decode_room){
        .quotes = at, .trades = at, .books = at,
        .quotes_max = ROOM_BYTES / sizeof(struct quote),
        .trades_max = ROOM_BYTES / sizeof(struct trade),
        .books_max = ROOM_BYTES / sizeof(struct book),
    };
}

#endif
