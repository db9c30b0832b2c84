/* test_deribit_data.c: tickers, trades and books of Deribit, straight into records, cut at each byte against a guard page. R8. */
#define _GNU_SOURCE
#include "../deribit_data.h"

#include <math.h>
#include <stdlib.h>

#include "guarded_text.h"

enum { ROOM = 8 };
static union { struct quote quotes[ROOM]; struct trade trades[ROOM]; struct book books[ROOM]; } records;

#define IDENTITY "\"timestamp\":1700000000123,\"instrument_name\":\"BTC-PERPETUAL\""
#define TICKER(members) "{" IDENTITY members "}"
#define TRADE(members) "{" IDENTITY ",\"trade_seq\":5,\"trade_id\":\"t\",\"price\":1.5,\"amount\":2.0,\"direction\":\"buy\"" members "}"
#define SNAPSHOT(members) "{" IDENTITY ",\"type\":\"snapshot\",\"change_id\":9" members "}"
#define CHANGE(members) "{" IDENTITY ",\"type\":\"change\",\"change_id\":9,\"prev_change_id\":8" members "}"

/* The answer for `length` bytes: at the end of what is readable, or with the 16 bytes before them that a number may look at. */
static enum json_result take_cut(enum message message, const char *text, size_t length, int front, uint64_t room, uint64_t *needed)
{
    const char *at = front ? against_the_front(text, length, NUMBER_BEFORE) : against_the_end(text, length);
    const struct decode_room limits = {records.quotes, records.trades, records.books, room, room, room, NULL};
    struct decoded decoded = {.message = 0, .needed = 99};
    struct decoding decoding = {.json = {.end = at + length}, .head = {.recv_ns = 77, .conn = 3}, .room = &limits, .decoded = &decoded};
    const char *behind = deribit_data(&decoding, at, message);
    *needed = decoded.needed;
    check(behind == NULL || behind == at + length, "taken to another place", text);
    check(behind == NULL || decoded.message == message, "another message", text);
    return behind == NULL ? decoding.json.why : JSON_OK;
}

static void is_untouched(uint64_t from, int rubbish, const char *text)
{
    while (from < sizeof records && ((unsigned char *)&records)[from] == rubbish)
        from++;
    check(from == sizeof records, "a byte behind the records was written", text);
}

/* Takes data that is right, into slots full of `rubbish`; cut at any byte it needs more. How many records it needed. */
static uint64_t take_into(enum message message, const char *text, uint64_t room, int rubbish)
{
    uint64_t needed;
    for (size_t cut = 0; cut < strlen(text); cut++)
        for (int front = 0; front < 2; front++)
            check(take_cut(message, text, cut, front, room, &needed) == JSON_MORE, "a beginning does not need more", text);
    for (int front = 2; front-- > 0;) {
        memset(&records, rubbish, sizeof records);
        check(take_cut(message, text, strlen(text), front, room, &needed) == JSON_OK, "should be taken", text);
    }
    return needed;
}

/* The same, with every byte of the records it needed the same, whatever was in the slots, and nothing behind them. */
static uint64_t take(enum message message, const char *text)
{
    size_t size = message == MESSAGE_QUOTE ? sizeof(struct quote) : message == MESSAGE_TRADE ? sizeof(struct trade) : sizeof(struct book);
    static char first[sizeof records];
    uint64_t needed = take_into(message, text, ROOM, 0x55);
    memcpy(first, &records, sizeof records);
    is_untouched(needed * size, 0x55, text);
    take_into(message, text, ROOM, 0xaa);
    is_untouched(needed * size, 0xaa, text);
    check(needed <= ROOM && memcmp(first, &records, needed * size) == 0, "a byte was not written", text);
    for (uint64_t i = 0; i < needed; i++) {
        const struct record_head *head = (const struct record_head *)(const void *)((char *)&records + i * size);
        check(head->recv_ns == 77 && head->conn == 3 && head->seq == 0, "the head of the frame", text);
        check(head->exch_ns == INT64_C(1700000000123000000) && strcmp(head->instrument, "BTC-PERPETUAL") == 0, "the head", text);
    }
    return needed;
}

static void is_bad(enum message message, const char *text)
{
    uint64_t needed;
    for (int front = 0; front < 2; front++)
        check(take_cut(message, text, strlen(text), front, ROOM, &needed) == JSON_BAD, "should be bad", text);
}

/* Each of the members is needed: without it, and with null for it, the object is bad. The members end with NULL. */
static void each_is_required(enum message message, const char *const (*members)[2], int in_array)
{
    for (int missing = -1; missing == -1 || members[missing][0] != NULL; missing++)
        for (int null = 0; null < 2; null++) {
            char text[1024] = "[{";
            for (int i = 0; members[i][0] != NULL; i++)
                if (i != missing || null)
                    sprintf(text + strlen(text), "%s\"%s\":%s", strlen(text) > 2 ? "," : "", members[i][0], i == missing ? "null" : members[i][1]);
            strcat(text, in_array ? "}]" : "}");
            if (missing == -1)
                take_into(message, text + !in_array, ROOM, 0);
            else
                is_bad(message, text + !in_array);
        }
}

static double number_of(const char *name)
{
    double value = -1;
    for (const struct record_field *field = record_fields(RECORD_QUOTE); field->name != NULL; field++)
        if (strcmp(field->name, name) == 0 && field->type == RECORD_F64)
            memcpy(&value, (char *)&records + field->offset, sizeof value);
    return value;
}

/* In twelve orders, each number in the field of its name; absent, all are NaN. */
static void every_number_of_a_ticker_has_its_field(void)
{
    static const char *const top[] = {
        "index_price", "last_price", "settlement_price", "min_price", "max_price", "open_interest", "mark_price", "interest_rate",
        "estimated_delivery_price", "best_ask_price", "best_bid_price", "mark_iv", "bid_iv", "ask_iv", "underlying_price",
        "best_ask_amount", "best_bid_amount", "interest_value", "current_funding", "funding_8h", "delivery_price",
    };
    static const char *const inner[] = {"high", "low", "price_change", "volume", "volume_usd", "volume_notional", "delta", "gamma", "vega", "theta", "rho"};
    enum { TOP = sizeof top / sizeof *top, INNER = sizeof inner / sizeof *inner, STATS = 6 };
    for (int step = 1; step < TOP; step++) {
        char text[2048];
        if (step % 3 == 0 || step % 7 == 0)
            continue; /* would not come by each of the 21 */
        size_t at = (size_t)sprintf(text, "{" IDENTITY ",\"state\":\"open\",\"underlying_index\":\"index\",\"stats\":{");
        for (int i = 0; i < INNER; i++)
            at += (size_t)sprintf(text + at, "%s\"%s\":%d.5", i == STATS ? "},\"greeks\":{" : i > 0 ? "," : "", inner[i], 100 + i);
        at += (size_t)sprintf(text + at, "}");
        for (int i = 0; i < TOP; i++)
            at += (size_t)sprintf(text + at, ",\"%s\":%d.25", top[i * step % TOP], 1 + i * step % TOP);
        sprintf(text + at, "}");
        check(take(MESSAGE_QUOTE, text) == 1, "one quote", text);
        for (int i = 0; i < TOP; i++)
            check(number_of(top[i] + (strncmp(top[i], "best_", 5) == 0 ? 5 : 0)) == 1.25 + i, top[i], text);
        for (int i = 0; i < INNER; i++)
            check(number_of(inner[i]) == 100.5 + i, inner[i], text);
        check(strcmp(records.quotes->state, "open") == 0 && strcmp(records.quotes->underlying_index, "index") == 0, "texts", text);
        check(records.quotes->head.flags == RECORD_OPTION, "Greeks make an option", text);
    }
    static const char *const bare[] = {TICKER(""), TICKER(",\"greeks\":null,\"stats\":null,\"mark_price\":null,\"funding_9h\":1.0")};
    for (int i = 0; i < 2; i++) {
        take(MESSAGE_QUOTE, bare[i]);
        check(records.quotes->head.flags == 0, "no Greeks, no option", bare[i]);
        for (const struct record_field *field = record_fields(RECORD_QUOTE); field->name != NULL; field++)
            check(field->type != RECORD_F64 || isnan(number_of(field->name)), "absent is NaN", field->name);
    }
}

static void an_empty_side_has_no_price_amount_and_iv(void)
{
    static const struct { const char *price, *amount; int is_empty; } cases[] = {
        {"0.0", "0.0", 1}, {"0", "0", 1}, {"-0.0", "0.0", 1}, {"0.0", "null", 1}, {"null", "null", 1}, {"null", "5.0", 1},
        {"0.0", "5.0", 0}, {"0.5", "0.0", 0}, {"-0.5", "5.0", 0}, {"0.5", "5.0", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int ask = 0; ask < 2; ask++) {
            const char *side = ask ? "ask" : "bid", *other = ask ? "bid" : "ask";
            char text[512];
            sprintf(text, TICKER(",\"best_%s_price\":%s,\"best_%s_amount\":%s,\"%s_iv\":50.0,\"best_%s_price\":1.0,\"best_%s_amount\":2.0,\"%s_iv\":3.0"),
                    side, cases[i].price, side, cases[i].amount, side, other, other, other);
            take(MESSAGE_QUOTE, text);
            const struct quote *quote = records.quotes;
            double price = ask ? quote->ask_price : quote->bid_price, amount = ask ? quote->ask_amount : quote->bid_amount;
            double iv = ask ? quote->ask_iv : quote->bid_iv;
            if (cases[i].is_empty)
                check(isnan(price) && isnan(amount) && isnan(iv), "should be empty", text);
            else
                check(price == atof(cases[i].price) && amount == atof(cases[i].amount) && iv == 50, "should not be empty", text);
            check((ask ? quote->bid_price : quote->ask_price) == 1 && (ask ? quote->bid_amount : quote->ask_amount) == 2 &&
                      (ask ? quote->bid_iv : quote->ask_iv) == 3, "the other side", text);
        }
}

static void what_identifies_a_record_is_required(void)
{
    static const char *const ticker[][2] = {{"timestamp", "1"}, {"instrument_name", "\"A\""}, {NULL, NULL}};
    static const char *const trade[][2] = {{"timestamp", "1"}, {"instrument_name", "\"A\""}, {"trade_seq", "1"}, {"trade_id", "\"1\""},
                                           {"price", "1.0"}, {"amount", "1.0"}, {"direction", "\"sell\""}, {NULL, NULL}};
    static const char *const snapshot[][2] = {{"timestamp", "1"}, {"instrument_name", "\"A\""}, {"type", "\"snapshot\""}, {"change_id", "1"}, {NULL, NULL}};
    static const char *const change[][2] = {{"timestamp", "1"}, {"instrument_name", "\"A\""}, {"type", "\"change\""}, {"change_id", "1"},
                                            {"prev_change_id", "0"}, {NULL, NULL}};
    each_is_required(MESSAGE_QUOTE, ticker, 0);
    each_is_required(MESSAGE_TRADE, trade, 1);
    each_is_required(MESSAGE_BOOK, snapshot, 0);
    each_is_required(MESSAGE_BOOK, change, 0);
    is_bad(MESSAGE_QUOTE, "{\"timestamp\":1,\"instrument_name\":\"\"}");
}

static void words_of_a_trade_are_known_or_bad(void)
{
    static const struct { const char *member; uint8_t direction, liquidation, tick; } cases[] = {
        {"\"direction\":\"buy\"", TRADE_BUY, TRADE_LIQUIDATION_NONE, 255},
        {"\"direction\":\"sell\",\"liquidation\":null", TRADE_SELL, TRADE_LIQUIDATION_NONE, 255},
        {"\"direction\":\"sell\",\"liquidation\":\"M\",\"tick_direction\":0", TRADE_SELL, TRADE_LIQUIDATION_MAKER, 0},
        {"\"direction\":\"buy\",\"liquidation\":\"T\",\"tick_direction\":3", TRADE_BUY, TRADE_LIQUIDATION_TAKER, 3},
        {"\"liquidation\":\"MT\",\"direction\":\"buy\",\"tick_direction\":null", TRADE_BUY, TRADE_LIQUIDATION_BOTH, 255},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512];
        sprintf(text, "[{" IDENTITY ",\"trade_seq\":5,\"trade_id\":7,\"price\":1.5,\"amount\":2.0,%s}]", cases[i].member);
        check(take(MESSAGE_TRADE, text) == 1, "one trade", text);
        const struct trade *trade = records.trades;
        check(trade->direction == cases[i].direction && trade->liquidation == cases[i].liquidation && trade->tick_direction == cases[i].tick, "words", text);
        check(trade->trade_seq == 5 && trade->price == 1.5 && trade->amount == 2 && strcmp(trade->trade_id, "7") == 0, "values", text);
        check(isnan(trade->iv) && isnan(trade->contracts) && trade->match_id == 0 && trade->combo_id[0] == 0, "absent", text);
    }
    static const char *const bad[] = {"\"X\"", "\"MTT\"", "\"TM\"", "\"m\"", "\"\"", "\"none\"", "1", "true"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[512];
        sprintf(text, "[" TRADE(",\"liquidation\":%s") "]", bad[i]);
        is_bad(MESSAGE_TRADE, text);
    }
}

static void every_other_value_of_a_trade_has_its_field(void)
{
    static const char text[] =
        "[" TRADE(",\"index_price\":1.25,\"mark_price\":2.25,\"contracts\":3.25,\"iv\":4.25,\"starbase_match_id\":18446744073709551615,"
                  "\"starbase_timestamp\":1700000000123456789,\"block_trade_leg_count\":4294967295,\"block_trade_id\":\"BLOCK-1\","
                  "\"block_rfq_id\":17,\"combo_id\":\"COMBO\",\"combo_trade_id\":18") "]";
    check(take(MESSAGE_TRADE, text) == 1, "one trade", text);
    const struct trade *trade = records.trades;
    check(trade->index_price == 1.25 && trade->mark_price == 2.25 && trade->contracts == 3.25 && trade->iv == 4.25, "numbers", text);
    check(trade->match_id == UINT64_MAX && trade->match_ns == INT64_C(1700000000123456789), "the match", text);
    check(trade->block_trade_leg_count == UINT32_MAX && strcmp(trade->block_trade_id, "BLOCK-1") == 0, "the block", text);
    check(strcmp(trade->block_rfq_id, "17") == 0 && strcmp(trade->combo_id, "COMBO") == 0 && strcmp(trade->combo_trade_id, "18") == 0, "ids", text);
    check(trade->head.flags == (RECORD_OPTION | RECORD_LAST), "iv makes an option", text);
}

static void the_last_trade_is_marked_and_those_beyond_the_room_are_counted(void)
{
    static const char trades[] = "[" TRADE("") "," TRADE(",\"iv\":50.0") " , " TRADE("") "]";
    for (uint64_t room = 0; room <= 3; room++) {
        check(take_into(MESSAGE_TRADE, trades, room, 0x55) == 3, "needed", trades);
        is_untouched(room * sizeof(struct trade), 0x55, trades);
    }
    check(take(MESSAGE_TRADE, trades) == 3, "three trades", trades);
    check(records.trades[0].head.flags == 0 && records.trades[1].head.flags == RECORD_OPTION && records.trades[2].head.flags == RECORD_LAST, "flags", trades);
    check(take(MESSAGE_TRADE, "[]") == 0 && take(MESSAGE_TRADE, "[ ]") == 0, "no trades", "[]");
    static const char *const bad[] = {"{}", "null", "[" TRADE("") ",]", "[" TRADE("") "}", "[null]", "[" TRADE("") ",null]", "[" TRADE("") " " TRADE("") "]"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        is_bad(MESSAGE_TRADE, bad[i]);
}

static void levels_become_records_with_side_and_action(void)
{
    static const char *const ways[] = {
        CHANGE(",\"bids\":[[\"new\",1.5,2.0],[\"delete\",2.5,0.0]],\"asks\":[[\"change\",3.5,4.0]]"),
        CHANGE(", \"bids\" : [ [ \"new\" , 1.5 , 2.0 ] , [ \"d\\u0065lete\" , 2.5 , 0 ] ] , \"asks\" : [ [ \"change\" , 3.5 , 4 ] ] "),
    };
    static const struct { double price, amount; uint8_t side, action; } levels[] = {
        {1.5, 2, BOOK_BID, BOOK_NEW}, {2.5, 0, BOOK_BID, BOOK_DELETE}, {3.5, 4, BOOK_ASK, BOOK_CHANGE}};
    for (int way = 0; way < 2; way++) {
        check(take(MESSAGE_BOOK, ways[way]) == 3, "three levels", ways[way]);
        for (int i = 0; i < 3; i++) {
            const struct book *book = &records.books[i];
            check(book->price == levels[i].price && book->amount == levels[i].amount, "level", ways[way]);
            check(book->side == levels[i].side && book->action == levels[i].action, "side and action", ways[way]);
            check(book->change_id == 9 && book->prev_change_id == 8 && book->head.flags == (i == 2 ? RECORD_LAST : 0), "common", ways[way]);
        }
        for (uint64_t room = 0; room <= 3; room++) {
            check(take_into(MESSAGE_BOOK, ways[way], room, 0x55) == 3, "needed", ways[way]);
            is_untouched(room * sizeof(struct book), 0x55, ways[way]);
        }
    }
    static const char *const bad[] = {"[[\"old\",1.0,2.0]]", "[[\"newer\",1.0,2.0]]", "[[\"new\",null,2.0]]", "[[\"new\",1.0,null]]", "[[\"new\",1.0]]", "[[1.0,2.0]]",
                                      "[[\"new\",1.0,2.0,3.0]]", "[[\"new\",1.0,2.0],]", "[[]]", "[1]", "{}", "\"\"", "[[\"new\",\"1.0\",2.0]]"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[512];
        sprintf(text, CHANGE(",\"asks\":%s"), bad[i]);
        is_bad(MESSAGE_BOOK, text);
    }
}

static void a_book_message_without_levels_is_one_record(void)
{
    static const struct { const char *text; uint64_t prev; uint32_t flags; } cases[] = {
        {SNAPSHOT(",\"bids\":[],\"asks\":[]"), 0, RECORD_SNAPSHOT | RECORD_LAST}, {SNAPSHOT(""), 0, RECORD_SNAPSHOT | RECORD_LAST},
        {SNAPSHOT(",\"bids\":null,\"prev_change_id\":7"), 0, RECORD_SNAPSHOT | RECORD_LAST}, {CHANGE(",\"asks\":[ ]"), 8, RECORD_LAST},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check(take(MESSAGE_BOOK, cases[i].text) == 1, "one record", cases[i].text);
        const struct book *book = records.books;
        check(isnan(book->price) && isnan(book->amount) && book->side == 0 && book->action == 0, "no level", cases[i].text);
        check(book->change_id == 9 && book->prev_change_id == cases[i].prev && book->head.flags == cases[i].flags, "common", cases[i].text);
        check(take_into(MESSAGE_BOOK, cases[i].text, 0, 0) == 1, "needed", cases[i].text);
    }
}

int main(void)
{
    make_guards();
    every_number_of_a_ticker_has_its_field();
    an_empty_side_has_no_price_amount_and_iv();
    what_identifies_a_record_is_required();
    words_of_a_trade_are_known_or_bad();
    every_other_value_of_a_trade_has_its_field();
    the_last_trade_is_marked_and_those_beyond_the_room_are_counted();
    levels_become_records_with_side_and_action();
    a_book_message_without_levels_is_one_record();
    printf("test_deribit_data: tickers, trades and books, each cut at every byte\n");
    return failures != 0;
}
