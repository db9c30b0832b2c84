/* every_type.h: a shape with every type of value, and an object of it. For the test of shape.c. */
#ifndef TICKBAY_EVERY_TYPE_H
#define TICKBAY_EVERY_TYPE_H

#include "../shape.h"

struct target {
    double price, price_change;
    char name[24], mark[8], spelling[8];
    uint64_t id;
    uint32_t count;
    uint8_t tick, side;
    int64_t ms, ns;
    double delta, long_one;
    const char *place;
    uint64_t special;
};

enum { DELTA, INNER_ROWS };
enum { PRICE, NAME, MARK, ID, COUNT, TICK, SIDE, MS, NS, SPELLING, INNER, PLACE, SPECIAL, PRICE_CHANGE, LONG_ONE, ROWS };
enum { ALL_ROWS = (1 << ROWS) - 1, DEPTH = 3 };

/* Takes an array of nothing, and says that it was here. */
static const char *take_special(struct json *json, const char *at, void *target)
{
    at = json_mark(json, at, '[');
    ((struct target *)target)->special = 77;
    return at == NULL ? NULL : json_mark(json, at, ']');
}

static const char sides[][SHAPE_WORD_MAX] = {"buy", "sell", "sixteen bytes ..", ""};
static const struct shape_field inner_fields[] = {[DELTA] = {SHAPE_VALUE(DELTA, "delta", DOUBLE, target, delta, DELTA)}, SHAPE_END};
static const struct shape inner_shape = {inner_fields, INNER_ROWS, {0, 0}, DEPTH + 1};

/* The other order is the usual one from its end. */
#define BEFORE(row) (((row) + ROWS - 1) % ROWS)
static const struct shape_field fields[] = {
    [PRICE] = {SHAPE_VALUE(PRICE, "price", DOUBLE, target, price, BEFORE(PRICE))},
    [NAME] = {SHAPE_VALUE(NAME, "name", TEXT, target, name, BEFORE(NAME))},
    [MARK] = {SHAPE_VALUE(MARK, "mark", TEXT, target, mark, BEFORE(MARK))},
    [ID] = {SHAPE_VALUE(ID, "id", U64, target, id, BEFORE(ID))},
    [COUNT] = {SHAPE_VALUE(COUNT, "count", U32, target, count, BEFORE(COUNT))},
    [TICK] = {SHAPE_VALUE(TICK, "tick", U8, target, tick, BEFORE(TICK))},
    [SIDE] = {SHAPE_VALUE(SIDE, "side", WORD, target, side, BEFORE(SIDE)), .words = sides},
    [MS] = {SHAPE_VALUE(MS, "ms", TIME_MS, target, ms, BEFORE(MS))},
    [NS] = {SHAPE_VALUE(NS, "ns", TIME_NS, target, ns, BEFORE(NS))},
    [SPELLING] = {SHAPE_VALUE(SPELLING, "spelling", TEXT_OR_NUMBER, target, spelling, BEFORE(SPELLING))},
    [INNER] = {SHAPE_KEY(INNER, "inner", BEFORE(INNER)), .type = SHAPE_OBJECT, .shape = &inner_shape},
    [PLACE] = {SHAPE_VALUE(PLACE, "place", PLACE, target, place, BEFORE(PLACE))},
    [SPECIAL] = {SHAPE_VALUE(SPECIAL, "special", SPECIAL, target, special, BEFORE(SPECIAL)), .take = take_special},
    [PRICE_CHANGE] = {SHAPE_VALUE(PRICE_CHANGE, "price_change", DOUBLE, target, price_change, BEFORE(PRICE_CHANGE))},
    [LONG_ONE] = {SHAPE_VALUE(LONG_ONE, "twenty_nine_bytes_for_its_key", DOUBLE, target, long_one, BEFORE(LONG_ONE))},
    SHAPE_END,
};
_Static_assert(sizeof "\"twenty_nine_bytes_for_its_key\":" - 1 == SHAPE_KEY_BYTES, "the longest key there may be");
static const struct shape shape = {fields, SHAPE_COUNT(fields), {PRICE, LONG_ONE}, DEPTH};

static const char *const values[ROWS] = {
    [PRICE] = "1.5", [NAME] = "\"BTC-PERPETUAL\"", [MARK] = "\"m\\u0041k\"", [ID] = "18446744073709551615", [COUNT] = "4294967295",
    [TICK] = "254", [SIDE] = "\"sell\"", [MS] = "9223372036854", [NS] = "9223372036854775807", [SPELLING] = "-12.50",
    [INNER] = "{\"delta\":-0.25}", [PLACE] = "[1,{\"a\":2}]", [SPECIAL] = "[ ]", [PRICE_CHANGE] = "2.5", [LONG_ONE] = "3.5",
};

/* What all values make of a target of zeros; `place` is compared on its own. */
static inline struct target whole_target(void)
{
    struct target target;
    memset(&target, 0, sizeof target);
    target.price = 1.5, target.price_change = 2.5, target.long_one = 3.5, target.delta = -0.25;
    strcpy(target.name, "BTC-PERPETUAL"), strcpy(target.mark, "mAk"), strcpy(target.spelling, "-12.50");
    target.id = UINT64_MAX, target.count = UINT32_MAX, target.tick = 254, target.side = 2, target.special = 77;
    target.ms = INT64_C(9223372036854000000), target.ns = INT64_MAX;
    return target;
}

#endif
