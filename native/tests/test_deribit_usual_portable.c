/* test_deribit_usual_portable.c: test_deribit_usual.c once more, with each number read when its turn comes, as without AVX-512. */
#define _GNU_SOURCE
#define NUMBERS_PORTABLE

#include "../numbers.c"

#include "test_deribit_usual.c"
