/* pgcopy_step.h: the steps that write a row of pgcopy.h, one for each column, or for several whose fields lie one behind the
 * other as the columns do.
 *
 * A row is one walk through its steps: each writes its fields and calls the next one as the last thing it does, of which
 * compilers make a jump. So between two columns there is no loop, no switch, and no register to be saved. A field that may be
 * NULL is written without a branch on it: length and value are stored in any case, and the position moves on by less.
 */
#ifndef TICKBAY_PGCOPY_STEP_H
#define TICKBAY_PGCOPY_STEP_H

#include <stdint.h>

#include "pgcopy.h"

enum { PGCOPY_SCRIBBLE = 64 }; /* bytes that a step may write behind what it writes at most */

/* A field that need not be encoded for each row: a constant, a word of an enumeration. */
struct pgcopy_cell {
    unsigned char bytes[4 + PGCOPY_WORD_MAX];
    uint32_t size;
};

struct pgcopy_step;

/* Writes the step's fields of `record` to `out`, then all steps behind it; returns where the row ends. */
typedef unsigned char *pgcopy_put(unsigned char *out, const struct pgcopy_step *step, const unsigned char *record);

struct pgcopy_step {
    pgcopy_put *put;
    const struct pgcopy_cell *cells; /* constants: one each; ENUM_U8: one for each word, then one for every other number */
    enum pgcopy_type type;
    uint32_t offset;
    uint32_t count;                  /* fields of INT8_U64, FLOAT8; cells of constants; words of ENUM_U8; bytes of TEXT */
    uint32_t mask;                   /* BOOL_FLAG */
};

/* How a step of this type (and of `width` bytes, if it is text) is put: the quickest way that the processor has. */
pgcopy_put *pgcopy_put_of(enum pgcopy_type type, uint32_t width);
/* The same without instructions that not every processor has. */
pgcopy_put *pgcopy_put_plain(enum pgcopy_type type);
/* Writes nothing, but asks for the `count` bytes at `offset`, which may lie in a record to come (or in none). */
unsigned char *pgcopy_put_ask(unsigned char *out, const struct pgcopy_step *step, const unsigned char *record);
/* Behind the last step: the row ends here. */
unsigned char *pgcopy_put_end(unsigned char *out, const struct pgcopy_step *step, const unsigned char *record);

#endif
