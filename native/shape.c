/* shape.c: the loop that most of a frame's time is spent in. */
#include "shape.h"

#include <stdbool.h>

enum { NS_PER_MS = 1000000 };
#define NOINLINE __attribute__((noinline))

/* Is this the key at `at`? Reads SHAPE_KEY_BYTES. */
static inline bool is_key(const char *at, const struct shape_field *field)
{
    return (block_equal(at, field->spelling) & field->low) == field->low &&
           (field->high == 0 || (block_equal(at + BLOCK_BYTES, field->spelling + BLOCK_BYTES) & field->high) == field->high);
}

struct found {
    const char *at;                  /* behind the key and its colon, or NULL */
    const struct shape_field *field; /* its row, or NULL for a key that we do not know */
};

/* The key at `at`, when it is none of those that were expected, or is too near to the end to ask like that. */
static NOINLINE struct found find_key(struct json *json, const char *at, const struct shape *shape)
{
    char key[SHAPE_KEY_BYTES];
    size_t length = 0;
    struct found found = {json_string(json, at, key, sizeof key, &length), NULL};
    if (found.at == NULL)
        return found;
    for (unsigned i = 0; i < shape->count; i++) {
        const struct shape_field *field = &shape->fields[i];
        if (field->length == length + 3 && memcmp(field->spelling + 1, key, length) == 0)
            found.field = field;
    }
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
    case SHAPE_OTHER:
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
    *nulls |= UINT64_C(1) << (field - shape->fields);
    return json_literal(json, at, "null", 4);
}

const char *shape_take(struct json *json, const char *at, const struct shape *shape, void *target, uint64_t *present)
{
    const struct shape_field *const rows = shape->fields, *next = rows;
    unsigned other = shape->first;
    uint64_t seen = 0, nulls = 0; /* a bit for each row */
    *present = 0;
    at = json_mark(json, at, '{');
    if (at != NULL && at < json->end && *at == '}')
        return at + 1;
    while (at != NULL) {
        const struct shape_field *field = next;
        if (json->end - at > SHAPE_KEY_BYTES && (is_key(at, field) || is_key(at, field = rows + other))) {
            at += field->length;
        } else {
            struct found found = find_key(json, at, shape);
            at = found.at;
            field = found.field;
        }
        if (at == NULL)
            return NULL;
        if (field == NULL) {
            at = json_skip(json, at, shape->depth);
        } else {
            unsigned row = (unsigned)(field - rows);
            if (seen >> row & 1)
                return json_stop(json, JSON_BAD);
            seen |= UINT64_C(1) << row;
            next = field + 1;
            other = field->then;
            const char *behind = NULL;
            if (field->type == SHAPE_DOUBLE && json->end - at >= NUMBER_AHEAD)
                behind = number_plain(at, (double *)(void *)((char *)target + field->offset));
            at = behind != NULL ? behind : take_any(json, at, shape, field, target, &nulls);
        }
        if (at == NULL)
            return NULL;
        if (at < json->end && *at == ',') {
            at = json_space(json, at + 1);
            continue;
        }
        at = json_space(json, at);
        if (at < json->end && *at == '}') {
            *present = seen & ~nulls;
            return at + 1;
        }
        at = json_mark(json, at, ',');
    }
    return NULL;
}
