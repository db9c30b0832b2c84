/* test_numbers.c: numbers read together are the same as one by one, whatever is around them and beside them. */
#define _GNU_SOURCE
#include "../numbers.h"

#include <math.h>

#include "../number.h"
#include "guarded_text.h"

enum { LISTS = 100000, TEXT_MAX = NUMBERS_LENGTH_MAX + 1 };

static uint64_t random_state = 20261121;
static unsigned plain, others;
static struct numbers numbers;
static const char *base; /* what its places are counted from */

static unsigned below(unsigned bound) /* xorshift64* */
{
    random_state ^= random_state >> 12, random_state ^= random_state << 25, random_state ^= random_state >> 27;
    return (unsigned)((random_state * 0x2545f4914f6cdd1du) >> 33) % bound;
}

/* A text in 3 to 16 bytes: most are plain, and many of the others nearly. Returns its length. */
static size_t random_text(char *text)
{
    static const char *const odd[] = {"null", "1e5", "-1.5e-3", "01.5", "-00.5", "1.5.5", "--1.5", "1.-5", ".15", "15.", "-.5", "-5.", "...", "---",
                                      "123", "-12", "0123456789012345", "1.5\"", "1,5", "0.0", "-0.0", "00.0", "1/5", "1:5", "123456789012345."};
    if (below(20) == 0)
        return strlen(strcpy(text, odd[below(sizeof odd / sizeof *odd)]));
    size_t length = NUMBERS_LENGTH_MIN + below(NUMBERS_LENGTH_MAX - NUMBERS_LENGTH_MIN + 1), first = length > 3 && below(4) == 0;
    for (size_t i = 0; i < length; i++)
        text[i] = (char)('0' + below(10));
    text[0] = first ? '-' : text[0];
    size_t point = first + 1 + below((unsigned)(length - first - 2));
    text[first] = point == first + 1 ? text[first] : (char)('1' + below(9));
    text[point] = '.';
    if (below(20) == 0)
        text[below((unsigned)length)] = below(2) ? "0123456789.-+e"[below(14)] : (char)below(256);
    return length;
}

static void none_yet(void)
{
    base = guarded + NUMBER_BEFORE;
    memset(&numbers, 0, sizeof numbers);
}

/* Number `i` at `at`, behind anything. Returns its end. */
static char *put(char *at, uint64_t i, const char *text, size_t length)
{
    for (int byte = 0; byte < NUMBER_BEFORE; byte++)
        *at++ = below(2) ? "0123456789.-"[below(12)] : (char)below(256);
    memcpy(at, text, length);
    numbers.ends[i] = (uint16_t)(at + length - base);
    numbers.lengths[i] = (uint16_t)length;
    return at + length;
}

/* Those that there are, read together and one by one. */
static void same_as_one_by_one(void)
{
    double values[NUMBERS];
    uint32_t left = numbers_read(base, &numbers, values);
    for (uint64_t i = 0; i < NUMBERS; i++) {
        const char *end = base + numbers.ends[i];
        double expected = NAN;
        bool is_there = numbers.lengths[i] > 0, is_plain = is_there && number_plain_signed_until(end - numbers.lengths[i], end, &expected);
        char text[TEXT_MAX] = "";
        memcpy(text, end - numbers.lengths[i], numbers.lengths[i]);
        check((is_there && !is_plain) == (left >> i & 1), is_plain ? "left" : "taken", text);
        check(isnan(expected) ? isnan(values[i]) : memcmp(&values[i], &expected, sizeof expected) == 0, "another value", text);
        plain += is_plain;
        others += is_there && !is_plain;
    }
}

/* At the beginning of what is readable, and at its end; some places are empty. */
static void any_list_is_read_as_one_by_one(void)
{
    for (int list = 0; list < LISTS; list++) {
        char text[TEXT_MAX], *at = guarded;
        none_yet();
        for (uint64_t i = 0; i < NUMBERS; i++)
            at = below(6) == 0 ? at : put(at, i, text, random_text(text));
        same_as_one_by_one();
        base = against_the_end(guarded, (size_t)(at - guarded)) + NUMBER_BEFORE;
        same_as_one_by_one();
    }
}

/* Every byte in every place, in each lane; the neighbours stay what they are. */
static void one_wrong_byte_is_seen_and_harms_no_other(void)
{
    static const char *const texts[] = {"1.5", "0.0", "-0.5", "12.34", "-7.125", "0.00000", "12345678.1234567", "-1.3456789012345"};
    enum { TEXTS = sizeof texts / sizeof *texts };
    for (unsigned lane = 0; lane < TEXTS; lane++)
        for (unsigned which = 0; which < TEXTS; which++)
            for (size_t place = 0; place < strlen(texts[which]); place++)
                for (int byte = 0; byte < 256; byte++) {
                    char *at = guarded;
                    none_yet();
                    for (unsigned i = 0; i < TEXTS; i++) {
                        const char *text = texts[(which + TEXTS - lane + i) % TEXTS];
                        at = put(at, i, text, strlen(text));
                        if (i == lane)
                            at[(ptrdiff_t)place - (ptrdiff_t)strlen(text)] = (char)byte;
                    }
                    same_as_one_by_one();
                }
}

static void a_length_of_no_number_is_left(void)
{
    double values[NUMBERS];
    memset(guarded, '1', 4096);
    memset(guarded + 2000, '.', 1);
    for (uint64_t i = 0; i < NUMBERS; i++) {
        none_yet(); /* a sign and sixteen more bytes are one too many */
        put(guarded, i, "-1234567.12345678", 17);
        check(numbers_read(base, &numbers, values) == UINT32_C(1) << i && isnan(values[i]), "taken", "seventeen bytes");
        memset(guarded, '1', 64);
        none_yet();
        numbers.ends[i] = 2000;
        for (numbers.lengths[i] = 1; numbers.lengths[i] < 2000; numbers.lengths[i]++)
            if (numbers.lengths[i] < NUMBERS_LENGTH_MIN || numbers.lengths[i] > NUMBERS_LENGTH_MAX)
                check(numbers_read(base, &numbers, values) == UINT32_C(1) << i && isnan(values[i]), "taken", "too short or too long");
    }
}

int main(void)
{
    make_guards();
    any_list_is_read_as_one_by_one();
    one_wrong_byte_is_seen_and_harms_no_other();
    a_length_of_no_number_is_left();
    check(plain > others, "too few plain numbers to test", "");
    printf("test_numbers: %u plain numbers and %u others, %s\n", plain, others, numbers_gain() ? "eight at once" : "one by one");
    return failures != 0;
}
