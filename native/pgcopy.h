/* pgcopy.h: records to rows of PostgreSQL's binary COPY format.
 *
 * A plan lists a table's columns; each takes a field of the record or a constant of the batch. Rows only: the stream's
 * header (PGCOPY_HEADER) and trailer (PGCOPY_TRAILER) are the caller's.
 */
#ifndef TICKBAY_PGCOPY_H
#define TICKBAY_PGCOPY_H

#include <stddef.h>
#include <stdint.h>

#define PGCOPY_HEADER "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0" /* 19 bytes */
#define PGCOPY_HEADER_SIZE 19
#define PGCOPY_TRAILER "\377\377"
#define PGCOPY_TRAILER_SIZE 2

/* Bounds of a plan (assertions: plans are ours). The widest table has 43 columns, the longest enumeration 13 words. */
#define PGCOPY_COLUMNS_MAX 128
#define PGCOPY_WORDS_MAX 128 /* of all its enumerations together */
#define PGCOPY_WORD_MAX 40   /* bytes of a word or a constant text */

/* Unsigned fields keep their bits: a value beyond the column's range would come out negative. The venue's numbers stay far
 * below 2^63, seconds since 1970 below 2^31 until 2038; take a bigint for them. */
enum pgcopy_type {
    PGCOPY_INT8_U64,       /* bigint from uint64_t (or int64_t) */
    PGCOPY_INT8_U64_NULL0, /* the same, 0 is NULL */
    PGCOPY_INT8_U32,       /* bigint from uint32_t */
    PGCOPY_INT4_U32,       /* integer from uint32_t */
    PGCOPY_INT4_U32_NULL0,
    PGCOPY_INT2_U8,        /* smallint from uint8_t; 255 is NULL */
    PGCOPY_FLOAT8,         /* double precision from double; NaN is NULL */
    PGCOPY_TIMESTAMPTZ,    /* timestamptz (microseconds since 2000-01-01, rounded down) from int64_t nanoseconds since 1970; 0 is NULL */
    PGCOPY_TEXT,           /* text from `width` NUL-padded bytes; empty is NULL */
    PGCOPY_BOOL_U8,        /* boolean from uint8_t */
    PGCOPY_BOOL_FLAG,      /* boolean: is `argument` set in the uint32_t at offset */
    PGCOPY_ENUM_U8,        /* text: the word number uint8_t of `words`; no such word, or an empty one, is NULL */
    PGCOPY_CONST_TEXT,     /* text: `constant`, `width` bytes */
    PGCOPY_CONST_INT4,     /* integer: `argument` */
};

struct pgcopy_column {
    enum pgcopy_type type;
    uint32_t offset;   /* of the field in the record, bytes */
    uint32_t width;    /* TEXT, CONST_TEXT: bytes; ENUM_U8: number of words */
    uint32_t argument; /* BOOL_FLAG: mask; CONST_INT4: value */
    const char *const *words; /* ENUM_U8: NUL-terminated words */
    const char *constant;     /* CONST_TEXT */
};

enum pgcopy_result {
    PGCOPY_OK = 0,
    PGCOPY_FULL, /* less than pgcopy_row_max() is left in `out`: *taken records are done, call again with the rest */
};

/* An upper bound of the bytes of one row, and what the encoder may scribble behind it: an `out` smaller than this takes
 * no row. */
size_t pgcopy_row_max(const struct pgcopy_column *columns, size_t column_count);

/* Encode records whose head.flags & flag_mask == flag_value (0, 0: all). *taken counts records consumed, encoded or not;
 * *rows the rows written; *size the bytes. Whole rows only. Every field must lie in record_size, and any alignment will do. */
enum pgcopy_result pgcopy_encode(const struct pgcopy_column *columns, size_t column_count, const void *records, size_t record_size,
                                 size_t count, uint32_t flag_mask, uint32_t flag_value, unsigned char *out, size_t out_max,
                                 size_t *taken, size_t *rows, size_t *size);

#endif
