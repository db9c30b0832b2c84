/* json.h: walking over the JSON text (RFC 8259) of one frame, without ever reading beyond it.
 *
 * Each function takes the place of a token and returns the place behind it, or NULL; then `why` says whether the text ended
 * too early (JSON_MORE: more bytes could make it right) or is wrong (JSON_BAD). Places between tokens are the caller's:
 * json_mark() steps over one punctuation mark and the whitespace on both sides.
 *
 * Stricter than many readers: every string must be valid Unicode (UTF-8, surrogates only in pairs), also where it is skipped.
 */
#ifndef TICKBAY_JSON_H
#define TICKBAY_JSON_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "block.h"
#include "number.h"

_Static_assert(NUMBER_BEFORE == 16, "json_double() says so");
#define JSON_DEPTH_MAX 64 /* nested objects and arrays; one bit each while skipping */

enum json_result { JSON_OK = 0, JSON_MORE, JSON_BAD };

struct json {
    const char *end;      /* of the text */
    enum json_result why; /* of the last NULL */
};

/* NULL, because of `why`. */
static inline const char *json_stop(struct json *json, enum json_result why)
{
    json->why = why;
    return NULL;
}

/* NULL, because what is needed is not at `at`: the text ends there, or it is wrong. */
static inline const char *json_miss(struct json *json, const char *at)
{
    return json_stop(json, at == json->end ? JSON_MORE : JSON_BAD);
}

/* The general way of json_space(). */
const char *json_any_space(const struct json *json, const char *at);

/* Behind any whitespace; may be the end. Never NULL. */
static inline const char *json_space(const struct json *json, const char *at)
{
    return at < json->end && (unsigned char)*at <= ' ' ? json_any_space(json, at) : at;
}

/* The general way of json_mark(). */
const char *json_spaced_mark(struct json *json, const char *at, char mark);

/* Behind `mark` and the whitespace around it; may be the end. */
static inline const char *json_mark(struct json *json, const char *at, char mark)
{
    if (json->end - at >= 2 && at[0] == mark && (unsigned char)at[1] > ' ')
        return at + 1;
    return json_spaced_mark(json, at, mark);
}

/* Behind `literal` (`length` bytes). */
const char *json_literal(struct json *json, const char *at, const char *literal, size_t length);

/* NULL, because no number that is wanted begins at `at`: JSON_MORE while more bytes could still make one. */
const char *json_no_number(struct json *json, const char *at);

/* A number; the text must go on behind it, as it does inside of an object or array, and 16 bytes of it must lie before. */
static inline const char *json_double(struct json *json, const char *at, double *value)
{
    if (json->end - at >= NUMBER_AHEAD) {
        const char *plain = *at != '-' ? number_plain(at, value) : number_plain_negative(at, value);
        if (plain != NULL)
            return plain;
    }
    const char *behind = number_double_within(at, json->end, value);
    return behind != NULL && behind != json->end ? behind : json_no_number(json, at);
}

/* A non-negative integer (number_u64()), in the same place. */
static inline const char *json_u64(struct json *json, const char *at, uint64_t *value)
{
    const char *behind = number_u64_within(at, json->end, value);
    if (behind != NULL && behind != json->end && *behind != '.' && (*behind | 0x20) != 'e')
        return behind;
    return json_no_number(json, at);
}

/* A string, decoded to `out`: the first `width` bytes of it (none where out is NULL) without padding; *length is the whole. */
const char *json_string(struct json *json, const char *at, char *out, size_t width, size_t *length);

/* A string to be stored: decoded into `width` bytes at `out`, which the caller has zeroed. Longer text, and text with a NUL
 * (which would end it, and which PostgreSQL refuses), is JSON_BAD. */
const char *json_text(struct json *json, const char *at, char *out, size_t width);

/* Any value, `depth` levels deep already. */
const char *json_skip(struct json *json, const char *at, unsigned depth);

#endif
