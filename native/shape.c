/* shape.c: the loop that most of a frame's time is spent in. */
#include "shape.h"

#include <stdbool.h>

enum { NS_PER_MS = 1000000 };
#define NOINLINE __attribute__((noinline))

/* Is this the key at `at`? Reads SHAPE_KEY_BYTES. */
static inline bool is_key(const char *at, const struct shape_field *field)
{
    uint32_t low = block_equal(at, field->spelling) | field->low;
    uint32_t high = block_equal(at + BLOCK_BYTES, field->spelling + BLOCK_BYTES) | field->high;
    return (low & high) == 0xffff;
}

struct found {
    const char *at;                  /* behind the key and its colon, or NULL */
    const struct shape_field *field; /* its row, or NULL for a key that we do not know */
};

/* The key at `at`, when it was not confirmed at once. `expected` is the best guess. */
static NOINLINE struct found find_key(struct json *json, const char *at, const struct shape *shape,
                                      const struct shape_field *expected)
{
    char key[SHAPE_KEY_BYTES];
    size_t length = 0;
    struct found found = {NULL, expected};
    /* Near the end of the frame the guess may be right, but there were no SHAPE_KEY_BYTES to compare. */
    if (expected->length > 0 && json->end - at > expected->length && memcmp(at, expected->spelling, expected->length) == 0) {
        found.at = at + expected->length;
        return found;
    }
    found.field = NULL;
    found.at = json_string(json, at, key, sizeof key, &length);
    if (found.at == NULL)
        return found;
    for (const struct shape_field *field = shape->fields; field < shape->fields + shape->count; field++)
        if (field->length == length + 3 && memcmp(field->spelling + 1, key, length) == 0)
            found.field = field;
    found.at = json_mark(json, found.at, ':');
    return found;
}

const char *shape_word(struct json *json, const char *at, const char (*words)[SHAPE_WORD_MAX], uint8_t *number)
{
    char text[SHAPE_WORD_MAX] = {0};
    at = json_text(json, at, text, sizeof text);
    if (at == NULL)
        return NULL;
    for (unsigned i = 0; words[i][0] != '\0'; i++)
        if (memcmp(words[i], text, sizeof text) == 0) {
            *number = (uint8_t)(i + 1);
            return at;
        }
    return json_stop(json, JSON_BAD);
}

static const char *take_text_or_number(struct json *json, const char *at, char *out, size_t width)
{
    if (*at == '"')
        return json_text(json, at, out, width);
    const char *behind = number_skip(at, json->end);
    if (behind == NULL || behind == json->end)
        return json_no_number(json, at);
    if ((size_t)(behind - at) > width)
        return json_stop(json, JSON_BAD);
    memcpy(out, at, (size_t)(behind - at));
    return behind;
}

/* An integer up to `max`, times `factor`, to `width` bytes. */
static const char *take_integer(struct json *json, const char *at, uint64_t max, uint64_t factor, void *out, size_t width)
{
    uint64_t integer = 0;
    at = json_u64(json, at, &integer);
    if (at == NULL)
        return NULL;
    if (integer > max)
        return json_stop(json, JSON_BAD);
    integer *= factor;
    memcpy(out, &integer, width); /* little-endian: the low bytes come first */
    return at;
}

static const char *take_value(struct json *json, const char *at, const struct shape *shape, const struct shape_field *field,
                              void *target)
{
    char *place = (char *)target + field->offset;
    uint64_t present;
    switch ((enum shape_type)field->type) {
    case SHAPE_DOUBLE:
        return json_double(json, at, (double *)(void *)place);
    case SHAPE_U64:
        return take_integer(json, at, UINT64_MAX, 1, place, sizeof(uint64_t));
    case SHAPE_U32:
        return take_integer(json, at, UINT32_MAX, 1, place, sizeof(uint32_t));
    case SHAPE_U8:
        return take_integer(json, at, UINT8_MAX - 1, 1, place, sizeof(uint8_t));
    case SHAPE_TIME_MS:
        return take_integer(json, at, INT64_MAX / NS_PER_MS, NS_PER_MS, place, sizeof(int64_t));
    case SHAPE_TIME_NS:
        return take_integer(json, at, INT64_MAX, 1, place, sizeof(int64_t));
    case SHAPE_TEXT:
        return json_text(json, at, place, field->width);
    case SHAPE_TEXT_OR_NUMBER:
        return take_text_or_number(json, at, place, field->width);
    case SHAPE_WORD:
        return shape_word(json, at, field->words, (uint8_t *)place);
    case SHAPE_OBJECT:
        return shape_take(json, at, field->shape, target, &present);
    case SHAPE_PLACE:
        memcpy(place, &at, sizeof at);
        return json_skip(json, at, shape->depth);
    case SHAPE_SPECIAL:
        return field->take(json, at, target);
    }
    return json_stop(json, JSON_BAD);
}

/* The value of a member, of whatever type, or null, and whatever space is before it; behind it. */
static NOINLINE const char *take_any(struct json *json, const char *at, const struct shape *shape,
                                     const struct shape_field *field, void *target, uint64_t *nulls)
{
    at = json_space(json, at);
    if (at == json->end)
        return json_stop(json, JSON_MORE);
    if (*at != 'n')
        return take_value(json, at, shape, field, target);
    *nulls |= field->bit;
    return json_literal(json, at, "null", 4);
}

/* A value that is as it usually is, and has VALUE_AHEAD bytes to look at; NULL for any other. */
enum { VALUE_AHEAD = 1 + 2 * BLOCK_BYTES };
_Static_assert(VALUE_AHEAD >= NUMBER_AHEAD, "a number needs no more");

static inline const char *take_usual(const char *at, const struct shape_field *field, void *target)
{
    char *place = (char *)target + field->offset;
    if (LIKELY(field->type == SHAPE_DOUBLE)) {
        double *value = (double *)(void *)place;
        return LIKELY(*at != '-') ? number_plain(at, value) : number_plain_negative(at, value);
    }
    if (field->type == SHAPE_TEXT && *at == '"') {
        uint64_t specials = block_specials(at + 1) | block_specials(at + 1 + BLOCK_BYTES) << BLOCK_BYTES;
        uint64_t length = block_first(specials | UINT64_C(1) << (2 * BLOCK_BYTES));
        if (length >= 2 * BLOCK_BYTES || at[1 + length] != '"' || length > field->width || field->width < BLOCK_BYTES)
            return NULL;
        block_copy(place, at + 1, length);
        return at + length + 2;
    }
    return NULL;
}

const char *shape_take(struct json *json, const char *at, const struct shape *shape, void *target, uint64_t *present)
{
    const struct shape_field *const rows = shape->fields;
    const uint8_t *follow = shape->first; /* rows that may come next, one for each order */
    const char *const end = json->end;
    unsigned order = SHAPE_USUAL;
    uint64_t seen = 0, nulls = 0; /* a bit for each row */
    *present = 0;
    at = json_mark(json, at, '{');
    if (at != NULL && at < end && *at == '}')
        return at + 1;
    while (at != NULL) {
        const struct shape_field *field = rows + follow[order];
        if (LIKELY(end - at > SHAPE_KEY_BYTES && is_key(at, field))) {
            at += field->length;
        } else if (end - at > SHAPE_KEY_BYTES && is_key(at, rows + follow[order ^ 1])) {
            order ^= 1;
            field = rows + follow[order];
            at += field->length;
        } else {
            struct found found = find_key(json, at, shape, field);
            at = found.at;
            field = found.field;
        }
        if (at == NULL)
            return NULL;
        const char *behind = NULL;
        if (UNLIKELY(field == NULL)) {
            behind = json_skip(json, at, shape->depth);
        } else {
            if (UNLIKELY(seen & field->bit))
                return json_stop(json, JSON_BAD);
            seen |= field->bit;
            follow = field->next;
            if (LIKELY(end - at >= VALUE_AHEAD))
                behind = take_usual(at, field, target);
            if (UNLIKELY(behind == NULL))
                behind = take_any(json, at, shape, field, target, &nulls);
        }
        if (behind == NULL)
            return NULL;
        if (LIKELY(behind < end && *behind == ',')) {
            at = json_space(json, behind + 1);
            continue;
        }
        at = json_space(json, behind);
        if (at < end && *at == '}') {
            *present = seen & ~nulls;
            return at + 1;
        }
        at = json_mark(json, at, ',');
    }
    return NULL;
}
