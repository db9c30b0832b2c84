/* test_form_portable.c: test_form.c once more, with what form.c does on processors without AVX-512. */
#define _GNU_SOURCE
#define NUMBERS_PORTABLE

#include "../form.c"
#include "../numbers.c"

#include "test_form.c"
