/* number.h: JSON numbers to the nearest double, and bounded integers. Independent of the locale, exact in every case. */
#ifndef TICKBAY_NUMBER_H
#define TICKBAY_NUMBER_H

#include <stddef.h>
#include <stdint.h>

#define NUMBER_MAX 64 /* bytes of one number; a longer one is refused. The longest that a venue needs is 24. */

/* Parse a JSON number (RFC 8259 grammar: no leading +, no leading zeros, no bare point) at `text`, ending before `end`.
 * Returns the first byte behind it, or NULL where there is no valid number. The number may end at `end`: the caller
 * decides whether that means "need more". *value is the double nearest to the text (ties to even); a magnitude that
 * overflows is refused (NULL), one that underflows becomes 0 or a subnormal as strtod() does. */
const char *number_double(const char *text, const char *end, double *value);

/* Parse a non-negative integer that fits uint64_t. A fraction or an exponent ends the number (and so is the caller's
 * syntax error), except a fraction of zeros (".0"), which is accepted. NULL where there is none or it overflows. */
const char *number_u64(const char *text, const char *end, uint64_t *value);

#endif
