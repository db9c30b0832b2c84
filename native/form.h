/* form.h: an object whose members come in a known order, all of them read together.
 *
 * Where each member is follows from where the commas are (commas.h). So all keys are compared before it is asked whether one of them
 * was right, and all numbers are read by the same instructions (numbers.h). literal.h takes one member after the other, and may choose
 * by what it finds. Where a text is spelled in another way it may be right all the same: what was written does not count.
 */
#ifndef TICKBAY_FORM_H
#define TICKBAY_FORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "commas.h"
#include "numbers.h"

enum {
    FORM_MEMBERS = COMMAS_SPARSE_MAX,
    FORM_KEY_MAX = 32, /* bytes */
    FORM_WORD = sizeof(double),
    FORM_WORDS = 48, /* of a record, for what is wanted of it */
};

/* What a form is, and which member belongs into which word of a record. Numbers lie in NUMBERS of them, one behind the other. */
struct form {
    _Alignas(64) char keys[FORM_MEMBERS][FORM_KEY_MAX]; /* all from the comma to the value, a text's quote too; then NULs */
    uint32_t key_bits[FORM_MEMBERS];                    /* a bit for each byte */
    uint16_t key_lengths[FORM_MEMBERS];
    uint16_t closers[FORM_MEMBERS];  /* bytes between the value and the next comma: a text's quote, or braces */
    uint16_t members[FORM_WORDS];    /* counted from 1; 0: none */
    uint32_t numbers;                /* the word of the first one */
    uint32_t count;                  /* of members */
};

/* Where its values are in a text. */
struct form_places {
    _Alignas(64) uint16_t commas[COMMAS_SPARSE_MAX]; /* behind each value */
    uint16_t begins[FORM_MEMBERS];
    uint16_t ends[FORM_MEMBERS];
};

/* Whether the text has all keys of the form, and all its numbers are such or null. They are written to `numbers`, NUMBERS of them: null,
 * and what the form has not, is NaN. Of other values, and of closers, is only said where they are. LITERAL_BEFORE bytes before the
 * text are readable. */
bool form_read(const struct form *form, const char *text, const char *end, struct form_places *places, double *numbers);

/* The value that belongs where `offset` bytes of the record are. */
static inline const char *form_begin(const struct form *form, const struct form_places *places, const char *text, size_t offset)
{
    return text + places->begins[form->members[offset / FORM_WORD] - 1];
}

static inline const char *form_end(const struct form *form, const struct form_places *places, const char *text, size_t offset)
{
    return text + places->ends[form->members[offset / FORM_WORD] - 1];
}

#endif
