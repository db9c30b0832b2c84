/* test_json.c: every token whole, cut at each byte against a guard page, and wrong at one byte. R8. Code points are in
 * test_json_unicode.c. */
#define _GNU_SOURCE
#include "../json.h"

#include "guarded_text.h"

enum { MORE = -1, BAD = -2 }; /* else: how many bytes were taken */

typedef const char *taker(struct json *json, const char *at);

static const char *take_skip(struct json *json, const char *at)
{
    return json_skip(json, at, 0);
}

static const char *take_string(struct json *json, const char *at)
{
    size_t length;
    return json_string(json, at, NULL, 0, &length);
}

static const char *take_colon(struct json *json, const char *at)
{
    return json_mark(json, at, ':');
}

static const char *take_true(struct json *json, const char *at)
{
    return json_literal(json, at, "true", 4);
}

static const char *take_double(struct json *json, const char *at)
{
    double value;
    return json_double(json, at, &value);
}

static const char *take_u64(struct json *json, const char *at)
{
    uint64_t value;
    return json_u64(json, at, &value);
}

/* What is taken of `length` bytes at the end of what is readable, and at its front (where 16 bytes lie before a number). */
static int taken(taker *take, const char *text, size_t length)
{
    int answers[2];
    for (int front = 0; front < 2; front++) {
        size_t before = take == take_double || take == take_u64 ? NUMBER_BEFORE : 0;
        const char *at = front ? against_the_front(text, length, before) : against_the_end(text, length);
        struct json json = {.end = at + length, .why = JSON_OK};
        const char *behind = take(&json, at);
        answers[front] = behind != NULL ? (int)(behind - at) : json.why == JSON_MORE ? MORE : json.why == JSON_BAD ? BAD : -3;
    }
    check(answers[0] == answers[1], "what lies around the text matters", text);
    return answers[0];
}

/* Taken whole, also with other text behind it; each proper beginning needs more. */
static void is_taken(taker *take, const char *text)
{
    size_t length = strlen(text);
    char longer[1024];
    for (size_t cut = 0; cut < length; cut++)
        check(taken(take, text, cut) == MORE, "a beginning does not need more", text);
    snprintf(longer, sizeof longer, "%s%s", text, "]}]}]}]}]}]}]}]}]}]}]}]}]}]}]}]}]}]}]}]}");
    check(taken(take, longer, strlen(longer)) == (int)length, "should be taken, and no more", longer);
    if (take != take_double && take != take_u64) /* which must have something behind them */
        check(taken(take, text, length) == (int)length, "should be taken", text);
    else
        check(taken(take, text, length) == MORE, "a number may go on", text);
}

/* Wrong with its last byte, and whatever follows; without that byte it could still become right. */
static void is_wrong_at_its_end(taker *take, const char *text)
{
    size_t length = strlen(text);
    char longer[1024];
    for (size_t cut = 0; cut < length; cut++)
        check(taken(take, text, cut) == MORE, "bad too early", text);
    check(taken(take, text, length) == BAD, "should be bad", text);
    snprintf(longer, sizeof longer, "%s%s", text, "\"]}0000 more text of more than one block 0000\"]}");
    check(taken(take, longer, strlen(longer)) == BAD, "should stay bad", longer);
}

#define EACH(texts, i) for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)

static void marks_and_literals_are_taken_with_the_right_space(void)
{
    static const char *const spaces[] = {"", " ", "\t", "\n", "\r", " \t\r\n  \t\r\n                    "};
    char text[256];
    EACH(spaces, i) {
        snprintf(text, sizeof text, "%s:%s]", spaces[i], spaces[i]);
        check(taken(take_colon, text, strlen(text)) == (int)strlen(text) - 1, "a mark and the space around it", text);
        check(taken(take_colon, text, strlen(spaces[i])) == MORE, "a mark is still missing", text);
        check(taken(take_colon, text, strlen(text) - 1) == (int)strlen(text) - 1, "a mark may be the end", text);
        snprintf(text, sizeof text, "%s,", spaces[i]);
        is_wrong_at_its_end(take_colon, text);
    }
    is_wrong_at_its_end(take_colon, "\v");
    is_wrong_at_its_end(take_colon, "\xa0");
    check(taken(take_colon, ":\v", 2) == 1, "a vertical tab is no space", ":\\v");
    is_taken(take_true, "true");
    static const char *const wrong[] = {"T", "tx", "trUE", "tru ", "f"};
    EACH(wrong, i)
        check(taken(take_true, wrong[i], strlen(wrong[i])) == BAD, "another literal", wrong[i]);
}

static void numbers_go_on_behind_or_need_more(void)
{
    static const char *const doubles[] = {"0", "-0", "1.5", "-12.25", "1e5", "1E-5", "123456789012345678901234567890.5e-7"};
    EACH(doubles, i)
        is_taken(take_double, doubles[i]);
    static const char *const integers[] = {"0", "7", "1.000", "18446744073709551615"};
    EACH(integers, i)
        is_taken(take_u64, integers[i]);
    static const char *const no_doubles[] = {"+1,", ".5,", "1.,", "1e,", "-,", "--1,", "1e999,", "x", "\"1\"", "null", "Infinity"};
    EACH(no_doubles, i)
        check(taken(take_double, no_doubles[i], strlen(no_doubles[i])) == BAD, "should be no number", no_doubles[i]);
    check(taken(take_double, "01,", 3) == 1 && taken(take_double, "1.5.5,", 6) == 3, "ends where its grammar ends", "01,");
    static const char *const no_integers[] = {"-1,", "1.5,", "1e3,", "5.0e3,", "5E1,", "1.,", "01,", "18446744073709551616,", "x"};
    EACH(no_integers, i)
        check(taken(take_u64, no_integers[i], strlen(no_integers[i])) == BAD, "should be no integer", no_integers[i]);
    char longest[NUMBER_MAX + 3];
    memset(longest, '1', sizeof longest);
    check(taken(take_double, longest, NUMBER_MAX) == MORE, "as long as a number may be", "");
    check(taken(take_double, longest, NUMBER_MAX + 1) == BAD, "too long for a number", "");
    struct json json = {.why = JSON_OK};
    double value = 0;
    uint64_t integer = 0;
    static const char text[] = "................-12.25,................18446744073709551615]...................";
    json.end = text + sizeof text - 1;
    check(json_double(&json, text + 16, &value) == text + 22 && value == -12.25, "the value of a double", text);
    check(json_u64(&json, text + 39, &integer) == text + 59 && integer == UINT64_MAX, "the value of an integer", text);
}

/* Each with 0 to 40 plain bytes before it, so that it comes at every place of a block, and across two. */
static void strings_are_cut_and_wrong_at_any_place(void)
{
    static const char *const wrong[] = {
        "\\x", "\\'", "\\ ", "\\ug", "\\u123/", "\\u123:", "\\u123@", "\\u123G", "\\u123`", "\\U", "\\udc00", "\\udfff", "\\ud800x", "\\ud800\\n",
        "\\uDBFF\\u0041", "\\ud800\\ud800", "\\ud800\\ue000", "\x01", "\x1f", "\n", "\x80", "\xbf", "\xc0", "\xc1", "\xe0\x9f", "\xed\xa0",
        "\xf0\x8f", "\xf4\x90", "\xf5", "\xff", "\xc2x", "\xc2\xc2", "\xe2\x82x", "\xe2\x82\xc0", "\xf0\x9f\x98x", "\xf0\x9f\x98\"",
    };
    static const char *const right[] = {"", "\\\"", "\\\\", "\\/\\b\\f\\n\\r\\t", "\\u0000", "\\ud83d\\ude00", "\\uDBFF\\uDFFF", "\x7f", "\xc2\x80",
                                        "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf", "\\\\\\\\", "\\u0022"};
    char text[256];
    for (int plain = 0; plain <= 40; plain++) {
        EACH(wrong, i) {
            sprintf(text, "\"%.*s%s", plain, "plain text that is longer than two blocks", wrong[i]);
            is_wrong_at_its_end(take_string, text);
        }
        EACH(right, i) {
            sprintf(text, "\"%.*s%s\"", plain, "plain text that is longer than two blocks", right[i]);
            is_taken(take_string, text);
            is_taken(take_skip, text);
        }
    }
    is_wrong_at_its_end(take_string, "x");
    is_wrong_at_its_end(take_string, "'");
    check(taken(take_string, "\"\0\"", 3) == BAD, "a bare NUL", "");
}

/* `out` ends where the page does, so a byte too many dies. */
static void text_fills_its_width_and_no_more(void)
{
    static const char *const texts[] = {"\"0123456789abcdef\"", "\"0123456789abcde\\n\"", "\"0123456789abcd\xc2\x80\"", "\"\\u00800123456789abcd\""};
    EACH(texts, i)
        for (size_t width = 0; width <= 20; width++) {
            struct json json = {.end = texts[i] + strlen(texts[i]), .why = JSON_OK};
            char whole[16], *out = guarded + GUARDED_BYTES - width;
            size_t length = 0;
            json_string(&json, texts[i], whole, sizeof whole, &length);
            memset(out, 0, width);
            check(json_string(&json, texts[i], out, width, &length) == json.end && length == 16, "the whole length", texts[i]);
            check(memcmp(out, whole, width < 16 ? width : 16) == 0, "the first bytes", texts[i]);
            memset(out, 0, width);
            const char *behind = json_text(&json, texts[i], out, width);
            check(behind == (width < 16 ? NULL : json.end) && (behind != NULL || json.why == JSON_BAD), "text of a width", texts[i]);
            for (size_t j = 16; j < width; j++)
                check(out[j] == 0, "padded with what was there", texts[i]);
        }
    char out[8] = {0};
    static const char nul[] = "\"a\\u0000\"";
    struct json json = {.end = nul + sizeof nul - 1, .why = JSON_OK};
    check(json_text(&json, nul, out, sizeof out) == NULL && json.why == JSON_BAD, "a NUL cannot be stored", nul);
}

static void any_value_is_skipped_or_refused_at_its_byte(void)
{
    static const char *const right[] = {
        "{}", "[]", "true", "false", "null", "\"\"", "[ ]", "{ }", "[1]", "[1,-2.5e9 , \"x\"]", "{\"a\":1}", "{ \"a\" : [ { \"b\" : null } , [ ] ] , \"c\" : { } }",
        "[[[],{}],{\"a\":[true,false,null]}]", "{\"a\":1,\"a\":2}", "[1e999]", "{\"\":\"\"}",
    };
    EACH(right, i)
        is_taken(take_skip, right[i]);
    static const char *const wrong[] = {
        "x", "}", "]", ",", ":", "nul0", "trux", "fals3", "N", "[1 2", "[,", "[1,]", "[1,,", "[1}", "{1", "{,", "{\"a\"}", "{\"a\",", "{\"a\":}", "{\"a\":,", "{\"a\":1]",
        "{\"a\":1,}", "{\"a\":1,,", "{\"a\":1 \"", "{\"a\":1:", "{a", "[}", "{]", "['", "[/", "[\"\n", "[\"a\":", "{\"a\":\"\xff", "{\"\xff", "[\v", "[\xa0",
    };
    EACH(wrong, i)
        is_wrong_at_its_end(take_skip, wrong[i]);
}

/* A nest of objects and arrays as the bits of `arrays` say, over and over, the outermost first. */
static void write_nest(char *text, uint64_t arrays, unsigned depth)
{
    *text = '\0';
    for (unsigned i = 0; i < depth; i++)
        strcat(text, arrays >> i % 64 & 1 ? "[" : i + 1 < depth ? "{\"k\":" : "{");
    for (unsigned i = depth; i-- > 0;)
        strcat(text, arrays >> i % 64 & 1 ? "]" : "}");
}

static void nesting_is_bounded_and_closed_as_it_was_opened(void)
{
    static const uint64_t kinds[] = {0, UINT64_MAX, 0x5555555555555555, 0xaaaaaaaaaaaaaaaa, 0x123456789abcdef0, 0xfedcba9876543210};
    char text[1024];
    EACH(kinds, i)
        for (unsigned already = 0; already < JSON_DEPTH_MAX; already++) {
            struct json json = {.why = JSON_OK};
            write_nest(text, kinds[i], JSON_DEPTH_MAX - already);
            json.end = text + strlen(text);
            check(json_skip(&json, text, already) == json.end, "as deep as may be", text);
            write_nest(text, kinds[i], JSON_DEPTH_MAX - already + 1);
            json.end = text + strlen(text);
            check(json_skip(&json, text, already) == NULL && json.why == JSON_BAD, "too deep", text);
        }
    EACH(kinds, i)
        for (size_t place = 1; place <= JSON_DEPTH_MAX; place++) {
            write_nest(text, kinds[i], JSON_DEPTH_MAX);
            char *mark = text + strlen(text) - place;
            *mark = *mark == ']' ? '}' : ']';
            check(taken(take_skip, text, strlen(text)) == BAD, "closed by another mark", text);
        }
}

int main(void)
{
    make_guards();
    marks_and_literals_are_taken_with_the_right_space();
    numbers_go_on_behind_or_need_more();
    strings_are_cut_and_wrong_at_any_place();
    text_fills_its_width_and_no_more();
    any_value_is_skipped_or_refused_at_its_byte();
    nesting_is_bounded_and_closed_as_it_was_opened();
    printf("test_json: every token cut and spoiled at every byte\n");
    return failures != 0;
}
