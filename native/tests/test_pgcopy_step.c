/* test_pgcopy_step.c: the quickest way to put a step writes what the plain one writes, which test_pgcopy_portable.c holds
 * against bytes written out by hand; and it neither reads beyond its fields nor writes farther than it may. */
#define _GNU_SOURCE
#include "../pgcopy_step.h"

#include <math.h>

#include "guarded_text.h"

enum { FIELDS = 13, WIDTH_MAX = 80, ROW_MAX = 12 * FIELDS + PGCOPY_SCRIBBLE };

/* Both ways over `size` bytes that end at an unreadable page; `longest` is what they write at most. */
static void same(enum pgcopy_type type, uint32_t count, const void *fields, size_t size, size_t longest)
{
    static unsigned char plain[ROW_MAX], quick[ROW_MAX];
    const unsigned char *record = (const unsigned char *)against_the_end(fields, size);
    struct pgcopy_step steps[2] = {{.put = pgcopy_put_plain(type), .type = type, .count = count}, {.put = pgcopy_put_end}};
    size_t expected = (size_t)(steps->put(plain, steps, record) - plain);
    steps->put = pgcopy_put_of(type, count);
    memset(quick, '#', sizeof quick);
    check((size_t)(steps->put(quick, steps, record) - quick) == expected, "another length", "");
    check(memcmp(quick, plain, expected) == 0, "other bytes", "");
    for (size_t i = longest + PGCOPY_SCRIBBLE; i < sizeof quick; i++)
        check(quick[i] == '#', "written too far", "");
}

static void doubles_come_out_as_one_by_one_whichever_are_null(void)
{
    double values[FIELDS];
    for (uint32_t absent = 0; absent < 1u << FIELDS; absent++) {
        for (uint32_t i = 0; i < FIELDS; i++)
            values[i] = absent >> i & 1 ? (double)NAN : i - 5.25;
        for (uint32_t count = absent < 1u << 9 ? 1 : FIELDS; count <= FIELDS; count++)
            same(PGCOPY_FLOAT8, count, values, count * sizeof *values, 12 * count);
    }
}

static void texts_end_where_they_end_at_every_width(void)
{
    char text[WIDTH_MAX];
    for (uint32_t width = 0; width <= WIDTH_MAX; width++)
        for (uint32_t length = 0; length <= width; length++) {
            for (uint32_t i = 0; i < width; i++)
                text[i] = i == length ? '\0' : (char)(1 + (i * 7 + length) % 255); /* bytes behind the first NUL must not matter */
            same(PGCOPY_TEXT, width, text, width, 4 + width);
        }
}

int main(void)
{
    make_guards();
    doubles_come_out_as_one_by_one_whichever_are_null();
    texts_end_where_they_end_at_every_width();
    printf("test_pgcopy_step: the quickest way beside the plain one\n");
    return failures != 0;
}
