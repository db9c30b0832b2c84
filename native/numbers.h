/* numbers.h: the plain numbers of a text, noted while it is walked over and read together afterwards.
 *
 * Where they end is known before they are read (commas.h), so eight of them can go through the same instructions. It takes AVX-512
 * to gain by that. Elsewhere each is best read when its turn comes, by number_plain_signed_until(); literal.h does the one or the other.
 */
#ifndef TICKBAY_NUMBERS_H
#define TICKBAY_NUMBERS_H

#include <stdbool.h>
#include <stdint.h>

#include "block.h"

enum {
    NUMBERS_MAX = 32,       /* an option's ticker has 27 */
    NUMBERS_LENGTH_MIN = 3, /* bytes of a plain number: 0.5 */
    NUMBERS_LENGTH_MAX = BLOCK_BYTES,
};

struct number {
    const char *end;
    uint64_t length; /* NUMBERS_LENGTH_MIN to NUMBERS_LENGTH_MAX bytes, with its sign; NUMBER_BEFORE more before it are readable */
    double *value;
};

/* In the caller's memory, which need not be cleared: how many are noted the caller knows. */
struct numbers {
    struct number noted[NUMBERS_MAX];
    double nowhere;
};

/* Whether this processor gains by it. */
bool numbers_gain(void);

/* Notes what may be a plain number, as number `i`. */
INLINE void numbers_note(struct numbers *numbers, uint64_t i, const char *end, uint64_t length, double *value)
{
    numbers->noted[i] = (struct number){end, length, value};
}

/* Number `i` has been read in another way. A number is noted in its place: places that are known when the code is compiled are worth it. */
INLINE void numbers_note_nothing(struct numbers *numbers, uint64_t i)
{
    static const char zero[] = "the 16 bytes of NUMBER_BEFORE: 0.0";
    numbers_note(numbers, i, zero + sizeof zero - 1, NUMBERS_LENGTH_MIN, &numbers->nowhere);
}

/* Reads the first `count`, as number_plain_signed_until() would. Bit i of the answer is set where it would not take number i, whose
 * value stays. */
uint64_t numbers_read(struct numbers *numbers, uint64_t count);

#endif
