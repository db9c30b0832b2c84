/* test_deribit_ticker.c: each value of each spelling comes into its field; what is absent is NaN; an object that does not end is left. */
#define _GNU_SOURCE
#include "../deribit_ticker.h"

#include <math.h>
#include <stddef.h>

#include "../literal.h"
#include "guarded_text.h"

static const char of_2026[] =
    "{\"timestamp\":1700000000123,\"state\":\"open\",\"stats\":{\"high\":1.5,\"low\":2.5,\"price_change\":null,\"volume\":4.5,"
    "\"volume_usd\":5.5},\"greeks\":{\"delta\":-6.5,\"gamma\":7.5e-4,\"vega\":8.5,\"theta\":-9.5,\"rho\":10.5},\"index_price\":11.5,"
    "\"instrument_name\":\"ETH-30JUL21-2800-C\",\"last_price\":12.5,\"settlement_price\":13.5,\"min_price\":14.5,\"max_price\":15.5,"
    "\"open_interest\":16.5,\"mark_price\":17.5,\"interest_rate\":18.5,\"estimated_delivery_price\":19.5,\"best_ask_price\":20.5,"
    "\"best_bid_price\":21.5,\"mark_iv\":22.5,\"bid_iv\":23.5,\"ask_iv\":24.5,\"underlying_price\":25.5,"
    "\"underlying_index\":\"ETH-30JUL21\",\"best_ask_amount\":26.5,\"best_bid_amount\":27.5}}}";
static const char of_2021[] =
    "{\"underlying_price\":25.5,\"underlying_index\":\"ETH-30JUL21\",\"timestamp\":1700000000123,\"stats\":{\"volume\":4.5,"
    "\"price_change\":null,\"low\":2.5,\"high\":1.5},\"state\":\"open\",\"settlement_price\":13.5,\"open_interest\":16.5,"
    "\"min_price\":14.5,\"max_price\":15.5,\"mark_price\":17.5,\"mark_iv\":22.5,\"last_price\":12.5,\"interest_rate\":18.5,"
    "\"instrument_name\":\"ETH-30JUL21-2800-C\",\"index_price\":11.5,\"greeks\":{\"vega\":8.5,\"theta\":-9.5,\"rho\":10.5,"
    "\"gamma\":7.5e-4,\"delta\":-6.5},\"estimated_delivery_price\":19.5,\"bid_iv\":23.5,\"best_bid_price\":21.5,"
    "\"best_bid_amount\":27.5,\"best_ask_price\":20.5,\"best_ask_amount\":26.5,\"ask_iv\":24.5}}}";
static const struct record_head head = {.seq = 1, .recv_ns = 2, .conn = 3};
static struct quote quote;

/* Over rubbish, at the end of what is readable and with LITERAL_BEFORE bytes before it. */
static bool takes(const char *text)
{
    size_t length = strlen(text);
    const char *front = against_the_front(text, length, LITERAL_BEFORE);
    bool taken = deribit_ticker(front, front + length, &head, &quote) == front + length - 2;
    const char *end = against_the_end(text, length);
    memset(&quote, 0x55, sizeof quote);
    check((deribit_ticker(end, end + length, &head, &quote) == end + length - 2) == taken, "what lies around matters", text);
    return taken;
}

/* What the texts say; volume in USD is only in one. */
static struct quote expected(double volume_usd)
{
    struct quote all;
    deribit_ticker_clear(&head, &all);
    all.head.exch_ns = INT64_C(1700000000123000000);
    all.head.flags = RECORD_OPTION;
    strcpy(all.head.instrument, "ETH-30JUL21-2800-C");
    strcpy(all.underlying_index, "ETH-30JUL21");
    strcpy(all.state, "open");
    all.high = 1.5, all.low = 2.5, all.volume = 4.5, all.volume_usd = volume_usd;
    all.delta = -6.5, all.gamma = 7.5e-4, all.vega = 8.5, all.theta = -9.5, all.rho = 10.5;
    all.index_price = 11.5, all.last_price = 12.5, all.settlement_price = 13.5, all.min_price = 14.5, all.max_price = 15.5;
    all.open_interest = 16.5, all.mark_price = 17.5, all.interest_rate = 18.5, all.estimated_delivery_price = 19.5;
    all.ask_price = 20.5, all.bid_price = 21.5, all.mark_iv = 22.5, all.bid_iv = 23.5, all.ask_iv = 24.5;
    all.underlying_price = 25.5, all.ask_amount = 26.5, all.bid_amount = 27.5;
    return all;
}

static void every_value_comes_into_its_field(void)
{
    struct quote all = expected(5.5);
    check(takes(of_2026) && memcmp(&quote, &all, sizeof all) == 0, "another quote", of_2026);
    char unsettled[sizeof of_2026] = {0};
    const char *settlement = strstr(of_2026, ",\"settlement_price\""), *behind = strstr(of_2026, ",\"min_price\"");
    memcpy(unsettled, of_2026, (size_t)(settlement - of_2026));
    strcat(unsettled, behind);
    all.settlement_price = NAN;
    check(takes(unsettled) && memcmp(&quote, &all, sizeof all) == 0, "another quote", unsettled);
    all = expected(NAN);
    check(takes(of_2021) && memcmp(&quote, &all, sizeof all) == 0, "another quote", of_2021);
}

static void absent_is_nan_and_no_text(void)
{
    memset(&quote, 0x55, sizeof quote);
    deribit_ticker_clear(&head, &quote);
    check(memcmp(&quote.head, &head, sizeof head) == 0, "another head", "");
    for (const double *number = &quote.bid_price; number <= &quote.interest_value; number++)
        check(isnan(*number), "a number that is not absent", "");
    check(quote.underlying_index[0] == '\0' && quote.state[15] == '\0', "text", "");
}

/* Braces and quotes that end what is in the data, one after the other made another mark. */
static void what_does_not_end_is_left(void)
{
    static const char *const ends[] = {"},\"greeks\"", "},\"index_price\"", "},\"state\"", "},\"estimated", "}}}", "\",\"stats\"", "\",\"last_price\"",
                                       "\",\"best_ask_amount\"", "\",\"timestamp\"", "\",\"settlement_price\"", "\",\"index_price\""};
    const char *const texts[] = {of_2026, of_2021};
    for (size_t i = 0; i < 2; i++)
        for (size_t which = 0; which < sizeof ends / sizeof *ends; which++) {
            char other[sizeof of_2026];
            const char *found = strstr(texts[i], ends[which]);
            if (found == NULL)
                continue;
            strcpy(other, texts[i]);
            other[found - texts[i]] = ']';
            check(!takes(other), "taken", other);
        }
}

int main(void)
{
    make_guards();
    every_value_comes_into_its_field();
    absent_is_nan_and_no_text();
    what_does_not_end_is_left();
    printf("test_deribit_ticker: each spelling\n");
    return failures != 0;
}
