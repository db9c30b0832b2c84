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
    COMMAS_SPARE = 4,       /* written, but not to be read */
};

struct commas {
    uint16_t places[COMMAS_TEXT_MAX + COMMAS_ENDS + COMMAS_SPARE]; /* bytes from the text's beginning, in their order */
};

/* False where the text is too short or too long; then nothing was written. Reads nothing outside of the text. */
bool commas_find(struct commas *commas, const char *text, const char *end);
/* The same without instructions that not every processor has. */
bool commas_find_portable(struct commas *commas, const char *text, const char *end);

#endif
