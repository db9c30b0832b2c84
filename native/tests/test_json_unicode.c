/* test_json_unicode.c: every code point, bare and escaped, through json_string(); and no other bytes. R8. */
#define _GNU_SOURCE
#include "../json.h"

#include "guarded_text.h"

/* The bytes that a code point is written with, by their bits alone. */
static size_t utf8(uint32_t code, char *bytes)
{
    size_t count = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char leads[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = count; i-- > 0; code >>= 6)
        bytes[i] = (char)(i > 0 ? 0x80 | (code & 0x3f) : leads[count] | code);
    return count;
}

/* Whether that many bytes are one code point: read without care, they must be what it is written with. */
static int is_code_point(const char *bytes, size_t count)
{
    static const unsigned char masks[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    char again[4];
    uint32_t code = (unsigned char)bytes[0] & masks[count];
    for (size_t i = 1; i < count; i++)
        code = code << 6 | ((unsigned char)bytes[i] & 0x3f);
    return code <= 0x10ffff && (code < 0xd800 || code > 0xdfff) && utf8(code, again) == count && memcmp(bytes, again, count) == 0;
}

static int string_gives(const char *text, size_t length, const char *expected, size_t expected_length)
{
    const char *at = against_the_end(text, length);
    struct json json = {.end = at + length, .why = JSON_OK};
    char out[8] = {0};
    size_t out_length = 0;
    return json_string(&json, at, out, sizeof out, &out_length) == json.end && out_length == expected_length &&
           memcmp(out, expected, expected_length) == 0;
}

static void every_code_point_comes_out_as_its_utf8(void)
{
    for (uint32_t code = 0; code <= 0x10ffff; code++) {
        char bytes[4], text[16];
        size_t count = utf8(code, bytes);
        int is_surrogate = code >= 0xd800 && code <= 0xdfff, is_bare = code >= 0x20 && code != '"' && code != '\\' && !is_surrogate;
        sprintf(text, "\"%.*s\"", (int)count, bytes);
        check(code == 0 || string_gives(text, count + 2, bytes, count) == is_bare, "UTF-8", text);
        if (code < 0x10000)
            sprintf(text, code & 1 ? "\"\\u%04x\"" : "\"\\u%04X\"", code);
        else
            sprintf(text, "\"\\u%04x\\u%04X\"", 0xd800 + ((code - 0x10000) >> 10), 0xdc00 + (code & 0x3ff));
        check(string_gives(text, strlen(text), bytes, count) == !is_surrogate, "escape", text);
    }
}

/* Whether bytes are code points, one behind the other. No code point begins with another one, so there is no choice. */
static int are_code_points(const char *bytes, size_t count)
{
    size_t length = 1;
    while (length <= count && length <= 4 && !is_code_point(bytes, length))
        length++;
    return count == 0 || (length <= count && length <= 4 && are_code_points(bytes + length, count - length));
}

/* All first and second bytes, and the third and fourth at the bounds of what they may be: no overlong, no surrogate. */
static void no_other_bytes_are_unicode(void)
{
    static const char rest[] = {0x20, 0x7f, (char)0x80, (char)0xbf, (char)0xc0, (char)0xff};
    for (unsigned lead = 0x80; lead < 0x100; lead++)
        for (unsigned second = 0x80; second < 0x100; second++)
            for (unsigned others = 0; others < 36; others++)
                for (size_t count = 1; count <= 4; count++) {
                    char text[] = {'"', (char)lead, (char)second, rest[others / 6], rest[others % 6], '"', '\0'};
                    text[count + 1] = '"';
                    check(string_gives(text, count + 2, text + 1, count) == are_code_points(text + 1, count), "bytes", text);
                }
}

int main(void)
{
    make_guards();
    every_code_point_comes_out_as_its_utf8();
    no_other_bytes_are_unicode();
    printf("test_json_unicode: every code point, bare and escaped\n");
    return failures != 0;
}
