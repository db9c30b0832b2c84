/* shape.h: JSON objects of known keys into structs, by table.
 *
 * A shape lists the keys of one object in the order in which the venue sends them now. The scanner takes any order, but it
 * guesses: behind a field it expects the one that follows in that order, or in another order that the venue has used. So a
 * key is usually confirmed by one comparison instead of being searched for. A wrong guess costs a search, nothing else: a new
 * key or a new order makes decoding slower, never different.
 *
 * Keys not in the table are skipped, whatever their value. null is the same as absent, for every key. A key of the table that
 * comes twice in one object is JSON_BAD: which of the two is meant?
 */
#ifndef TICKBAY_SHAPE_H
#define TICKBAY_SHAPE_H

#include "json.h"

enum { SHAPE_KEY_BYTES = 2 * BLOCK_BYTES, SHAPE_WORD_MAX = 16, SHAPE_FIELDS_MAX = 64 };

enum shape_type {
    SHAPE_DOUBLE = 0,
    SHAPE_U64,
    SHAPE_U32,
    SHAPE_U8,             /* to 254: 255 stands for absent */
    SHAPE_TIME_MS,        /* milliseconds, to int64_t nanoseconds */
    SHAPE_TIME_NS,        /* nanoseconds, to int64_t */
    SHAPE_TEXT,           /* padded with the zeros that are there; longer text is JSON_BAD */
    SHAPE_TEXT_OR_NUMBER, /* the same; a number is stored as it is spelled */
    SHAPE_WORD,           /* one of `words`, to uint8_t, counted from 1; any other is JSON_BAD */
    SHAPE_OBJECT,         /* `shape`, into the same target */
    SHAPE_PLACE,          /* any value: where it begins, to const char * */
    SHAPE_SPECIAL,        /* whatever `take` makes of it */
};

enum shape_order { SHAPE_USUAL, SHAPE_OTHER_ORDER, SHAPE_ORDERS };

struct shape_field {
    _Alignas(64) char spelling[SHAPE_KEY_BYTES]; /* "key": as it is sent, without spaces; a row is a cache line */
    union {
        const struct shape *shape;
        const char (*words)[SHAPE_WORD_MAX]; /* ends with an empty one */
        const char *(*take)(struct json *json, const char *at, void *target);
    };
    uint64_t bit;               /* 1 << row */
    uint32_t low, high;         /* bit i: byte i, byte 16 + i is not of the spelling */
    uint8_t length;             /* bytes of spelling */
    uint8_t type;               /* enum shape_type */
    uint8_t width;              /* bytes of its place in the target */
    uint8_t next[SHAPE_ORDERS]; /* row of what follows */
    uint16_t offset;            /* of its place in the target */
};

struct shape {
    const struct shape_field *fields; /* and SHAPE_END behind them */
    uint8_t count;
    uint8_t first[SHAPE_ORDERS]; /* row of what comes first */
    uint8_t depth;               /* of the members: how many objects and arrays are around them */
};

/* A row: its number, its key, and what follows in the other order; with the type and place of its value, or without. */
#define SHAPE_BITS(count) ((count) <= 0 ? 0xffffu : (count) >= 16 ? 0 : 0xffffu & ~((1u << ((count) & 15)) - 1))
#define SHAPE_KEY(row, key, then)                                                                           \
    .spelling = "\"" key "\":", .length = sizeof "\"" key "\":" - 1, .low = SHAPE_BITS((int)sizeof key + 2),  \
    .high = SHAPE_BITS((int)sizeof key + 2 - BLOCK_BYTES), .bit = UINT64_C(1) << (row), .next = {(row) + 1, (then)}
#define SHAPE_VALUE(row, key, value_type, target, member, then)                                             \
    SHAPE_KEY(row, key, then), .type = SHAPE_##value_type, .offset = offsetof(struct target, member),       \
    .width = sizeof(((struct target *)0)->member)
/* What is behind the last row: 32 NULs, a key that no text has. */
#define SHAPE_END {.spelling = ""}
#define SHAPE_COUNT(fields) (sizeof(fields) / sizeof *(fields) - 1)

/* The object at `at` into `target`, whose places hold what absent means (zeros for text). Bit i of *present: row i came with a
 * value that is not null. */
const char *shape_take(struct json *json, const char *at, const struct shape *shape, void *target, uint64_t *present);

/* A string that is one of `words` (the last one is empty): its number, counted from 1. Any other is JSON_BAD. */
const char *shape_word(struct json *json, const char *at, const char (*words)[SHAPE_WORD_MAX], uint8_t *number);

#endif
