/* numbers.h: as many plain numbers of a text as a form has (form.h), read together.
 *
 * Where they are is known before they are read (commas.h), so eight of them can go through the same instructions. It takes AVX-512
 * to gain by that; elsewhere each is best read when its turn comes, by number_plain_signed_until().
 */
#ifndef TICKBAY_NUMBERS_H
#define TICKBAY_NUMBERS_H

#include <stdbool.h>
#include <stdint.h>

#include "block.h"

enum {
    NUMBERS = 32,           /* an option's ticker has 27 */
    NUMBERS_LENGTH_MIN = 3, /* bytes of a plain number: 0.5 */
    NUMBERS_LENGTH_MAX = BLOCK_BYTES,
};

/* Places in a text, of which NUMBER_BEFORE more bytes before it are readable. */
struct numbers {
    _Alignas(64) uint16_t ends[NUMBERS];
    uint16_t lengths[NUMBERS]; /* bytes, with the sign; 0: there is none */
};

/* Whether this processor gains by it. */
bool numbers_gain(void);

/* Reads all that there are into `values`, as number_plain_signed_until() would; the others become NaN. Bit i of the answer is set
 * where it would not take number i, or where that has more than NUMBERS_LENGTH_MAX bytes. */
uint32_t numbers_read(const char *text, const struct numbers *numbers, double *values);

#endif
