/* test_commas_portable.c: test_commas.c once more, with what commas.c does on processors without SSE2. */
#define _GNU_SOURCE
#define BLOCK_PORTABLE

#include "../commas.c"

#include "test_commas.c"
