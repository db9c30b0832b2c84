/* guarded_text.h: texts between pages that may not be touched, for the tests of what reads texts. They define _GNU_SOURCE before
 * anything else (MAP_ANONYMOUS, program_invocation_short_name). */
#ifndef TICKBAY_GUARDED_TEXT_H
#define TICKBAY_GUARDED_TEXT_H

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

enum { GUARDED_BYTES = 16 * 4096, PAGE_BYTES = 4096 };

static int failures;
static char *guarded; /* GUARDED_BYTES that may be touched */

static inline void check(int holds, const char *what, const char *text)
{
    if (!holds) {
        fprintf(stderr, "%s: %s: %.300s\n", program_invocation_short_name, what, text);
        failures++;
    }
}

static inline void make_guards(void)
{
    char *pages = mmap(NULL, GUARDED_BYTES + 2 * PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert(pages != MAP_FAILED);
    guarded = pages + PAGE_BYTES;
    int denied = mprotect(guarded, GUARDED_BYTES, PROT_READ | PROT_WRITE);
    assert(denied == 0);
}

/* A copy of the text with nothing readable right behind it. */
static inline const char *against_the_end(const char *text, size_t length)
{
    assert(length <= GUARDED_BYTES);
    return memmove(guarded + GUARDED_BYTES - length, text, length);
}

/* A copy of the text with `before` readable bytes before it, and not one more; there is plenty of digits behind it. */
static inline const char *against_the_front(const char *text, size_t length, size_t before)
{
    assert(before + length + 64 <= GUARDED_BYTES);
    memset(guarded, '7', before + length + 64);
    return memcpy(guarded + before, text, length);
}

#endif
