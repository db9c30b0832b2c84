/* test_numbers_portable.c: test_numbers.c once more, with what numbers.c does on processors without AVX-512. */
#define _GNU_SOURCE
#define NUMBERS_PORTABLE

#include "../numbers.c"

#include "test_numbers.c"
