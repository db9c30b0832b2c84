/* deribit_usual.c: the spellings, each as a chain of what comes: as of 2026, and as of 2021, an alphabet from Z to A. */
#include "deribit_usual.h"

#include <stddef.h>
#include <string.h>

#include "literal.h"

enum { CLOSERS = 3 }; /* behind the last value: of the data, the params and the message */

#define SIZED(text) text, sizeof text - 1
#define SPELLED(key) "\"" key "\":"
#define KEY(key) SIZED(SPELLED(key))
#define FIRST_KEY(key) SIZED("{" SPELLED(key))
#define KEY_WITHIN(object, key) SIZED(SPELLED(object) "{" SPELLED(key))

/* Behind the data, if that was all of it; or NULL. The other two closers are the caller's to look at. */
static inline const char *finish(const struct literal *literal)
{
    const char *behind = literal->end - CLOSERS + 1;
    return literal->at == literal->end + 1 && behind[-1] == '}' ? behind : NULL;
}

/* ------------------------------------------------------------------ ticker */

#define NUMBER(key, field) literal_number(literal, KEY(key), 0, &quote->field)
#define TEXT(key, field) literal_text(literal, KEY(key), quote->field, sizeof quote->field)
/* The first and last member of the data, and of an object in it. */
#define FIRST(key, field) literal_number(literal, FIRST_KEY(key), 0, &quote->field)
#define LAST(key, field) literal_number(literal, KEY(key), CLOSERS, &quote->field)
#define FIRST_OF(object, key, field) literal_number(literal, KEY_WITHIN(object, key), 0, &quote->field)
#define LAST_OF(key, field) (literal_number(literal, KEY(key), 1, &quote->field) && literal->at[-2] == '}')

INLINE bool is_ticker_2026(struct literal *literal, struct quote *quote)
{
    return literal_time_ms(literal, FIRST_KEY("timestamp"), &quote->head.exch_ns) && TEXT("state", state) &&
           FIRST_OF("stats", "high", high) && NUMBER("low", low) && NUMBER("price_change", price_change) &&
           NUMBER("volume", volume) && LAST_OF("volume_usd", volume_usd) &&
           FIRST_OF("greeks", "delta", delta) && NUMBER("gamma", gamma) && NUMBER("vega", vega) && NUMBER("theta", theta) &&
           LAST_OF("rho", rho) &&
           NUMBER("index_price", index_price) && TEXT("instrument_name", head.instrument) && NUMBER("last_price", last_price) &&
           NUMBER("settlement_price", settlement_price) && NUMBER("min_price", min_price) && NUMBER("max_price", max_price) &&
           NUMBER("open_interest", open_interest) && NUMBER("mark_price", mark_price) && NUMBER("interest_rate", interest_rate) &&
           NUMBER("estimated_delivery_price", estimated_delivery_price) && NUMBER("best_ask_price", ask_price) &&
           NUMBER("best_bid_price", bid_price) && NUMBER("mark_iv", mark_iv) && NUMBER("bid_iv", bid_iv) &&
           NUMBER("ask_iv", ask_iv) && NUMBER("underlying_price", underlying_price) &&
           TEXT("underlying_index", underlying_index) && NUMBER("best_ask_amount", ask_amount) &&
           LAST("best_bid_amount", bid_amount);
}

INLINE bool is_ticker_2021(struct literal *literal, struct quote *quote)
{
    return FIRST("underlying_price", underlying_price) && TEXT("underlying_index", underlying_index) &&
           literal_time_ms(literal, KEY("timestamp"), &quote->head.exch_ns) &&
           FIRST_OF("stats", "volume", volume) && NUMBER("price_change", price_change) && NUMBER("low", low) &&
           LAST_OF("high", high) &&
           TEXT("state", state) && NUMBER("settlement_price", settlement_price) && NUMBER("open_interest", open_interest) &&
           NUMBER("min_price", min_price) && NUMBER("max_price", max_price) && NUMBER("mark_price", mark_price) &&
           NUMBER("mark_iv", mark_iv) && NUMBER("last_price", last_price) && NUMBER("interest_rate", interest_rate) &&
           TEXT("instrument_name", head.instrument) && NUMBER("index_price", index_price) &&
           FIRST_OF("greeks", "vega", vega) && NUMBER("theta", theta) && NUMBER("rho", rho) && NUMBER("gamma", gamma) &&
           LAST_OF("delta", delta) &&
           NUMBER("estimated_delivery_price", estimated_delivery_price) && NUMBER("bid_iv", bid_iv) &&
           NUMBER("best_bid_price", bid_price) && NUMBER("best_bid_amount", bid_amount) && NUMBER("best_ask_price", ask_price) &&
           NUMBER("best_ask_amount", ask_amount) && LAST("ask_iv", ask_iv);
}

/* Compiled twice: with `numbers`, and without. */
INLINE const char *usual_ticker(const char *at, const char *end, struct quote *quote, struct numbers *numbers)
{
    struct commas commas;
    struct literal literal;
    if (!literal_begin(&literal, &commas, numbers, at, end))
        return NULL;
    bool is_usual = at[2] == 't' ? is_ticker_2026(&literal, quote) : is_ticker_2021(&literal, quote);
    quote->head.flags |= RECORD_OPTION; /* it has Greeks */
    return is_usual && literal_numbers(&literal) ? finish(&literal) : NULL;
}

const char *deribit_usual_ticker(const char *at, const char *end, struct quote *quote)
{
    struct numbers numbers;
    return numbers_gain() ? usual_ticker(at, end, quote, &numbers) : usual_ticker(at, end, quote, NULL);
}

/* ------------------------------------------------------------------ book */

#define MEMBER(key, word) SIZED(SPELLED(key) "\"" word "\"")
#define FIRST_MEMBER(key, word) SIZED("{" SPELLED(key) "\"" word "\"")
#define SIDE(key) SIZED(SPELLED(key) "[")

/* The action of a level at its opening bracket; behind the comma that follows it, or NULL. */
static inline const char *usual_action(const char *at, const char *end, uint8_t *action)
{
    if (end - at < BLOCK_BYTES)
        return NULL;
    bool is_change = memcmp(at, "[\"change", 8) == 0;
    if (memcmp(at, "[\"new\",", 7) == 0) {
        *action = BOOK_NEW;
        return at + 7;
    }
    if ((!is_change && memcmp(at, "[\"delete", 8) != 0) || memcmp(at + 8, "\",", 2) != 0)
        return NULL;
    *action = is_change ? BOOK_CHANGE : BOOK_DELETE;
    return at + 10;
}

/* ["new",0.0065,10.0] and the comma behind it; how many marks are before that. */
INLINE bool usual_level(struct literal *literal, struct book *level, ptrdiff_t *closers)
{
    const char *at = usual_action(literal->at, literal->end, &level->action);
    if (UNLIKELY(at == NULL || at != literal_comma(literal) + 1))
        return false;
    const char *comma = literal_comma(literal);
    if (UNLIKELY(!number_plain_signed_until(at, comma, &level->price))) /* combos have prices below 0 */
        return false;
    at = literal->at;
    comma = literal_comma(literal);
    const char *end = comma;
    while (end > at && (end[-1] | 0x20) == '}')
        end--;
    *closers = comma - end;
    return *closers > 0 && *end == ']' && number_plain_until(at, end, &level->amount);
}

/* The levels of a side, each into the next record; `closing` marks and a comma are behind them. */
INLINE bool usual_side(struct literal *literal, const char *key, size_t key_length, ptrdiff_t closing,
                       struct book_message *message, enum book_side side)
{
    const char *at = literal->at + key_length, *comma = literal->text + *literal->next;
    ptrdiff_t closers;
    if (UNLIKELY(comma - at < 1 || !literal_is_key(at, key, key_length)))
        return false;
    if (*at == ']') {
        literal_comma(literal);
        return comma == at + 1 + closing;
    }
    literal->at = at;
    do {
        if (UNLIKELY(message->count == message->max))
            return false;
        struct book *level = &message->books[message->count++];
        level->side = (uint8_t)side;
        if (UNLIKELY(!usual_level(literal, level, &closers)))
            return false;
    } while (closers == 1);
    return closers == 2 + closing && literal->at[-closers] == ']';
}

/* A snapshot has no prev_change_id. */
INLINE bool is_book_2026(struct literal *literal, struct book_message *message)
{
    if (!literal_time_ms(literal, FIRST_KEY("timestamp"), &message->head.exch_ns))
        return false;
    bool is_change = literal_member(literal, MEMBER("type", "change"));
    message->type = is_change ? BOOK_TYPE_CHANGE : BOOK_TYPE_SNAPSHOT;
    return (is_change || literal_member(literal, MEMBER("type", "snapshot"))) &&
           literal_u64(literal, KEY("change_id"), 0, &message->change_id) &&
           literal_text(literal, KEY("instrument_name"), message->head.instrument, sizeof message->head.instrument) &&
           usual_side(literal, SIDE("bids"), 0, message, BOOK_BID) &&
           usual_side(literal, SIDE("asks"), is_change ? 0 : CLOSERS, message, BOOK_ASK) &&
           (!is_change || literal_u64(literal, KEY("prev_change_id"), CLOSERS, &message->prev_change_id));
}

INLINE bool is_book_2021(struct literal *literal, struct book_message *message)
{
    bool is_change = literal_member(literal, FIRST_MEMBER("type", "change"));
    message->type = is_change ? BOOK_TYPE_CHANGE : BOOK_TYPE_SNAPSHOT;
    return (is_change || literal_member(literal, FIRST_MEMBER("type", "snapshot"))) &&
           literal_time_ms(literal, KEY("timestamp"), &message->head.exch_ns) &&
           (!is_change || literal_u64(literal, KEY("prev_change_id"), 0, &message->prev_change_id)) &&
           literal_text(literal, KEY("instrument_name"), message->head.instrument, sizeof message->head.instrument) &&
           literal_u64(literal, KEY("change_id"), 0, &message->change_id) &&
           usual_side(literal, SIDE("bids"), 0, message, BOOK_BID) && usual_side(literal, SIDE("asks"), CLOSERS, message, BOOK_ASK);
}

const char *deribit_usual_book(const char *at, const char *end, struct book_message *message)
{
    struct commas commas;
    struct literal literal;
    if (!literal_begin(&literal, &commas, NULL, at, end))
        return NULL;
    bool is_usual = at[3] == 'i' ? is_book_2026(&literal, message) : is_book_2021(&literal, message);
    return is_usual ? finish(&literal) : NULL;
}
