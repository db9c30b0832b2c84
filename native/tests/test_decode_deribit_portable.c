/* test_decode_deribit_portable.c: test_decode_deribit.c once more, with what block.h does on processors without SSE2. */
#define _GNU_SOURCE
#define BLOCK_PORTABLE

#include "../commas.c"
#include "../decode_deribit.c"
#include "../deribit_data.c"
#include "../deribit_usual.c"
#include "../json.c"
#include "../literal.c"
#include "../number.c"
#include "../numbers.c"
#include "../shape.c"

#include "test_decode_deribit.c"
