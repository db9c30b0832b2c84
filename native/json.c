/* json.c: the ways of json.h that are taken seldom, so they are written to be read. */
#include "json.h"

#include <assert.h>
#include <stdbool.h>

const char *json_any_space(const struct json *json, const char *at)
{
    while (at < json->end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
        at++;
    return at;
}

const char *json_spaced_mark(struct json *json, const char *at, char mark)
{
    at = json_space(json, at);
    if (at == json->end || *at != mark)
        return json_miss(json, at);
    return json_space(json, at + 1);
}

const char *json_literal(struct json *json, const char *at, const char *literal, size_t length)
{
    size_t left = (size_t)(json->end - at);
    if (memcmp(at, literal, left < length ? left : length) != 0)
        return json_stop(json, JSON_BAD);
    return left < length ? json_stop(json, JSON_MORE) : at + length;
}

const char *json_no_number(struct json *json, const char *at)
{
    const char *behind = at;
    while (behind < json->end && behind - at <= NUMBER_MAX &&
           ((*behind >= '0' && *behind <= '9') || *behind == '.' || *behind == '-' || *behind == '+' || (*behind | 0x20) == 'e'))
        behind++;
    return json_stop(json, behind == json->end && behind - at <= NUMBER_MAX ? JSON_MORE : JSON_BAD);
}

/* A number whose value is not wanted: only its grammar counts. */
static const char *skip_number(struct json *json, const char *at)
{
    const char *behind = number_skip(at, json->end);
    return behind != NULL && behind != json->end ? behind : json_no_number(json, at);
}

/* ------------------------------------------------------------------ strings */

struct sink { /* where a decoded string goes */
    char *out;     /* NULL: nowhere */
    size_t width;  /* of `out` */
    size_t length; /* so far, also of what did not fit */
};

static void put(struct sink *sink, const char *bytes, size_t count)
{
    if (sink->length < sink->width) {
        size_t room = sink->width - sink->length;
        memcpy(sink->out + sink->length, bytes, count < room ? count : room);
    }
    sink->length += count;
}

static void put_code_point(struct sink *sink, uint32_t code)
{
    char bytes[4];
    if (code < 0x80) {
        bytes[0] = (char)code;
        put(sink, bytes, 1);
    } else if (code < 0x800) {
        bytes[0] = (char)(0xc0 | code >> 6);
        bytes[1] = (char)(0x80 | (code & 0x3f));
        put(sink, bytes, 2);
    } else if (code < 0x10000) {
        bytes[0] = (char)(0xe0 | code >> 12);
        bytes[1] = (char)(0x80 | (code >> 6 & 0x3f));
        bytes[2] = (char)(0x80 | (code & 0x3f));
        put(sink, bytes, 3);
    } else {
        bytes[0] = (char)(0xf0 | code >> 18);
        bytes[1] = (char)(0x80 | (code >> 12 & 0x3f));
        bytes[2] = (char)(0x80 | (code >> 6 & 0x3f));
        bytes[3] = (char)(0x80 | (code & 0x3f));
        put(sink, bytes, 4);
    }
}

/* One UTF-8 sequence of two to four bytes (Unicode 15, table 3-7: no surrogates, nothing longer than needed). */
static const char *take_utf8(struct json *json, const char *at, struct sink *sink)
{
    unsigned char lead = (unsigned char)*at;
    int count = lead >= 0xc2 && lead <= 0xdf ? 2 : lead >= 0xe0 && lead <= 0xef ? 3 : lead >= 0xf0 && lead <= 0xf4 ? 4 : 0;
    if (count == 0)
        return json_stop(json, JSON_BAD);
    /* The lead narrows what the second byte may be; the others are free. */
    unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    for (int i = 1; i < count; i++, low = 0x80, high = 0xbf) {
        if (at + i == json->end)
            return json_stop(json, JSON_MORE);
        if ((unsigned char)at[i] < low || (unsigned char)at[i] > high)
            return json_stop(json, JSON_BAD);
    }
    put(sink, at, (size_t)count);
    return at + count;
}

/* Four hexadecimal digits. */
static const char *take_hex4(struct json *json, const char *at, uint32_t *code)
{
    *code = 0;
    for (int i = 0; i < 4; i++, at++) {
        if (at == json->end)
            return json_stop(json, JSON_MORE);
        char digit = *at, letter = (char)(digit | 0x20);
        if (digit >= '0' && digit <= '9')
            *code = *code << 4 | (uint32_t)(digit - '0');
        else if (letter >= 'a' && letter <= 'f')
            *code = *code << 4 | (uint32_t)(letter - 'a' + 10);
        else
            return json_stop(json, JSON_BAD);
    }
    return at;
}

/* What follows \u: a code unit, or two that make a pair. */
static const char *take_unicode_escape(struct json *json, const char *at, struct sink *sink)
{
    uint32_t code, second;
    at = take_hex4(json, at, &code);
    if (at == NULL)
        return NULL;
    if (code >= 0xdc00 && code <= 0xdfff)
        return json_stop(json, JSON_BAD);
    if (code >= 0xd800 && code <= 0xdbff) {
        at = json_literal(json, at, "\\u", 2);
        if (at == NULL)
            return NULL;
        at = take_hex4(json, at, &second);
        if (at == NULL)
            return NULL;
        if (second < 0xdc00 || second > 0xdfff)
            return json_stop(json, JSON_BAD);
        code = 0x10000 + ((code - 0xd800) << 10) + (second - 0xdc00);
    }
    put_code_point(sink, code);
    return at;
}

/* What follows a backslash. */
static const char *take_escape(struct json *json, const char *at, struct sink *sink)
{
    static const char marks[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    if (at == json->end)
        return json_stop(json, JSON_MORE);
    if (*at == 'u')
        return take_unicode_escape(json, at + 1, sink);
    const char *mark = memchr(marks, *at, sizeof marks - 1);
    if (mark == NULL)
        return json_stop(json, JSON_BAD);
    put(sink, &meanings[mark - marks], 1);
    return at + 1;
}

/* Whole blocks of plain text, and what is plain of the next one. */
static const char *take_plain(const struct json *json, const char *at, struct sink *sink)
{
    uint32_t specials = 0;
    while (specials == 0 && json->end - at >= BLOCK_BYTES) {
        specials = block_specials(at);
        size_t count = specials == 0 ? BLOCK_BYTES : (size_t)block_first(specials);
        put(sink, at, count);
        at += count;
    }
    return at;
}

const char *json_string(struct json *json, const char *at, char *out, size_t width, size_t *length)
{
    struct sink sink = {out, out == NULL ? 0 : width, 0};
    if (at == json->end || *at != '"')
        return json_miss(json, at);
    at = take_plain(json, at + 1, &sink);
    while (at != NULL && at < json->end && *at != '"') {
        if (*at == '\\')
            at = take_escape(json, at + 1, &sink);
        else if ((unsigned char)*at < 0x20)
            return json_stop(json, JSON_BAD);
        else if ((unsigned char)*at < 0x80)
            put(&sink, at++, 1);
        else
            at = take_utf8(json, at, &sink);
    }
    if (at == NULL)
        return NULL;
    *length = sink.length;
    return at < json->end ? at + 1 : json_stop(json, JSON_MORE);
}

const char *json_text(struct json *json, const char *at, char *out, size_t width)
{
    size_t length = 0;
    at = json_string(json, at, out, width, &length);
    if (at != NULL && (length > width || memchr(out, '\0', length) != NULL))
        return json_stop(json, JSON_BAD);
    return at;
}

/* ------------------------------------------------------------------ what is not wanted */

static const char *skip_string(struct json *json, const char *at)
{
    size_t length;
    return json_string(json, at, NULL, 0, &length);
}

/* Anything but an object or array. */
static const char *skip_scalar(struct json *json, const char *at)
{
    switch (*at) {
    case '"':
        return skip_string(json, at);
    case 't':
        return json_literal(json, at, "true", 4);
    case 'f':
        return json_literal(json, at, "false", 5);
    case 'n':
        return json_literal(json, at, "null", 4);
    default:
        return skip_number(json, at);
    }
}

/* A key and its colon. */
static const char *skip_key(struct json *json, const char *at)
{
    if (at == json->end || *at != '"')
        return json_miss(json, at);
    at = skip_string(json, at);
    return at == NULL ? NULL : json_mark(json, at, ':');
}

struct nest { /* the objects and arrays that are open, the innermost in bit 0 */
    uint64_t arrays; /* bit set: an array, else an object */
    unsigned depth, open;
};

/* At the end of a value inside of a nest: over closing marks, up to the next value (or out of the nest). */
static const char *next_value(struct json *json, const char *at, struct nest *nest)
{
    while (nest->open > 0) {
        bool array = nest->arrays & 1;
        at = json_space(json, at);
        if (at == json->end)
            return json_stop(json, JSON_MORE);
        if (*at == ',') {
            at = json_space(json, at + 1);
            return array ? at : skip_key(json, at);
        }
        if (*at != (array ? ']' : '}'))
            return json_stop(json, JSON_BAD);
        at++;
        nest->arrays >>= 1;
        nest->open--;
    }
    return at;
}

/* At an opening mark: to the first value inside, or behind the closing mark if there is none. */
static const char *enter(struct json *json, const char *at, struct nest *nest, bool *is_empty)
{
    bool array = *at == '[';
    if (nest->depth + nest->open >= JSON_DEPTH_MAX)
        return json_stop(json, JSON_BAD);
    at = json_space(json, at + 1);
    *is_empty = at < json->end && *at == (array ? ']' : '}');
    if (*is_empty)
        return at + 1;
    nest->arrays = nest->arrays << 1 | array;
    nest->open++;
    return array ? at : skip_key(json, at);
}

const char *json_skip(struct json *json, const char *at, unsigned depth)
{
    struct nest nest = {.arrays = 0, .depth = depth, .open = 0};
    do {
        if (at == json->end)
            return json_stop(json, JSON_MORE);
        bool is_value = true;
        at = *at == '{' || *at == '[' ? enter(json, at, &nest, &is_value) : skip_scalar(json, at);
        if (at != NULL && is_value)
            at = next_value(json, at, &nest);
    } while (at != NULL && nest.open > 0);
    return at;
}
