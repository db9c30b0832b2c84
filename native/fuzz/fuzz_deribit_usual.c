/* fuzz_deribit_usual.c: any bytes as a frame that looks usual. R9: its fast reading and the tables of shape.h say the same.
 *
 * A space behind a frame is allowed, and not usual: so the same frame with it is read by the tables. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../decode.h"
#include "../tests/usual_frames.h"

enum { ROOM = 512 };

static unsigned long accepted;

static void require(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "fuzz_deribit_usual: %s\n", what);
        abort();
    }
}

/* In memory of exactly the size of the frame, so that a sanitizer sees any byte too many. */
static enum decode_result decode(const uint8_t *data, size_t size, int space, unsigned char *records, struct decoded *decoded)
{
    char *frame = malloc(size + (size_t)space + (size + (size_t)space == 0));
    require(frame != NULL, "has memory");
    memcpy(frame, data, size);
    if (space)
        frame[size] = ' ';
    void *at = records;
    const struct decode_room room = {at, at, at, ROOM, ROOM, ROOM, NULL};
    enum decode_result result = decode_deribit(frame, size + (size_t)space, 5, 6, &room, decoded);
    free(frame);
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static union { unsigned char bytes[ROOM * RECORD_SIZE_MAX]; uint64_t aligned; } usual, any;
    struct decoded by_usual = {.count = 0}, by_any = {.count = 0};
    memset(usual.bytes, 0x55, 4096);
    memset(any.bytes, 0xaa, 4096);
    enum decode_result result = decode(data, size, 0, usual.bytes, &by_usual);
    enum decode_result expected = decode(data, size, 1, any.bytes, &by_any);
    /* What ends inside of a number or word needs more, but not when a space follows. */
    require(result == expected || (result == DECODE_MORE && expected == DECODE_BAD), "both say the same");
    if (result != DECODE_OK)
        return 0;
    accepted++;
    require(by_usual.message == by_any.message && by_usual.count == by_any.count, "both find the same message");
    size_t bytes = by_usual.count * record_size((enum record_kind)(int)by_usual.message); /* 0: no records */
    require(memcmp(usual.bytes, any.bytes, bytes) == 0, "both write the same records");
    return 0;
}

#ifdef FUZZ_MAIN
static uint64_t random_state;

static unsigned below(unsigned bound) /* xorshift64* */
{
    random_state ^= random_state >> 12, random_state ^= random_state << 25, random_state ^= random_state >> 27;
    return (unsigned)((random_state * 0x2545f4914f6cdd1du) >> 33) % bound;
}

/* One byte changed, left out or put in, or all behind it cut off. */
static size_t damage(char *frame, size_t length)
{
    static const char bytes[] = "\"\\,:[]{}0123456789.-eE nul\n\x01\xc3";
    size_t place = below((unsigned)length);
    char byte = bytes[below(sizeof bytes - 1)];
    switch (below(4)) {
    case 0:
        frame[place] = byte;
        return length;
    case 1:
        memmove(frame + place, frame + place + 1, length - place - 1);
        return length - 1;
    case 2:
        memmove(frame + place + 1, frame + place, length - place);
        frame[place] = byte;
        return length + 1;
    default:
        return place;
    }
}

int main(int argc, char **argv)
{
    static char frame[USUAL_BYTES_MAX];
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000;
    random_state = (argc > 2 ? strtoull(argv[2], NULL, 10) : 1) * 2 + 1; /* never 0 */
    for (uint64_t i = 0; i < count; i++) {
        static const unsigned oddities[] = {0, 40, 200};
        size_t length = usual_frame(frame, below(USUAL_FRAMES), below, oddities[below(3)]);
        if (below(3) == 0)
            length = damage(frame, length);
        LLVMFuzzerTestOneInput((const uint8_t *)frame, length);
    }
    printf("fuzz_deribit_usual: %llu frames, %lu of them messages\n", (unsigned long long)count, accepted);
    return accepted < count / 4;
}
#endif
