/* fuzz_number.c: any bytes as a number: alone, in the middle of a text and skipped give one answer, and it is strtod()'s. R8. */
#include "../number.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void require(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "fuzz_number: %s\n", what);
        abort();
    }
}

static void compare_with_strtod(const char *text, size_t length, double value)
{
    char spelling[NUMBER_MAX + 1];
    require(length <= NUMBER_MAX, "is no longer than allowed");
    memcpy(spelling, text, length);
    spelling[length] = '\0';
    char *end;
    double expected = strtod(spelling, &end);
    require(end == spelling + length, "strtod() takes as much");
    require(memcmp(&expected, &value, sizeof value) == 0, "is the double that strtod() gives");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *alone = malloc(size + 1), *within = malloc(NUMBER_BEFORE + size);
    memcpy(alone, data, size);
    memcpy(within + NUMBER_BEFORE, data, size);
    memset(within, '7', NUMBER_BEFORE);
    const char *text = within + NUMBER_BEFORE, *end = text + size;
    double value = 0, other = 0;
    /* The copy that is alone ends exactly where its memory does, so that a sanitizer sees one byte too many. */
    char *exact = realloc(alone, size > 0 ? size : 1);
    const char *behind = number_double(exact, exact + size, &value), *skipped = number_skip(text, end);
    const char *behind_within = number_double_within(text, end, &other);
    require((behind == NULL) == (behind_within == NULL), "both ways accept it, or none");
    require(skipped != NULL || behind == NULL, "what is a number can be skipped");
    if (behind != NULL) {
        require(behind - exact == behind_within - text && behind - exact == skipped - text, "all end at one place");
        require(memcmp(&value, &other, sizeof value) == 0, "both give one double");
        require(isfinite(value), "is finite");
        compare_with_strtod(exact, (size_t)(behind - exact), value);
    }
    uint64_t integer = 0, integer_within = 0;
    behind = number_u64(exact, exact + size, &integer);
    behind_within = number_u64_within(text, end, &integer_within);
    require(behind == NULL ? behind_within == NULL : behind - exact == behind_within - text, "both read one integer");
    require(integer == integer_within, "both give one integer");
    free(exact);
    free(within);
    return 0;
}

#ifdef FUZZ_MAIN
static uint64_t random_state;

static unsigned below(unsigned bound)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (unsigned)((random_state * 0x2545f4914f6cdd1du) >> 33) % bound;
}

/* Pieces of numbers, most of them in the right order. */
static size_t make_number(char *text)
{
    static const char *const pieces[] = {"-", "0", "1", "9", ".", "e", "E", "e-", "e+", "00", "000", "5000000", "9007199254740993",
                                         "1797693134862315", "22250738585072", "49406564584124654", "e-308", "e308", "e-324", ",", "}"};
    size_t length = 0;
    unsigned shape = below(4);
    if (shape < 3) {
        length += (size_t)sprintf(text, "%s%u", below(3) == 0 ? "-" : "", below(below(2) ? 10 : 1000000000));
        if (below(3) != 0)
            length += (size_t)sprintf(text + length, ".%0*u", 1 + (int)below(12), below(1000000000));
        if (below(4) == 0)
            length += (size_t)sprintf(text + length, "e%s%u", below(2) ? "-" : "", below(below(2) ? 25 : 340));
    }
    for (unsigned count = below(shape < 3 ? 2 : 12); count > 0; count--)
        length += (size_t)sprintf(text + length, "%s", pieces[below(sizeof pieces / sizeof *pieces)]);
    for (unsigned tail = below(2) ? 0 : 30; tail > 0; tail--)
        text[length++] = tail == 30 ? ",]}"[below(3)] : (char)below(256);
    return length;
}

int main(int argc, char **argv)
{
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000;
    random_state = (argc > 2 ? strtoull(argv[2], NULL, 10) : 1) * 2 + 1; /* never 0 */
    for (uint64_t i = 0; i < count; i++) {
        char text[512];
        LLVMFuzzerTestOneInput((const uint8_t *)text, make_number(text));
    }
    printf("fuzz_number: %llu inputs\n", (unsigned long long)count);
    return 0;
}
#endif
