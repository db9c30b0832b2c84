/* test_deribit_top.c: best bids and offers, and windows of levels, cut at each byte against a guard page. R8. */
#define _GNU_SOURCE
#include "../deribit_top.h"

#include <math.h>

#include "other_data.h"

#define QUOTE "quote.BTC-PERPETUAL"
#define WINDOW "book.BTC-PERPETUAL.none.10.100ms"
#define IDENTITY "\"timestamp\":1700000000123,\"instrument_name\":\"BTC-PERPETUAL\""

static uint64_t bbo(const char *text)
{
    return take_whole(deribit_top, QUOTE, text, sizeof(struct bbo));
}

static uint64_t window(const char *text)
{
    return take_whole(deribit_top, WINDOW, text, sizeof(struct depth));
}

static void a_quote_is_one_record(void)
{
    check(bbo("{" IDENTITY ",\"best_bid_price\":3914.5,\"best_bid_amount\":40,\"best_ask_price\":3996.61,\"best_ask_amount\":50.0}") == 1, "one", "");
    const struct bbo *got = records.bbos;
    check(got->head.exch_ns == INT64_C(1700000000123000000) && got->head.recv_ns == 77 && got->head.conn == 3, "the head", "");
    check(got->head.flags == 0 && strcmp(got->head.instrument, "BTC-PERPETUAL") == 0, "the head", "");
    check(got->bid_price == 3914.5 && got->bid_amount == 40 && got->ask_price == 3996.61 && got->ask_amount == 50, "the numbers", "");
    bbo("{\"best_ask_amount\":5.0, \"best_ask_price\":1.5, \"best_bid_amount\":3.0, \"new\":[1,{}], \"instrument_name\":\"A\", \"timestamp\":1}");
    check(isnan(got->bid_price) && isnan(got->bid_amount) && got->ask_price == 1.5, "an amount without a price is none", "");
}

static void an_empty_side_is_absent(void)
{
    bbo("{" IDENTITY ",\"best_bid_price\":0.0,\"best_bid_amount\":0.0,\"best_ask_price\":null,\"best_ask_amount\":null}");
    check(isnan(records.bbos->bid_price) && isnan(records.bbos->bid_amount), "0 and 0", "");
    check(isnan(records.bbos->ask_price) && isnan(records.bbos->ask_amount), "null", "");
    bbo("{" IDENTITY ",\"best_bid_price\":0.0,\"best_bid_amount\":5.0,\"best_ask_price\":-1.5,\"best_ask_amount\":0.0}");
    check(records.bbos->bid_price == 0 && records.bbos->bid_amount == 5 && records.bbos->ask_price == -1.5, "a combo's price of 0", "");
}

static void a_window_is_a_record_per_level(void)
{
    check(window("{" IDENTITY ",\"change_id\":109615,\"bids\":[[160,40],[159.5,1.0]],\"asks\":[[161,20.0]]}") == 3, "three", "");
    static const struct { double price, amount; uint8_t side, level; } wanted[] = {
        {160, 40, BOOK_BID, 1}, {159.5, 1, BOOK_BID, 2}, {161, 20, BOOK_ASK, 1}};
    for (int i = 0; i < 3; i++) {
        const struct depth *got = &records.depths[i];
        check(got->price == wanted[i].price && got->amount == wanted[i].amount && got->side == wanted[i].side &&
                  got->level == wanted[i].level, "a level", "");
        check(got->change_id == 109615 && got->levels_max == 10 && isnan(got->price_group), "what all have", "");
        check(got->head.flags == (i == 2 ? RECORD_LAST : 0) && strcmp(got->head.instrument, "BTC-PERPETUAL") == 0, "the head", "");
    }
    check(window("{\"asks\":[ [161 , 20.0] ],\"bids\":null,\"change_id\":7," IDENTITY "}") == 1, "asks only", "");
    check(records.depths->side == BOOK_ASK, "asks only", "");
}

static void an_empty_window_is_a_record_without_a_level(void)
{
    static const char *const empty[] = {"{" IDENTITY ",\"change_id\":5,\"bids\":[],\"asks\":[]}", "{" IDENTITY ",\"change_id\":5}"};
    for (int i = 0; i < 2; i++) {
        check(window(empty[i]) == 1, "one", empty[i]);
        check(isnan(records.depths->price) && isnan(records.depths->amount) && records.depths->side == 0 && records.depths->level == 0 &&
                  records.depths->head.flags == RECORD_LAST, "it has nothing", empty[i]);
    }
}

static void what_is_wrong_is_bad(void)
{
    static const char *const quotes[] = {
        "[]", "{}", "{\"timestamp\":1}", "{\"timestamp\":1,\"instrument_name\":\"\"}", "{\"instrument_name\":\"A\"}",
        "{\"timestamp\":null,\"instrument_name\":\"A\"}", "{" IDENTITY ",\"best_bid_price\":\"1\"}", "{" IDENTITY ",\"timestamp\":1}",
        "{\"timestamp\":1,\"instrument_name\":\"0123456789012345678901234567890123456789012345678\"}"};
    static const char *const windows[] = {
        "{" IDENTITY "}", "{" IDENTITY ",\"change_id\":5,\"bids\":{}}", "{" IDENTITY ",\"change_id\":5,\"bids\":[[]]}",
        "{" IDENTITY ",\"change_id\":5,\"bids\":[[1.0]]}", "{" IDENTITY ",\"change_id\":5,\"bids\":[[1.0,2.0,3.0]]}",
        "{" IDENTITY ",\"change_id\":5,\"bids\":[[\"new\",1.0,2.0]]}", "{" IDENTITY ",\"change_id\":5,\"bids\":[[1.0,2.0],]}",
        "{" IDENTITY ",\"change_id\":5,\"bids\":[[null,2.0]]}", "{" IDENTITY ",\"change_id\":5,\"bids\":[[1.0,2.0] [1.0,2.0]]}"};
    for (size_t i = 0; i < sizeof quotes / sizeof *quotes; i++)
        is_bad(deribit_top, QUOTE, quotes[i]);
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++)
        is_bad(deribit_top, WINDOW, windows[i]);
}

static void a_side_has_at_most_255_levels(void)
{
    static char text[8192];
    for (int excess = 0; excess < 2; excess++) {
        uint64_t needed;
        size_t at = (size_t)sprintf(text, "{" IDENTITY ",\"change_id\":5,\"bids\":[");
        for (int i = 0; i < UINT8_MAX + excess; i++)
            at += (size_t)sprintf(text + at, "%s[%d.5,1.0]", i ? "," : "", i);
        sprintf(text + at, "]}");
        enum json_result result = take_cut(deribit_top, WINDOW, text, strlen(text), 0, ROOM, &needed);
        check(result == (excess ? JSON_BAD : JSON_OK) && (excess || needed == UINT8_MAX), "levels", "");
    }
}

int main(void)
{
    make_guards();
    a_quote_is_one_record();
    an_empty_side_is_absent();
    a_window_is_a_record_per_level();
    an_empty_window_is_a_record_without_a_level();
    what_is_wrong_is_bad();
    a_side_has_at_most_255_levels();
    printf("test_deribit_top: best bids and offers, windows, each cut at every byte\n");
    return failures != 0;
}
