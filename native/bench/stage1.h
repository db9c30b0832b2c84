/* stage1.h: simdjson's first stage, which finds where the words of a JSON text are and what lies in strings, and no more: a limit
 * for decoders. Where simdjson is not installed there is no STAGE1 and nothing of this.
 */
#ifndef TICKBAY_BENCH_STAGE1_H
#define TICKBAY_BENCH_STAGE1_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* For texts of up to `bytes_max`; kept for as long as the program runs. NULL: no memory. */
void *stage1_make(size_t bytes_max);
/* How many words were found; 0: it is no JSON. */
size_t stage1_find(void *stage1, const char *text, size_t length);
/* The name of the processor's instructions that it is built for: the best of those there are. */
const char *stage1_name(void);

#ifdef __cplusplus
}
#endif
#endif
