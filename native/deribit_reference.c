/* deribit_reference.c: tables of the fields, and what is to be done once an object is read by them. */
#include "deribit_reference.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>

#include "shape.h"

#define BIT(row) (UINT64_C(1) << (row))

/* ------------------------------------------------------------------ index: price, volatility, estimated delivery price */

static const char *take_is_estimated(struct json *json, const char *at, void *target);

enum { PRICE_TIMESTAMP, PRICE_PRICE };
static const struct shape_field price_fields[] = {
    [PRICE_TIMESTAMP] = {SHAPE_VALUE(PRICE_TIMESTAMP, "timestamp", TIME_MS, index, head.exch_ns, PRICE_TIMESTAMP)},
    [PRICE_PRICE] = {SHAPE_VALUE(PRICE_PRICE, "price", DOUBLE, index, value, PRICE_TIMESTAMP)},
    SHAPE_END,
};

enum { VOLATILITY_TIMESTAMP, VOLATILITY_VOLATILITY };
static const struct shape_field volatility_fields[] = {
    [VOLATILITY_TIMESTAMP] = {SHAPE_VALUE(VOLATILITY_TIMESTAMP, "timestamp", TIME_MS, index, head.exch_ns, VOLATILITY_TIMESTAMP)},
    [VOLATILITY_VOLATILITY] = {SHAPE_VALUE(VOLATILITY_VOLATILITY, "volatility", DOUBLE, index, value, VOLATILITY_TIMESTAMP)},
    SHAPE_END,
};

enum { DELIVERY_SECONDS, DELIVERY_PRICE, DELIVERY_IS_ESTIMATED, DELIVERY_TIMESTAMP };
static const struct shape_field delivery_fields[] = {
    [DELIVERY_SECONDS] = {SHAPE_VALUE(DELIVERY_SECONDS, "seconds", DOUBLE, index, remaining_s, DELIVERY_SECONDS)},
    [DELIVERY_PRICE] = {SHAPE_VALUE(DELIVERY_PRICE, "price", DOUBLE, index, value, DELIVERY_SECONDS)},
    [DELIVERY_IS_ESTIMATED] = {SHAPE_KEY(DELIVERY_IS_ESTIMATED, "is_estimated", DELIVERY_PRICE), .type = SHAPE_SPECIAL,
                               .take = take_is_estimated},
    [DELIVERY_TIMESTAMP] = {SHAPE_VALUE(DELIVERY_TIMESTAMP, "timestamp", TIME_MS, index, head.exch_ns, DELIVERY_SECONDS)},
    SHAPE_END,
};

static const struct {
    struct shape shape;
    uint64_t time; /* the row of its time */
} index_shapes[] = {
    [INDEX_PRICE] = {{price_fields, SHAPE_COUNT(price_fields), {0, PRICE_TIMESTAMP}, 3}, BIT(PRICE_TIMESTAMP)},
    [INDEX_VOLATILITY] = {{volatility_fields, SHAPE_COUNT(volatility_fields), {0, VOLATILITY_TIMESTAMP}, 3},
                          BIT(VOLATILITY_TIMESTAMP)},
    [INDEX_DELIVERY] = {{delivery_fields, SHAPE_COUNT(delivery_fields), {0, DELIVERY_IS_ESTIMATED}, 3}, BIT(DELIVERY_TIMESTAMP)},
};

static const char *take_is_estimated(struct json *json, const char *at, void *target)
{
    struct index *index = target;
    index->is_estimated = at < json->end && *at == 't';
    return index->is_estimated ? json_literal(json, at, "true", 4) : json_literal(json, at, "false", 5);
}

static const char *take_index(struct decoding *decoding, const char *at)
{
    const struct decode_slots *room = deribit_room(decoding, RECORD_INDEX);
    struct index beyond, *index = room->count > 0 ? room->slots : &beyond;
    enum index_measure measure = decoding->channel.measure;
    uint64_t present;
    index->head = decoding->head;
    index->value = index->remaining_s = NAN;
    index->measure = (uint8_t)measure;
    index->is_estimated = 0;
    memset(index->reserved, 0, sizeof index->reserved);
    if (!deribit_subject(&decoding->channel, index->head.instrument, DERIBIT_INDEX_MAX))
        return json_stop(&decoding->json, JSON_BAD);
    at = shape_take(&decoding->json, at, &index_shapes[measure].shape, index, &present);
    if (at == NULL)
        return NULL;
    if (!(present & index_shapes[measure].time)) {
        if (measure != INDEX_DELIVERY)
            return json_stop(&decoding->json, JSON_BAD);
        index->head.exch_ns = index->head.recv_ns; /* it is sent without a time, and a row needs one */
    }
    decoding->decoded->needed = 1;
    return at;
}

/* ------------------------------------------------------------------ mark */

enum { MARK_TIMESTAMP, MARK_MARK_PRICE, MARK_IV, MARK_INSTRUMENT };
static const struct shape_field mark_fields[] = {
    [MARK_TIMESTAMP] = {SHAPE_VALUE(MARK_TIMESTAMP, "timestamp", TIME_MS, mark, head.exch_ns, MARK_TIMESTAMP)},
    [MARK_MARK_PRICE] = {SHAPE_VALUE(MARK_MARK_PRICE, "mark_price", DOUBLE, mark, mark_price, MARK_TIMESTAMP)},
    [MARK_IV] = {SHAPE_VALUE(MARK_IV, "iv", DOUBLE, mark, mark_iv, MARK_MARK_PRICE)},
    [MARK_INSTRUMENT] = {SHAPE_VALUE(MARK_INSTRUMENT, "instrument_name", TEXT, mark, head.instrument, MARK_IV)},
    SHAPE_END,
};
static const struct shape mark_shape = {mark_fields, SHAPE_COUNT(mark_fields), {0, MARK_INSTRUMENT}, 4};
static const uint64_t mark_required = BIT(MARK_TIMESTAMP) | BIT(MARK_INSTRUMENT);

static const char *take_mark(struct decoding *decoding, const char *at, struct mark *mark)
{
    uint64_t present;
    mark->head = decoding->head;
    mark->mark_price = mark->mark_iv = NAN;
    if (!deribit_subject(&decoding->channel, mark->price_index, sizeof mark->price_index))
        return json_stop(&decoding->json, JSON_BAD);
    at = shape_take(&decoding->json, at, &mark_shape, mark, &present);
    if (at == NULL)
        return NULL;
    mark->mark_iv *= 100; /* a fraction here, percent in a ticker: one unit in the records */
    if ((present & mark_required) != mark_required || mark->head.instrument[0] == '\0' || isinf(mark->mark_iv))
        return json_stop(&decoding->json, JSON_BAD);
    return at;
}

static const char *take_marks(struct decoding *decoding, const char *at)
{
    const struct decode_slots *room = deribit_room(decoding, RECORD_MARK);
    struct json *json = &decoding->json;
    struct mark beyond, *last = NULL;
    uint64_t count = 0;
    at = json_mark(json, at, '[');
    if (at != NULL && at < json->end && *at == ']')
        return at + 1;
    while (at != NULL) {
        last = count < room->count ? (struct mark *)room->slots + count : &beyond;
        at = take_mark(decoding, at, last);
        if (at == NULL)
            return NULL;
        if (++count > DECODE_RECORDS_MAX)
            return json_stop(json, JSON_BAD);
        at = json_space(json, at);
        if (at < json->end && *at == ']') {
            last->head.flags |= RECORD_LAST;
            decoding->decoded->needed = count;
            return at + 1;
        }
        at = json_mark(json, at, ',');
    }
    return NULL;
}

/* ------------------------------------------------------------------ funding */

enum { FUNDING_TIMESTAMP, FUNDING_INTEREST, FUNDING_INDEX_PRICE };
static const struct shape_field funding_fields[] = {
    [FUNDING_TIMESTAMP] = {SHAPE_VALUE(FUNDING_TIMESTAMP, "timestamp", TIME_MS, funding, head.exch_ns, FUNDING_TIMESTAMP)},
    [FUNDING_INTEREST] = {SHAPE_VALUE(FUNDING_INTEREST, "interest", DOUBLE, funding, interest, FUNDING_TIMESTAMP)},
    [FUNDING_INDEX_PRICE] = {SHAPE_VALUE(FUNDING_INDEX_PRICE, "index_price", DOUBLE, funding, index_price, FUNDING_INTEREST)},
    SHAPE_END,
};
static const struct shape funding_shape = {funding_fields, SHAPE_COUNT(funding_fields), {0, FUNDING_INDEX_PRICE}, 3};

static const char *take_funding(struct decoding *decoding, const char *at)
{
    const struct decode_slots *room = deribit_room(decoding, RECORD_FUNDING);
    struct funding beyond, *funding = room->count > 0 ? room->slots : &beyond;
    uint64_t present;
    funding->head = decoding->head;
    funding->interest = funding->index_price = NAN;
    if (!deribit_subject(&decoding->channel, funding->head.instrument, sizeof funding->head.instrument))
        return json_stop(&decoding->json, JSON_BAD);
    at = shape_take(&decoding->json, at, &funding_shape, funding, &present);
    if (at == NULL)
        return NULL;
    if (!(present & BIT(FUNDING_TIMESTAMP)))
        return json_stop(&decoding->json, JSON_BAD);
    decoding->decoded->needed = 1;
    return at;
}

const char *deribit_reference(struct decoding *decoding, const char *at)
{
    *decoding->decoded = (struct decoded){.message = decoding->channel.message};
    if (decoding->channel.message == MESSAGE_INDEX)
        return take_index(decoding, at);
    if (decoding->channel.message == MESSAGE_MARK)
        return take_marks(decoding, at);
    assert(decoding->channel.message == MESSAGE_FUNDING);
    return take_funding(decoding, at);
}
