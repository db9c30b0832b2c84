/* test_ilp.c: lines against bytes written out by hand, and nothing beyond the bounds, with unreadable pages at both ends. */
#define _GNU_SOURCE /* MAP_ANONYMOUS */

#include "../ilp.h"

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
        fprintf(stderr, "test_ilp: %s\n", what);
        failures++;
    }
}

/* `size` bytes that end where an unreadable page begins. */
#define AREA 65536u
static unsigned char *against_guard_page(size_t size)
{
    unsigned char *area = mmap(NULL, AREA + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area == MAP_FAILED || mprotect(area + AREA, 4096, PROT_NONE) != 0) {
        perror("test_ilp: no memory");
        exit(2);
    }
    return area + AREA - size;
}

static void release(unsigned char *bytes, size_t size)
{
    munmap(bytes + size - AREA, AREA + 4096);
}

/* A record of every type a column can take; its last field ends with it. */
struct sample {
    struct record_head head;
    uint64_t u64;
    int64_t time_ns;
    double price;
    uint32_t u32;
    uint8_t u8, truth, word, reserved;
    char text[24];
};

static const char *const WORDS[] = {"", "buy", "sell", "both sides"};

/* A row of table t with the symbol s=x, the field f=1i and one more column; compares what that column adds. */
static void expect(struct ilp_column column, const struct sample *sample, const char *bytes, size_t length, const char *what)
{
    int symbol = column.type <= ILP_SYMBOL_CONST;
    column.name = "c";
    struct ilp_column columns[3] = {{.type = ILP_SYMBOL_CONST, .name = "s", .constant = "x", .width = 1}};
    columns[symbol ? 2 : 1] = (struct ilp_column){.type = ILP_LONG_CONST, .name = "f", .argument = 1};
    columns[symbol ? 1 : 2] = column;
    struct ilp_table table = {.name = "t", .columns = columns, .column_count = 3, .at_offset = offsetof(struct record_head, exch_ns),
                              .at_else_offset = offsetof(struct record_head, recv_ns)};
    char line[256];
    size_t at = (size_t)sprintf(line, symbol ? "t,s=x" : "t,s=x f=1i");
    memcpy(line + at, bytes, length);
    at += length;
    at += (size_t)sprintf(line + at, symbol ? " f=1i 7n\n" : " 7n\n");
    size_t row_max = ilp_row_max(&table), taken, rows, size;
    unsigned char *out = against_guard_page(row_max), *record = against_guard_page(sizeof *sample);
    memcpy(record, sample, sizeof *sample);
    int64_t seven = 7;
    memcpy(record + offsetof(struct record_head, exch_ns), &seven, sizeof seven);
    check(ilp_encode(&table, record, sizeof *sample, 1, 0, 0, out, row_max, &taken, &rows, &size) == ILP_OK, what);
    check(taken == 1 && rows == 1 && size == at && size <= row_max && memcmp(out, line, at) == 0, what);
    release(out, row_max);
    release(record, sizeof *sample);
}

#define EXPECT(column_type, field, bytes, what) \
    expect((struct ilp_column){.type = column_type, .offset = offsetof(struct sample, field)}, &sample, bytes, sizeof bytes - 1, what)

static void whole_numbers_are_decimal(void)
{
    struct sample sample = {.u64 = 1234567890123456789, .u32 = UINT32_MAX, .u8 = 254, .truth = 2};
    EXPECT(ILP_LONG_U64, u64, ",c=1234567890123456789i", "long");
    EXPECT(ILP_LONG_U64_ABSENT0, u64, ",c=1234567890123456789i", "long, not 0");
    EXPECT(ILP_LONG_U32, u32, ",c=4294967295i", "of 32 bits, never negative");
    EXPECT(ILP_LONG_U32_ABSENT0, u32, ",c=4294967295i", "of 32 bits, not 0");
    EXPECT(ILP_LONG_U8_ABSENT255, u8, ",c=254i", "of 8 bits");
    EXPECT(ILP_BOOL_U8, truth, ",c=t", "true, whatever the byte");
    sample = (struct sample){.u8 = 255};
    EXPECT(ILP_LONG_U64, u64, ",c=0i", "0");
    EXPECT(ILP_LONG_U64_ABSENT0, u64, "", "0 is absent");
    EXPECT(ILP_LONG_U32, u32, ",c=0i", "0 of 32 bits");
    EXPECT(ILP_LONG_U32_ABSENT0, u32, "", "0 of 32 bits is absent");
    EXPECT(ILP_LONG_U8_ABSENT255, u8, "", "255 is absent");
    EXPECT(ILP_BOOL_U8, truth, ",c=f", "false");
}

/* Around every power of ten, where a digit more is needed, and at the ends. */
static void every_number_of_digits_comes_out_as_printf_has_it(void)
{
    uint64_t power = 1;
    for (unsigned digits = 0; digits < 20; digits++, power *= 10) {
        for (int step = -1; step <= 1; step++) {
            struct sample sample = {.u64 = power + (uint64_t)(int64_t)step};
            char bytes[40];
            int length = sprintf(bytes, ",c=%lldi", (long long)sample.u64);
            expect((struct ilp_column){.type = ILP_LONG_U64, .offset = offsetof(struct sample, u64)}, &sample, bytes, (size_t)length, bytes);
        }
    }
    struct sample sample = {.u64 = 1ull << 63};
    EXPECT(ILP_LONG_U64, u64, ",c=-9223372036854775808i", "the least");
    sample.u64 = INT64_MAX;
    EXPECT(ILP_LONG_U64, u64, ",c=9223372036854775807i", "the greatest");
}

static void doubles_are_their_bytes_and_nan_is_absent(void)
{
    static const uint64_t nans[] = {0x7ff8000000000000, 0xfff8000000000000, 0x7ff0000000000001, 0xffffffffffffffff, 0x7ff4000000000000};
    struct sample sample = {.price = -1.5};
    EXPECT(ILP_DOUBLE, price, ",c==\20\0\0\0\0\0\0\370\277", "-1.5");
    sample.price = 0.0;
    EXPECT(ILP_DOUBLE, price, ",c==\20\0\0\0\0\0\0\0\0", "0");
    sample.price = (double)INFINITY;
    EXPECT(ILP_DOUBLE, price, ",c==\20\0\0\0\0\0\0\360\177", "infinity");
    sample.price = -(double)INFINITY;
    EXPECT(ILP_DOUBLE, price, ",c==\20\0\0\0\0\0\0\360\377", "-infinity");
    for (size_t i = 0; i < sizeof nans / sizeof nans[0]; i++) {
        memcpy(&sample.price, &nans[i], sizeof nans[i]);
        EXPECT(ILP_DOUBLE, price, "", "NaN");
    }
}

static void times_are_nanoseconds_and_0_is_absent(void)
{
    struct sample sample = {.time_ns = 1763716000000000123};
    EXPECT(ILP_TIMESTAMP, time_ns, ",c=1763716000000000123n", "a time");
    sample.time_ns = -1;
    EXPECT(ILP_TIMESTAMP, time_ns, ",c=-1n", "before 1970");
    sample.time_ns = 0;
    EXPECT(ILP_TIMESTAMP, time_ns, "", "not known");
}

/* Every length in every width, every special byte at every place: the fast way and the slow one meet everywhere. */
static void text_ends_at_its_first_nul_or_its_width_and_is_escaped(void)
{
    static const char specials[] = " ,=\"\\\n\r";
    for (uint32_t width = 0; width <= 24; width++) {
        for (uint32_t length = 0; length <= width; length++) {
            for (size_t special = 0; special < sizeof specials; special++) {
                for (uint32_t place = 0; place < (special == 0 ? 1 : length); place++) {
                    struct sample sample = {.u64 = 0};
                    memcpy(sample.text, "abcdefghijklmnopqrstuvwx", 24);
                    if (special > 0) {
                        sample.text[place] = specials[special - 1];
                    }
                    if (length < width) {
                        sample.text[length] = '\0';
                    }
                    for (int string = 0; string < 2; string++) {
                        char bytes[64] = "";
                        size_t at = length == 0 ? 0 : (size_t)sprintf(bytes, string ? ",c=\"" : ",c=");
                        for (uint32_t i = 0; i < length; i++) {
                            if (strchr(string ? "\"\\\n\r" : " ,=\\\n\r", sample.text[i]) != NULL) {
                                bytes[at++] = '\\';
                            }
                            bytes[at++] = sample.text[i];
                        }
                        if (string && length > 0) {
                            bytes[at++] = '"';
                        }
                        expect((struct ilp_column){.type = string ? ILP_STRING : ILP_SYMBOL_TEXT, .width = width,
                                                   .offset = offsetof(struct sample, text)}, &sample, bytes, at, bytes);
                    }
                }
            }
        }
    }
}

static void words_flags_and_constants(void)
{
    struct sample sample = {.word = 3, .head.flags = RECORD_LAST | RECORD_OPTION};
    struct ilp_column word = {.type = ILP_SYMBOL_ENUM, .offset = offsetof(struct sample, word), .width = 4, .words = WORDS};
    expect(word, &sample, ",c=both\\ sides", 14, "a word with a space");
    sample.word = 1;
    expect(word, &sample, ",c=buy", 6, "a word");
    sample.word = 0;
    expect(word, &sample, "", 0, "an empty word");
    sample.word = 4;
    expect(word, &sample, "", 0, "no such word");
    sample.word = 255;
    expect(word, &sample, "", 0, "no such word by far");
    struct ilp_column flag = {.type = ILP_BOOL_FLAG, .offset = offsetof(struct record_head, flags), .argument = RECORD_LAST};
    expect(flag, &sample, ",c=t", 4, "a flag set");
    flag.argument = RECORD_SNAPSHOT;
    expect(flag, &sample, ",c=f", 4, "a flag not set");
    expect((struct ilp_column){.type = ILP_SYMBOL_CONST, .constant = "a=b,c d", .width = 7}, &sample, ",c=a\\=b\\,c\\ d", 13, "a text of the batch");
    expect((struct ilp_column){.type = ILP_LONG_CONST, .argument = 4294967295}, &sample, ",c=4294967295i", 14, "a number of the batch");
    char longest[ILP_WORD_MAX + 1] = "", escaped[4 + 2 * ILP_WORD_MAX] = ",c=";
    for (unsigned i = 0; i < ILP_WORD_MAX; i++) {
        longest[i] = ' ';
        memcpy(escaped + 3 + 2 * i, "\\ ", 2);
    }
    expect((struct ilp_column){.type = ILP_SYMBOL_CONST, .constant = longest, .width = ILP_WORD_MAX}, &sample, escaped,
           3 + 2 * ILP_WORD_MAX, "as long as may be");
}

static const struct ilp_column BOOK[] = {
    {.type = ILP_SYMBOL_CONST, .name = "stream", .constant = "feed-1.book", .width = 11},
    {.type = ILP_SYMBOL_TEXT, .name = "instrument", .offset = offsetof(struct record_head, instrument), .width = RECORD_INSTRUMENT_MAX},
    {.type = ILP_SYMBOL_ENUM, .name = "side", .offset = offsetof(struct book, side), .width = 3, .words = WORDS},
    {.type = ILP_LONG_U64, .name = "seq", .offset = offsetof(struct record_head, seq)},
    {.type = ILP_DOUBLE, .name = "price", .offset = offsetof(struct book, price)},
    {.type = ILP_DOUBLE, .name = "amount", .offset = offsetof(struct book, amount)},
};
static const struct ilp_table BOOKS = {.name = "book_changes", .columns = BOOK, .column_count = 6,
                                       .at_offset = offsetof(struct record_head, exch_ns), .at_else_offset = offsetof(struct record_head, recv_ns)};

static void a_whole_line_of_a_book_change(void)
{
    struct book book = {.head = {.seq = 77, .exch_ns = 1763716000000000123, .recv_ns = 5, .instrument = "ETH-PERPETUAL"},
                        .price = 2500.5, .amount = (double)NAN, .side = BOOK_ASK};
    static const char line[] = "book_changes,stream=feed-1.book,instrument=ETH-PERPETUAL,side=sell seq=77i,price==\20\0\0\0\0\0\211\243\100"
                               " 1763716000000000123n\n";
    unsigned char out[1024];
    size_t taken, rows, size;
    check(ilp_encode(&BOOKS, &book, sizeof book, 1, 0, 0, out, sizeof out, &taken, &rows, &size) == ILP_OK, "encoded");
    check(size == sizeof line - 1 && memcmp(out, line, size) == 0, "byte for byte");
    book.head.exch_ns = 0;
    ilp_encode(&BOOKS, &book, sizeof book, 1, 0, 0, out, sizeof out, &taken, &rows, &size);
    check(memcmp(out + size - 4, " 5n\n", 4) == 0, "without a time of its own it has ours");
}

/* Doubles that lie one behind the other are written in one go: each order, each of them absent, a name as long as may be. */
static void doubles_keep_their_names_in_any_order(void)
{
    static const char *const names[] = {"bid", "exactly_forty_letters_make_longest_names", "ask"};
    static const unsigned char orders[][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    struct quote quote = {.head = {.exch_ns = 1}};
    for (unsigned absent = 0; absent < 8; absent++) {
        double values[3];
        for (unsigned i = 0; i < 3; i++) {
            values[i] = absent >> i & 1 ? (double)NAN : i + 0.5;
        }
        memcpy(&quote.bid_price, values, sizeof values);
        for (size_t order = 0; order < 6; order++) {
            struct ilp_column columns[5] = {BOOK[0], {.type = ILP_LONG_CONST, .name = "epoch", .argument = 4}};
            struct ilp_table table = {.name = "t", .columns = columns, .column_count = 5,
                                      .at_offset = offsetof(struct record_head, exch_ns), .at_else_offset = offsetof(struct record_head, recv_ns)};
            char line[256] = "t,stream=feed-1.book epoch=4i";
            unsigned char out[1024];
            size_t length = strlen(line), taken, rows, size;
            for (unsigned i = 0; i < 3; i++) {
                unsigned place = orders[order][i];
                columns[2 + i] = (struct ilp_column){.type = ILP_DOUBLE, .name = names[place],
                                                     .offset = (uint32_t)(offsetof(struct quote, bid_price) + 8 * place)};
                if ((absent >> place & 1) == 0) {
                    length += (size_t)sprintf(line + length, ",%s==\20", names[place]);
                    memcpy(line + length, &values[place], 8);
                    length += 8;
                }
            }
            memcpy(line + length, " 1n\n", 4);
            ilp_encode(&table, &quote, sizeof quote, 1, 0, 0, out, sizeof out, &taken, &rows, &size);
            check(rows == 1 && size == length + 4 && memcmp(out, line, size) == 0, "three doubles");
        }
    }
}

static void whole_rows_only_and_nothing_behind_the_end(void)
{
    enum { COUNT = 20 };
    struct book books[COUNT] = {0};
    for (unsigned i = 0; i < COUNT; i++) {
        books[i].head.flags = i % 3 == 0 ? RECORD_OPTION : 0;
        books[i].head.seq = i;
        books[i].head.exch_ns = 1 + i;
        books[i].price = i % 2 ? 1.0 : (double)NAN;
        memcpy(books[i].head.instrument, "E TH-PERPETUAL", 14);
    }
    static unsigned char whole[COUNT * 1024];
    size_t whole_size, whole_rows, taken, rows, size, row_max = ilp_row_max(&BOOKS);
    check(ilp_encode(&BOOKS, books, sizeof books[0], COUNT, 0, 0, whole, sizeof whole, &taken, &whole_rows, &whole_size) == ILP_OK &&
              whole_rows == COUNT, "all of them");
    for (size_t out_max = 0; out_max <= row_max + 400; out_max++) {
        unsigned char *out = against_guard_page(out_max);
        size_t at = 0, done = 0;
        while (done < COUNT) { /* in as many calls as it takes */
            enum ilp_result result = ilp_encode(&BOOKS, books + done, sizeof books[0], COUNT - done, 0, 0, out, out_max, &taken, &rows, &size);
            check(size <= out_max && rows == taken && memcmp(out, whole + at, size) == 0, "the next whole rows");
            check((result == ILP_OK) == (done + taken == COUNT), "FULL while some are left");
            at += size;
            done += taken;
            if (taken == 0) {
                break;
            }
        }
        check((done == COUNT) == (out_max >= row_max), "goes on wherever one row fits");
        release(out, out_max);
    }
    check(ilp_encode(&BOOKS, books, sizeof books[0], COUNT, RECORD_OPTION, RECORD_OPTION, whole, sizeof whole, &taken, &rows, &size) == ILP_OK &&
              taken == COUNT && rows == 7, "those with the flag");
    check(ilp_encode(&BOOKS, books + 1, sizeof books[0], 5, RECORD_OPTION, RECORD_OPTION, whole, 0, &taken, &rows, &size) == ILP_FULL &&
              taken == 2 && rows == 0 && size == 0, "records that are left out need no room");
}

int main(void)
{
    whole_numbers_are_decimal();
    every_number_of_digits_comes_out_as_printf_has_it();
    doubles_are_their_bytes_and_nan_is_absent();
    times_are_nanoseconds_and_0_is_absent();
    text_ends_at_its_first_nul_or_its_width_and_is_escaped();
    words_flags_and_constants();
    doubles_keep_their_names_in_any_order();
    a_whole_line_of_a_book_change();
    whole_rows_only_and_nothing_behind_the_end();
#ifdef ILP_PORTABLE
    printf("test_ilp_portable: %d checks\n", checks);
#else
    printf("test_ilp: %d checks\n", checks);
#endif
    return failures != 0;
}
