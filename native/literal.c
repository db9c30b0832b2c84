/* literal.c: see literal.h. */
#include "literal.h"

bool literal_any_number(const char *at, const char *end, const char *text_end, double *value)
{
    return (end - at == 4 && memcmp(at, "null", 4) == 0) || number_double_within(at, text_end, value) == end;
}
