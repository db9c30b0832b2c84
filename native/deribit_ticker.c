/* deribit_ticker.c: the usual spellings, each as a form: as of 2026, with a settlement price or, until its first settlement, without,
 * and as of 2021, an alphabet from Z to A. */
#include "deribit_ticker.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "form.h"
#include "literal.h"

enum { CLOSERS = 3 }; /* behind the last value: of the data, the params and the message */

/* A member: what is before its key, the key, what is behind it; the field that its value belongs to; bytes between that and the next
 * comma. */
#define TICKER_2026_WITH(SETTLEMENT, MEMBER)                                                   \
    MEMBER("{",             timestamp,                "",   head.exch_ns,             0)       \
    MEMBER(",",             state,                    "\"", state,                    1)       \
    MEMBER(",\"stats\":{",  high,                     "",   high,                     0)       \
    MEMBER(",",             low,                      "",   low,                      0)       \
    MEMBER(",",             price_change,             "",   price_change,             0)       \
    MEMBER(",",             volume,                   "",   volume,                   0)       \
    MEMBER(",",             volume_usd,               "",   volume_usd,               1)       \
    MEMBER(",\"greeks\":{", delta,                    "",   delta,                    0)       \
    MEMBER(",",             gamma,                    "",   gamma,                    0)       \
    MEMBER(",",             vega,                     "",   vega,                     0)       \
    MEMBER(",",             theta,                    "",   theta,                    0)       \
    MEMBER(",",             rho,                      "",   rho,                      1)       \
    MEMBER(",",             index_price,              "",   index_price,              0)       \
    MEMBER(",",             instrument_name,          "\"", head.instrument,          1)       \
    MEMBER(",",             last_price,               "",   last_price,               0)       \
    SETTLEMENT                                                                                 \
    MEMBER(",",             min_price,                "",   min_price,                0)       \
    MEMBER(",",             max_price,                "",   max_price,                0)       \
    MEMBER(",",             open_interest,            "",   open_interest,            0)       \
    MEMBER(",",             mark_price,               "",   mark_price,               0)       \
    MEMBER(",",             interest_rate,            "",   interest_rate,            0)       \
    MEMBER(",",             estimated_delivery_price, "",   estimated_delivery_price, 0)       \
    MEMBER(",",             best_ask_price,           "",   ask_price,                0)       \
    MEMBER(",",             best_bid_price,           "",   bid_price,                0)       \
    MEMBER(",",             mark_iv,                  "",   mark_iv,                  0)       \
    MEMBER(",",             bid_iv,                   "",   bid_iv,                   0)       \
    MEMBER(",",             ask_iv,                   "",   ask_iv,                   0)       \
    MEMBER(",",             underlying_price,         "",   underlying_price,         0)       \
    MEMBER(",",             underlying_index,         "\"", underlying_index,         1)       \
    MEMBER(",",             best_ask_amount,          "",   ask_amount,               0)       \
    MEMBER(",",             best_bid_amount,          "",   bid_amount,               CLOSERS)

#define TICKER_2026(MEMBER) TICKER_2026_WITH(MEMBER(",", settlement_price, "", settlement_price, 0), MEMBER)
#define TICKER_2026_UNSETTLED(MEMBER) TICKER_2026_WITH(, MEMBER)

#define TICKER_2021(MEMBER)                                                                    \
    MEMBER("{",             underlying_price,         "",   underlying_price,         0)       \
    MEMBER(",",             underlying_index,         "\"", underlying_index,         1)       \
    MEMBER(",",             timestamp,                "",   head.exch_ns,             0)       \
    MEMBER(",\"stats\":{",  volume,                   "",   volume,                   0)       \
    MEMBER(",",             price_change,             "",   price_change,             0)       \
    MEMBER(",",             low,                      "",   low,                      0)       \
    MEMBER(",",             high,                     "",   high,                     1)       \
    MEMBER(",",             state,                    "\"", state,                    1)       \
    MEMBER(",",             settlement_price,         "",   settlement_price,         0)       \
    MEMBER(",",             open_interest,            "",   open_interest,            0)       \
    MEMBER(",",             min_price,                "",   min_price,                0)       \
    MEMBER(",",             max_price,                "",   max_price,                0)       \
    MEMBER(",",             mark_price,               "",   mark_price,               0)       \
    MEMBER(",",             mark_iv,                  "",   mark_iv,                  0)       \
    MEMBER(",",             last_price,               "",   last_price,               0)       \
    MEMBER(",",             interest_rate,            "",   interest_rate,            0)       \
    MEMBER(",",             instrument_name,          "\"", head.instrument,          1)       \
    MEMBER(",",             index_price,              "",   index_price,              0)       \
    MEMBER(",\"greeks\":{", vega,                     "",   vega,                     0)       \
    MEMBER(",",             theta,                    "",   theta,                    0)       \
    MEMBER(",",             rho,                      "",   rho,                      0)       \
    MEMBER(",",             gamma,                    "",   gamma,                    0)       \
    MEMBER(",",             delta,                    "",   delta,                    1)       \
    MEMBER(",",             estimated_delivery_price, "",   estimated_delivery_price, 0)       \
    MEMBER(",",             bid_iv,                   "",   bid_iv,                   0)       \
    MEMBER(",",             best_bid_price,           "",   bid_price,                0)       \
    MEMBER(",",             best_bid_amount,          "",   bid_amount,               0)       \
    MEMBER(",",             best_ask_price,           "",   ask_price,                0)       \
    MEMBER(",",             best_ask_amount,          "",   ask_amount,               0)       \
    MEMBER(",",             ask_iv,                   "",   ask_iv,                   CLOSERS)

#define KEY(before, key, behind, field, closers) before "\"" #key "\":" behind
#define KEY_LENGTH(...) (sizeof(KEY(__VA_ARGS__)) - 1)

#define ITS_NUMBER(before, key, behind, field, closers) NUMBER_OF_##key, /* counted from 1 */
#define ITS_KEY(...) KEY(__VA_ARGS__),
#define ITS_KEY_BITS(...) (UINT32_C(1) << KEY_LENGTH(__VA_ARGS__)) - 1,
#define ITS_KEY_LENGTH(...) KEY_LENGTH(__VA_ARGS__),
#define ITS_CLOSERS(before, key, behind, field, closers) closers,
#define ITS_WORD(before, key, behind, field, closers) [offsetof(struct quote, field) / FORM_WORD] = NUMBER_OF_##key,

#define FORM(function, TICKER)                                        \
    static const struct form *function(void)                          \
    {                                                                 \
        enum { NONE, TICKER(ITS_NUMBER) BEHIND };                      \
        static const struct form form = {                             \
            .keys = {TICKER(ITS_KEY)},                                 \
            .key_bits = {TICKER(ITS_KEY_BITS)},                        \
            .key_lengths = {TICKER(ITS_KEY_LENGTH)},                   \
            .closers = {TICKER(ITS_CLOSERS)},                          \
            .members = {TICKER(ITS_WORD)},                             \
            .numbers = offsetof(struct quote, bid_price) / FORM_WORD, \
            .count = BEHIND - 1,                                      \
        };                                                            \
        return &form;                                                 \
    }
FORM(form_2026, TICKER_2026)
FORM(form_2026_unsettled, TICKER_2026_UNSETTLED)
FORM(form_2021, TICKER_2021)

_Static_assert(offsetof(struct quote, bid_price) == sizeof(struct record_head) &&
                   offsetof(struct quote, underlying_index) == sizeof(struct record_head) + NUMBERS * sizeof(double) &&
                   sizeof(struct quote) == FORM_WORDS * FORM_WORD,
               "a quote is head, as many numbers as are read together, and text");

static double *numbers_of(struct quote *quote)
{
    return (double *)(void *)((char *)quote + sizeof(struct record_head));
}

/* Everything but the numbers absent. */
static void begin(const struct record_head *head, struct quote *quote)
{
    quote->head = *head;
    memset(quote->underlying_index, 0, sizeof quote->underlying_index);
    memset(quote->state, 0, sizeof quote->state);
}

void deribit_ticker_clear(const struct record_head *head, struct quote *quote)
{
    begin(head, quote);
    for (int i = 0; i < NUMBERS; i++)
        numbers_of(quote)[i] = NAN;
}

#define BEGIN(field) form_begin(form, &places, at, offsetof(struct quote, field))
#define END(field) form_end(form, &places, at, offsetof(struct quote, field))
#define TEXT(field) literal_string(BEGIN(field), END(field), end, quote->field, sizeof quote->field)
/* Whether the object ends behind its last member. */
#define CLOSES(field) (*END(field) == '}')

const char *deribit_ticker(const char *at, const char *end, const struct record_head *head, struct quote *quote)
{
    struct form_places places;
    bool is_2026 = end - at > 2 && at[2] == 't';
    const struct form *form = is_2026 ? form_2026() : form_2021();
    bool is_read = form_read(form, at, end, &places, numbers_of(quote));
    if (!is_read && is_2026) {
        form = form_2026_unsettled();
        is_read = form_read(form, at, end, &places, numbers_of(quote));
    }
    if (!is_read)
        return NULL;
    begin(head, quote);
    quote->head.flags |= RECORD_OPTION; /* it has Greeks */
    bool are_closed = is_2026 ? CLOSES(volume_usd) && CLOSES(rho) && CLOSES(bid_amount)
                              : CLOSES(high) && CLOSES(delta) && CLOSES(ask_iv);
    bool is_usual = are_closed && literal_ms(BEGIN(head.exch_ns), END(head.exch_ns), &quote->head.exch_ns) && TEXT(head.instrument) &&
                    TEXT(underlying_index) && TEXT(state);
    return is_usual ? end - CLOSERS + 1 : NULL;
}
