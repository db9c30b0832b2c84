/* fuzz_pgcopy.c: any plan over any records, against a slow encoder that knows nothing of runs, cells or branches. Rows
 * must be the same byte for byte, and nothing may be written beyond `out`. Input: columns of eight bytes each, then the
 * room for the output, then the records. */
#include "../pgcopy.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../record.h"

#define COLUMNS_MAX 48u
#define RECORDS_MAX 8u
#define RECORD_SIZE 192u
#define TYPES (PGCOPY_CONST_INT4 + 1)

static const char *const WORDS[] = {"", "new", "change", "delete", "a word of some length, but no more", ""};
static const char CONSTANT[PGCOPY_WORD_MAX + 1] = "feed-1.quote and so on, forty bytes long";

static void require(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "fuzz_pgcopy: %s\n", what);
        abort();
    }
}

static size_t big_endian(unsigned char *out, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        out[i] = (unsigned char)(value >> 8 * (bytes - 1 - i));
    }
    return bytes;
}

static size_t field_of(unsigned char *out, const void *bytes, size_t length, int null)
{
    big_endian(out, null ? UINT32_MAX : length, 4);
    memcpy(out + 4, bytes, null ? 0 : length);
    return 4 + (null ? 0 : length);
}

static size_t number_of(unsigned char *out, uint64_t value, unsigned bytes, int null)
{
    unsigned char number[8];
    return field_of(out, number, big_endian(number, value, bytes), null);
}

static int64_t floor_us(int64_t ns)
{
    return ns % 1000 < 0 ? ns / 1000 - 1 : ns / 1000;
}

static size_t slow_field(unsigned char *out, const struct pgcopy_column *column, const unsigned char *record)
{
    const unsigned char *field = record + column->offset;
    uint64_t u64 = 0;
    uint32_t u32 = 0;
    double real = 0;
    size_t left = RECORD_SIZE - column->offset, length = 0;
    memcpy(&u64, field, left < 8 ? left : 8);
    memcpy(&u32, field, left < 4 ? left : 4);
    memcpy(&real, &u64, 8);
    switch (column->type) {
    case PGCOPY_INT8_U64: return number_of(out, u64, 8, 0);
    case PGCOPY_INT8_U64_NULL0: return number_of(out, u64, 8, u64 == 0);
    case PGCOPY_INT8_U32: return number_of(out, u32, 8, 0);
    case PGCOPY_INT4_U32: return number_of(out, u32, 4, 0);
    case PGCOPY_INT4_U32_NULL0: return number_of(out, u32, 4, u32 == 0);
    case PGCOPY_INT2_U8: return number_of(out, field[0], 2, field[0] == 255);
    case PGCOPY_FLOAT8: return number_of(out, u64, 8, isnan(real));
    case PGCOPY_TIMESTAMPTZ: return number_of(out, (uint64_t)(floor_us((int64_t)u64) - 946684800000000), 8, u64 == 0);
    case PGCOPY_TEXT:
        while (length < column->width && field[length] != '\0') {
            length++;
        }
        return field_of(out, field, length, length == 0);
    case PGCOPY_BOOL_U8: return number_of(out, field[0] != 0, 1, 0);
    case PGCOPY_BOOL_FLAG: return number_of(out, (u32 & column->argument) != 0, 1, 0);
    case PGCOPY_ENUM_U8:
        if (field[0] < column->width) {
            length = strlen(column->words[field[0]]);
        }
        return field_of(out, length == 0 ? "" : column->words[field[0]], length, length == 0);
    case PGCOPY_CONST_TEXT: return field_of(out, column->constant, column->width, 0);
    case PGCOPY_CONST_INT4: return number_of(out, column->argument, 4, 0);
    }
    abort();
}

static uint32_t bytes_read(enum pgcopy_type type, uint32_t width)
{
    switch (type) {
    case PGCOPY_INT8_U64: case PGCOPY_INT8_U64_NULL0: case PGCOPY_FLOAT8: case PGCOPY_TIMESTAMPTZ: return 8;
    case PGCOPY_INT8_U32: case PGCOPY_INT4_U32: case PGCOPY_INT4_U32_NULL0: case PGCOPY_BOOL_FLAG: return 4;
    case PGCOPY_TEXT: return width;
    default: return 1;
    }
}

/* Eight bytes of input as a column whose field lies in the record. */
static struct pgcopy_column column_of(const uint8_t *data, size_t *words)
{
    struct pgcopy_column column = {.type = (enum pgcopy_type)(data[0] % TYPES), .argument = (uint32_t)data[4] << (data[5] % 25)};
    if (column.type == PGCOPY_ENUM_U8) {
        column.width = data[2] % 7;
        column.words = WORDS;
        *words += column.width;
        if (column.width > sizeof WORDS / sizeof WORDS[0] || *words > PGCOPY_WORDS_MAX) {
            *words -= column.width;
            column.width = 0;
        }
    } else if (column.type == PGCOPY_CONST_TEXT) {
        column.width = data[2] % (PGCOPY_WORD_MAX + 1);
        column.constant = CONSTANT;
    } else {
        column.width = data[2] % 65;
    }
    column.offset = data[1] % (RECORD_SIZE - bytes_read(column.type, column.width) + 1);
    return column;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pgcopy_column columns[COLUMNS_MAX];
    static unsigned char slow[RECORDS_MAX * (2 + COLUMNS_MAX * 68)];
    size_t column_count = size == 0 ? 0 : data[0] % (COLUMNS_MAX + 1), words = 0, slow_size = 0, slow_rows = 0;
    size_t head = 4 + column_count * 8;
    if (size < head) {
        return 0;
    }
    for (size_t i = 0; i < column_count; i++) {
        columns[i] = column_of(data + 4 + i * 8, &words);
    }
    uint32_t mask = data[1] % 4, value = data[1] / 4 % 4;
    size_t count = (size - head) / RECORD_SIZE < RECORDS_MAX ? (size - head) / RECORD_SIZE : RECORDS_MAX;
    size_t row_max = pgcopy_row_max(columns, column_count), out_max = ((size_t)data[2] << 8 | data[3]) % (count * row_max + 200);
    /* Of just their sizes, so that AddressSanitizer sees a step beyond them. */
    unsigned char *records = malloc(count * RECORD_SIZE + 1), *out = malloc(out_max + 1);
    require(records != NULL && out != NULL, "has memory");
    memcpy(records + 1, data + head, count * RECORD_SIZE); /* + 1: at any alignment */
    size_t taken, rows, written;
    enum pgcopy_result result = pgcopy_encode(columns, column_count, records + 1, RECORD_SIZE, count, mask, value, out + 1, out_max,
                                              &taken, &rows, &written);
    for (size_t i = 0; i < taken; i++) {
        uint32_t flags;
        size_t begun = slow_size;
        const unsigned char *record = records + 1 + i * RECORD_SIZE;
        memcpy(&flags, record + offsetof(struct record_head, flags), sizeof flags);
        if ((flags & mask) == value) {
            slow_size += big_endian(slow + slow_size, column_count, 2);
            for (size_t k = 0; k < column_count; k++) {
                slow_size += slow_field(slow + slow_size, &columns[k], record);
            }
            slow_rows++;
            require(slow_size - begun <= row_max, "no row is longer than its bound");
        }
    }
    require(written <= out_max && taken <= count && rows == slow_rows, "counts what it did");
    require(written == slow_size && memcmp(out + 1, slow, slow_size) == 0, "writes what the slow encoder writes");
    require((result == PGCOPY_OK) == (taken == count), "says FULL while records are left");
    require(result == PGCOPY_OK || out_max - written < row_max, "is FULL only when a row might not fit");
    free(records);
    free(out);
    return 0;
}

#ifdef FUZZ_MAIN
/* Inputs of the right structure: runs of columns that go on where the last one ended, records with NaN, 0, short text. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1du;
}

static void make_columns(uint8_t *columns, size_t count, uint64_t *random)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t choice = next_random(random);
        uint8_t *column = columns + i * 8;
        memcpy(column, &choice, 8);
        if (i > 0 && choice >> 60 > 5) {
            column[0] = column[-8];
            column[1] = (uint8_t)(column[-7] + 8);
        }
    }
}

static void make_record(uint8_t *record, uint64_t *random)
{
    static const uint64_t words[] = {0x7ff8000000000000, 0xfff0000000000000, 0, UINT64_MAX, 0x4152454854450000, 0x0000004854450100};
    for (size_t at = 0; at < RECORD_SIZE; at += 8) {
        uint64_t word = next_random(random);
        word = word % 3 == 0 ? words[word / 3 % (sizeof words / sizeof words[0])] : word;
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
        make_columns(input + 4, columns, &random);
        for (; records > 0; records--, size += RECORD_SIZE) {
            make_record(input + size, &random);
        }
        LLVMFuzzerTestOneInput(input, size);
    }
    printf("fuzz_pgcopy: %llu inputs\n", (unsigned long long)count);
    return 0;
}
#endif
