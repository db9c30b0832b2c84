/* fuzz_ilp.c: any plan over any records, against a slow encoder that knows nothing of pieces or blocks of digits. Lines
 * must be the same byte for byte, and nothing may be written beyond `out`. Input: columns of eight bytes each, then the
 * room for the output, then the records. */
#include "../ilp.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../record.h"

#define COLUMNS_MAX 40u
#define RECORDS_MAX 8u
#define RECORD_SIZE 192u
#define TYPES (ILP_BOOL_FLAG + 1)

static const char *const WORDS[] = {"", "new", "change", "delete", "a word, of some length=but no more", ""};
static const char *const NAMES[] = {"a", "price", "estimated_delivery_price", "a_name_of_exactly_forty_bytes_0123456789"};
static const char CONSTANT[ILP_WORD_MAX + 1] = "feed-1.quote and so on, forty bytes long";

static void require(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "fuzz_ilp: %s\n", what);
        abort();
    }
}

static char *slow_text(char *at, const unsigned char *text, size_t width, int string)
{
    for (size_t i = 0; i < width && text[i] != '\0'; i++) {
        if (strchr(string ? "\"\\\n\r" : " ,=\\\n\r", text[i]) != NULL) {
            *at++ = '\\';
        }
        *at++ = (char)text[i];
    }
    return at;
}

/* A column's value behind `name=`; NULL where it is absent. */
static char *slow_value(char *at, const struct ilp_column *column, const unsigned char *record)
{
    const unsigned char *field = record + column->offset;
    uint64_t u64 = 0;
    uint32_t u32 = 0;
    double real = 0;
    size_t left = RECORD_SIZE - column->offset;
    memcpy(&u64, field, left < 8 ? left : 8);
    memcpy(&u32, field, left < 4 ? left : 4);
    memcpy(&real, &u64, 8);
    switch (column->type) {
    case ILP_SYMBOL_TEXT: return column->width == 0 || *field == '\0' ? NULL : slow_text(at, field, column->width, 0);
    case ILP_SYMBOL_ENUM:
        if (*field >= column->width || column->words[*field][0] == '\0') {
            return NULL;
        }
        return slow_text(at, (const unsigned char *)column->words[*field], ILP_WORD_MAX, 0);
    case ILP_SYMBOL_CONST: return slow_text(at, (const unsigned char *)column->constant, column->width, 0);
    case ILP_LONG_U64: return at + sprintf(at, "%" PRId64 "i", (int64_t)u64);
    case ILP_LONG_U64_ABSENT0: return u64 == 0 ? NULL : at + sprintf(at, "%" PRId64 "i", (int64_t)u64);
    case ILP_LONG_U32: return at + sprintf(at, "%" PRIu32 "i", u32);
    case ILP_LONG_U32_ABSENT0: return u32 == 0 ? NULL : at + sprintf(at, "%" PRIu32 "i", u32);
    case ILP_LONG_U8_ABSENT255: return *field == 255 ? NULL : at + sprintf(at, "%ui", *field);
    case ILP_LONG_CONST: return at + sprintf(at, "%" PRIu32 "i", column->argument);
    case ILP_DOUBLE:
        memcpy(at, "=\20", 2);
        memcpy(at + 2, &real, 8);
        return isnan(real) ? NULL : at + 10;
    case ILP_TIMESTAMP: return u64 == 0 ? NULL : at + sprintf(at, "%" PRId64 "n", (int64_t)u64);
    case ILP_STRING:
        if (column->width == 0 || *field == '\0') {
            return NULL;
        }
        *at = '"';
        at = slow_text(at + 1, field, column->width, 1);
        *at = '"';
        return at + 1;
    case ILP_BOOL_U8: *at = *field != 0 ? 't' : 'f'; return at + 1;
    case ILP_BOOL_FLAG: *at = (u32 & column->argument) != 0 ? 't' : 'f'; return at + 1;
    }
    abort();
}

static size_t slow_row(char *row, const struct ilp_table *table, const unsigned char *record)
{
    char *at = row + sprintf(row, "%s", table->name), value[256];
    int fields = 0;
    for (size_t i = 0; i < table->column_count; i++) {
        const struct ilp_column *column = &table->columns[i];
        char *end = slow_value(value, column, record);
        int field = column->type > ILP_SYMBOL_CONST;
        if (end != NULL) {
            at += sprintf(at, "%c%s=", field && !fields ? ' ' : ',', column->name);
            memcpy(at, value, (size_t)(end - value));
            at += end - value;
            fields |= field;
        }
    }
    int64_t ns, otherwise;
    memcpy(&ns, record + table->at_offset, 8);
    memcpy(&otherwise, record + table->at_else_offset, 8);
    return (size_t)(at + sprintf(at, " %" PRId64 "n\n", ns > 0 ? ns : otherwise) - row);
}

static uint32_t bytes_read(enum ilp_type type, uint32_t width)
{
    switch (type) {
    case ILP_LONG_U64: case ILP_LONG_U64_ABSENT0: case ILP_DOUBLE: case ILP_TIMESTAMP: return 8;
    case ILP_LONG_U32: case ILP_LONG_U32_ABSENT0: case ILP_BOOL_FLAG: return 4;
    case ILP_SYMBOL_TEXT: case ILP_STRING: return width;
    default: return 1;
    }
}

/* Eight bytes of input as a column whose field lies in the record. */
static struct ilp_column column_of(const uint8_t *data, size_t *words)
{
    struct ilp_column column = {.type = (enum ilp_type)(data[0] % TYPES), .name = NAMES[data[3] % 4],
                                .argument = (uint32_t)data[4] << (data[5] % 25)};
    if (column.type == ILP_SYMBOL_ENUM) {
        column.width = data[2] % 7;
        column.words = WORDS;
        *words += column.width;
        if (column.width > sizeof WORDS / sizeof WORDS[0] || *words > ILP_WORDS_MAX) {
            *words -= column.width;
            column.width = 0;
        }
    } else if (column.type == ILP_SYMBOL_CONST) {
        column.width = 1 + data[2] % ILP_WORD_MAX;
        column.constant = CONSTANT;
    } else {
        column.width = data[2] % 65;
    }
    column.offset = data[1] % (RECORD_SIZE - bytes_read(column.type, column.width) + 1);
    return column;
}

/* Symbols first, a constant one before them, a number that is never absent behind them. */
static size_t columns_of(struct ilp_column *columns, const uint8_t *data, size_t count)
{
    size_t words = 0, done = 0;
    columns[done++] = (struct ilp_column){.type = ILP_SYMBOL_CONST, .name = "stream", .width = 6, .constant = CONSTANT};
    for (int fields = 0; fields < 2; fields++) {
        for (size_t i = 0; i < count; i++) {
            struct ilp_column column = column_of(data + i * 8, &words);
            if ((column.type > ILP_SYMBOL_CONST) == fields) {
                columns[done++] = column;
            } else if (column.type == ILP_SYMBOL_ENUM) {
                words -= column.width;
            }
        }
        if (!fields) {
            columns[done++] = (struct ilp_column){.type = ILP_LONG_U64, .name = "seq", .offset = 0};
        }
    }
    return done;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ilp_column columns[COLUMNS_MAX + 2];
    static char slow[RECORDS_MAX * (COLUMNS_MAX + 2) * 256];
    size_t column_count = size == 0 ? 0 : data[0] % (COLUMNS_MAX + 1), slow_size = 0, slow_rows = 0;
    size_t head = 4 + column_count * 8;
    if (size < head) {
        return 0;
    }
    struct ilp_table table = {.name = NAMES[3], .columns = columns, .at_offset = 8, .at_else_offset = 16};
    table.column_count = columns_of(columns, data + 4, column_count);
    uint32_t mask = data[1] % 4, value = data[1] / 4 % 4;
    size_t count = (size - head) / RECORD_SIZE < RECORDS_MAX ? (size - head) / RECORD_SIZE : RECORDS_MAX;
    size_t row_max = ilp_row_max(&table), out_max = ((size_t)data[2] << 8 | data[3]) % (count * row_max + 200);
    /* Of just their sizes, so that AddressSanitizer sees a step beyond them. */
    unsigned char *records = malloc(count * RECORD_SIZE + 1), *out = malloc(out_max + 1);
    require(records != NULL && out != NULL, "has memory");
    memcpy(records + 1, data + head, count * RECORD_SIZE); /* + 1: at any alignment */
    size_t taken, rows, written;
    enum ilp_result result = ilp_encode(&table, records + 1, RECORD_SIZE, count, mask, value, out + 1, out_max, &taken, &rows, &written);
    for (size_t i = 0; i < taken; i++) {
        uint32_t flags;
        const unsigned char *record = records + 1 + i * RECORD_SIZE;
        memcpy(&flags, record + offsetof(struct record_head, flags), sizeof flags);
        if ((flags & mask) == value) {
            size_t row = slow_row(slow + slow_size, &table, record);
            require(row <= row_max, "no row is longer than its bound");
            slow_size += row;
            slow_rows++;
        }
    }
    require(written <= out_max && taken <= count && rows == slow_rows, "counts what it did");
    require(written == slow_size && memcmp(out + 1, slow, slow_size) == 0, "writes what the slow encoder writes");
    require((result == ILP_OK) == (taken == count), "says FULL while records are left");
    require(result == ILP_OK || out_max - written < row_max, "is FULL only when a row might not fit");
    free(records);
    free(out);
    return 0;
}

#ifdef FUZZ_MAIN
/* Inputs of the right structure: records with NaN, 0, numbers of every length, short text and what must be escaped. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1du;
}

static void make_record(uint8_t *record, uint64_t *random)
{
    static const uint64_t words[] = {0x7ff8000000000000, 0xfff0000000000000, 0, UINT64_MAX, 0x4152454854450000, 0x0000004854450100,
                                     0x5c0a0d2c3d222041, 0x2d4854452d485445};
    for (size_t at = 0; at < RECORD_SIZE; at += 8) {
        uint64_t word = next_random(random), choice = next_random(random);
        word = choice % 3 == 0 ? words[word % (sizeof words / sizeof words[0])] : word >> (choice >> 8) % 64;
        memcpy(record + at, &word, sizeof word);
    }
}

int main(int argc, char **argv)
{
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000, random = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    random = random * 2 + 1; /* never 0 */
    for (uint64_t i = 0; i < count; i++) {
        uint8_t input[4 + COLUMNS_MAX * 8 + RECORDS_MAX * RECORD_SIZE];
        uint64_t begin = next_random(&random), records = next_random(&random) % (RECORDS_MAX + 1);
        memcpy(input, &begin, 4);
        size_t columns = input[0] % (COLUMNS_MAX + 1), size = 4 + columns * 8;
        for (size_t at = 4; at < size; at += 8) {
            uint64_t column = next_random(&random);
            memcpy(input + at, &column, sizeof column);
        }
        for (; records > 0; records--, size += RECORD_SIZE) {
            make_record(input + size, &random);
        }
        LLVMFuzzerTestOneInput(input, size);
    }
    printf("fuzz_ilp: %llu inputs\n", (unsigned long long)count);
    return 0;
}
#endif
