/* ilp.c: see ilp.h.
 *
 * A plan is turned into steps first, so that a row is a walk over ready pieces: `,name=` and what follows it. A piece is
 * copied whole (a copy of just its bytes would be a call), and where a value is absent the position simply does not move. */
#include "ilp.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "field.h"
#include "record.h"

/* Every x86-64 has SSE2; elsewhere bytes do (and with ILP_PORTABLE, so that a test on x86-64 can try them). */
#if defined __SSE2__ && !defined ILP_PORTABLE
#include <emmintrin.h>
#define ILP_SSE2
#endif

#define LONG_MAX_BYTES 20 /* -9223372036854775808 */
#define SCRIBBLE 16       /* behind text and numbers */

/* Eight decimal digits, the first in the lowest byte, each 0 to 9: halves, quarters and digits at the same time. */
static uint64_t eight_digits(uint32_t value)
{
    uint64_t halves = value / 10000 | (uint64_t)(value % 10000) << 32;
    uint64_t hundreds = (halves * 10486 >> 20) & 0x0000007f0000007f; /* 10486 / 2^20 is 1 / 100 for what is below 10,000 */
    uint64_t quarters = hundreds | (halves - hundreds * 100) << 16;
    uint64_t tens = (quarters * 103 >> 10) & 0x000f000f000f000f; /* 103 / 2^10 is 1 / 10 for what is below 100 */
    return tens | (quarters - tens * 10) << 8;
}

static unsigned char *put_digits(unsigned char *out, uint64_t digits)
{
    digits |= 0x3030303030303030;
    memcpy(out, &digits, sizeof digits);
    return out + 8;
}

/* The first digits of a number: without zeros before them, but with one digit at least. */
static unsigned char *put_first_digits(unsigned char *out, uint32_t value)
{
    uint64_t digits = eight_digits(value);
    unsigned zeros = (unsigned)__builtin_ctzll(digits | 1ull << 56) / 8;
    return put_digits(out, digits >> 8 * zeros) - zeros;
}

static unsigned char *put_unsigned(unsigned char *out, uint64_t value)
{
    if (value < 100000000) {
        return put_first_digits(out, (uint32_t)value);
    }
    uint64_t high = value / 100000000;
    if (high < 100000000) {
        out = put_first_digits(out, (uint32_t)high);
    } else {
        out = put_first_digits(out, (uint32_t)(high / 100000000));
        out = put_digits(out, eight_digits((uint32_t)(high % 100000000)));
    }
    return put_digits(out, eight_digits((uint32_t)(value % 100000000)));
}

static unsigned char *put_signed(unsigned char *out, uint64_t value)
{
    if (value >> 63 != 0) {
        *out++ = '-';
        value = 0 - value;
    }
    return put_unsigned(out, value);
}

/* What must have a backslash before it, in a symbol or in a string. */
static bool is_special(unsigned char byte, bool quoted)
{
    return byte == '\\' || byte == '\n' || byte == '\r' || (quoted ? byte == '"' : byte == ' ' || byte == ',' || byte == '=');
}

static unsigned char *put_escaped(unsigned char *out, const unsigned char *text, size_t width, bool quoted)
{
    for (size_t i = 0; i < width && text[i] != '\0'; i++) {
        if (is_special(text[i], quoted)) {
            *out++ = '\\';
        }
        *out++ = text[i];
    }
    return out;
}

#ifdef ILP_SSE2
/* Of 16 bytes, those that end the fast copy: the NUL, and what is special anywhere. */
static unsigned stops_of(__m128i bytes)
{
    static const char specials[] = " \",=\\\n\r";
    __m128i stops = _mm_cmpeq_epi8(bytes, _mm_setzero_si128());
    for (size_t i = 0; i < sizeof specials - 1; i++) {
        stops = _mm_or_si128(stops, _mm_cmpeq_epi8(bytes, _mm_set1_epi8(specials[i])));
    }
    return (unsigned)_mm_movemask_epi8(stops);
}
#endif

/* Text up to its NUL or its width. By sixteens while nothing is special, which is always so for what a venue calls its
 * instruments. */
static unsigned char *put_text(unsigned char *out, const unsigned char *text, size_t width, bool quoted)
{
#ifdef ILP_SSE2
    for (; width >= 16; text += 16, width -= 16, out += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)text);
        unsigned stops = stops_of(bytes);
        _mm_storeu_si128((__m128i *)(void *)out, bytes);
        if (stops != 0) {
            unsigned plain = (unsigned)__builtin_ctz(stops);
            return put_escaped(out + plain, text + plain, width - plain, quoted);
        }
    }
#endif
    return put_escaped(out, text, width, quoted);
}

/* Bytes that are the same in each row: what comes before a value, a constant, a word. */
#define PIECE_SIZE 176 /* a table, a column and a constant of which every byte is escaped */
struct piece {
    unsigned char bytes[PIECE_SIZE];
    uint32_t size;
};

static unsigned char *put_piece(unsigned char *out, const struct piece *piece)
{
    memcpy(out, piece->bytes, 32);
    if (piece->size > 32) {
        memcpy(out + 32, piece->bytes + 32, PIECE_SIZE - 32); /* too much: ilp_row_max() has room for that */
    }
    return out + piece->size;
}

struct step {
    enum ilp_type type;
    uint32_t offset;
    uint32_t width;             /* texts: bytes; ENUM: words */
    uint32_t mask;              /* BOOL_FLAG */
    uint32_t count;             /* DOUBLE: fields that lie one behind the other, as their columns do */
    const struct piece *pieces; /* one for each field; ENUM: one for each word, empty where it is absent, then an empty one */
};

/* A plan made ready for many rows. Built for each call, at the cost of a few rows, so that nobody has to keep it. */
#define PIECES_MAX (ILP_WORDS_MAX + ILP_COLUMNS_MAX)
struct program {
    size_t step_count, piece_count;
    uint32_t at_offset, at_else_offset;
    struct step steps[ILP_COLUMNS_MAX];
    struct piece pieces[PIECES_MAX];
};

static unsigned char *put_number(unsigned char *out, const struct step *step, uint64_t value, unsigned char unit)
{
    out = put_signed(put_piece(out, step->pieces), value);
    *out = unit;
    return out + 1;
}

static unsigned char *put_string(unsigned char *out, const struct step *step, const unsigned char *text)
{
    out = put_text(put_piece(out, step->pieces), text, step->width, true);
    *out = '"';
    return out + 1;
}

static unsigned char *put_bool(unsigned char *out, const struct step *step, bool value)
{
    out = put_piece(out, step->pieces);
    *out = value ? 't' : 'f';
    return out + 1;
}

/* The name and the eight bytes in any case; the position moves on where it is a number. Few names are longer than 32. */
static unsigned char *put_double(unsigned char *out, const struct piece *piece, uint64_t bits)
{
    memcpy(out, piece->bytes, 32);
    if (piece->size > 32) {
        memcpy(out + 32, piece->bytes + 32, 16);
    }
    memcpy(out + piece->size, &bits, sizeof bits);
    uint64_t nan = bits << 1 > 0xffe0000000000000u; /* all ones in the exponent and anything in the fraction */
    return out + ((piece->size + 8) & (nan - 1));
}

static unsigned char *put_doubles(unsigned char *out, const struct step *step, const unsigned char *field)
{
    for (uint32_t i = 0; i < step->count; i++) {
        out = put_double(out, &step->pieces[i], field_u64(field + 8 * i));
    }
    return out;
}

static unsigned char *put_step(unsigned char *out, const struct step *step, const unsigned char *record)
{
    const unsigned char *field = record + step->offset;
    switch (step->type) {
    case ILP_SYMBOL_TEXT:
        return step->width == 0 || *field == '\0' ? out : put_text(put_piece(out, step->pieces), field, step->width, false);
    case ILP_SYMBOL_ENUM:
        return put_piece(out, &step->pieces[*field < step->width ? *field : step->width]);
    case ILP_SYMBOL_CONST:
    case ILP_LONG_CONST:
        return put_piece(out, step->pieces);
    case ILP_LONG_U64:
        return put_number(out, step, field_u64(field), 'i');
    case ILP_LONG_U64_ABSENT0:
        return field_u64(field) == 0 ? out : put_number(out, step, field_u64(field), 'i');
    case ILP_LONG_U32:
        return put_number(out, step, field_u32(field), 'i');
    case ILP_LONG_U32_ABSENT0:
        return field_u32(field) == 0 ? out : put_number(out, step, field_u32(field), 'i');
    case ILP_LONG_U8_ABSENT255:
        return *field == 255 ? out : put_number(out, step, *field, 'i');
    case ILP_DOUBLE:
        return put_doubles(out, step, field);
    case ILP_TIMESTAMP:
        return field_u64(field) == 0 ? out : put_number(out, step, field_u64(field), 'n');
    case ILP_STRING:
        return step->width == 0 || *field == '\0' ? out : put_string(out, step, field);
    case ILP_BOOL_U8:
        return put_bool(out, step, *field != 0);
    case ILP_BOOL_FLAG:
        return put_bool(out, step, (field_u32(field) & step->mask) != 0);
    }
    __builtin_unreachable(); /* column_bounds() has looked at every type */
}

static unsigned char *put_row(unsigned char *out, const struct program *program, const unsigned char *record)
{
    const struct step *end = program->steps + program->step_count;
    for (const struct step *step = program->steps; step < end; step++) {
        out = put_step(out, step, record);
    }
    int64_t at = (int64_t)field_u64(record + program->at_offset);
    at = at > 0 ? at : (int64_t)field_u64(record + program->at_else_offset);
    *out++ = ' ';
    out = put_signed(out, (uint64_t)at);
    memcpy(out, "n\n", 2);
    return out + 2;
}

static bool is_symbol(enum ilp_type type)
{
    return type <= ILP_SYMBOL_CONST;
}

static bool is_name(const char *name)
{
    size_t length = strlen(name);
    return length > 0 && length <= ILP_NAME_MAX &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == length;
}

static struct piece *add_piece(struct program *program, const struct ilp_table *table, size_t index)
{
    assert(program->piece_count < PIECES_MAX);
    struct piece *piece = &program->pieces[program->piece_count++];
    const struct ilp_column *column = &table->columns[index];
    bool first_field = !is_symbol(column->type) && (index == 0 || is_symbol(table->columns[index - 1].type));
    size_t length = strlen(column->name);
    memset(piece, 0, sizeof *piece);
    unsigned char *at = piece->bytes;
    if (index == 0) { /* the table's name comes with the first column, which is never absent */
        memcpy(at, table->name, strlen(table->name));
        at += strlen(table->name);
    }
    *at++ = first_field ? ' ' : ',';
    memcpy(at, column->name, length);
    at += length;
    *at++ = '=';
    if (column->type == ILP_DOUBLE) {
        memcpy(at, "=\20", 2); /* 16: eight bytes of a double follow */
        at += 2;
    } else if (column->type == ILP_STRING) {
        *at++ = '"';
    }
    piece->size = (uint32_t)(at - piece->bytes);
    return piece;
}

static void add_text(struct piece *piece, const char *text, size_t length)
{
    assert(length <= ILP_WORD_MAX);
    unsigned char *end = put_escaped(piece->bytes + piece->size, (const unsigned char *)text, length, false);
    piece->size = (uint32_t)(end - piece->bytes);
}

/* Does the column go on where a step of doubles ends? */
static bool continues(const struct step *step, const struct ilp_column *column)
{
    return step->type == ILP_DOUBLE && column->type == ILP_DOUBLE && column->offset == step->offset + 8 * step->count;
}

static void add_column(struct program *program, const struct ilp_table *table, size_t index)
{
    const struct ilp_column *column = &table->columns[index];
    struct step *step = &program->steps[program->step_count];
    if (program->step_count > 0 && continues(step - 1, column)) {
        step[-1].count++;
        add_piece(program, table, index);
        return;
    }
    program->step_count++;
    *step = (struct step){.type = column->type, .offset = column->offset, .width = column->width, .mask = column->argument,
                          .count = 1, .pieces = &program->pieces[program->piece_count]};
    if (column->type == ILP_SYMBOL_ENUM) {
        for (uint32_t i = 0; i <= column->width; i++) {
            struct piece *piece = add_piece(program, table, index);
            if (i < column->width && column->words[i][0] != '\0') {
                add_text(piece, column->words[i], strlen(column->words[i]));
            } else {
                piece->size = 0;
            }
        }
        return;
    }
    struct piece *piece = add_piece(program, table, index);
    if (column->type == ILP_SYMBOL_CONST) {
        add_text(piece, column->constant, column->width);
    } else if (column->type == ILP_LONG_CONST) {
        unsigned char *end = put_unsigned(piece->bytes + piece->size, column->argument);
        *end++ = 'i';
        piece->size = (uint32_t)(end - piece->bytes);
    }
}

/* Bytes of the record that a column reads, and the most that it writes behind its name. */
static void column_bounds(const struct ilp_column *column, size_t *reads, size_t *writes)
{
    *reads = 0;
    *writes = LONG_MAX_BYTES + 1;
    switch (column->type) {
    case ILP_SYMBOL_TEXT:
    case ILP_STRING:
        *reads = column->width, *writes = 2 * (size_t)column->width + 1;
        return;
    case ILP_SYMBOL_ENUM:
        *reads = 1, *writes = 2 * ILP_WORD_MAX;
        return;
    case ILP_SYMBOL_CONST:
        *writes = 2 * ILP_WORD_MAX;
        return;
    case ILP_LONG_CONST:
        return;
    case ILP_LONG_U64:
    case ILP_LONG_U64_ABSENT0:
    case ILP_DOUBLE:
    case ILP_TIMESTAMP:
        *reads = 8;
        return;
    case ILP_LONG_U32:
    case ILP_LONG_U32_ABSENT0:
    case ILP_BOOL_FLAG:
        *reads = 4;
        return;
    case ILP_LONG_U8_ABSENT255:
    case ILP_BOOL_U8:
        *reads = 1;
        return;
    }
    assert(!"a column of no type");
}

size_t ilp_row_max(const struct ilp_table *table)
{
    size_t max = ILP_NAME_MAX + LONG_MAX_BYTES + 3, reads, writes;
    for (size_t i = 0; i < table->column_count; i++) {
        column_bounds(&table->columns[i], &reads, &writes);
        max += ILP_NAME_MAX + 4 + writes;
    }
    return max + PIECE_SIZE + SCRIBBLE;
}

/* What a plan promises: ours are constants, so a broken promise is a mistake of ours. */
static void assert_sane(const struct ilp_table *table, size_t record_size)
{
    assert(table->column_count >= 2 && table->column_count <= ILP_COLUMNS_MAX && is_name(table->name));
    assert(record_size >= sizeof(struct record_head) && table->at_offset <= record_size - 8 && table->at_else_offset <= record_size - 8);
    size_t reads, writes, words = 0, symbols = 0;
    for (size_t i = 0; i < table->column_count; i++) {
        const struct ilp_column *column = &table->columns[i];
        column_bounds(column, &reads, &writes);
        assert(is_name(column->name) && reads <= record_size && column->offset <= record_size - reads);
        assert(!is_symbol(column->type) || symbols == i); /* symbols first */
        symbols += is_symbol(column->type);
        words += column->type == ILP_SYMBOL_ENUM ? column->width : 0;
    }
    assert(words <= ILP_WORDS_MAX && symbols >= 1 && symbols < table->column_count);
    assert(table->columns[0].type == ILP_SYMBOL_CONST && table->columns[0].width > 0);
    enum ilp_type first = table->columns[symbols].type;
    assert(first == ILP_LONG_U64 || first == ILP_LONG_U32 || first == ILP_LONG_CONST);
}

/* Records are read once, one behind the other, and seldom are all of them in the inner caches: asked for so many ahead of their
 * turn they are there when it comes. Nothing happens where there is none any more. */
enum { RECORDS_AHEAD = 4, CACHE_LINE = 64 };

static void ask_for(const unsigned char *record, size_t size)
{
    for (size_t at = 0; at < size; at += CACHE_LINE) {
        __builtin_prefetch(record + at);
    }
}

enum ilp_result ilp_encode(const struct ilp_table *table, const void *records, size_t record_size, size_t count, uint32_t flag_mask,
                           uint32_t flag_value, unsigned char *out, size_t out_max, size_t *taken, size_t *rows, size_t *size)
{
    assert_sane(table, record_size);
    size_t row_max = ilp_row_max(table);
    struct program program;
    program.step_count = program.piece_count = 0;
    program.at_offset = table->at_offset, program.at_else_offset = table->at_else_offset;
    for (size_t i = 0; i < table->column_count; i++) {
        add_column(&program, table, i);
    }
    const unsigned char *record = records;
    unsigned char *at = out;
    size_t encoded = 0, done = 0;
    for (; done < count; done++, record += record_size) {
        if ((field_u32(record + offsetof(struct record_head, flags)) & flag_mask) != flag_value) {
            continue;
        }
        if (out_max - (size_t)(at - out) < row_max) {
            break;
        }
        ask_for(record + RECORDS_AHEAD * record_size, record_size);
        at = put_row(at, &program, record);
        encoded++;
    }
    *taken = done;
    *rows = encoded;
    *size = (size_t)(at - out);
    return done < count ? ILP_FULL : ILP_OK;
}
