/* number.h: JSON numbers to the nearest double, and bounded integers. Independent of the locale, exact in every case. */
#ifndef TICKBAY_NUMBER_H
#define TICKBAY_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "block.h"

#define NUMBER_MAX 64 /* bytes of one number; a longer one is refused. The longest that a venue needs is 24. */

/* Parse a JSON number (RFC 8259 grammar: no leading +, no leading zeros, no bare point) at `text`, ending before `end`.
 * Returns the first byte behind it, or NULL where there is no valid number. The number may end at `end`: the caller
 * decides whether that means "need more". *value is the double nearest to the text (ties to even); a magnitude that
 * overflows is refused (NULL), one that underflows becomes 0 or a subnormal as strtod() does. */
const char *number_double(const char *text, const char *end, double *value);

/* The same in the middle of a text: at least NUMBER_BEFORE bytes before `text` are readable (and do not matter). Faster. */
const char *number_double_within(const char *text, const char *end, double *value);
#define NUMBER_BEFORE 16

/* Parse a non-negative integer that fits uint64_t. A fraction or an exponent ends the number (and so is the caller's
 * syntax error), except a fraction of zeros (".0"), which is accepted. NULL where there is none or it overflows. */
const char *number_u64(const char *text, const char *end, uint64_t *value);
/* The same in the middle of a text, as number_double_within(). */
const char *number_u64_within(const char *text, const char *end, uint64_t *value);

static const double number_tens[BLOCK_BYTES] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                                1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};

/* What venues send: one digit or more, a point, one digit or more, at most 15 digits, and a comma or closing mark behind it;
 * no sign. NULL where it is anything else, also a number. At least NUMBER_BEFORE bytes before `text` and NUMBER_AHEAD bytes
 * from it on are readable. */
static inline const char *number_plain(const char *text, double *value)
{
    uint64_t stops = ~block_digits(text); /* bits 16 and up are stops */
    uint64_t point = block_first(stops), behind = block_first(stops & (stops - 1)), fraction = behind - point - 1;
    const char *at = text + behind;
    if (UNLIKELY(text[point] != '.' || point == 0 || fraction == 0 || (*text == '0' && point != 1)))
        return NULL;
    if (UNLIKELY(*at != ',' && (*at | 0x20) != '}')) /* or ']'; so not a digit behind the 16 that were looked at */
        return NULL;
    /* Both are exact (below 2^53, below 10^22), so the quotient is the nearest double; see number.c. */
    *value = block_decimal_double(at, point, fraction) / number_tens[fraction];
    return at;
}
#define NUMBER_AHEAD 19 /* and room for a minus sign before it */

/* The same behind a minus sign at `text`. */
const char *number_plain_negative(const char *text, double *value);

/* The same where the number must end at `end`, of at most 16 bytes. Reads nothing from `end` on. */
INLINE bool number_plain_until(const char *text, const char *end, double *value)
{
    uint64_t length = (uint64_t)(end - text);
    if (UNLIKELY(length - 3 > BLOCK_BYTES - 3))
        return false;
    uint64_t others = (block_digits(end - BLOCK_BYTES) ^ 0xffff) >> (BLOCK_BYTES - length); /* what is no digit: one point */
    if (UNLIKELY(others == 0 || (others & (others - 1)) != 0))
        return false;
    uint64_t point = block_first(others), fraction = length - 1 - point;
    if (UNLIKELY(text[point] != '.' || fraction == 0 || ((unsigned char)(*text - '1') > 8 && (*text != '0' || point != 1))))
        return false;
    *value = block_decimal_double(end, point, fraction) / number_tens[fraction];
    return true;
}

/* The same, perhaps behind a minus sign. `text` is readable. */
INLINE bool number_plain_signed_until(const char *text, const char *end, double *value)
{
    bool is_negative = *text == '-';
    if (UNLIKELY(!number_plain_until(text + is_negative, end, value)))
        return false;
    *value = is_negative ? -*value : *value;
    return true;
}

/* An integer of at most 16 digits that must end at `end`; not 0. */
INLINE bool number_plain_u64_until(const char *text, const char *end, uint64_t *value)
{
    uint64_t length = (uint64_t)(end - text);
    if (UNLIKELY(length - 1 > BLOCK_BYTES - 1 || *text == '0'))
        return false;
    if (UNLIKELY((block_digits(end - BLOCK_BYTES) ^ 0xffff) >> (BLOCK_BYTES - length) != 0))
        return false;
    *value = block_decimal(end, 0, length);
    return true;
}

/* The grammar and width of number_double() alone: the value may be of any size. */
const char *number_skip(const char *text, const char *end);

#endif
