/* pgcopy.c: see pgcopy.h. A row is int16 field count, then per field int32 length (-1: NULL) and the value, big-endian.
 *
 * A field that may be NULL is written without a branch: length and value are stored in any case, and the position moves
 * on by 4 or by 12. Which prices are absent differs from row to row, so a branch would be mispredicted often. */
#include "pgcopy.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "record.h"

#define PGCOPY_COLUMNS_MAX 1600 /* what PostgreSQL allows in a table */
#define EPOCH_2000_US 946684800000000 /* 2000-01-01 in microseconds since 1970 */

_Static_assert(sizeof PGCOPY_HEADER - 1 == PGCOPY_HEADER_SIZE, "the header has another size");
_Static_assert(sizeof PGCOPY_TRAILER - 1 == PGCOPY_TRAILER_SIZE, "the trailer has another size");

static uint8_t load8(const unsigned char *at)
{
    return *at;
}

static uint32_t load32(const unsigned char *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static uint64_t load64(const unsigned char *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static void store16(unsigned char *out, uint16_t value)
{
    value = __builtin_bswap16(value);
    memcpy(out, &value, sizeof value);
}

static void store32(unsigned char *out, uint32_t value)
{
    value = __builtin_bswap32(value);
    memcpy(out, &value, sizeof value);
}

static void store64(unsigned char *out, uint64_t value)
{
    value = __builtin_bswap64(value);
    memcpy(out, &value, sizeof value);
}

#define NULL_FIELD 0xffffffffu /* -1 */

/* Each put_ writes one field and returns the position behind it; it may scribble up to the field's bound (pgcopy_row_max). */
static unsigned char *put8(unsigned char *out, uint64_t value, bool null)
{
    store32(out, null ? NULL_FIELD : 8);
    store64(out + 4, value);
    return out + (null ? 4 : 12);
}

static unsigned char *put4(unsigned char *out, uint32_t value, bool null)
{
    store32(out, null ? NULL_FIELD : 4);
    store32(out + 4, value);
    return out + (null ? 4 : 8);
}

static unsigned char *put2(unsigned char *out, uint16_t value, bool null)
{
    store32(out, null ? NULL_FIELD : 2);
    store16(out + 4, value);
    return out + (null ? 4 : 6);
}

static unsigned char *put1(unsigned char *out, bool value)
{
    store32(out, 1);
    out[4] = value;
    return out + 5;
}

static unsigned char *put_float8(unsigned char *out, uint64_t bits)
{
    /* NaN: all ones in the exponent and anything in the fraction; as integers, so that no sNaN is ever touched. */
    return put8(out, bits, bits << 1 > 0xffe0000000000000u);
}

static unsigned char *put_timestamptz(unsigned char *out, int64_t ns)
{
    /* Rounded down, also before 1970: order is kept, and equal times stay equal. */
    int64_t us = ns / 1000 - (ns % 1000 < 0);
    return put8(out, (uint64_t)(us - EPOCH_2000_US), ns == 0);
}

static unsigned char *put_bytes(unsigned char *out, const void *bytes, size_t length)
{
    store32(out, (uint32_t)length);
    memcpy(out + 4, bytes, length);
    return out + 4 + length;
}

/* The length of NUL-padded text, and the text to `out` on the way: all `width` bytes, whatever its length. */
static size_t copy_text(unsigned char *out, const unsigned char *text, size_t width)
{
    size_t length = width;
    size_t at = width & ~(size_t)7;
    for (size_t i = width; i > at; i--) { /* a width that is no multiple of 8: none in record.h has that */
        out[i - 1] = text[i - 1];
        length = text[i - 1] == '\0' ? i - 1 : length;
    }
    /* From the end to the beginning, so that the first NUL wins without leaving the loop early: its number of turns
     * depends on the column alone, which is foreseen; one that depends on the name is not. */
    while (at > 0) {
        at -= 8;
        uint64_t word = load64(text + at);
        memcpy(out + at, &word, sizeof word);
        /* The lowest bit set marks the first zero byte (the ones above it may lie). */
        uint64_t zeros = (word - 0x0101010101010101u) & ~word & 0x8080808080808080u;
        length = zeros != 0 ? at + (size_t)__builtin_ctzll(zeros) / 8 : length;
    }
    return length;
}

static unsigned char *put_text(unsigned char *out, const unsigned char *text, size_t width)
{
    size_t length = copy_text(out + 4, text, width);
    store32(out, length == 0 ? NULL_FIELD : (uint32_t)length);
    return out + 4 + length;
}

static unsigned char *put_word(unsigned char *out, const struct pgcopy_column *column, uint8_t number)
{
    const char *word = number < column->width ? column->words[number] : "";
    if (word[0] == '\0') {
        store32(out, NULL_FIELD);
        return out + 4;
    }
    return put_bytes(out, word, strlen(word));
}

static unsigned char *put_column(unsigned char *out, const struct pgcopy_column *column, const unsigned char *record)
{
    const unsigned char *field = record + column->offset;
    switch (column->type) {
    case PGCOPY_INT8_U64:
        return put8(out, load64(field), false);
    case PGCOPY_INT8_U64_NULL0:
        return put8(out, load64(field), load64(field) == 0);
    case PGCOPY_INT8_U32:
        return put8(out, load32(field), false);
    case PGCOPY_INT4_U32:
        return put4(out, load32(field), false);
    case PGCOPY_INT4_U32_NULL0:
        return put4(out, load32(field), load32(field) == 0);
    case PGCOPY_INT2_U8:
        return put2(out, load8(field), load8(field) == 255);
    case PGCOPY_FLOAT8:
        return put_float8(out, load64(field));
    case PGCOPY_TIMESTAMPTZ:
        return put_timestamptz(out, (int64_t)load64(field));
    case PGCOPY_TEXT:
        return put_text(out, field, column->width);
    case PGCOPY_BOOL_U8:
        return put1(out, load8(field) != 0);
    case PGCOPY_BOOL_FLAG:
        return put1(out, (load32(field) & column->argument) != 0);
    case PGCOPY_ENUM_U8:
        return put_word(out, column, load8(field));
    case PGCOPY_CONST_TEXT:
        return put_bytes(out, column->constant, column->width);
    case PGCOPY_CONST_INT4:
        return put4(out, column->argument, false);
    }
    assert(!"a column of no known type");
    return out;
}

/* Bytes of the record that a column reads, and the most that it writes behind its length. */
static void column_bounds(const struct pgcopy_column *column, size_t *reads, size_t *writes)
{
    *reads = 0;
    *writes = 0;
    switch (column->type) {
    case PGCOPY_INT8_U64:
    case PGCOPY_INT8_U64_NULL0:
    case PGCOPY_FLOAT8:
    case PGCOPY_TIMESTAMPTZ:
        *reads = *writes = 8;
        return;
    case PGCOPY_INT8_U32:
        *reads = 4, *writes = 8;
        return;
    case PGCOPY_INT4_U32:
    case PGCOPY_INT4_U32_NULL0:
        *reads = *writes = 4;
        return;
    case PGCOPY_INT2_U8:
        *reads = 1, *writes = 2;
        return;
    case PGCOPY_BOOL_U8:
        *reads = *writes = 1;
        return;
    case PGCOPY_BOOL_FLAG:
        *reads = 4, *writes = 1;
        return;
    case PGCOPY_TEXT:
        *reads = *writes = column->width;
        return;
    case PGCOPY_CONST_TEXT:
        *writes = column->width;
        return;
    case PGCOPY_CONST_INT4:
        *writes = 4;
        return;
    case PGCOPY_ENUM_U8:
        *reads = 1;
        for (uint32_t i = 0; i < column->width; i++) {
            size_t length = strlen(column->words[i]);
            *writes = length > *writes ? length : *writes;
        }
        return;
    }
    assert(!"a column of no known type");
}

size_t pgcopy_row_max(const struct pgcopy_column *columns, size_t column_count)
{
    size_t size = 2;
    for (size_t i = 0; i < column_count; i++) {
        size_t reads, writes;
        column_bounds(&columns[i], &reads, &writes);
        size += 4 + writes;
    }
    return size;
}

static void assert_fields_lie_in_record(const struct pgcopy_column *columns, size_t column_count, size_t record_size)
{
    assert(column_count <= PGCOPY_COLUMNS_MAX && record_size >= sizeof(struct record_head));
    for (size_t i = 0; i < column_count; i++) {
        size_t reads, writes;
        column_bounds(&columns[i], &reads, &writes);
        assert(columns[i].offset <= record_size && reads <= record_size - columns[i].offset);
    }
}

enum pgcopy_result pgcopy_encode(const struct pgcopy_column *columns, size_t column_count, const void *records, size_t record_size,
                                 size_t count, uint32_t flag_mask, uint32_t flag_value, unsigned char *out, size_t out_max,
                                 size_t *taken, size_t *rows, size_t *size)
{
    assert_fields_lie_in_record(columns, column_count, record_size);
    size_t row_max = pgcopy_row_max(columns, column_count);
    const unsigned char *record = records;
    unsigned char *at = out;
    *rows = 0;
    for (*taken = 0; *taken < count; *taken += 1, record += record_size) {
        if ((load32(record + offsetof(struct record_head, flags)) & flag_mask) != flag_value) {
            continue;
        }
        if (out_max - (size_t)(at - out) < row_max) {
            break;
        }
        store16(at, (uint16_t)column_count);
        at += 2;
        for (size_t i = 0; i < column_count; i++) {
            at = put_column(at, &columns[i], record);
        }
        *rows += 1;
    }
    *size = (size_t)(at - out);
    return *taken < count ? PGCOPY_FULL : PGCOPY_OK;
}
