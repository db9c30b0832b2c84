/* deribit_data.c: tables of Deribit's fields, and what is to be done once an object is read by them. */
#include "deribit_data.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>

#include "deribit_ticker.h"
#include "deribit_usual.h"
#include "shape.h"

/* Rows are in the order of 2026; the other order is that of 2021, an alphabet from Z to A. */

/* ------------------------------------------------------------------ ticker */

enum { GREEK_DELTA, GREEK_GAMMA, GREEK_VEGA, GREEK_THETA, GREEK_RHO };
static const struct shape_field greek_fields[] = {
    [GREEK_DELTA] = {SHAPE_VALUE(GREEK_DELTA, "delta", DOUBLE, quote, delta, GREEK_VEGA)},
    [GREEK_GAMMA] = {SHAPE_VALUE(GREEK_GAMMA, "gamma", DOUBLE, quote, gamma, GREEK_DELTA)},
    [GREEK_VEGA] = {SHAPE_VALUE(GREEK_VEGA, "vega", DOUBLE, quote, vega, GREEK_THETA)},
    [GREEK_THETA] = {SHAPE_VALUE(GREEK_THETA, "theta", DOUBLE, quote, theta, GREEK_RHO)},
    [GREEK_RHO] = {SHAPE_VALUE(GREEK_RHO, "rho", DOUBLE, quote, rho, GREEK_GAMMA)},
    SHAPE_END,
};
static const struct shape greeks_shape = {greek_fields, SHAPE_COUNT(greek_fields), {0, GREEK_VEGA}, 4};

enum { STAT_HIGH, STAT_LOW, STAT_PRICE_CHANGE, STAT_VOLUME, STAT_VOLUME_USD, STAT_VOLUME_NOTIONAL };
static const struct shape_field stat_fields[] = {
    [STAT_HIGH] = {SHAPE_VALUE(STAT_HIGH, "high", DOUBLE, quote, high, STAT_VOLUME)},
    [STAT_LOW] = {SHAPE_VALUE(STAT_LOW, "low", DOUBLE, quote, low, STAT_HIGH)},
    [STAT_PRICE_CHANGE] = {SHAPE_VALUE(STAT_PRICE_CHANGE, "price_change", DOUBLE, quote, price_change, STAT_LOW)},
    [STAT_VOLUME] = {SHAPE_VALUE(STAT_VOLUME, "volume", DOUBLE, quote, volume, STAT_PRICE_CHANGE)},
    [STAT_VOLUME_USD] = {SHAPE_VALUE(STAT_VOLUME_USD, "volume_usd", DOUBLE, quote, volume_usd, STAT_VOLUME)},
    [STAT_VOLUME_NOTIONAL] = {SHAPE_VALUE(STAT_VOLUME_NOTIONAL, "volume_notional", DOUBLE, quote, volume_notional, STAT_HIGH)},
    SHAPE_END,
};
static const struct shape stats_shape = {stat_fields, SHAPE_COUNT(stat_fields), {0, STAT_VOLUME}, 4};

enum {
    TICKER_TIMESTAMP, TICKER_STATE, TICKER_STATS, TICKER_GREEKS, TICKER_INDEX_PRICE, TICKER_INSTRUMENT, TICKER_LAST_PRICE,
    TICKER_SETTLEMENT_PRICE, TICKER_MIN_PRICE, TICKER_MAX_PRICE, TICKER_OPEN_INTEREST, TICKER_MARK_PRICE, TICKER_INTEREST_RATE,
    TICKER_ESTIMATED_DELIVERY_PRICE, TICKER_ASK_PRICE, TICKER_BID_PRICE, TICKER_MARK_IV, TICKER_BID_IV, TICKER_ASK_IV,
    TICKER_UNDERLYING_PRICE, TICKER_UNDERLYING_INDEX, TICKER_ASK_AMOUNT, TICKER_BID_AMOUNT,
    TICKER_INTEREST_VALUE, TICKER_CURRENT_FUNDING, TICKER_FUNDING_8H, TICKER_DELIVERY_PRICE,
};
static const struct shape_field ticker_fields[] = {
    [TICKER_TIMESTAMP] = {SHAPE_VALUE(TICKER_TIMESTAMP, "timestamp", TIME_MS, quote, head.exch_ns, TICKER_STATS)},
    [TICKER_STATE] = {SHAPE_VALUE(TICKER_STATE, "state", TEXT, quote, state, TICKER_SETTLEMENT_PRICE)},
    [TICKER_STATS] = {SHAPE_KEY(TICKER_STATS, "stats", TICKER_STATE), .type = SHAPE_OBJECT, .shape = &stats_shape},
    [TICKER_GREEKS] = {SHAPE_KEY(TICKER_GREEKS, "greeks", TICKER_ESTIMATED_DELIVERY_PRICE),
                       .type = SHAPE_OBJECT, .shape = &greeks_shape},
    [TICKER_INDEX_PRICE] = {SHAPE_VALUE(TICKER_INDEX_PRICE, "index_price", DOUBLE, quote, index_price, TICKER_GREEKS)},
    [TICKER_INSTRUMENT] = {SHAPE_VALUE(TICKER_INSTRUMENT, "instrument_name", TEXT, quote, head.instrument, TICKER_INDEX_PRICE)},
    [TICKER_LAST_PRICE] = {SHAPE_VALUE(TICKER_LAST_PRICE, "last_price", DOUBLE, quote, last_price, TICKER_INTEREST_RATE)},
    [TICKER_SETTLEMENT_PRICE] = {SHAPE_VALUE(TICKER_SETTLEMENT_PRICE, "settlement_price", DOUBLE, quote, settlement_price,
                                             TICKER_OPEN_INTEREST)},
    [TICKER_MIN_PRICE] = {SHAPE_VALUE(TICKER_MIN_PRICE, "min_price", DOUBLE, quote, min_price, TICKER_MAX_PRICE)},
    [TICKER_MAX_PRICE] = {SHAPE_VALUE(TICKER_MAX_PRICE, "max_price", DOUBLE, quote, max_price, TICKER_MARK_PRICE)},
    [TICKER_OPEN_INTEREST] = {SHAPE_VALUE(TICKER_OPEN_INTEREST, "open_interest", DOUBLE, quote, open_interest,
                                          TICKER_MIN_PRICE)},
    [TICKER_MARK_PRICE] = {SHAPE_VALUE(TICKER_MARK_PRICE, "mark_price", DOUBLE, quote, mark_price, TICKER_MARK_IV)},
    [TICKER_INTEREST_RATE] = {SHAPE_VALUE(TICKER_INTEREST_RATE, "interest_rate", DOUBLE, quote, interest_rate,
                                          TICKER_INSTRUMENT)},
    [TICKER_ESTIMATED_DELIVERY_PRICE] = {SHAPE_VALUE(TICKER_ESTIMATED_DELIVERY_PRICE, "estimated_delivery_price", DOUBLE,
                                                     quote, estimated_delivery_price,
                                                     TICKER_BID_IV)},
    [TICKER_ASK_PRICE] = {SHAPE_VALUE(TICKER_ASK_PRICE, "best_ask_price", DOUBLE, quote, ask_price, TICKER_ASK_AMOUNT)},
    [TICKER_BID_PRICE] = {SHAPE_VALUE(TICKER_BID_PRICE, "best_bid_price", DOUBLE, quote, bid_price, TICKER_BID_AMOUNT)},
    [TICKER_MARK_IV] = {SHAPE_VALUE(TICKER_MARK_IV, "mark_iv", DOUBLE, quote, mark_iv, TICKER_LAST_PRICE)},
    [TICKER_BID_IV] = {SHAPE_VALUE(TICKER_BID_IV, "bid_iv", DOUBLE, quote, bid_iv, TICKER_BID_PRICE)},
    [TICKER_ASK_IV] = {SHAPE_VALUE(TICKER_ASK_IV, "ask_iv", DOUBLE, quote, ask_iv, TICKER_TIMESTAMP)},
    [TICKER_UNDERLYING_PRICE] = {SHAPE_VALUE(TICKER_UNDERLYING_PRICE, "underlying_price", DOUBLE, quote, underlying_price,
                                             TICKER_UNDERLYING_INDEX)},
    [TICKER_UNDERLYING_INDEX] = {SHAPE_VALUE(TICKER_UNDERLYING_INDEX, "underlying_index", TEXT, quote, underlying_index,
                                             TICKER_TIMESTAMP)},
    [TICKER_ASK_AMOUNT] = {SHAPE_VALUE(TICKER_ASK_AMOUNT, "best_ask_amount", DOUBLE, quote, ask_amount, TICKER_ASK_IV)},
    [TICKER_BID_AMOUNT] = {SHAPE_VALUE(TICKER_BID_AMOUNT, "best_bid_amount", DOUBLE, quote, bid_amount, TICKER_ASK_PRICE)},
    /* Perpetuals and delivered instruments have these between the others. */
    [TICKER_INTEREST_VALUE] = {SHAPE_VALUE(TICKER_INTEREST_VALUE, "interest_value", DOUBLE, quote, interest_value,
                                           TICKER_INSTRUMENT)},
    [TICKER_CURRENT_FUNDING] = {SHAPE_VALUE(TICKER_CURRENT_FUNDING, "current_funding", DOUBLE, quote, current_funding,
                                            TICKER_ESTIMATED_DELIVERY_PRICE)},
    [TICKER_FUNDING_8H] = {SHAPE_VALUE(TICKER_FUNDING_8H, "funding_8h", DOUBLE, quote, funding_8h, TICKER_ASK_PRICE)},
    [TICKER_DELIVERY_PRICE] = {SHAPE_VALUE(TICKER_DELIVERY_PRICE, "delivery_price", DOUBLE, quote, delivery_price,
                                           TICKER_ASK_PRICE)},
    SHAPE_END,
};
static const struct shape ticker_shape = {ticker_fields, SHAPE_COUNT(ticker_fields), {0, TICKER_UNDERLYING_PRICE}, 3};

/* ------------------------------------------------------------------ trade */

static const char directions[][SHAPE_WORD_MAX] = {"buy", "sell", ""};
static const char liquidations[][SHAPE_WORD_MAX] = {"M", "T", "MT", ""};
_Static_assert(TRADE_BUY == 1 && TRADE_SELL == 2, "words are counted from 1");
_Static_assert(TRADE_LIQUIDATION_MAKER == 1 && TRADE_LIQUIDATION_TAKER == 2 && TRADE_LIQUIDATION_BOTH == 3,
               "words are counted from 1");

enum {
    TRADE_TIMESTAMP, TRADE_PRICE, TRADE_AMOUNT, TRADE_DIRECTION, TRADE_INDEX_PRICE, TRADE_INSTRUMENT, TRADE_TRADE_SEQ,
    TRADE_MARK_PRICE, TRADE_TICK_DIRECTION, TRADE_MATCH_ID, TRADE_TRADE_ID, TRADE_CONTRACTS, TRADE_MATCH_TIMESTAMP, TRADE_IV,
    TRADE_LIQUIDATION, TRADE_BLOCK_TRADE_ID, TRADE_BLOCK_LEGS, TRADE_BLOCK_RFQ_ID, TRADE_COMBO_ID, TRADE_COMBO_TRADE_ID,
};
static const struct shape_field trade_fields[] = {
    [TRADE_TIMESTAMP] = {SHAPE_VALUE(TRADE_TIMESTAMP, "timestamp", TIME_MS, trade, head.exch_ns, TRADE_TICK_DIRECTION)},
    [TRADE_PRICE] = {SHAPE_VALUE(TRADE_PRICE, "price", DOUBLE, trade, price, TRADE_MARK_PRICE)},
    [TRADE_AMOUNT] = {SHAPE_VALUE(TRADE_AMOUNT, "amount", DOUBLE, trade, amount, TRADE_TIMESTAMP)},
    [TRADE_DIRECTION] = {SHAPE_VALUE(TRADE_DIRECTION, "direction", WORD, trade, direction, TRADE_AMOUNT), .words = directions},
    [TRADE_INDEX_PRICE] = {SHAPE_VALUE(TRADE_INDEX_PRICE, "index_price", DOUBLE, trade, index_price, TRADE_DIRECTION)},
    [TRADE_INSTRUMENT] = {SHAPE_VALUE(TRADE_INSTRUMENT, "instrument_name", TEXT, trade, head.instrument, TRADE_INDEX_PRICE)},
    [TRADE_TRADE_SEQ] = {SHAPE_VALUE(TRADE_TRADE_SEQ, "trade_seq", U64, trade, trade_seq, TRADE_TRADE_ID)},
    [TRADE_MARK_PRICE] = {SHAPE_VALUE(TRADE_MARK_PRICE, "mark_price", DOUBLE, trade, mark_price, TRADE_IV)},
    [TRADE_TICK_DIRECTION] = {SHAPE_VALUE(TRADE_TICK_DIRECTION, "tick_direction", U8, trade, tick_direction, TRADE_PRICE)},
    [TRADE_MATCH_ID] = {SHAPE_VALUE(TRADE_MATCH_ID, "starbase_match_id", U64, trade, match_id, TRADE_TRADE_ID)},
    [TRADE_TRADE_ID] = {SHAPE_VALUE(TRADE_TRADE_ID, "trade_id", TEXT_OR_NUMBER, trade, trade_id, TRADE_TIMESTAMP)},
    [TRADE_CONTRACTS] = {SHAPE_VALUE(TRADE_CONTRACTS, "contracts", DOUBLE, trade, contracts, TRADE_TIMESTAMP)},
    [TRADE_MATCH_TIMESTAMP] = {SHAPE_VALUE(TRADE_MATCH_TIMESTAMP, "starbase_timestamp", TIME_NS, trade, match_ns, TRADE_PRICE)},
    [TRADE_IV] = {SHAPE_VALUE(TRADE_IV, "iv", DOUBLE, trade, iv, TRADE_INSTRUMENT)},
    [TRADE_LIQUIDATION] = {SHAPE_VALUE(TRADE_LIQUIDATION, "liquidation", WORD, trade, liquidation, TRADE_INSTRUMENT),
                           .words = liquidations},
    [TRADE_BLOCK_TRADE_ID] = {SHAPE_VALUE(TRADE_BLOCK_TRADE_ID, "block_trade_id", TEXT_OR_NUMBER, trade, block_trade_id,
                                          TRADE_AMOUNT)},
    [TRADE_BLOCK_LEGS] = {SHAPE_VALUE(TRADE_BLOCK_LEGS, "block_trade_leg_count", U32, trade, block_trade_leg_count,
                                      TRADE_BLOCK_TRADE_ID)},
    [TRADE_BLOCK_RFQ_ID] = {SHAPE_VALUE(TRADE_BLOCK_RFQ_ID, "block_rfq_id", TEXT_OR_NUMBER, trade, block_rfq_id, TRADE_AMOUNT)},
    [TRADE_COMBO_ID] = {SHAPE_VALUE(TRADE_COMBO_ID, "combo_id", TEXT_OR_NUMBER, trade, combo_id, TRADE_CONTRACTS)},
    [TRADE_COMBO_TRADE_ID] = {SHAPE_VALUE(TRADE_COMBO_TRADE_ID, "combo_trade_id", TEXT_OR_NUMBER, trade, combo_trade_id,
                                          TRADE_COMBO_ID)},
    SHAPE_END,
};
static const struct shape trade_shape = {trade_fields, SHAPE_COUNT(trade_fields), {0, TRADE_TRADE_SEQ}, 4};

/* ------------------------------------------------------------------ book */

static const char book_types[][SHAPE_WORD_MAX] = {"snapshot", "change", ""};
static const char book_actions[][SHAPE_WORD_MAX] = {"new", "change", "delete", ""};

static const char *take_bids(struct json *json, const char *at, void *target);
static const char *take_asks(struct json *json, const char *at, void *target);

enum { BOOK_TIMESTAMP, BOOK_TYPE, BOOK_CHANGE_ID, BOOK_INSTRUMENT, BOOK_BIDS, BOOK_ASKS, BOOK_PREV_CHANGE_ID };
static const struct shape_field book_fields[] = {
    [BOOK_TIMESTAMP] = {SHAPE_VALUE(BOOK_TIMESTAMP, "timestamp", TIME_MS, book_message, head.exch_ns, BOOK_PREV_CHANGE_ID)},
    [BOOK_TYPE] = {SHAPE_VALUE(BOOK_TYPE, "type", WORD, book_message, type, BOOK_TIMESTAMP), .words = book_types},
    [BOOK_CHANGE_ID] = {SHAPE_VALUE(BOOK_CHANGE_ID, "change_id", U64, book_message, change_id, BOOK_BIDS)},
    [BOOK_INSTRUMENT] = {SHAPE_VALUE(BOOK_INSTRUMENT, "instrument_name", TEXT, book_message, head.instrument, BOOK_CHANGE_ID)},
    [BOOK_BIDS] = {SHAPE_KEY(BOOK_BIDS, "bids", BOOK_ASKS), .type = SHAPE_SPECIAL, .take = take_bids},
    [BOOK_ASKS] = {SHAPE_KEY(BOOK_ASKS, "asks", BOOK_TYPE), .type = SHAPE_SPECIAL, .take = take_asks},
    [BOOK_PREV_CHANGE_ID] = {SHAPE_VALUE(BOOK_PREV_CHANGE_ID, "prev_change_id", U64, book_message, prev_change_id,
                                         BOOK_INSTRUMENT)},
    SHAPE_END,
};
static const struct shape book_shape = {book_fields, SHAPE_COUNT(book_fields), {0, BOOK_TYPE}, 3};

/* The action of a level at its opening bracket; behind the comma that follows it. */
static const char *take_action(struct json *json, const char *at, uint8_t *action)
{
    if (json->end - at >= BLOCK_BYTES) {
        /* As Deribit spells them. Each comparison is one of a word. */
        if (memcmp(at, "[\"new\",", 7) == 0) {
            *action = BOOK_NEW;
            return at + 7;
        }
        if (memcmp(at, "[\"change", 8) == 0 && memcmp(at + 8, "\",", 2) == 0) {
            *action = BOOK_CHANGE;
            return at + 10;
        }
        if (memcmp(at, "[\"delete", 8) == 0 && memcmp(at + 8, "\",", 2) == 0) {
            *action = BOOK_DELETE;
            return at + 10;
        }
    }
    at = json_mark(json, at, '[');
    if (at != NULL)
        at = shape_word(json, at, book_actions, action);
    return at == NULL ? NULL : json_mark(json, at, ',');
}

/* ["new",0.0065,10.0] */
static const char *take_level(struct json *json, const char *at, struct book *level)
{
    at = take_action(json, at, &level->action);
    if (at == NULL)
        return NULL;
    at = json_double(json, json_space(json, at), &level->price);
    if (at == NULL)
        return NULL;
    at = json_mark(json, at, ',');
    if (at == NULL)
        return NULL;
    at = json_double(json, at, &level->amount);
    return at == NULL ? NULL : json_mark(json, at, ']');
}

/* The levels of a side, each into the next record; those that do not fit are read all the same, to be counted. */
static const char *take_levels(struct json *json, const char *at, struct book_message *message, enum book_side side)
{
    struct book beyond;
    at = json_mark(json, at, '[');
    if (at != NULL && at < json->end && *at == ']')
        return at + 1;
    while (at != NULL) {
        struct book *level = message->count < message->max ? &message->books[message->count] : &beyond;
        at = take_level(json, at, level);
        if (at == NULL)
            return NULL;
        level->side = (uint8_t)side;
        if (++message->count > DECODE_RECORDS_MAX)
            return json_stop(json, JSON_BAD);
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

/* ------------------------------------------------------------------ data to records */

#define BIT(row) (UINT64_C(1) << (row))
static const uint64_t ticker_required = BIT(TICKER_TIMESTAMP) | BIT(TICKER_INSTRUMENT);
static const uint64_t trade_required = BIT(TRADE_TIMESTAMP) | BIT(TRADE_INSTRUMENT) | BIT(TRADE_TRADE_SEQ) |
                                       BIT(TRADE_TRADE_ID) | BIT(TRADE_PRICE) | BIT(TRADE_AMOUNT) | BIT(TRADE_DIRECTION);
static const uint64_t book_required = BIT(BOOK_TIMESTAMP) | BIT(BOOK_INSTRUMENT) | BIT(BOOK_TYPE) | BIT(BOOK_CHANGE_ID);

/* Whether a record can be told from all others. An empty name is none. */
static bool is_identified(const struct record_head *head, uint64_t present, uint64_t required)
{
    return (present & required) == required && head->instrument[0] != '\0';
}

/* Deribit spells an empty side of the book as price 0 and amount 0. A price of 0 with an amount is one: of a combo. */
static void clear_empty_side(double *price, double *amount, double *iv)
{
    if (isnan(*price) || (*price == 0 && !(*amount > 0)))
        *price = *amount = *iv = NAN;
}

/* A ticker whose keys come in any order. */
static const char *take_any_ticker(struct decoding *decoding, const char *at, struct quote *quote)
{
    uint64_t present;
    at = shape_take(&decoding->json, at, &ticker_shape, quote, &present);
    if (at == NULL)
        return NULL;
    if (!is_identified(&quote->head, present, ticker_required))
        return json_stop(&decoding->json, JSON_BAD);
    if (present & BIT(TICKER_GREEKS))
        quote->head.flags |= RECORD_OPTION;
    return at;
}

static const char *take_ticker(struct decoding *decoding, const char *at)
{
    struct quote beyond, *quote = decoding->room->quotes_max > 0 ? decoding->room->quotes : &beyond;
    const char *behind = decoding->is_common ? deribit_ticker(at, decoding->json.end, &decoding->head, quote) : NULL;
    if (behind == NULL) {
        deribit_ticker_clear(&decoding->head, quote);
        behind = take_any_ticker(decoding, at, quote);
    }
    if (behind == NULL)
        return NULL;
    clear_empty_side(&quote->bid_price, &quote->bid_amount, &quote->bid_iv);
    clear_empty_side(&quote->ask_price, &quote->ask_amount, &quote->ask_iv);
    *decoding->decoded = (struct decoded){.message = MESSAGE_QUOTE, .needed = 1};
    return behind;
}

static void clear_trade(struct trade *trade, const struct record_head *head)
{
    trade->head = *head;
    trade->trade_seq = trade->match_id = 0;
    trade->match_ns = 0;
    trade->price = trade->amount = trade->contracts = trade->mark_price = trade->index_price = trade->iv = NAN;
    trade->block_trade_leg_count = 0;
    trade->direction = trade->liquidation = trade->reserved = 0;
    trade->tick_direction = UINT8_MAX;
    memset(trade->trade_id, 0, sizeof trade->trade_id);
    memset(trade->block_trade_id, 0, sizeof trade->block_trade_id);
    memset(trade->block_rfq_id, 0, sizeof trade->block_rfq_id);
    memset(trade->combo_id, 0, sizeof trade->combo_id);
    memset(trade->combo_trade_id, 0, sizeof trade->combo_trade_id);
}

static const char *take_trade(struct decoding *decoding, const char *at, struct trade *trade)
{
    uint64_t present;
    clear_trade(trade, &decoding->head);
    at = shape_take(&decoding->json, at, &trade_shape, trade, &present);
    if (at == NULL)
        return NULL;
    if (!is_identified(&trade->head, present, trade_required))
        return json_stop(&decoding->json, JSON_BAD);
    if (present & BIT(TRADE_IV))
        trade->head.flags |= RECORD_OPTION;
    return at;
}

static const char *take_trades(struct decoding *decoding, const char *at)
{
    struct json *json = &decoding->json;
    struct trade beyond, *last = NULL;
    uint64_t count = 0;
    *decoding->decoded = (struct decoded){.message = MESSAGE_TRADE};
    at = json_mark(json, at, '[');
    if (at != NULL && at < json->end && *at == ']')
        return at + 1;
    while (at != NULL) {
        last = count < decoding->room->trades_max ? &decoding->room->trades[count] : &beyond;
        at = take_trade(decoding, at, last);
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

/* What the records of a book message have in common, and the record of a message without levels. */
static void finish_books(const struct book_message *message, uint64_t count)
{
    if (message->count == 0 && count > 0) {
        message->books[0].price = message->books[0].amount = NAN;
        message->books[0].side = message->books[0].action = 0;
    }
    for (uint64_t i = 0; i < count; i++) {
        struct book *book = &message->books[i];
        book->head = message->head;
        book->change_id = message->change_id;
        book->prev_change_id = message->prev_change_id;
        memset(book->reserved, 0, sizeof book->reserved);
    }
    if (count > 0)
        message->books[count - 1].head.flags |= RECORD_LAST;
}

/* A book whose keys come in any order. */
static const char *take_any_book(struct decoding *decoding, const char *at, struct book_message *message)
{
    uint64_t present;
    at = shape_take(&decoding->json, at, &book_shape, message, &present);
    if (at == NULL)
        return NULL;
    uint64_t required = book_required | (message->type == BOOK_TYPE_SNAPSHOT ? 0 : BIT(BOOK_PREV_CHANGE_ID));
    return is_identified(&message->head, present, required) ? at : json_stop(&decoding->json, JSON_BAD);
}

static const char *take_book(struct decoding *decoding, const char *at)
{
    const struct book_message empty = {.head = decoding->head, .books = decoding->room->books, .max = decoding->room->books_max};
    struct book_message message = empty;
    const char *behind = decoding->is_common ? deribit_usual_book(at, decoding->json.end, &message) : NULL;
    if (behind == NULL) {
        message = empty;
        behind = take_any_book(decoding, at, &message);
    }
    if (behind == NULL)
        return NULL;
    bool is_snapshot = message.type == BOOK_TYPE_SNAPSHOT;
    if (is_snapshot) {
        message.head.flags |= RECORD_SNAPSHOT;
        message.prev_change_id = 0; /* older recordings spell it as 0, newer ones leave it out: it means nothing */
    }
    uint64_t needed = message.count > 0 ? message.count : 1;
    finish_books(&message, needed < message.max ? needed : message.max);
    *decoding->decoded = (struct decoded){.message = MESSAGE_BOOK, .needed = needed};
    return behind;
}

const char *deribit_data(struct decoding *decoding, const char *at, enum message message)
{
    switch (message) {
    case MESSAGE_QUOTE:
        return take_ticker(decoding, at);
    case MESSAGE_TRADE:
        return take_trades(decoding, at);
    default:
        assert(message == MESSAGE_BOOK);
        return take_book(decoding, at);
    }
}
