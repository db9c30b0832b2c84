/* decode_deribit.c: Deribit v2 JSON-RPC frames (https://docs.deribit.com) to records.
 *
 * A notification that begins as they all do is decoded in one pass; anything else is first walked over as a whole, with the
 * places of its parts noted, so the keys may come in any order. Both ways read the data by the same tables (shape.h).
 *
 * What counts as a fault of the frame (DECODE_BAD), beyond JSON itself: a known key that comes twice in one object, a value of
 * another type or out of its bounds, text that does not fit its field, and a record without what identifies it.
 */
#include "decode.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>

#include "shape.h"

_Static_assert((int)JSON_OK == DECODE_OK && (int)JSON_MORE == DECODE_MORE && (int)JSON_BAD == DECODE_BAD,
               "the answers of json.h are passed on");
_Static_assert(JSON_DEPTH_MAX == DECODE_DEPTH_MAX && NUMBER_MAX == DECODE_NUMBER_MAX, "decode.h announces these bounds");
_Static_assert(DECODE_PADDING == 0, "json.h reads nothing behind the frame");

/* One frame being decoded. */
struct decoding {
    struct json json;
    struct record_head head; /* what all its records begin with: recv_ns and conn */
    const struct decode_room *room;
    struct decoded *decoded;
};

/* Rows are in the order of 2026; `then` gives the order of 2021, an alphabet from Z to A. */

/* ------------------------------------------------------------------ ticker */

enum { GREEK_DELTA, GREEK_GAMMA, GREEK_VEGA, GREEK_THETA, GREEK_RHO };
static const struct shape_field greek_fields[] = {
    [GREEK_DELTA] = {SHAPE_VALUE("delta", DOUBLE, quote, delta), .then = GREEK_VEGA},
    [GREEK_GAMMA] = {SHAPE_VALUE("gamma", DOUBLE, quote, gamma), .then = GREEK_DELTA},
    [GREEK_VEGA] = {SHAPE_VALUE("vega", DOUBLE, quote, vega), .then = GREEK_THETA},
    [GREEK_THETA] = {SHAPE_VALUE("theta", DOUBLE, quote, theta), .then = GREEK_RHO},
    [GREEK_RHO] = {SHAPE_VALUE("rho", DOUBLE, quote, rho), .then = GREEK_GAMMA},
    SHAPE_END,
};
static const struct shape greeks_shape = {greek_fields, SHAPE_COUNT(greek_fields), GREEK_VEGA, 4};

enum { STAT_HIGH, STAT_LOW, STAT_PRICE_CHANGE, STAT_VOLUME, STAT_VOLUME_USD, STAT_VOLUME_NOTIONAL };
static const struct shape_field stat_fields[] = {
    [STAT_HIGH] = {SHAPE_VALUE("high", DOUBLE, quote, high), .then = STAT_VOLUME},
    [STAT_LOW] = {SHAPE_VALUE("low", DOUBLE, quote, low), .then = STAT_HIGH},
    [STAT_PRICE_CHANGE] = {SHAPE_VALUE("price_change", DOUBLE, quote, price_change), .then = STAT_LOW},
    [STAT_VOLUME] = {SHAPE_VALUE("volume", DOUBLE, quote, volume), .then = STAT_PRICE_CHANGE},
    [STAT_VOLUME_USD] = {SHAPE_VALUE("volume_usd", DOUBLE, quote, volume_usd), .then = STAT_VOLUME},
    [STAT_VOLUME_NOTIONAL] = {SHAPE_VALUE("volume_notional", DOUBLE, quote, volume_notional), .then = STAT_HIGH},
    SHAPE_END,
};
static const struct shape stats_shape = {stat_fields, SHAPE_COUNT(stat_fields), STAT_VOLUME, 4};

enum {
    TICKER_TIMESTAMP, TICKER_STATE, TICKER_STATS, TICKER_GREEKS, TICKER_INDEX_PRICE, TICKER_INSTRUMENT, TICKER_LAST_PRICE,
    TICKER_SETTLEMENT_PRICE, TICKER_MIN_PRICE, TICKER_MAX_PRICE, TICKER_OPEN_INTEREST, TICKER_MARK_PRICE, TICKER_INTEREST_RATE,
    TICKER_ESTIMATED_DELIVERY_PRICE, TICKER_ASK_PRICE, TICKER_BID_PRICE, TICKER_MARK_IV, TICKER_BID_IV, TICKER_ASK_IV,
    TICKER_UNDERLYING_PRICE, TICKER_UNDERLYING_INDEX, TICKER_ASK_AMOUNT, TICKER_BID_AMOUNT,
    TICKER_INTEREST_VALUE, TICKER_CURRENT_FUNDING, TICKER_FUNDING_8H, TICKER_DELIVERY_PRICE,
};
static const struct shape_field ticker_fields[] = {
    [TICKER_TIMESTAMP] = {SHAPE_VALUE("timestamp", TIME_MS, quote, head.exch_ns), .then = TICKER_STATS},
    [TICKER_STATE] = {SHAPE_VALUE("state", TEXT, quote, state), .then = TICKER_SETTLEMENT_PRICE},
    [TICKER_STATS] = {SHAPE_KEY("stats"), .type = SHAPE_OBJECT, .shape = &stats_shape, .then = TICKER_STATE},
    [TICKER_GREEKS] = {SHAPE_KEY("greeks"), .type = SHAPE_OBJECT, .shape = &greeks_shape,
                       .then = TICKER_ESTIMATED_DELIVERY_PRICE},
    [TICKER_INDEX_PRICE] = {SHAPE_VALUE("index_price", DOUBLE, quote, index_price), .then = TICKER_GREEKS},
    [TICKER_INSTRUMENT] = {SHAPE_VALUE("instrument_name", TEXT, quote, head.instrument), .then = TICKER_INDEX_PRICE},
    [TICKER_LAST_PRICE] = {SHAPE_VALUE("last_price", DOUBLE, quote, last_price), .then = TICKER_INTEREST_RATE},
    [TICKER_SETTLEMENT_PRICE] = {SHAPE_VALUE("settlement_price", DOUBLE, quote, settlement_price),
                                 .then = TICKER_OPEN_INTEREST},
    [TICKER_MIN_PRICE] = {SHAPE_VALUE("min_price", DOUBLE, quote, min_price), .then = TICKER_MAX_PRICE},
    [TICKER_MAX_PRICE] = {SHAPE_VALUE("max_price", DOUBLE, quote, max_price), .then = TICKER_MARK_PRICE},
    [TICKER_OPEN_INTEREST] = {SHAPE_VALUE("open_interest", DOUBLE, quote, open_interest), .then = TICKER_MIN_PRICE},
    [TICKER_MARK_PRICE] = {SHAPE_VALUE("mark_price", DOUBLE, quote, mark_price), .then = TICKER_MARK_IV},
    [TICKER_INTEREST_RATE] = {SHAPE_VALUE("interest_rate", DOUBLE, quote, interest_rate), .then = TICKER_INSTRUMENT},
    [TICKER_ESTIMATED_DELIVERY_PRICE] = {SHAPE_VALUE("estimated_delivery_price", DOUBLE, quote, estimated_delivery_price),
                                         .then = TICKER_BID_IV},
    [TICKER_ASK_PRICE] = {SHAPE_VALUE("best_ask_price", DOUBLE, quote, ask_price), .then = TICKER_ASK_AMOUNT},
    [TICKER_BID_PRICE] = {SHAPE_VALUE("best_bid_price", DOUBLE, quote, bid_price), .then = TICKER_BID_AMOUNT},
    [TICKER_MARK_IV] = {SHAPE_VALUE("mark_iv", DOUBLE, quote, mark_iv), .then = TICKER_LAST_PRICE},
    [TICKER_BID_IV] = {SHAPE_VALUE("bid_iv", DOUBLE, quote, bid_iv), .then = TICKER_BID_PRICE},
    [TICKER_ASK_IV] = {SHAPE_VALUE("ask_iv", DOUBLE, quote, ask_iv), .then = TICKER_TIMESTAMP},
    [TICKER_UNDERLYING_PRICE] = {SHAPE_VALUE("underlying_price", DOUBLE, quote, underlying_price),
                                 .then = TICKER_UNDERLYING_INDEX},
    [TICKER_UNDERLYING_INDEX] = {SHAPE_VALUE("underlying_index", TEXT, quote, underlying_index),
                                 .then = TICKER_TIMESTAMP},
    [TICKER_ASK_AMOUNT] = {SHAPE_VALUE("best_ask_amount", DOUBLE, quote, ask_amount), .then = TICKER_ASK_IV},
    [TICKER_BID_AMOUNT] = {SHAPE_VALUE("best_bid_amount", DOUBLE, quote, bid_amount), .then = TICKER_ASK_PRICE},
    /* Perpetuals and delivered instruments have these between the others. */
    [TICKER_INTEREST_VALUE] = {SHAPE_VALUE("interest_value", DOUBLE, quote, interest_value), .then = TICKER_INSTRUMENT},
    [TICKER_CURRENT_FUNDING] = {SHAPE_VALUE("current_funding", DOUBLE, quote, current_funding),
                                .then = TICKER_ESTIMATED_DELIVERY_PRICE},
    [TICKER_FUNDING_8H] = {SHAPE_VALUE("funding_8h", DOUBLE, quote, funding_8h), .then = TICKER_ASK_PRICE},
    [TICKER_DELIVERY_PRICE] = {SHAPE_VALUE("delivery_price", DOUBLE, quote, delivery_price), .then = TICKER_ASK_PRICE},
    SHAPE_END,
};
static const struct shape ticker_shape = {ticker_fields, SHAPE_COUNT(ticker_fields), TICKER_UNDERLYING_PRICE, 3};

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
    [TRADE_TIMESTAMP] = {SHAPE_VALUE("timestamp", TIME_MS, trade, head.exch_ns), .then = TRADE_TICK_DIRECTION},
    [TRADE_PRICE] = {SHAPE_VALUE("price", DOUBLE, trade, price), .then = TRADE_MARK_PRICE},
    [TRADE_AMOUNT] = {SHAPE_VALUE("amount", DOUBLE, trade, amount), .then = TRADE_TIMESTAMP},
    [TRADE_DIRECTION] = {SHAPE_VALUE("direction", WORD, trade, direction), .words = directions, .then = TRADE_AMOUNT},
    [TRADE_INDEX_PRICE] = {SHAPE_VALUE("index_price", DOUBLE, trade, index_price), .then = TRADE_DIRECTION},
    [TRADE_INSTRUMENT] = {SHAPE_VALUE("instrument_name", TEXT, trade, head.instrument), .then = TRADE_INDEX_PRICE},
    [TRADE_TRADE_SEQ] = {SHAPE_VALUE("trade_seq", U64, trade, trade_seq), .then = TRADE_TRADE_ID},
    [TRADE_MARK_PRICE] = {SHAPE_VALUE("mark_price", DOUBLE, trade, mark_price), .then = TRADE_IV},
    [TRADE_TICK_DIRECTION] = {SHAPE_VALUE("tick_direction", U8, trade, tick_direction), .then = TRADE_PRICE},
    [TRADE_MATCH_ID] = {SHAPE_VALUE("starbase_match_id", U64, trade, match_id), .then = TRADE_TRADE_ID},
    [TRADE_TRADE_ID] = {SHAPE_VALUE("trade_id", TEXT_OR_NUMBER, trade, trade_id), .then = TRADE_TIMESTAMP},
    [TRADE_CONTRACTS] = {SHAPE_VALUE("contracts", DOUBLE, trade, contracts), .then = TRADE_TIMESTAMP},
    [TRADE_MATCH_TIMESTAMP] = {SHAPE_VALUE("starbase_timestamp", TIME_NS, trade, match_ns), .then = TRADE_PRICE},
    [TRADE_IV] = {SHAPE_VALUE("iv", DOUBLE, trade, iv), .then = TRADE_INSTRUMENT},
    [TRADE_LIQUIDATION] = {SHAPE_VALUE("liquidation", WORD, trade, liquidation),
                           .words = liquidations, .then = TRADE_INSTRUMENT},
    [TRADE_BLOCK_TRADE_ID] = {SHAPE_VALUE("block_trade_id", TEXT_OR_NUMBER, trade, block_trade_id),
                              .then = TRADE_AMOUNT},
    [TRADE_BLOCK_LEGS] = {SHAPE_VALUE("block_trade_leg_count", U32, trade, block_trade_leg_count),
                          .then = TRADE_BLOCK_TRADE_ID},
    [TRADE_BLOCK_RFQ_ID] = {SHAPE_VALUE("block_rfq_id", TEXT_OR_NUMBER, trade, block_rfq_id), .then = TRADE_AMOUNT},
    [TRADE_COMBO_ID] = {SHAPE_VALUE("combo_id", TEXT_OR_NUMBER, trade, combo_id), .then = TRADE_CONTRACTS},
    [TRADE_COMBO_TRADE_ID] = {SHAPE_VALUE("combo_trade_id", TEXT_OR_NUMBER, trade, combo_trade_id),
                              .then = TRADE_COMBO_ID},
    SHAPE_END,
};
static const struct shape trade_shape = {trade_fields, SHAPE_COUNT(trade_fields), TRADE_TRADE_SEQ, 4};

/* ------------------------------------------------------------------ book */

enum book_type { BOOK_TYPE_SNAPSHOT = 1, BOOK_TYPE_CHANGE = 2 };
static const char book_types[][SHAPE_WORD_MAX] = {"snapshot", "change", ""};
static const char book_actions[][SHAPE_WORD_MAX] = {"new", "change", "delete", ""};

/* A book message while it is read. Levels go to their records at once; what all have in common comes at the end. */
struct book_message {
    struct record_head head;
    uint64_t change_id, prev_change_id;
    struct book *books;
    uint64_t max;   /* records that fit */
    uint64_t count; /* levels read, also those that do not fit */
    uint8_t type;   /* enum book_type */
};

static const char *take_bids(struct json *json, const char *at, void *target);
static const char *take_asks(struct json *json, const char *at, void *target);

enum { BOOK_TIMESTAMP, BOOK_TYPE, BOOK_CHANGE_ID, BOOK_INSTRUMENT, BOOK_BIDS, BOOK_ASKS, BOOK_PREV_CHANGE_ID };
static const struct shape_field book_fields[] = {
    [BOOK_TIMESTAMP] = {SHAPE_VALUE("timestamp", TIME_MS, book_message, head.exch_ns), .then = BOOK_PREV_CHANGE_ID},
    [BOOK_TYPE] = {SHAPE_VALUE("type", WORD, book_message, type), .words = book_types, .then = BOOK_TIMESTAMP},
    [BOOK_CHANGE_ID] = {SHAPE_VALUE("change_id", U64, book_message, change_id), .then = BOOK_BIDS},
    [BOOK_INSTRUMENT] = {SHAPE_VALUE("instrument_name", TEXT, book_message, head.instrument), .then = BOOK_CHANGE_ID},
    [BOOK_BIDS] = {SHAPE_KEY("bids"), .type = SHAPE_OTHER, .take = take_bids, .then = BOOK_ASKS},
    [BOOK_ASKS] = {SHAPE_KEY("asks"), .type = SHAPE_OTHER, .take = take_asks, .then = BOOK_TYPE},
    [BOOK_PREV_CHANGE_ID] = {SHAPE_VALUE("prev_change_id", U64, book_message, prev_change_id), .then = BOOK_INSTRUMENT},
    SHAPE_END,
};
static const struct shape book_shape = {book_fields, SHAPE_COUNT(book_fields), BOOK_TYPE, 3};

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

/* All numbers of a quote lie between its first price and its first text. */
enum { QUOTE_NUMBERS = (offsetof(struct quote, underlying_index) - offsetof(struct quote, bid_price)) / sizeof(double) };

static void clear_quote(struct quote *quote)
{
    memset(quote, 0, sizeof *quote);
    double *numbers = (double *)(void *)((char *)quote + offsetof(struct quote, bid_price));
    for (int i = 0; i < QUOTE_NUMBERS; i++)
        numbers[i] = NAN;
}

static const char *take_ticker(struct decoding *decoding, const char *at)
{
    struct quote beyond, *quote = decoding->room->quotes_max > 0 ? decoding->room->quotes : &beyond;
    uint64_t present;
    clear_quote(quote);
    quote->head = decoding->head;
    at = shape_take(&decoding->json, at, &ticker_shape, quote, &present);
    if (at == NULL)
        return NULL;
    if (!is_identified(&quote->head, present, ticker_required))
        return json_stop(&decoding->json, JSON_BAD);
    if (present & BIT(TICKER_GREEKS))
        quote->head.flags |= RECORD_OPTION;
    clear_empty_side(&quote->bid_price, &quote->bid_amount, &quote->bid_iv);
    clear_empty_side(&quote->ask_price, &quote->ask_amount, &quote->ask_iv);
    *decoding->decoded = (struct decoded){.message = MESSAGE_QUOTE, .needed = 1};
    return at;
}

static const char *take_trade(struct decoding *decoding, const char *at, struct trade *trade)
{
    uint64_t present;
    memset(trade, 0, sizeof *trade);
    trade->head = decoding->head;
    trade->contracts = trade->mark_price = trade->index_price = trade->iv = NAN;
    trade->tick_direction = UINT8_MAX;
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

static const char *take_book(struct decoding *decoding, const char *at)
{
    struct book_message message = {.head = decoding->head, .books = decoding->room->books, .max = decoding->room->books_max};
    uint64_t present;
    at = shape_take(&decoding->json, at, &book_shape, &message, &present);
    if (at == NULL)
        return NULL;
    bool is_snapshot = message.type == BOOK_TYPE_SNAPSHOT;
    if (!is_identified(&message.head, present, book_required | (is_snapshot ? 0 : BIT(BOOK_PREV_CHANGE_ID))))
        return json_stop(&decoding->json, JSON_BAD);
    if (is_snapshot) {
        message.head.flags |= RECORD_SNAPSHOT;
        message.prev_change_id = 0; /* older recordings spell it as 0, newer ones leave it out: it means nothing */
    }
    uint64_t needed = message.count > 0 ? message.count : 1;
    finish_books(&message, needed < message.max ? needed : message.max);
    *decoding->decoded = (struct decoded){.message = MESSAGE_BOOK, .needed = needed};
    return at;
}

static const char *take_data(struct decoding *decoding, const char *at, enum message message)
{
    return message == MESSAGE_QUOTE ? take_ticker(decoding, at) : message == MESSAGE_TRADE ? take_trades(decoding, at) : take_book(decoding, at);
}

/* The records are written as far as there is room: is there enough? */
static enum decode_result judge(const struct decode_room *room, struct decoded *decoded)
{
    uint64_t max = decoded->message == MESSAGE_QUOTE   ? room->quotes_max
                   : decoded->message == MESSAGE_TRADE ? room->trades_max
                                                       : room->books_max;
    if (decoded->needed > max)
        return DECODE_FULL;
    decoded->count = decoded->needed;
    return DECODE_OK;
}

/* ------------------------------------------------------------------ the envelope */

static bool begins_with(const char *text, size_t length, const char *beginning, size_t beginning_length)
{
    return length >= beginning_length && memcmp(text, beginning, beginning_length) == 0;
}

/* What a channel carries; MESSAGE_UNKNOWN for one that we do not record. */
static enum message channel_message(const char *channel, size_t length)
{
    if (begins_with(channel, length, "ticker.", 7))
        return MESSAGE_QUOTE;
    if (begins_with(channel, length, "trades.", 7))
        return MESSAGE_TRADE;
    if (!begins_with(channel, length, "book.", 5))
        return MESSAGE_UNKNOWN;
    /* book.{instrument}.{interval} has levels with actions; book.{instrument}.{group}.{depth}.{interval} is another thing.
     * No name of an instrument has a dot: a strike's is spelled "d". */
    const char *dot = memchr(channel + 5, '.', length - 5);
    const char *end = channel + length;
    return dot != NULL && memchr(dot + 1, '.', (size_t)(end - dot - 1)) == NULL ? MESSAGE_BOOK : MESSAGE_UNKNOWN;
}

enum { CHANNEL_MAX = 128 }; /* bytes; the longest that we ask for has an instrument of 48 and 20 around it */

static const char common_beginning[] = "{\"jsonrpc\":\"2.0\",\"method\":\"subscription\",\"params\":{\"channel\":\"";
static const char common_data[] = "\",\"data\":";
static const char common_end[] = "}}";
enum { COMMON_BEGINNING = sizeof common_beginning - 1, COMMON_DATA = sizeof common_data - 1, COMMON_END = sizeof common_end - 1 };

/* The data of a notification that begins as they all do, of a channel that we record; NULL where it is anything else. */
static const char *find_common_data(const struct json *json, const char *frame, enum message *message)
{
    if (!begins_with(frame, (size_t)(json->end - frame), common_beginning, COMMON_BEGINNING))
        return NULL;
    const char *channel = frame + COMMON_BEGINNING;
    for (const char *block = channel; json->end - block >= BLOCK_BYTES; block += BLOCK_BYTES) {
        uint32_t specials = block_specials(block);
        if (specials == 0)
            continue;
        const char *stop = block + block_first(specials);
        *message = channel_message(channel, (size_t)(stop - channel));
        if (stop - channel > CHANNEL_MAX || *message == MESSAGE_UNKNOWN ||
            !begins_with(stop, (size_t)(json->end - stop), common_data, COMMON_DATA))
            return NULL;
        return stop + COMMON_DATA;
    }
    return NULL;
}

/* Where the parts of a message are; NULL where they are absent. */
struct envelope {
    const char *method, *params, *result, *error;
};
static const struct shape_field envelope_fields[] = {
    {SHAPE_VALUE("method", PLACE, envelope, method)},
    {SHAPE_VALUE("params", PLACE, envelope, params)},
    {SHAPE_VALUE("result", PLACE, envelope, result)},
    {SHAPE_VALUE("error", PLACE, envelope, error)},
    SHAPE_END,
};
static const struct shape envelope_shape = {envelope_fields, SHAPE_COUNT(envelope_fields), 0, 1};

struct params {
    const char *channel, *data, *type;
};
static const struct shape_field params_fields[] = {
    {SHAPE_VALUE("channel", PLACE, params, channel)},
    {SHAPE_VALUE("data", PLACE, params, data)},
    {SHAPE_VALUE("type", PLACE, params, type)},
    SHAPE_END,
};
static const struct shape params_shape = {params_fields, SHAPE_COUNT(params_fields), 0, 2};

/* Whether there is a string that reads `word`, at a place that was walked over before. */
static bool reads(struct json *json, const char *place, const char *word)
{
    char text[SHAPE_WORD_MAX];
    size_t length = 0;
    return place != NULL && json_string(json, place, text, sizeof text, &length) != NULL && length == strlen(word) &&
           memcmp(text, word, length) == 0;
}

static enum decode_result decode_subscription(struct decoding *decoding, const struct params *params)
{
    char channel[CHANNEL_MAX];
    size_t length = 0;
    if (params->channel == NULL || json_string(&decoding->json, params->channel, channel, sizeof channel, &length) == NULL)
        return DECODE_BAD;
    enum message message = length <= sizeof channel ? channel_message(channel, length) : MESSAGE_UNKNOWN;
    if (message == MESSAGE_UNKNOWN) {
        decoding->decoded->message = message;
        return DECODE_OK;
    }
    if (params->data == NULL || take_data(decoding, params->data, message) == NULL)
        return DECODE_BAD;
    return judge(decoding->room, decoding->decoded);
}

/* A request of the venue, or a notification: what has a method. */
static enum decode_result decode_method(struct decoding *decoding, const struct envelope *envelope)
{
    struct json *json = &decoding->json;
    bool is_subscription = reads(json, envelope->method, "subscription");
    struct params params = {NULL, NULL, NULL};
    uint64_t present;
    if (!is_subscription && !reads(json, envelope->method, "heartbeat")) {
        decoding->decoded->message = MESSAGE_UNKNOWN;
        return DECODE_OK;
    }
    if (envelope->params == NULL || shape_take(json, envelope->params, &params_shape, &params, &present) == NULL)
        return DECODE_BAD;
    if (is_subscription)
        return decode_subscription(decoding, &params);
    decoding->decoded->message = reads(json, params.type, "test_request") ? MESSAGE_TEST_REQUEST
                                 : reads(json, params.type, "heartbeat")  ? MESSAGE_HEARTBEAT
                                                                          : MESSAGE_UNKNOWN;
    return DECODE_OK;
}

/* Any message: first over all of it, so that from here on it is known to be complete. */
static enum decode_result decode_any(struct decoding *decoding, const char *frame)
{
    struct json *json = &decoding->json;
    struct envelope envelope = {NULL, NULL, NULL, NULL};
    uint64_t present;
    *decoding->decoded = (struct decoded){.count = 0};
    const char *behind = shape_take(json, json_space(json, frame), &envelope_shape, &envelope, &present);
    if (behind == NULL)
        return (enum decode_result)json->why;
    if (json_space(json, behind) != json->end)
        return DECODE_BAD;
    if (envelope.method != NULL)
        return decode_method(decoding, &envelope);
    decoding->decoded->message = envelope.error != NULL    ? MESSAGE_ERROR
                                 : envelope.result != NULL ? MESSAGE_REPLY
                                                           : MESSAGE_UNKNOWN;
    return DECODE_OK;
}

enum decode_result decode_deribit(const char *frame, size_t length, int64_t recv_ns, uint32_t conn,
                                  const struct decode_room *room, struct decoded *decoded)
{
    struct decoding decoding = {.room = room, .decoded = decoded};
    enum message message;
    if (length > DECODE_FRAME_MAX)
        return DECODE_BAD;
    decoding.json.end = frame + length;
    decoding.head.recv_ns = recv_ns;
    decoding.head.conn = conn;
    const char *data = find_common_data(&decoding.json, frame, &message);
    if (data != NULL) {
        const char *behind = take_data(&decoding, data, message);
        if (behind == NULL)
            return (enum decode_result)decoding.json.why;
        if (decoding.json.end - behind == COMMON_END && memcmp(behind, common_end, COMMON_END) == 0)
            return judge(room, decoded);
    }
    return decode_any(&decoding, frame);
}
