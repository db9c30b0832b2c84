/* test_pgcopy.c: rows against bytes written out by hand, and nothing beyond the bounds, with unreadable pages at both ends. */
#define _GNU_SOURCE /* MAP_ANONYMOUS */

#include "../pgcopy.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../record.h"

static int failures, checks;

static void check(int holds, const char *what)
{
    checks++;
    if (!holds) {
        fprintf(stderr, "test_pgcopy: %s\n", what);
        failures++;
    }
}

/* `size` bytes that end where an unreadable page begins. */
#define AREA 65536u
static unsigned char *against_guard_page(size_t size)
{
    unsigned char *area = mmap(NULL, AREA + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area == MAP_FAILED || mprotect(area + AREA, 4096, PROT_NONE) != 0) {
        perror("test_pgcopy: no memory");
        exit(2);
    }
    return area + AREA - size;
}

static void release(unsigned char *bytes, size_t size)
{
    munmap(bytes + size - AREA, AREA + 4096);
}

/* A record of every type a column can take. */
struct sample {
    struct record_head head;
    uint64_t u64;
    int64_t time_ns;
    double price;
    uint32_t u32;
    uint8_t u8, truth, word, reserved;
    char text[16], odd[5], rest[3];
};

static const char *const WORDS[] = {"", "buy", "sell", "both sides"};

/* One field of one record; compares its row with the field's bytes (given without the row's field count). */
static void expect(const struct pgcopy_column *column, const struct sample *sample, const char *bytes, size_t length, const char *what)
{
    size_t row_max = pgcopy_row_max(column, 1), taken, rows, size;
    unsigned char *out = against_guard_page(row_max);
    unsigned char *record = against_guard_page(sizeof *sample);
    memcpy(record, sample, sizeof *sample);
    check(pgcopy_encode(column, 1, record, sizeof *sample, 1, 0, 0, out, row_max, &taken, &rows, &size) == PGCOPY_OK, what);
    check(taken == 1 && rows == 1 && size == 2 + length && size <= row_max, what);
    check(memcmp(out, "\0\1", 2) == 0 && memcmp(out + 2, bytes, length) == 0, what);
    release(out, row_max);
    release(record, sizeof *sample);
}

#define EXPECT(column_type, field, bytes, what) \
    expect(&(struct pgcopy_column){.type = column_type, .offset = offsetof(struct sample, field), .width = width}, &sample, bytes, \
           sizeof bytes - 1, what)
#define NULL_BYTES "\377\377\377\377"

static void integers_are_big_endian(void)
{
    struct sample sample = {.u64 = 0x0102030405060708, .u32 = 0xa1a2a3a4, .u8 = 254, .truth = 2};
    uint32_t width = 0;
    EXPECT(PGCOPY_INT8_U64, u64, "\0\0\0\10\1\2\3\4\5\6\7\10", "bigint");
    EXPECT(PGCOPY_INT8_U64_NULL0, u64, "\0\0\0\10\1\2\3\4\5\6\7\10", "bigint, not 0");
    EXPECT(PGCOPY_INT8_U32, u32, "\0\0\0\10\0\0\0\0\241\242\243\244", "bigint of 32 bits, never negative");
    EXPECT(PGCOPY_INT4_U32, u32, "\0\0\0\4\241\242\243\244", "integer");
    EXPECT(PGCOPY_INT4_U32_NULL0, u32, "\0\0\0\4\241\242\243\244", "integer, not 0");
    EXPECT(PGCOPY_INT2_U8, u8, "\0\0\0\2\0\376", "smallint");
    EXPECT(PGCOPY_BOOL_U8, truth, "\0\0\0\1\1", "true is 1, whatever the byte");
    sample = (struct sample){.u8 = 255};
    EXPECT(PGCOPY_INT8_U64, u64, "\0\0\0\10\0\0\0\0\0\0\0\0", "bigint 0");
    EXPECT(PGCOPY_INT8_U64_NULL0, u64, NULL_BYTES, "bigint, 0 is NULL");
    EXPECT(PGCOPY_INT4_U32, u32, "\0\0\0\4\0\0\0\0", "integer 0");
    EXPECT(PGCOPY_INT4_U32_NULL0, u32, NULL_BYTES, "integer, 0 is NULL");
    EXPECT(PGCOPY_INT2_U8, u8, NULL_BYTES, "smallint, 255 is NULL");
    EXPECT(PGCOPY_INT2_U8, word, "\0\0\0\2\0\0", "smallint 0");
    EXPECT(PGCOPY_BOOL_U8, truth, "\0\0\0\1\0", "false");
}

static void nan_of_any_spelling_is_null_and_nothing_else_is(void)
{
    static const uint64_t nans[] = {0x7ff8000000000000, 0xfff8000000000000, 0x7ff0000000000001, 0xffffffffffffffff, 0x7ff4000000000000};
    struct sample sample = {.price = -1.5};
    uint32_t width = 0;
    EXPECT(PGCOPY_FLOAT8, price, "\0\0\0\10\277\370\0\0\0\0\0\0", "-1.5");
    sample.price = 0.0;
    EXPECT(PGCOPY_FLOAT8, price, "\0\0\0\10\0\0\0\0\0\0\0\0", "0");
    sample.price = -0.0;
    EXPECT(PGCOPY_FLOAT8, price, "\0\0\0\10\200\0\0\0\0\0\0\0", "-0");
    sample.price = (double)INFINITY;
    EXPECT(PGCOPY_FLOAT8, price, "\0\0\0\10\177\360\0\0\0\0\0\0", "infinity");
    sample.price = -(double)INFINITY;
    EXPECT(PGCOPY_FLOAT8, price, "\0\0\0\10\377\360\0\0\0\0\0\0", "-infinity");
    for (size_t i = 0; i < sizeof nans / sizeof nans[0]; i++) {
        memcpy(&sample.price, &nans[i], sizeof nans[i]);
        EXPECT(PGCOPY_FLOAT8, price, NULL_BYTES, "NaN");
    }
}

static void times_are_rounded_down_to_microseconds_since_2000(void)
{
    static const struct { int64_t ns; const char *bytes; const char *what; } times[] = {
        {946684800000000000, "\0\0\0\10\0\0\0\0\0\0\0\0", "2000-01-01"},
        {946684800000000999, "\0\0\0\10\0\0\0\0\0\0\0\0", "999 ns after it"},
        {946684800000001000, "\0\0\0\10\0\0\0\0\0\0\0\1", "1 us after it"},
        {946684799999999999, "\0\0\0\10\377\377\377\377\377\377\377\377", "1 ns before it"},
        {1, "\0\0\0\10\377\374\242\376\304\310\40\0", "1 ns after 1970"},
        {-1, "\0\0\0\10\377\374\242\376\304\310\37\377", "1 ns before 1970"},
        {-1000, "\0\0\0\10\377\374\242\376\304\310\37\377", "1 us before 1970"},
        {-1001, "\0\0\0\10\377\374\242\376\304\310\37\376", "1001 ns before 1970"},
        {INT64_MIN, "\0\0\0\10\377\333\336\143\36\344\314\10", "the earliest"},
        {INT64_MAX, "\0\0\0\10\0\35\147\232\152\253\163\367", "the latest"},
        {0, NULL_BYTES, "not known"},
    };
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        struct sample sample = {.time_ns = times[i].ns};
        struct pgcopy_column column = {.type = PGCOPY_TIMESTAMPTZ, .offset = offsetof(struct sample, time_ns)};
        expect(&column, &sample, times[i].bytes, times[i].ns == 0 ? 4 : 12, times[i].what);
    }
}

static void text_ends_at_its_first_nul_or_its_width(void)
{
    for (unsigned length = 0; length <= 16; length++) {
        for (unsigned after = 0; after < 2; after++) { /* bytes behind the first NUL must not matter */
            struct sample sample = {.u64 = 0};
            char bytes[4 + 16] = {'\0', '\0', '\0', (char)length};
            memset(sample.text, after ? 'x' : '\0', sizeof sample.text);
            memset(sample.text, 'a' + (int)length, length);
            sample.text[length < 16 ? length : 15] = length < 16 ? '\0' : (char)('a' + 16);
            memset(bytes + 4, 'a' + (int)length, length);
            struct pgcopy_column column = {.type = PGCOPY_TEXT, .offset = offsetof(struct sample, text), .width = 16};
            expect(&column, &sample, length == 0 ? NULL_BYTES : bytes, 4 + length, "text");
        }
    }
    uint32_t width = 16;
    struct sample sample = {.text = "\x80\x81\xff\x01\x01\x80", .odd = "abcde", .rest = "fgh"};
    EXPECT(PGCOPY_TEXT, text, "\0\0\0\6\x80\x81\xff\x01\x01\x80", "bytes that a search by words may mistake");
    width = 5;
    EXPECT(PGCOPY_TEXT, odd, "\0\0\0\5abcde", "a width that is no multiple of 8, full");
    width = 8;
    EXPECT(PGCOPY_TEXT, odd, "\0\0\0\10abcdefgh", "8, full");
    width = 3;
    sample.rest[1] = '\0';
    EXPECT(PGCOPY_TEXT, rest, "\0\0\0\1f", "3, one used");
    width = 0;
    EXPECT(PGCOPY_TEXT, rest, NULL_BYTES, "no width, no text");
    /* odd and what lies around it: NULs at every place of a width that has whole words and a rest. */
    width = 13;
    for (unsigned at = 0; at < 13; at++) {
        struct sample holed = {.text = "ABCDEFGHIJKLMNOP"};
        char bytes[4 + 13] = {'\0', '\0', '\0', (char)at};
        memcpy(bytes + 4, "ABCDEFGHIJKLM", at);
        holed.text[at] = '\0';
        struct pgcopy_column column = {.type = PGCOPY_TEXT, .offset = offsetof(struct sample, text), .width = width};
        expect(&column, &holed, at == 0 ? NULL_BYTES : bytes, 4 + at, "a NUL in a width of 13");
    }
}

static void words_flags_and_constants(void)
{
    struct sample sample = {.word = 3, .head.flags = RECORD_LAST | RECORD_OPTION};
    struct pgcopy_column word = {.type = PGCOPY_ENUM_U8, .offset = offsetof(struct sample, word), .width = 4, .words = WORDS};
    expect(&word, &sample, "\0\0\0\12both sides", 14, "the longest word");
    sample.word = 1;
    expect(&word, &sample, "\0\0\0\3buy", 7, "a word");
    sample.word = 0;
    expect(&word, &sample, NULL_BYTES, 4, "an empty word");
    sample.word = 4;
    expect(&word, &sample, NULL_BYTES, 4, "no such word");
    sample.word = 255;
    expect(&word, &sample, NULL_BYTES, 4, "no such word by far");
    struct pgcopy_column flag = {.type = PGCOPY_BOOL_FLAG, .offset = offsetof(struct record_head, flags), .argument = RECORD_LAST};
    expect(&flag, &sample, "\0\0\0\1\1", 5, "a flag set");
    flag.argument = RECORD_SNAPSHOT;
    expect(&flag, &sample, "\0\0\0\1\0", 5, "a flag not set");
    static const char *const longest[] = {"", "exactly forty bytes make the longest one"};
    struct pgcopy_column longer = {.type = PGCOPY_ENUM_U8, .offset = offsetof(struct sample, word), .width = 2, .words = longest};
    sample.word = 1;
    expect(&longer, &sample, "\0\0\0\50exactly forty bytes make the longest one", 44, "a word as long as may be");
    struct pgcopy_column text = {.type = PGCOPY_CONST_TEXT, .width = 6, .constant = "feed-1"};
    expect(&text, &sample, "\0\0\0\6feed-1", 10, "a text of the batch");
    text.width = 0;
    expect(&text, &sample, "\0\0\0\0", 4, "an empty one is a text, too");
    struct pgcopy_column number = {.type = PGCOPY_CONST_INT4, .argument = 0x01020304};
    expect(&number, &sample, "\0\0\0\4\1\2\3\4", 8, "a number of the batch");
    size_t taken, rows, size;
    unsigned char out[128];
    check(pgcopy_encode(NULL, 0, &sample, sizeof sample, 1, 0, 0, out, sizeof out, &taken, &rows, &size) == PGCOPY_OK && size == 2 &&
              memcmp(out, "\0\0", 2) == 0, "a row of no columns");
}

/* Runs of columns are encoded at once where their fields lie one behind the other: every way to be absent among them, and
 * the same columns in another order, which makes no runs. */
static void runs_of_columns_come_out_as_the_single_columns_do(void)
{
    enum { FIELDS = 7 };
    struct quote quote = {.head.instrument = "ETH-PERPETUAL"};
    struct pgcopy_column run[FIELDS], single;
    unsigned char out[512], field[128];
    for (unsigned backward = 0; backward < 2; backward++) {
        for (unsigned absent = 0; absent < 1u << FIELDS; absent++) {
            double values[FIELDS];
            for (unsigned i = 0; i < FIELDS; i++) {
                unsigned place = backward ? FIELDS - 1 - i : i;
                values[i] = absent >> i & 1 ? (double)NAN : i + 0.5;
                run[place] = (struct pgcopy_column){.type = PGCOPY_FLOAT8, .offset = (uint32_t)(offsetof(struct quote, bid_price) + 8 * i)};
            }
            memcpy(&quote.bid_price, values, sizeof values);
            for (unsigned count = 0; count <= FIELDS; count++) {
                size_t taken, rows, size, at = 2, one;
                pgcopy_encode(run, count, &quote, sizeof quote, 1, 0, 0, out, sizeof out, &taken, &rows, &size);
                for (unsigned i = 0; i < count; i++) {
                    single = run[i];
                    pgcopy_encode(&single, 1, &quote, sizeof quote, 1, 0, 0, field, sizeof field, &taken, &rows, &one);
                    check(at + one - 2 <= size && memcmp(out + at, field + 2, one - 2) == 0, "each field of it");
                    at += one - 2;
                }
                check(at == size && taken == 1 && rows == 1, "and no more");
            }
        }
    }
}

static void a_whole_row_of_a_book_change(void)
{
    struct book book = {.head = {.seq = 77, .exch_ns = 946684800000005000, .flags = RECORD_LAST, .instrument = "ETH-PERPETUAL"},
                        .price = 2500.5, .amount = (double)NAN, .side = BOOK_ASK};
    const struct pgcopy_column columns[] = {
        {.type = PGCOPY_TIMESTAMPTZ, .offset = offsetof(struct record_head, exch_ns)},
        {.type = PGCOPY_TEXT, .offset = offsetof(struct record_head, instrument), .width = RECORD_INSTRUMENT_MAX},
        {.type = PGCOPY_FLOAT8, .offset = offsetof(struct book, price)},
        {.type = PGCOPY_FLOAT8, .offset = offsetof(struct book, amount)},
        {.type = PGCOPY_ENUM_U8, .offset = offsetof(struct book, side), .width = 3, .words = WORDS},
        {.type = PGCOPY_INT8_U64, .offset = offsetof(struct record_head, seq)},
    };
    static const char row[] = "\0\6" "\0\0\0\10\0\0\0\0\0\0\0\5" "\0\0\0\15ETH-PERPETUAL" "\0\0\0\10\100\243\211\0\0\0\0\0"
                              NULL_BYTES "\0\0\0\4sell" "\0\0\0\10\0\0\0\0\0\0\0\115";
    unsigned char out[256];
    size_t taken, rows, size;
    check(pgcopy_encode(columns, 6, &book, sizeof book, 1, 0, 0, out, sizeof out, &taken, &rows, &size) == PGCOPY_OK, "encoded");
    check(size == sizeof row - 1 && memcmp(out, row, size) == 0, "byte for byte");
    check(memcmp(PGCOPY_HEADER, "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0", PGCOPY_HEADER_SIZE) == 0, "the stream's header");
}

static void whole_rows_only_and_nothing_behind_the_end(void)
{
    enum { COUNT = 20 };
    struct book books[COUNT] = {0};
    for (unsigned i = 0; i < COUNT; i++) {
        books[i].head.flags = i % 3 == 0 ? RECORD_OPTION : 0;
        books[i].head.seq = i;
        books[i].price = i % 2 ? 1.0 : (double)NAN;
    }
    const struct pgcopy_column columns[] = {
        {.type = PGCOPY_INT8_U64, .offset = 0}, {.type = PGCOPY_FLOAT8, .offset = offsetof(struct book, price)}};
    unsigned char whole[COUNT * 26 + 64];
    size_t whole_size, whole_rows, taken, rows, size, row_max = pgcopy_row_max(columns, 2);
    check(row_max >= 26 && row_max <= 26 + 64, "2 + 12 + 12, and room to scribble");
    check(pgcopy_encode(columns, 2, books, sizeof books[0], COUNT, 0, 0, whole, sizeof whole, &taken, &whole_rows, &whole_size) == PGCOPY_OK &&
              whole_rows == COUNT && whole_size == COUNT / 2 * (26 + 18), "all of them");
    for (size_t out_max = 0; out_max <= sizeof whole; out_max++) {
        unsigned char *out = against_guard_page(out_max);
        size_t at = 0, done = 0;
        while (done < COUNT) { /* in as many calls as it takes */
            enum pgcopy_result result = pgcopy_encode(columns, 2, books + done, sizeof books[0], COUNT - done, 0, 0, out, out_max,
                                                      &taken, &rows, &size);
            check(size <= out_max && rows == taken && memcmp(out, whole + at, size) == 0, "the next whole rows");
            check((result == PGCOPY_OK) == (done + taken == COUNT), "FULL while some are left");
            at += size;
            done += taken;
            if (taken == 0) {
                break;
            }
        }
        check((done == COUNT) == (out_max >= row_max), "goes on wherever one row fits");
        release(out, out_max);
    }
    check(pgcopy_encode(columns, 2, books, sizeof books[0], COUNT, RECORD_OPTION, RECORD_OPTION, whole, sizeof whole, &taken, &rows, &size) ==
              PGCOPY_OK && taken == COUNT && rows == 7, "those with the flag");
    check(pgcopy_encode(columns, 2, books, sizeof books[0], COUNT, RECORD_OPTION, 0, whole, sizeof whole, &taken, &rows, &size) ==
              PGCOPY_OK && taken == COUNT && rows == 13, "those without");
    check(pgcopy_encode(columns, 2, books + 1, sizeof books[0], 5, RECORD_OPTION, RECORD_OPTION, whole, 0, &taken, &rows, &size) ==
              PGCOPY_FULL && taken == 2 && rows == 0 && size == 0, "records that are left out need no room");
}

int main(void)
{
    integers_are_big_endian();
    nan_of_any_spelling_is_null_and_nothing_else_is();
    times_are_rounded_down_to_microseconds_since_2000();
    text_ends_at_its_first_nul_or_its_width();
    words_flags_and_constants();
    runs_of_columns_come_out_as_the_single_columns_do();
    a_whole_row_of_a_book_change();
    whole_rows_only_and_nothing_behind_the_end();
#ifdef PGCOPY_PORTABLE
    printf("test_pgcopy_portable: %d checks\n", checks);
#else
    printf("test_pgcopy: %d checks\n", checks);
#endif
    return failures != 0;
}
