/* test_number_portable.c: test_number.c once more, with what block.h does on processors without SSE2. */
#define BLOCK_PORTABLE

#include "../number.c"

#include "test_number.c"
