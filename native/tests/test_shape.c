/* test_shape.c: an object of every type of value, its keys in any order, spoiled, cut at each byte against a guard page. R8. */
#define _GNU_SOURCE
#include "../shape.h"

#include "every_type.h"
#include "guarded_text.h"

static uint64_t random_state = 20240607;

static unsigned below(unsigned bound) /* xorshift64* */
{
    random_state ^= random_state >> 12, random_state ^= random_state << 25, random_state ^= random_state >> 27;
    return (unsigned)((random_state * 0x2545f4914f6cdd1du) >> 33) % bound;
}

struct answer {
    enum json_result result;
    size_t taken;
    uint64_t present;
};

/* With nothing readable behind the text; or with a number's 16 bytes before it, and nothing before them. */
static struct answer take_by(const struct shape *by, const char *text, size_t length, int front, struct target *target)
{
    const char *at = front ? against_the_front(text, length, NUMBER_BEFORE) : against_the_end(text, length);
    struct json json = {.end = at + length, .why = JSON_OK};
    struct answer answer = {JSON_OK, 0, 0};
    const char *behind = shape_take(&json, at, by, target, &answer.present);
    answer.result = behind == NULL ? json.why : JSON_OK;
    answer.taken = behind == NULL ? 0 : (size_t)(behind - at);
    return answer;
}

static enum json_result take(const char *text, struct target *target)
{
    struct target other = *target;
    struct answer answer = take_by(&shape, text, strlen(text), 0, target);
    struct answer front = take_by(&shape, text, strlen(text), 1, &other);
    check(answer.result == front.result && answer.taken == front.taken && answer.present == front.present, "what lies around matters", text);
    check(answer.result != JSON_OK || answer.taken == strlen(text), "taken to another place", text);
    return answer.result;
}

/* All values, all present, by any table of what follows what. */
static void is_whole(const struct shape *by, const char *text)
{
    struct target target, expected = whole_target();
    for (int front = 0; front < 2; front++) {
        memset(&target, 0, sizeof target);
        struct answer answer = take_by(by, text, strlen(text), front, &target);
        check(answer.result == JSON_OK && answer.taken == strlen(text) && answer.present == ALL_ROWS, "not taken whole", text);
        check(target.place != NULL && memcmp(target.place, values[PLACE], strlen(values[PLACE])) == 0, "the place of a value", text);
        target.place = NULL;
        check(memcmp(&target, &expected, sizeof target) == 0, "another result", text);
    }
}

/* The rows in this order; `loose`: with space wherever it may be, and unknown keys between them. */
static const char *write_object(const int *rows, int count, int loose)
{
    static const char *const spaces[] = {"", " ", "\n\t", "                                        "};
    static const char *const unknown[] = {"\"x\":1,", "\"pric\":{\"price\":[1,\"\\u00e9\"]},", "\"price_\":null,", "\"\":\"\",",
                                          "\"a key of more than the thirty-two bytes of the longest\":[{}],"};
    static char text[8192];
    char *at = text;
#define SPACE (loose ? spaces[below(4)] : "")
    at += sprintf(at, "{%s", SPACE);
    for (int i = 0; i < count; i++) {
        int key_bytes = fields[rows[i]].length - 1;
        if (loose && below(3) == 0)
            at += sprintf(at, "%s%s", unknown[below(5)], SPACE);
        at += sprintf(at, "%.*s%s:%s%s%s", key_bytes, fields[rows[i]].spelling, SPACE, SPACE, values[rows[i]], SPACE);
        at += sprintf(at, i + 1 < count ? ",%s" : "}", SPACE);
    }
#undef SPACE
    return text;
}

static void shuffle(int *rows, int count)
{
    for (int i = count - 1; i > 0; i--) {
        int j = (int)below((unsigned)i + 1), row = rows[i];
        rows[i] = rows[j], rows[j] = row;
    }
}

static void every_beginning_needs_more(const char *text)
{
    struct target target;
    for (size_t cut = 0; cut < strlen(text); cut++)
        for (int front = 0; front < 2; front++)
            check(take_by(&shape, text, cut, front, &target).result == JSON_MORE, "a beginning does not need more", text);
}

static void any_order_gives_the_same(void)
{
    int rows[ROWS];
    for (int order = 0; order < 4000; order++) {
        for (int i = 0; i < ROWS; i++)
            rows[i] = order == 1 ? ROWS - 1 - i : i;
        if (order > 1)
            shuffle(rows, order % 2 ? ROWS : 2 + (int)below(ROWS - 1)); /* also those that only begin in another order */
        for (int loose = 0; loose < 2; loose++) {
            const char *text = write_object(rows, ROWS, loose);
            is_whole(&shape, text);
            if (order < 20)
                every_beginning_needs_more(text);
        }
    }
}

/* Any guess at all, also one of a key that was there, and of the end of the table. */
static void a_wrong_guess_changes_nothing(void)
{
    struct shape_field guessing[ROWS + 1];
    int rows[ROWS];
    for (int round = 0; round < 2000; round++) {
        memcpy(guessing, fields, sizeof guessing);
        for (int i = 0; i < ROWS; i++) {
            rows[i] = i;
            for (int order = 0; order < SHAPE_ORDERS; order++)
                guessing[i].next[order] = (uint8_t)below(ROWS + 1);
        }
        struct shape wrong = {guessing, ROWS, {(uint8_t)below(ROWS + 1), (uint8_t)below(ROWS + 1)}, DEPTH};
        if (round % 2)
            shuffle(rows, ROWS);
        is_whole(&wrong, write_object(rows, ROWS, round % 4 == 3));
    }
}

/* One member, at the end of the object and with more than a value's look-ahead behind it. */
static const char *member(int row, const char *value, int ahead)
{
    static char text[1024];
    snprintf(text, sizeof text, "{%.*s%s%s}", fields[row].length, fields[row].spelling, value,
             ahead ? ",\"unknown\":\"more than the bytes that any value is looked at ahead\"" : "");
    return text;
}

/* Only the place of the value is written; and it is what is expected, unless that is NULL. */
static void value_is(int row, const char *value, const void *expected)
{
    for (int ahead = 0; ahead < 2; ahead++) {
        struct target target, before;
        size_t from = row == INNER ? offsetof(struct target, delta) : fields[row].offset, width = row == INNER ? 8 : fields[row].width;
        const char *text = member(row, value, ahead);
        memset(&before, 0x55, sizeof before);
        memset((char *)&before + from, 0, width);
        target = before;
        check(take(text, &target) == JSON_OK, "should be taken", text);
        check(expected == NULL || memcmp((char *)&target + from, expected, width) == 0, "another value", text);
        memset((char *)&target + from, 0, width);
        check(memcmp(&target, &before, sizeof target) == 0, "written beside its place", text);
    }
}

static void value_is_bad(int row, const char *value)
{
    struct target target = {.price = 0};
    for (int ahead = 0; ahead < 2; ahead++)
        check(take(member(row, value, ahead), &target) == JSON_BAD, "should be bad", member(row, value, ahead));
}

static void each_type_has_its_bounds(void)
{
    struct target whole = whole_target();
    for (int row = 0; row < ROWS; row++)
        value_is(row, values[row], row == PLACE ? NULL : (char *)&whole + (row == INNER ? offsetof(struct target, delta) : fields[row].offset));
    value_is(PRICE, "-1.5e-3", &(double){-0.0015});
    value_is(PRICE, "-0.0", &(double){-0.0});
    value_is(ID, "5.000", &(uint64_t){5});
    value_is(TICK, "0", &(uint8_t){0});
    value_is(NAME, "\"0123456789abcdef01234567\"", "0123456789abcdef01234567");
    value_is(NAME, "\"\"", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    value_is(NAME, "\"\xc3\xa9\\n\"", "\xc3\xa9\n\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    value_is(MARK, "\"01234567\"", "01234567");
    value_is(SPELLING, "\"01234567\"", "01234567");
    value_is(SPELLING, "12345678", "12345678");
    value_is(SPELLING, "0.10e5", "0.10e5\0");
    value_is(SIDE, "\"buy\"", &(uint8_t){1});
    value_is(SIDE, "\"b\\u0075y\"", &(uint8_t){1});
    value_is(SIDE, "\"sixteen bytes ..\"", &(uint8_t){3});
    static const struct { int row; const char *value; } bad[] = {
        {PRICE, "\"1.5\""}, {PRICE, "true"}, {PRICE, "1e999"}, {PRICE, "01.5"}, {PRICE, "1.5 1"}, {PRICE, "nul0"}, {PRICE, "[]"}, {PRICE, "1.5]"},
        {ID, "18446744073709551616"}, {ID, "-1"}, {ID, "1.5"}, {ID, "1e3"}, {ID, "\"1\""}, {COUNT, "4294967296"}, {COUNT, "-1"},
        {TICK, "255"}, {TICK, "256"}, {TICK, "-1"}, {MS, "9223372036855"}, {MS, "-1"}, {MS, "18446744073709551615"},
        {NS, "9223372036854775808"}, {NAME, "\"0123456789abcdef012345678\""}, {NAME, "\"0123456789abcdef0123456789abcdef\""},
        {NAME, "\"0123456789abcdef0123456789abcdef0\""}, {NAME, "1"}, {NAME, "\"\\u0000\""}, {NAME, "\"\xff\""}, {NAME, "\"\x01\""},
        {MARK, "\"012345678\""}, {MARK, "\"01234567\\n\""}, {SPELLING, "\"012345678\""}, {SPELLING, "123456789"}, {SPELLING, "true"}, {SPELLING, "01"},
        {SIDE, "\"\""}, {SIDE, "\"bu\""}, {SIDE, "\"buyer\""}, {SIDE, "\"Buy\""}, {SIDE, "\"buy\\u0000\""}, {SIDE, "\"sixteen bytes ...\""}, {SIDE, "1"},
        {INNER, "[]"}, {INNER, "1"}, {INNER, "{\"delta\":1.0,\"delta\":1.0}"}, {INNER, "{\"delta\":true}"}, {PLACE, "x"}, {SPECIAL, "{}"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        value_is_bad(bad[i].row, bad[i].value);
}

static void null_is_the_same_as_absent(void)
{
    struct target zeros, target;
    memset(&zeros, 0, sizeof zeros);
    for (int row = 0; row < ROWS; row++)
        for (int ahead = 0; ahead < 2; ahead++) {
            const char *text = member(row, ahead ? " null " : "null", ahead);
            target = zeros;
            struct answer answer = take_by(&shape, text, strlen(text), 0, &target);
            check(answer.result == JSON_OK && answer.present == 0, "null is present", text);
            check(memcmp(&target, &zeros, sizeof zeros) == 0, "null was written", text);
            text = member(row, values[row], ahead);
            check(take_by(&shape, text, strlen(text), 0, &target).present == 1u << row, "a value is absent", text);
        }
    static const char *const empty[] = {"{}", "{ \n}", "{\"x\":1}"};
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
        target = zeros;
        check(take(empty[i], &target) == JSON_OK && memcmp(&target, &zeros, sizeof zeros) == 0, "nothing in it", empty[i]);
    }
}

static void a_key_that_comes_twice_is_bad(void)
{
    struct target target;
    for (int row = 0; row < ROWS; row++)
        for (int way = 0; way < 8; way++) {
            char text[512];
            const char *first = way & 1 ? "null" : values[row], *second = way & 2 ? "null" : values[row];
            int length = fields[row].length;
            sprintf(text, "{%.*s%s,\"x\":1,%.*s%s%s}", length, fields[row].spelling, first, length, fields[row].spelling, second, way & 4 ? ",\"y\":\"0123456789 0123456789 0123456789\"" : "");
            memset(&target, 0, sizeof target);
            check(take(text, &target) == JSON_BAD, "twice", text);
            sprintf(text, "{%.*s%s,\"\\u%04x%.*s%s}", length, fields[row].spelling, first, (unsigned)fields[row].spelling[1], length - 2, fields[row].spelling + 2, second);
            memset(&target, 0, sizeof target);
            check(take(text, &target) == JSON_BAD, "twice, spelled in another way", text);
        }
}

static void what_is_no_object_is_bad(void)
{
    static const char *const wrong[] = {
        "[]", "1", "null", "\"\"", "}", "{,", "{1", "{price", "{\"price\"1", "{\"price\",", "{\"price\":}", "{\"price\":,", "{\"price\":1.5,}", "{\"price\":1.5,,",
        "{\"price\":1.5]", "{\"price\":1.5 \"", "{\"price\":1.5:", "{\"x\":}", "{\"x\":1,}", "{\"x\" 1", "{\"x\":1]", "{\"\xff\":1}", "{\"x\":\"\xff\"}", "{\"x\":nul0}", "{\v",
    };
    struct target target = {.price = 0};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char longer[256];
        check(take(wrong[i], &target) == JSON_BAD, "should be bad", wrong[i]);
        sprintf(longer, "%s%s", wrong[i], ",\"more\":\"than any key or value is looked at ahead, here\"}");
        check(take(longer, &target) == JSON_BAD, "should be bad before more text", longer);
    }
}

static void values_that_are_skipped_count_the_levels_around_them(void)
{
    static const char *const keys[] = {"\"unknown\":", "\"place\":"};
    struct target target = {.price = 0};
    for (int i = 0; i < 2; i++)
        for (int excess = 0; excess < 2; excess++) {
            char text[256];
            int levels = JSON_DEPTH_MAX - DEPTH + excess;
            int at = sprintf(text, "{%s", keys[i]);
            memset(text + at, '[', (size_t)levels), memset(text + at + levels, ']', (size_t)levels);
            strcpy(text + at + 2 * levels, "}");
            check(take(text, &target) == (excess ? JSON_BAD : JSON_OK), "depth", text);
        }
}

int main(void)
{
    make_guards();
    any_order_gives_the_same();
    a_wrong_guess_changes_nothing();
    each_type_has_its_bounds();
    null_is_the_same_as_absent();
    a_key_that_comes_twice_is_bad();
    what_is_no_object_is_bad();
    values_that_are_skipped_count_the_levels_around_them();
    printf("test_shape: 4000 orders and 2000 tables of wrong guesses, all with the same result\n");
    return failures != 0;
}
