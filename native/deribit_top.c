/* deribit_top.c: tables of the fields, and what is to be done once an object is read by them. */
#include "deribit_top.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>

#include "shape.h"

#define BIT(row) (UINT64_C(1) << (row))

/* ------------------------------------------------------------------ best bid and offer */

enum { BBO_TIMESTAMP, BBO_INSTRUMENT, BBO_BID_PRICE, BBO_BID_AMOUNT, BBO_ASK_PRICE, BBO_ASK_AMOUNT };
static const struct shape_field bbo_fields[] = {
    [BBO_TIMESTAMP] = {SHAPE_VALUE(BBO_TIMESTAMP, "timestamp", TIME_MS, bbo, head.exch_ns, BBO_TIMESTAMP)},
    [BBO_INSTRUMENT] = {SHAPE_VALUE(BBO_INSTRUMENT, "instrument_name", TEXT, bbo, head.instrument, BBO_ASK_PRICE)},
    [BBO_BID_PRICE] = {SHAPE_VALUE(BBO_BID_PRICE, "best_bid_price", DOUBLE, bbo, bid_price, BBO_BID_AMOUNT)},
    [BBO_BID_AMOUNT] = {SHAPE_VALUE(BBO_BID_AMOUNT, "best_bid_amount", DOUBLE, bbo, bid_amount, BBO_BID_PRICE)},
    [BBO_ASK_PRICE] = {SHAPE_VALUE(BBO_ASK_PRICE, "best_ask_price", DOUBLE, bbo, ask_price, BBO_ASK_AMOUNT)},
    [BBO_ASK_AMOUNT] = {SHAPE_VALUE(BBO_ASK_AMOUNT, "best_ask_amount", DOUBLE, bbo, ask_amount, BBO_BID_AMOUNT)},
    SHAPE_END,
};
static const struct shape bbo_shape = {bbo_fields, SHAPE_COUNT(bbo_fields), {0, BBO_TIMESTAMP}, 3};
static const uint64_t bbo_required = BIT(BBO_TIMESTAMP) | BIT(BBO_INSTRUMENT);

/* Deribit spells an empty side of the book as price 0 and amount 0, or null. A price of 0 with an amount is one: of a combo. */
static void clear_empty_side(double *price, double *amount)
{
    if (isnan(*price) || (*price == 0 && !(*amount > 0)))
        *price = *amount = NAN;
}

static const char *take_bbo(struct decoding *decoding, const char *at)
{
    const struct decode_slots *room = deribit_room(decoding, RECORD_BBO);
    struct bbo beyond, *bbo = room->count > 0 ? room->slots : &beyond;
    uint64_t present;
    bbo->head = decoding->head;
    bbo->bid_price = bbo->bid_amount = bbo->ask_price = bbo->ask_amount = NAN;
    at = shape_take(&decoding->json, at, &bbo_shape, bbo, &present);
    if (at == NULL)
        return NULL;
    if ((present & bbo_required) != bbo_required || bbo->head.instrument[0] == '\0')
        return json_stop(&decoding->json, JSON_BAD);
    clear_empty_side(&bbo->bid_price, &bbo->bid_amount);
    clear_empty_side(&bbo->ask_price, &bbo->ask_amount);
    decoding->decoded->needed = 1;
    return at;
}

/* ------------------------------------------------------------------ a window of levels */

/* A message while it is read. Levels go to their records at once; what all have in common comes at the end. */
struct window {
    struct record_head head;
    uint64_t change_id;
    const struct decode_slots *room;
    uint64_t count; /* levels read, also those that do not fit */
};

static const char *take_bids(struct json *json, const char *at, void *target);
static const char *take_asks(struct json *json, const char *at, void *target);

enum { WINDOW_TIMESTAMP, WINDOW_INSTRUMENT, WINDOW_CHANGE_ID, WINDOW_BIDS, WINDOW_ASKS };
static const struct shape_field window_fields[] = {
    [WINDOW_TIMESTAMP] = {SHAPE_VALUE(WINDOW_TIMESTAMP, "timestamp", TIME_MS, window, head.exch_ns, WINDOW_TIMESTAMP)},
    [WINDOW_INSTRUMENT] = {SHAPE_VALUE(WINDOW_INSTRUMENT, "instrument_name", TEXT, window, head.instrument, WINDOW_CHANGE_ID)},
    [WINDOW_CHANGE_ID] = {SHAPE_VALUE(WINDOW_CHANGE_ID, "change_id", U64, window, change_id, WINDOW_BIDS)},
    [WINDOW_BIDS] = {SHAPE_KEY(WINDOW_BIDS, "bids", WINDOW_ASKS), .type = SHAPE_SPECIAL, .take = take_bids},
    [WINDOW_ASKS] = {SHAPE_KEY(WINDOW_ASKS, "asks", WINDOW_TIMESTAMP), .type = SHAPE_SPECIAL, .take = take_asks},
    SHAPE_END,
};
static const struct shape window_shape = {window_fields, SHAPE_COUNT(window_fields), {0, WINDOW_TIMESTAMP}, 3};
static const uint64_t window_required = BIT(WINDOW_TIMESTAMP) | BIT(WINDOW_INSTRUMENT) | BIT(WINDOW_CHANGE_ID);

/* [0.0065,10.0] */
static const char *take_level(struct json *json, const char *at, struct depth *level)
{
    at = json_mark(json, at, '[');
    if (at != NULL)
        at = json_double(json, at, &level->price);
    if (at != NULL)
        at = json_mark(json, at, ',');
    if (at != NULL)
        at = json_double(json, at, &level->amount);
    return at == NULL ? NULL : json_mark(json, at, ']');
}

static const char *take_levels(struct json *json, const char *at, struct window *window, enum book_side side)
{
    struct depth beyond;
    unsigned number = 0;
    at = json_mark(json, at, '[');
    if (at != NULL && at < json->end && *at == ']')
        return at + 1;
    while (at != NULL) {
        struct depth *level = window->count < window->room->count ? (struct depth *)window->room->slots + window->count : &beyond;
        at = take_level(json, at, level);
        if (at == NULL)
            return NULL;
        if (++number > UINT8_MAX) /* no window that can be asked for is as large */
            return json_stop(json, JSON_BAD);
        level->side = (uint8_t)side;
        level->level = (uint8_t)number;
        window->count++;
        if (at < json->end && *at == ']')
            return at + 1;
        at = json_mark(json, at, ',');
    }
    return NULL;
}

static const char *take_bids(struct json *json, const char *at, void *target)
{
    return take_levels(json, at, target, BOOK_BID);
}

static const char *take_asks(struct json *json, const char *at, void *target)
{
    return take_levels(json, at, target, BOOK_ASK);
}

/* What the records of a window have in common, and the record of a window without levels. */
static void finish_levels(const struct window *window, const struct deribit_channel *channel, uint64_t count)
{
    struct depth *levels = window->room->slots;
    if (window->count == 0 && count > 0) {
        levels->price = levels->amount = NAN;
        levels->side = levels->level = 0;
    }
    for (uint64_t i = 0; i < count; i++) {
        levels[i].head = window->head;
        levels[i].change_id = window->change_id;
        levels[i].price_group = channel->price_group;
        levels[i].levels_max = channel->levels_max;
        memset(levels[i].reserved, 0, sizeof levels[i].reserved);
    }
    if (count > 0)
        levels[count - 1].head.flags |= RECORD_LAST;
}

static const char *take_window(struct decoding *decoding, const char *at)
{
    struct window window = {.head = decoding->head, .room = deribit_room(decoding, RECORD_DEPTH)};
    uint64_t present;
    at = shape_take(&decoding->json, at, &window_shape, &window, &present);
    if (at == NULL)
        return NULL;
    if ((present & window_required) != window_required || window.head.instrument[0] == '\0')
        return json_stop(&decoding->json, JSON_BAD);
    uint64_t needed = window.count > 0 ? window.count : 1;
    finish_levels(&window, &decoding->channel, needed < window.room->count ? needed : window.room->count);
    decoding->decoded->needed = needed;
    return at;
}

const char *deribit_top(struct decoding *decoding, const char *at)
{
    *decoding->decoded = (struct decoded){.message = decoding->channel.message};
    if (decoding->channel.message == MESSAGE_BBO)
        return take_bbo(decoding, at);
    assert(decoding->channel.message == MESSAGE_DEPTH);
    return take_window(decoding, at);
}
