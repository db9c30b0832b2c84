/* fuzz_numbers.c: any bytes between commas as plain numbers: together they are read as one by one. R8. */
#include "../numbers.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../number.h"

static unsigned long taken;

static void require(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "fuzz_numbers: %s\n", what);
        abort();
    }
}

/* What is between commas, of at most NUMBERS. */
static void find_all(struct numbers *numbers, const char *text, const char *end)
{
    memset(numbers, 0, sizeof *numbers);
    uint64_t count = 0;
    for (const char *at = text; at <= end && count < NUMBERS; count++) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *behind = comma != NULL ? comma : end;
        numbers->ends[count] = (uint16_t)(behind - text);
        numbers->lengths[count] = (uint16_t)(behind - at);
        at = behind + 1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct numbers numbers;
    double values[NUMBERS];
    if (size > UINT16_MAX)
        return 0;
    /* In memory that ends where the text does, so that a sanitizer sees one byte too many. */
    char *room = malloc(NUMBER_BEFORE + size), *text = room + NUMBER_BEFORE;
    require(room != NULL, "has memory");
    memset(room, '7', NUMBER_BEFORE);
    memcpy(text, data, size);
    find_all(&numbers, text, text + size);
    uint32_t others = numbers_read(text, &numbers, values);
    for (uint64_t i = 0; i < NUMBERS; i++) {
        const char *end = text + numbers.ends[i];
        double expected = NAN;
        bool is_there = numbers.lengths[i] > 0, is_short = numbers.lengths[i] <= NUMBERS_LENGTH_MAX;
        bool is_plain = is_there && is_short && number_plain_signed_until(end - numbers.lengths[i], end, &expected);
        require((is_there && !is_plain) == (others >> i & 1), "both take it, or none");
        require(isnan(expected) ? isnan(values[i]) : memcmp(&expected, &values[i], sizeof expected) == 0, "both give one double, or none");
        taken += is_plain;
    }
    free(room);
    return 0;
}

#ifdef FUZZ_MAIN
static uint64_t random_state;

static unsigned below(unsigned bound) /* xorshift64* */
{
    random_state ^= random_state >> 12, random_state ^= random_state << 25, random_state ^= random_state >> 27;
    return (unsigned)((random_state * 0x2545f4914f6cdd1du) >> 33) % bound;
}

/* Numbers between commas, some with one byte changed. */
static size_t make_list(char *text)
{
    size_t length = 0;
    for (unsigned count = below(NUMBERS + 2); count > 0; count--) {
        size_t begin = length;
        length += (size_t)sprintf(text + length, "%s%u.%0*u,", below(3) == 0 ? "-" : "", below(below(2) ? 10 : 1000000), 1 + (int)below(8),
                                  below(10));
        if (below(20) == 0)
            text[begin + below((unsigned)(length - begin))] = below(2) ? "0123456789.-+e,"[below(15)] : (char)below(256);
    }
    return length;
}

int main(int argc, char **argv)
{
    static char text[64 * (NUMBERS + 2)];
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000;
    random_state = (argc > 2 ? strtoull(argv[2], NULL, 10) : 1) * 2 + 1; /* never 0 */
    for (uint64_t i = 0; i < count; i++)
        LLVMFuzzerTestOneInput((const uint8_t *)text, make_list(text));
    printf("fuzz_numbers: %llu lists, %lu numbers taken\n", (unsigned long long)count, taken);
    return taken < count;
}
#endif
