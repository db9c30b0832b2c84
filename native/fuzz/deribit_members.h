/* deribit_members.h: the members of what Deribit sends, for the generator of fuzz_decode_deribit.c. */
#ifndef TICKBAY_DERIBIT_MEMBERS_H
#define TICKBAY_DERIBIT_MEMBERS_H

#include <stddef.h>

enum value { NUMBER, INTEGER, NAME, WORD, DIRECTION, LIQUIDATION, KIND, LEVELS, WINDOW, STATS, GREEKS, TRADES, MARKS, TRUTH };

struct member {
    const char *name;
    enum value value;
    int always; /* without it the frame is refused */
};

static const struct member ticker[] = {
    {"timestamp", INTEGER, 1}, {"state", WORD, 0}, {"stats", STATS, 0}, {"greeks", GREEKS, 0}, {"index_price", NUMBER, 0},
    {"instrument_name", NAME, 1}, {"last_price", NUMBER, 0}, {"settlement_price", NUMBER, 0}, {"min_price", NUMBER, 0},
    {"max_price", NUMBER, 0}, {"open_interest", NUMBER, 0}, {"mark_price", NUMBER, 0}, {"interest_rate", NUMBER, 0},
    {"estimated_delivery_price", NUMBER, 0}, {"best_ask_price", NUMBER, 0}, {"best_bid_price", NUMBER, 0}, {"mark_iv", NUMBER, 0},
    {"bid_iv", NUMBER, 0}, {"ask_iv", NUMBER, 0}, {"underlying_price", NUMBER, 0}, {"underlying_index", WORD, 0},
    {"best_ask_amount", NUMBER, 0}, {"best_bid_amount", NUMBER, 0}, {"current_funding", NUMBER, 0}, {"delivery_price", NUMBER, 0},
};
static const struct member stats[] = {{"high", NUMBER, 0}, {"low", NUMBER, 0}, {"price_change", NUMBER, 0}, {"volume", NUMBER, 0}};
static const struct member greeks[] = {{"delta", NUMBER, 0}, {"gamma", NUMBER, 0}, {"vega", NUMBER, 0}, {"theta", NUMBER, 0}, {"rho", NUMBER, 0}};
static const struct member trade[] = {
    {"timestamp", INTEGER, 1}, {"price", NUMBER, 1}, {"amount", NUMBER, 1}, {"direction", DIRECTION, 1}, {"index_price", NUMBER, 0},
    {"instrument_name", NAME, 1}, {"trade_seq", INTEGER, 1}, {"mark_price", NUMBER, 0}, {"starbase_match_id", INTEGER, 0},
    {"trade_id", WORD, 1}, {"contracts", NUMBER, 0}, {"starbase_timestamp", INTEGER, 0}, {"iv", NUMBER, 0}, {"liquidation", LIQUIDATION, 0},
    {"block_trade_id", WORD, 0}, {"block_rfq_id", INTEGER, 0}, {"combo_id", WORD, 0}, {"combo_trade_id", INTEGER, 0},
};
static const struct member book[] = {
    {"timestamp", INTEGER, 1}, {"type", KIND, 1}, {"change_id", INTEGER, 1}, {"instrument_name", NAME, 1}, {"bids", LEVELS, 0},
    {"asks", LEVELS, 0}, {"prev_change_id", INTEGER, 1},
};
static const struct member bbo[] = {
    {"timestamp", INTEGER, 1}, {"instrument_name", NAME, 1}, {"best_bid_price", NUMBER, 0}, {"best_bid_amount", NUMBER, 0},
    {"best_ask_price", NUMBER, 0}, {"best_ask_amount", NUMBER, 0},
};
static const struct member window[] = {
    {"timestamp", INTEGER, 1}, {"instrument_name", NAME, 1}, {"change_id", INTEGER, 1}, {"bids", WINDOW, 0}, {"asks", WINDOW, 0},
};
static const struct member price[] = {{"timestamp", INTEGER, 1}, {"price", NUMBER, 0}, {"index_name", WORD, 0}};
static const struct member volatility[] = {{"timestamp", INTEGER, 1}, {"volatility", NUMBER, 0}, {"index_name", WORD, 0}};
static const struct member delivery[] = {{"seconds", INTEGER, 0}, {"price", NUMBER, 0}, {"is_estimated", TRUTH, 0}};
static const struct member mark[] = {{"timestamp", INTEGER, 1}, {"mark_price", NUMBER, 0}, {"iv", NUMBER, 0}, {"instrument_name", NAME, 1}};
static const struct member funding[] = {{"timestamp", INTEGER, 1}, {"interest", NUMBER, 0}, {"index_price", NUMBER, 0}};
#define COUNT(members) (sizeof(members) / sizeof *(members))

#endif
