/* test_number.c: number_double() against strtod(), bit for bit, on spellings of every kind; grammar; integers; blocks. */
#include "../number.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../block.h"

static int failures, plain_numbers;
static uint64_t random_state = 0x9e3779b97f4a7c15u;

static uint64_t random_u64(void) /* splitmix64 */
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static unsigned below(unsigned bound)
{
    return (unsigned)(random_u64() % bound);
}

static void fail(const char *what, const char *text)
{
    fprintf(stderr, "test_number: %s: %.100s\n", what, text);
    failures++;
}

/* The program never calls setlocale(), so strtod() here is the "C" locale's. */
static void same_as_strtod(const char *text, const char *what)
{
    char *expected_end;
    double expected = strtod(text, &expected_end), got = 0;
    size_t length = (size_t)(expected_end - text);
    int overflows = expected > 1.7976931348623157e308 || expected < -1.7976931348623157e308;
    /* Alone and in the middle of a text; at its very end and before more of it. What is around must not matter. */
    for (int way = 0; way < 4; way++) {
        char room[256];
        memset(room, way & 1 ? ',' : '7', sizeof room);
        char *placed = room + NUMBER_BEFORE;
        memcpy(placed, text, length);
        const char *end = placed + length + (way & 1 ? 40 : 0);
        const char *behind = way & 2 ? number_double_within(placed, end, &got) : number_double(placed, end, &got);
        double plain = 0;
        const char *plain_behind = way != 3            ? NULL
                                   : *placed == '-'    ? number_plain_negative(placed, &plain)
                                                       : number_plain(placed, &plain);
        if (plain_behind != NULL && (plain_behind != behind || memcmp(&plain, &got, sizeof got) != 0))
            fail("the plain way differs", text);
        plain_numbers += plain_behind != NULL;
        if (length > NUMBER_MAX || overflows) {
            if (behind != NULL)
                fail("accepted, though too long or too large", text);
        } else if (behind != placed + length) {
            fail("ends elsewhere", text);
        } else if (memcmp(&got, &expected, sizeof got) != 0) {
            fprintf(stderr, "test_number: %s: %s: %a, not %a\n", what, text, got, expected);
            failures++;
        }
    }
}

static size_t random_digits(char *text, unsigned count, int leading_zero_allowed)
{
    for (unsigned i = 0; i < count; i++)
        text[i] = (char)('0' + (i == 0 && !leading_zero_allowed ? 1 + below(9) : below(10)));
    return count;
}

/* A decimal as venues write it, or any other that the grammar allows. */
static void random_spelling(char *text)
{
    size_t at = 0;
    unsigned shape = below(8), whole_max = shape < 5 ? 8 : 30, fraction_max = shape < 5 ? 9 : 30;
    if (below(3) == 0)
        text[at++] = '-';
    if (below(3) == 0)
        text[at++] = '0';
    else
        at += random_digits(text + at, 1 + below(whole_max), 0);
    if (below(4) != 0) {
        text[at++] = '.';
        unsigned zeros = below(4) == 0 ? below(fraction_max) : 0;
        memset(text + at, '0', zeros);
        at += zeros;
        at += random_digits(text + at, 1 + below(fraction_max), 1);
    }
    if (shape >= 4 && below(2) == 0) {
        static const char *const marks[] = {"e", "E", "e+", "E+", "e-", "E-", "e-0", "e+00"};
        at += (size_t)sprintf(text + at, "%s%u", marks[below(8)], below(shape == 4 ? 10 : shape == 5 ? 40 : 340));
    }
    text[at] = '\0';
}

static void any_spelling_gives_the_double_that_strtod_gives(int count)
{
    char text[256];
    for (int i = 0; i < count; i++) {
        random_spelling(text);
        same_as_strtod(text, "random spelling");
    }
}

/* Every double, subnormals too, printed with 17 digits (which give it back) and with fewer (which round). */
static void any_double_comes_back_from_its_digits(int count)
{
    char text[256];
    for (int i = 0; i < count; i++) {
        uint64_t bits = random_u64();
        if (below(4) == 0)
            bits &= UINT64_C(0x800fffffffffffff); /* subnormal */
        if (below(3) == 0) /* of the size of prices */
            bits = (bits & UINT64_C(0x800fffffffffffff)) | (uint64_t)(1023 - 30 + below(60)) << 52;
        double value;
        memcpy(&value, &bits, sizeof value);
        if (value != value || value - value != 0)
            continue;
        sprintf(text, "%.*e", 10 + (int)below(10), value);
        same_as_strtod(text, "digits of a double");
    }
}

/* The middle between two neighbours, exactly where that fits NUMBER_MAX, else just above or below. */
static void halfway_cases_go_to_even(int count)
{
    char text[1200], cut[256];
    for (int i = 0; i < count; i++) {
        uint64_t bits = ((uint64_t)(1023 - 12 + below(75)) << 52) | (random_u64() & UINT64_C(0x000fffffffffffff));
        if (below(8) == 0)
            bits |= UINT64_C(0x000fffffffffffff); /* the next one is a power of two */
        double low, high;
        memcpy(&low, &bits, sizeof low);
        bits++;
        memcpy(&high, &bits, sizeof high);
        long double middle = ((long double)low + (long double)high) / 2; /* exact with the 64 bits of x87, close elsewhere */
        int length = sprintf(text, "%.*Lf", (int)below(70), middle);
        memcpy(cut, text, (size_t)length < 200 ? (size_t)length + 1 : 200);
        cut[200] = '\0';
        if (strlen(cut) > NUMBER_MAX && below(8) != 0)
            cut[NUMBER_MAX - below(3)] = '\0';
        if (cut[strlen(cut) - 1] == '.')
            cut[strlen(cut) - 1] = '\0';
        same_as_strtod(cut, "halfway");
        cut[strlen(cut) - 1] = (char)('0' + below(10));
        same_as_strtod(cut, "near halfway");
    }
}

static void known_hard_cases_are_right(void)
{
    static const char *const texts[] = {
        "0", "-0", "0.0", "-0.0", "0e0", "0e999999999999", "0.000e-999", "1", "10.0", "9007199254740992", "9007199254740993",
        "9007199254740995", "90071992547409930", "9007199254740993.0", "9007199254740993.00000000000001", "2.7e-4", "8.55e4",
        "-4.467407940520975e-5", "1789344933994718924", "18446744073709551615", "1e22", "1e23", "-1e23", "8.5e22", "1e-22", "1e-23",
        "9007199254740992e22", "9007199254740993e-22", "123456789012345678901234567890", "0.1", "0.2", "0.3", "4.35", "0.000001",
        "1.00000000000000011102230246251565404236316680908203125", "1.00000000000000011102230246251565404236316680908203124",
        "1.00000000000000011102230246251565404236316680908203126", "1.7976931348623157e308", "1.7976931348623158e308",
        "1.7976931348623159e308", "1.797693134862315807e308", "1.797693134862315808e308", "1e308", "1e309", "1e310", "1e999999999999999999", "-1e999",
        "2.2250738585072011e-308", "2.2250738585072012e-308", "2.2250738585072014e-308", "2.225073858507201136057409796709131975934819546351e-308",
        "4.9406564584124654e-324", "4.94065645841246544176568792868221372365059802614324764e-324", "5e-324", "3e-324", "2.5e-324",
        "2.4703282292062327e-324", "2.4703282292062328e-324", "2.47032822920623272088284396434110686182e-324", "1e-323", "1e-324", "1e-325",
        "1e-400", "1e-999999999999999999", "0.00000000000000000000000000000000000000000000000000000000000001", "6.02214076e23",
        "1448997445238699", "3.0540412e5", "99999999.99999999", "99999999.9999999", "90071992.54740993", "12345678.12345678", "123456789.0",
        "1234567.123456789", "12345678901234567890123456789012345678901234567890123456789012e-60", "7.3177701707893310e+15", "5708990770823839207320493820740630171355185152001e-3",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        same_as_strtod(texts[i], "known case");
}

static void what_the_grammar_forbids_is_refused(void)
{
    static const char *const texts[] = {"", "-", "+1", ".5", "-.5", "1.", "1.e5", "1e", "1e+", "1e-", "e5", "nan", "inf", "Infinity", "-a", " 1", "--1", "-+1",
                                        /* 65 bytes, in every part of a number */
                                        "10000000000000000000000000000000000000000000000000000000000000000",
                                        "0.000000000000000000000000000000000000000000000000000000000000001",
                                        "1e000000000000000000000000000000000000000000000000000000000000001",
                                        "1000000000000000000000000000000000000000000000000000000000000000e"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (size_t padding = 0; padding <= 40; padding += 40) {
            char room[160], *placed = room + NUMBER_BEFORE;
            memset(room, ',', sizeof room);
            memcpy(placed, texts[i], strlen(texts[i]));
            const char *end = placed + strlen(texts[i]) + padding;
            double value;
            if (number_double(placed, end, &value) != NULL || number_double_within(placed, end, &value) != NULL)
                fail("accepted", texts[i]);
            if (number_skip(placed, end) != NULL)
                fail("skipped", texts[i]);
            memset(placed + strlen(texts[i]), ',', 40);
            if (number_plain(placed, &value) != NULL || number_plain_negative(placed, &value) != NULL)
                fail("plain", texts[i]);
        }
    /* A leading zero ends the number or is refused; it never swallows what follows. */
    static const char *const zeros[] = {"01", "-01", "00", "00.5", "0123456789"};
    for (size_t i = 0; i < sizeof zeros / sizeof *zeros; i++) {
        char room[80], *placed = room + NUMBER_BEFORE;
        size_t length = strlen(zeros[i]);
        memset(room, ',', sizeof room);
        memcpy(placed, zeros[i], length);
        double value;
        if (number_double(placed, placed + length, &value) == placed + length ||
            number_double_within(placed, placed + length + 40, &value) == placed + length)
            fail("a leading zero was accepted", zeros[i]);
    }
}

/* Both ways, at the very end of a text and before more of it. */
static void integer_is(const char *spelling, int taken, uint64_t value)
{
    char room[128], *placed = room + NUMBER_BEFORE;
    size_t length = strlen(spelling);
    for (int way = 0; way < 4; way++) {
        memset(room, ',', sizeof room);
        memcpy(placed, spelling, length);
        uint64_t got = value;
        const char *end = placed + length + (way & 1 ? 40 : 0);
        const char *behind = way & 2 ? number_u64_within(placed, end, &got) : number_u64(placed, end, &got);
        if (behind != (taken < 0 ? NULL : placed + taken) || got != value)
            fail("integer", spelling);
    }
}

static void integers_are_exact_and_bounded(void)
{
    for (int i = 0; i < 200000; i++) {
        char text[64];
        uint64_t value = random_u64() >> below(64);
        int length = sprintf(text, "%" PRIu64 "%s", value, below(8) == 0 ? ".000" : "");
        integer_is(text, length, value);
    }
    static const struct { const char *text; int taken; uint64_t value; } cases[] = {
        {"0", 1, 0}, {"0.0", 3, 0}, {"18446744073709551615", 20, UINT64_MAX}, {"18446744073709551616", -1, 0}, {"28446744073709551615", -1, 0},
        {"99999999999999999999999", -1, 0}, {"-1", -1, 0}, {"01", -1, 0}, {"", -1, 0}, {"5.", 1, 5}, {"5.5", 1, 5}, {"5.05", 1, 5},
        {"5e3", 1, 5}, {"5.0e3", 1, 5}, {"123456789012345", 15, 123456789012345}, {"1234567890123456", 16, 1234567890123456},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        integer_is(cases[i].text, cases[i].taken, cases[i].value);
}

static void blocks_see_every_byte_for_what_it_is(void)
{
    for (int byte = 0; byte < 256; byte++)
        for (unsigned place = 0; place < BLOCK_BYTES; place++)
            for (unsigned filling = 0; filling < 2; filling++) {
                char text[BLOCK_BYTES];
                memset(text, filling ? '9' : '0', sizeof text);
                text[place] = (char)byte;
                uint32_t digit = byte >= '0' && byte <= '9', special = byte == '"' || byte == '\\' || byte < 0x20 || byte >= 0x80;
                if (block_digits(text) != (digit ? 0xffff : 0xffff & ~(1u << place)) || block_specials(text) != special << place)
                    fail("block", text);
            }
    for (int byte = 0; byte < 256; byte++)
        for (unsigned place = 0; place < BLOCK_BYTES; place++) {
            char text[BLOCK_BYTES];
            _Alignas(BLOCK_BYTES) char other[BLOCK_BYTES];
            memset(text, 0x5a, sizeof text);
            memset(other, 0x5a, sizeof other);
            other[place] = (char)byte;
            if (block_equal(text, other) != (byte == 0x5a ? 0xffff : 0xffff & ~(1u << place)))
                fail("block_equal", other);
        }
}

static void copies_are_whole_and_padded(void)
{
    const char *text = "abcdefghijklmnopqrstuvwxyz0123456789";
    for (unsigned length = 0; length <= 2 * BLOCK_BYTES; length++) {
        char out[48], expected[48];
        memset(out, '#', sizeof out);
        memset(expected, '#', sizeof expected);
        if (length < BLOCK_BYTES)
            memset(expected, 0, BLOCK_BYTES);
        memcpy(expected, text, length);
        block_copy(out, text, length);
        if (memcmp(out, expected, sizeof out) != 0)
            fail("block_copy", text);
    }
}

int main(int argc, char **argv)
{
    int count = argc > 1 ? atoi(argv[1]) : 1000000;
    known_hard_cases_are_right();
    what_the_grammar_forbids_is_refused();
    integers_are_exact_and_bounded();
    blocks_see_every_byte_for_what_it_is();
    copies_are_whole_and_padded();
    any_spelling_gives_the_double_that_strtod_gives(count);
    any_double_comes_back_from_its_digits(count / 4);
    halfway_cases_go_to_even(count / 8);
    if (plain_numbers < count / 10)
        fail("too few plain numbers to test", "");
    printf("test_number: %d random spellings, %d doubles, %d halfway cases as strtod() has them\n", count, count / 4, count / 8);
    return failures != 0;
}
