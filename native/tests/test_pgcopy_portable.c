/* test_pgcopy_portable.c: test_pgcopy.c once more, with what pgcopy_step.c does on processors without SSE2. */
#define _GNU_SOURCE
#define PGCOPY_PORTABLE

#include "../pgcopy.c"
#include "../pgcopy_step.c"

#include "test_pgcopy.c"
