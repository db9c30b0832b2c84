/* test_ilp_portable.c: test_ilp.c once more, with what ilp.c does on processors without SSE2. */
#define _GNU_SOURCE
#define ILP_PORTABLE

#include "../ilp.c"

#include "test_ilp.c"
