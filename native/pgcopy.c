/* pgcopy.c: see pgcopy.h. A row is int16 field count, then per field int32 length (-1: NULL) and the value, big-endian.
 *
 * A field that may be NULL is written without a branch on it: length and value are stored in any case, and the position
 * moves on by 4 or by 12. A plan is turned into steps first, so that what can be known before the rows (words, constants,
 * which fields lie one behind the other) is not found out for each of them. */
#include "pgcopy.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "record.h"

/* Every x86-64 has SSE2; elsewhere words do (and with PGCOPY_PORTABLE, so that a test on x86-64 can try them). */
#if defined __SSE2__ && !defined PGCOPY_PORTABLE
#include <emmintrin.h>
#define PGCOPY_SSE2
#endif

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

/* Each put_ writes one field and returns the position behind it; it may scribble up to the field's bound (pgcopy_row_max).
 * A NULL is reckoned, not chosen with ?:, of which gcc makes a branch. */
static uint32_t length_field(uint32_t length, bool null)
{
    return length | -(uint32_t)null; /* -1 where it is NULL */
}

static unsigned char *put8(unsigned char *out, uint64_t value, bool null)
{
    store32(out, length_field(8, null));
    store64(out + 4, value);
    return out + 12 - 8 * (size_t)null;
}

static unsigned char *put4(unsigned char *out, uint32_t value, bool null)
{
    store32(out, length_field(4, null));
    store32(out + 4, value);
    return out + 8 - 4 * (size_t)null;
}

static unsigned char *put2(unsigned char *out, uint16_t value, bool null)
{
    store32(out, length_field(2, null));
    store16(out + 4, value);
    return out + 6 - 2 * (size_t)null;
}

static unsigned char *put1(unsigned char *out, bool value)
{
    store32(out, 1);
    out[4] = value;
    return out + 5;
}

static unsigned char *put_float8(unsigned char *out, uint64_t bits)
{
    /* NaN: all ones in the exponent and anything in the fraction. */
    return put8(out, bits, bits << 1 > 0xffe0000000000000u);
}

/* `count` doubles that lie one behind the other, by twos: one comparison tells that neither is NaN, and then what remains
 * is two loads and four stores. Which fields are absent is mostly the same from row to row, so this branch is foreseen;
 * the neighbours of an absent one are reckoned. */
static unsigned char *put_float8s(unsigned char *out, const unsigned char *field, uint32_t count)
{
    const unsigned char *end = field + count / 2 * 16;
    for (; field < end; field += 16) {
        double values[2];
        memcpy(values, field, sizeof values);
        if (isunordered(values[0], values[1])) {
            out = put_float8(out, load64(field));
            out = put_float8(out, load64(field + 8));
        } else {
            out = put8(out, load64(field), false);
            out = put8(out, load64(field + 8), false);
        }
    }
    return count % 2 != 0 ? put_float8(out, load64(field)) : out;
}

static unsigned char *put_timestamptz(unsigned char *out, int64_t ns)
{
    /* Rounded down, also before 1970: order is kept, and equal times stay equal. */
    int64_t us = ns >= 0 ? ns / 1000 : -1 - (-1 - ns) / 1000;
    return put8(out, (uint64_t)(us - EPOCH_2000_US), ns == 0);
}

/* Copy 16 bytes of text; returns where among them the first NUL is, or `none`. */
static size_t copy_16(unsigned char *out, const unsigned char *text, size_t none)
{
#ifdef PGCOPY_SSE2
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)text);
    _mm_storeu_si128((__m128i *)(void *)out, bytes);
    unsigned nuls = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_setzero_si128()));
    return nuls != 0 ? (size_t)__builtin_ctz(nuls) : none;
#else
    size_t first = none;
    for (size_t at = 16; at > 0;) {
        at -= 8;
        uint64_t word = load64(text + at);
        memcpy(out + at, &word, sizeof word);
        /* The lowest bit set marks the first zero byte (the ones above it may lie). */
        uint64_t nuls = (word - 0x0101010101010101u) & ~word & 0x8080808080808080u;
        first = nuls != 0 ? at + (size_t)__builtin_ctzll(nuls) / 8 : first;
    }
    return first;
#endif
}

/* The length of NUL-padded text, and the text to `out` on the way: all `width` bytes, whatever its length. From the end to
 * the beginning, so that the first NUL wins without leaving the loop early: its number of turns depends on the column
 * alone, which is foreseen; one that depends on the name is not. */
static size_t copy_text(unsigned char *out, const unsigned char *text, size_t width)
{
    size_t length = width, at = width & ~(size_t)15;
    for (size_t i = width; i > at; i--) { /* what is left over of 16: at most 8 bytes in record.h */
        out[i - 1] = text[i - 1];
        length = text[i - 1] == '\0' ? i - 1 : length;
    }
    while (at > 0) {
        at -= 16;
        length = at + copy_16(out + at, text + at, length - at);
    }
    return length;
}

static unsigned char *put_text(unsigned char *out, const unsigned char *text, size_t width)
{
    size_t length = copy_text(out + 4, text, width);
    store32(out, length_field((uint32_t)length, length == 0));
    return out + 4 + length;
}

/* A field that need not be encoded for each row: a constant, a word of an enumeration. Copied whole, for a copy of just
 * `size` bytes would be a call. */
struct cell {
    unsigned char bytes[4 + PGCOPY_WORD_MAX];
    uint32_t size;
};

static unsigned char *put_cell(unsigned char *out, const struct cell *cell)
{
    memcpy(out, cell, sizeof *cell); /* too much: pgcopy_row_max() has room for that */
    return out + cell->size;
}

/* A column, or several whose fields lie one behind the other as the columns do: one jump for all of them. */
struct step {
    enum pgcopy_type type; /* CONST_TEXT stands for both constants */
    uint32_t offset;
    uint32_t count;           /* fields of a run (see continues()); cells of constants; words of ENUM_U8; bytes of TEXT */
    uint32_t mask;            /* BOOL_FLAG */
    const struct cell *cells; /* constants: one each; ENUM_U8: one for each word, then one for every other number */
};

static unsigned char *put_step(unsigned char *out, const struct step *step, const unsigned char *record)
{
    const unsigned char *field = record + step->offset;
    switch (step->type) {
    case PGCOPY_INT8_U64:
        for (uint32_t i = 0; i < step->count; i++) {
            out = put8(out, load64(field + 8 * i), false);
        }
        return out;
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
        return put_float8s(out, field, step->count);
    case PGCOPY_TIMESTAMPTZ:
        return put_timestamptz(out, (int64_t)load64(field));
    case PGCOPY_TEXT:
        return put_text(out, field, step->count);
    case PGCOPY_BOOL_U8:
        return put1(out, load8(field) != 0);
    case PGCOPY_BOOL_FLAG:
        return put1(out, (load32(field) & step->mask) != 0);
    case PGCOPY_ENUM_U8:
        return put_cell(out, &step->cells[load8(field) < step->count ? load8(field) : step->count]);
    case PGCOPY_CONST_TEXT:
    case PGCOPY_CONST_INT4:
        for (uint32_t i = 0; i < step->count; i++) {
            out = put_cell(out, &step->cells[i]);
        }
        return out;
    }
    __builtin_unreachable(); /* column_bounds() has looked at every type */
}

/* A plan made ready for many rows. Built for each call, at the cost of a few rows, so that nobody has to keep it. */
#define CELLS_MAX (PGCOPY_WORDS_MAX + PGCOPY_COLUMNS_MAX)
struct program {
    size_t step_count, cell_count;
    struct step steps[PGCOPY_COLUMNS_MAX];
    struct cell cells[CELLS_MAX];
};

static unsigned char *put_row(unsigned char *out, const struct program *program, const unsigned char *record)
{
    const struct step *end = program->steps + program->step_count;
    for (const struct step *step = program->steps; step < end; step++) {
        out = put_step(out, step, record);
    }
    return out;
}

static void add_cell(struct program *program, const void *bytes, size_t length, bool null)
{
    assert(program->cell_count < CELLS_MAX && length <= PGCOPY_WORD_MAX);
    struct cell *cell = &program->cells[program->cell_count++];
    *cell = (struct cell){.size = 4 + (uint32_t)length};
    store32(cell->bytes, length_field((uint32_t)length, null));
    memcpy(cell->bytes + 4, bytes, length);
}

static void add_cells(struct program *program, const struct pgcopy_column *column)
{
    if (column->type == PGCOPY_CONST_TEXT) {
        add_cell(program, column->constant, column->width, false);
    } else if (column->type == PGCOPY_CONST_INT4) {
        uint32_t number = __builtin_bswap32(column->argument);
        add_cell(program, &number, sizeof number, false);
    } else if (column->type == PGCOPY_ENUM_U8) {
        for (uint32_t i = 0; i < column->width; i++) {
            add_cell(program, column->words[i], strlen(column->words[i]), column->words[i][0] == '\0');
        }
        add_cell(program, "", 0, true);
    }
}

/* Does the column go on where the step ends? */
static bool continues(const struct step *step, const struct pgcopy_column *column)
{
    switch (column->type) {
    case PGCOPY_INT8_U64:
    case PGCOPY_FLOAT8:
        return step->type == column->type && column->offset == step->offset + 8 * step->count;
    case PGCOPY_CONST_TEXT:
    case PGCOPY_CONST_INT4:
        return step->type == PGCOPY_CONST_TEXT;
    default:
        return false;
    }
}

static void add_column(struct program *program, const struct pgcopy_column *column)
{
    if (program->step_count > 0 && continues(&program->steps[program->step_count - 1], column)) {
        program->steps[program->step_count - 1].count++;
    } else {
        program->steps[program->step_count++] = (struct step){
            .type = column->type == PGCOPY_CONST_INT4 ? PGCOPY_CONST_TEXT : column->type,
            .offset = column->offset,
            .count = column->type == PGCOPY_TEXT || column->type == PGCOPY_ENUM_U8 ? column->width : 1,
            .mask = column->argument,
            .cells = &program->cells[program->cell_count],
        };
    }
    add_cells(program, column);
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
    size_t size = 2 + sizeof(struct cell);
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
    struct program program;
    program.step_count = program.cell_count = 0;
    for (size_t i = 0; i < column_count; i++) {
        add_column(&program, &columns[i]);
    }
    const unsigned char *record = records;
    unsigned char *at = out;
    size_t encoded = 0, done = 0;
    for (; done < count; done++, record += record_size) {
        if ((load32(record + offsetof(struct record_head, flags)) & flag_mask) != flag_value) {
            continue;
        }
        if (out_max - (size_t)(at - out) < row_max) {
            break;
        }
        store16(at, (uint16_t)column_count);
        at = put_row(at + 2, &program, record);
        encoded++;
    }
    *taken = done;
    *rows = encoded;
    *size = (size_t)(at - out);
    return done < count ? PGCOPY_FULL : PGCOPY_OK;
}
