/* test_form.c: a form takes the text that is spelled so, with every value where it belongs, and no text with one byte of a key changed. */
#define _GNU_SOURCE
#include "../form.h"

#include <math.h>

#include "../literal.h"
#include "guarded_text.h"

enum { COUNT = 5, NAME = 0, PRICE = 1, TIME = 2, LOW = 3, HIGH = 4, FIRST_NUMBER = 3 };

static const struct form form = {
    .keys = {"{\"name\":\"", ",\"the_price_of_the_thing\":", ",\"time\":", ",\"band\":{\"low\":", ",\"high\":"},
    .key_bits = {(1u << 9) - 1, (1u << 26) - 1, (1u << 8) - 1, (1u << 15) - 1, (1u << 8) - 1},
    .key_lengths = {9, 26, 8, 15, 8},
    .closers = {1, 0, 0, 0, 2},
    .members = {[0] = NAME + 1, [1] = TIME + 1, [FIRST_NUMBER] = HIGH + 1, [FIRST_NUMBER + 7] = LOW + 1, [FIRST_NUMBER + 31] = PRICE + 1},
    .numbers = FIRST_NUMBER,
    .count = COUNT,
};
static const char usual[] = "{\"name\":\"x-ray\",\"the_price_of_the_thing\":-0.125,\"time\":1700000000123,\"band\":{\"low\":null,\"high\":2.5e-4}}";

static struct form_places places;
static double numbers[NUMBERS];

/* At the end of what is readable, and with LITERAL_BEFORE bytes before it. */
static bool takes(const char *text, size_t length)
{
    const char *front = against_the_front(text, length, LITERAL_BEFORE);
    bool taken = form_read(&form, front, front + length, &places, numbers);
    const char *end = against_the_end(text, length);
    check(form_read(&form, end, end + length, &places, numbers) == taken, "what lies around matters", text);
    return taken;
}

static bool value_is(const char *text, size_t word, const char *value)
{
    const char *begin = form_begin(&form, &places, text, word * FORM_WORD), *end = form_end(&form, &places, text, word * FORM_WORD);
    return (size_t)(end - begin) == strlen(value) && memcmp(begin, value, strlen(value)) == 0;
}

static void what_is_spelled_so_is_taken(void)
{
    check(takes(usual, strlen(usual)), "left", usual);
    check(numbers[31] == -0.125 && isnan(numbers[7]) && numbers[0] == 2.5e-4, "another number", usual);
    for (int i = 0; i < NUMBERS; i++)
        check(i == 31 || i == 0 || isnan(numbers[i]), "a number that the form has not", usual);
    check(value_is(usual, 0, "x-ray") && value_is(usual, 1, "1700000000123") && value_is(usual, FIRST_NUMBER, "2.5e-4"), "another place", usual);
    check(memcmp(form_end(&form, &places, usual, FIRST_NUMBER * FORM_WORD), "}}", 2) == 0, "other closers", usual);
}

/* A byte of a key, or of what separates it: not one of the values that the caller reads, nor of the closers. */
static bool is_the_forms(size_t place)
{
    size_t name = strlen("{\"name\":\""), time = (size_t)(strstr(usual, "1700") - usual), closers = strlen(usual) - 2;
    return !((place >= name && place <= name + strlen("x-ray")) || (place >= time && place < time + 13) || place >= closers);
}

static void no_other_byte_is_taken(void)
{
    char other[sizeof usual];
    for (size_t place = 0; place < strlen(usual); place++)
        for (int byte = 0; byte < 256; byte++) {
            bool is_number = memchr("0123456789.-+eE", usual[place], 15) != NULL && memchr("0123456789.-+eE", byte, 15) != NULL;
            memcpy(other, usual, sizeof usual);
            other[place] = (char)byte;
            if (byte == usual[place] || !is_the_forms(place) || is_number)
                continue;
            check(!takes(other, strlen(usual)), "taken", other);
        }
    for (size_t length = 0; length < strlen(usual); length++)
        check(length >= strlen(usual) - 2 || !takes(usual, length) || usual[length - 1] != '}', "a beginning is taken", usual);
}

/* Their sum is the place of another byte, which must not be taken for a comma. */
static void two_commas_in_eight_bytes_are_left(void)
{
    static const char *const texts[] = {
        "{\"name\":\",,,,,\",\"the_price_of_the_thing\":-0.125,\"time\":1,\"band\":{\"low\":null,\"high\":2.5}}",
        "{\"name\":\"x\",\"the_price_of_the_thing\":,,,,,,\"time\":1,\"band\":{\"low\":null,\"high\":2.5}}",
        ",,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,", "", ",,,,",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        check(!takes(texts[i], strlen(texts[i])), "taken", texts[i]);
}

int main(void)
{
    make_guards();
    what_is_spelled_so_is_taken();
    no_other_byte_is_taken();
    two_commas_in_eight_bytes_are_left();
    printf("test_form: %s\n", numbers_gain() ? "all members together" : "one after the other");
    return failures != 0;
}
