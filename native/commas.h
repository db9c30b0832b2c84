/* commas.h: where the commas of a text are, all of them found before it is read.
 *
 * A reader that learns where a value ends by reading it can begin with the next one only then: each value waits for the one before
 * it, and the processor with it. Where the ends are known beforehand it works on several at once. A comma inside of a string is
 * found too, so what ends there is a guess: literal.h checks that a value fills all of its place.
 */
#ifndef TICKBAY_COMMAS_H
#define TICKBAY_COMMAS_H

#include <stdbool.h>
#include <stdint.h>

enum {
    COMMAS_TEXT_MIN = 64,   /* bytes of a text */
    COMMAS_TEXT_MAX = 2048, /* enough for what is of known length: a ticker has 800 */
    COMMAS_ENDS = 2,        /* places behind the last comma: both are the text's length */
    COMMAS_SPARE = 64,      /* written, but not to be read */
    COMMAS_SPARSE_MAX = 32,
};

struct commas {
    uint16_t places[COMMAS_TEXT_MAX + COMMAS_ENDS + COMMAS_SPARE]; /* bytes from the text's beginning, in their order */
};

/* False where the text is too short or too long; then nothing was written. Reads nothing outside of the text. */
bool commas_find(struct commas *commas, const char *text, const char *end);

/* The same of a text with no two commas in eight bytes, and COMMAS_SPARSE_MAX of them at most: how many there are. All places are
 * written (32 bytes aligned): theirs, then the text's length. Of another text they are anywhere in it: to be trusted only where there
 * turns out to be a comma. */
uint32_t commas_find_sparse(uint16_t *places, const char *text, const char *end);

typedef bool commas_finder(struct commas *commas, const char *text, const char *end);
enum commas_way { COMMAS_PORTABLE, COMMAS_AVX2, COMMAS_AVX512, COMMAS_WAYS };

/* A way to do the same; NULL where this processor lacks its instructions. commas_find() takes the last of those that there are. */
commas_finder *commas_way(enum commas_way way);

#endif
