/* ilp.h: records to rows of QuestDB's line protocol, version 2: text, but doubles as their eight bytes.
 *
 * A row is a line: table, symbols, fields, the time in nanoseconds. A plan lists a table's columns, symbols first; each
 * takes a field of the record or a constant of the batch. What is absent is left out, and QuestDB makes it NULL.
 * https://questdb.com/docs/reference/api/ilp/advanced-settings/
 */
#ifndef TICKBAY_ILP_H
#define TICKBAY_ILP_H

#include <stddef.h>
#include <stdint.h>

/* Bounds of a plan (assertions: plans are ours). The widest table has 42 columns, the longest enumeration 13 words. */
#define ILP_COLUMNS_MAX 128
#define ILP_WORDS_MAX 128 /* of all its enumerations together */
#define ILP_WORD_MAX 40   /* bytes of a word or a constant text */
#define ILP_NAME_MAX 40   /* bytes of a table's or a column's name: letters, digits, _ */

enum ilp_type {
    ILP_SYMBOL_TEXT,  /* symbol from `width` NUL-padded bytes; empty is absent */
    ILP_SYMBOL_ENUM,  /* symbol: the word number uint8_t of `words`; no such word, or an empty one, is absent */
    ILP_SYMBOL_CONST, /* symbol: `constant`, `width` bytes, not empty */
    ILP_LONG_U64,     /* whole number from uint64_t (or int64_t); beyond 2^63 it comes out negative, as everywhere */
    ILP_LONG_U64_ABSENT0, /* the same, 0 is absent */
    ILP_LONG_U32,
    ILP_LONG_U32_ABSENT0,
    ILP_LONG_U8_ABSENT255,
    ILP_LONG_CONST,   /* whole number: `argument` */
    ILP_DOUBLE,       /* from double; NaN is absent */
    ILP_TIMESTAMP,    /* from int64_t nanoseconds since 1970; 0 is absent */
    ILP_STRING,       /* varchar from `width` NUL-padded bytes; empty is absent */
    ILP_BOOL_U8,      /* boolean from uint8_t */
    ILP_BOOL_FLAG,    /* boolean: is `argument` set in the uint32_t at offset */
};

struct ilp_column {
    enum ilp_type type;
    const char *name;
    uint32_t offset;   /* of the field in the record, bytes */
    uint32_t width;    /* texts, SYMBOL_CONST: bytes; SYMBOL_ENUM: number of words */
    uint32_t argument; /* BOOL_FLAG: mask; LONG_CONST: value */
    const char *const *words; /* SYMBOL_ENUM: NUL-terminated words */
    const char *constant;     /* SYMBOL_CONST */
};

struct ilp_table {
    const char *name;
    const struct ilp_column *columns; /* symbols first; then a field that is never absent: LONG_U64, LONG_U32, LONG_CONST */
    size_t column_count;
    uint32_t at_offset;      /* of the row's time, int64_t nanoseconds; where it is not after 1970 … */
    uint32_t at_else_offset; /* … this one counts */
};

enum ilp_result {
    ILP_OK = 0,
    ILP_FULL, /* less than ilp_row_max() is left in `out`: *taken records are done, call again with the rest */
};

/* An upper bound of the bytes of one row, and what the encoder may scribble behind it: an `out` smaller than this takes
 * no row. */
size_t ilp_row_max(const struct ilp_table *table);

/* Encode records whose head.flags & flag_mask == flag_value (0, 0: all). *taken counts records consumed, encoded or not;
 * *rows the rows written; *size the bytes. Whole rows only. Every field must lie in record_size, and any alignment will do. */
enum ilp_result ilp_encode(const struct ilp_table *table, const void *records, size_t record_size, size_t count, uint32_t flag_mask,
                           uint32_t flag_value, unsigned char *out, size_t out_max, size_t *taken, size_t *rows, size_t *size);

#endif
