/* usual_frames.h: frames of Deribit as they are usually spelled, with a hole for each value: '#' a number, '@' an integer, '$' a name,
 * '%' levels. For the test and the fuzzer of deribit_usual.c. */
#ifndef TICKBAY_USUAL_FRAMES_H
#define TICKBAY_USUAL_FRAMES_H

#define USUAL_BEGINNING(channel) "{\"jsonrpc\":\"2.0\",\"method\":\"subscription\",\"params\":{\"channel\":\"" channel "\",\"data\":"

static const char *const usual_frames[] = {
    USUAL_BEGINNING("ticker.ETH-30JUL21-2800-C.raw")
    "{\"timestamp\":@,\"state\":\"open\",\"stats\":{\"high\":#,\"low\":#,\"price_change\":#,\"volume\":#,\"volume_usd\":#},\"greeks\":"
    "{\"delta\":#,\"gamma\":#,\"vega\":#,\"theta\":#,\"rho\":#},\"index_price\":#,\"instrument_name\":\"$\",\"last_price\":#,"
    "\"settlement_price\":#,\"min_price\":#,\"max_price\":#,\"open_interest\":#,\"mark_price\":#,\"interest_rate\":#,"
    "\"estimated_delivery_price\":#,\"best_ask_price\":#,\"best_bid_price\":#,\"mark_iv\":#,\"bid_iv\":#,\"ask_iv\":#,"
    "\"underlying_price\":#,\"underlying_index\":\"$\",\"best_ask_amount\":#,\"best_bid_amount\":#}}}",
    USUAL_BEGINNING("ticker.ETH-30JUL21-2800-C.raw")
    "{\"underlying_price\":#,\"underlying_index\":\"$\",\"timestamp\":@,\"stats\":{\"volume\":#,\"price_change\":#,\"low\":#,\"high\":#},"
    "\"state\":\"open\",\"settlement_price\":#,\"open_interest\":#,\"min_price\":#,\"max_price\":#,\"mark_price\":#,\"mark_iv\":#,"
    "\"last_price\":#,\"interest_rate\":#,\"instrument_name\":\"$\",\"index_price\":#,\"greeks\":{\"vega\":#,\"theta\":#,\"rho\":#,"
    "\"gamma\":#,\"delta\":#},\"estimated_delivery_price\":#,\"bid_iv\":#,\"best_bid_price\":#,\"best_bid_amount\":#,"
    "\"best_ask_price\":#,\"best_ask_amount\":#,\"ask_iv\":#}}}",
    USUAL_BEGINNING("book.BTC-PERPETUAL.raw")
    "{\"timestamp\":@,\"type\":\"change\",\"change_id\":@,\"instrument_name\":\"$\",\"bids\":[%],\"asks\":[%],\"prev_change_id\":@}}}",
    USUAL_BEGINNING("book.BTC-PERPETUAL.raw")
    "{\"timestamp\":@,\"type\":\"snapshot\",\"change_id\":@,\"instrument_name\":\"$\",\"bids\":[%],\"asks\":[%]}}}",
    USUAL_BEGINNING("book.BTC-PERPETUAL.raw")
    "{\"type\":\"change\",\"timestamp\":@,\"prev_change_id\":@,\"instrument_name\":\"$\",\"change_id\":@,\"bids\":[%],\"asks\":[%]}}}",
    USUAL_BEGINNING("book.BTC-PERPETUAL.raw")
    "{\"type\":\"snapshot\",\"timestamp\":@,\"instrument_name\":\"$\",\"change_id\":@,\"bids\":[%],\"asks\":[%]}}}",
};
enum { USUAL_FRAMES = sizeof usual_frames / sizeof *usual_frames, USUAL_BYTES_MAX = 16384, USUAL_LEVELS_MAX = 9 };

/* Picks: below(n) is 0 to n - 1. */
typedef unsigned picker(unsigned bound);

static inline char *usual_put(char *out, const char *piece)
{
    while (*piece != '\0')
        *out++ = *piece++;
    return out;
}

static inline char *usual_digits(char *out, unsigned count, picker *below)
{
    for (unsigned i = 0; i < count; i++)
        *out++ = (char)('0' + below(10));
    return out;
}

/* Nearly always as it is sent; sometimes of another kind, or none at all. */
static inline char *usual_number(char *out, int may_be_negative, picker *below, unsigned oddity)
{
    static const char *const odd[] = {"null", "0", "17", "2.3e-4", "-0.0", "01.5", "1.", ".5", "1.5.5", "--1.5", "-", "", "1e5", "1e999",
                                      "123456789012345.5", "0.1234567890123456789", "-12.5E+3", "1/5", "nul", "\"1.5\"", "{}", "1.5 "};
    if (oddity > 0 && below(oddity) == 0)
        return usual_put(out, odd[below(sizeof odd / sizeof *odd)]);
    if (may_be_negative && below(4) == 0)
        *out++ = '-';
    *out++ = (char)('1' + below(9));
    if (below(2) == 0)
        out[-1] = '0';
    else
        out = usual_digits(out, below(7), below);
    *out++ = '.';
    return usual_digits(out, 1 + below(6), below);
}

static inline char *usual_levels(char *out, picker *below, unsigned oddity)
{
    static const char *const actions[] = {"[\"new\",", "[\"change\",", "[\"delete\",", "[\"newer\",", "[ \"new\",", "[\"chang\\u0065\",", "[new,"};
    for (unsigned count = below(USUAL_LEVELS_MAX), i = 0; i < count; i++) {
        out = usual_put(out, i > 0 ? "," : "");
        out = usual_put(out, actions[oddity > 0 && below(oddity) == 0 ? below(7) : below(3)]);
        out = usual_number(out, 1, below, oddity);
        *out++ = ',';
        out = usual_number(out, 0, below, oddity);
        *out++ = ']';
    }
    return out;
}

/* A frame with its holes filled: `which` of them, one value of `oddity` odd (0: none). Returns its length. */
static inline unsigned long usual_frame(char *frame, unsigned which, picker *below, unsigned oddity)
{
    static const char *const names[] = {"ETH-30JUL21-2800-C", "BTC-PERPETUAL", "SYN.BTC-12NOV26", "x", "exactly sixteen.", "thirty-two bytes of name, or so.",
                                        "a name, with a comma", "\\u0041BC", "A\"B", "", "\xc3\xa9", "longer than the forty-eight bytes that a name may have here"};
    static const char *const integers[] = {"0", "01", "-1", "null", "1.5", "9223372036855", "18446744073709551615", "1700000000123.0", ""};
    char *out = frame;
    for (const char *at = usual_frames[which]; *at != '\0'; at++) {
        int is_odd = oddity > 0 && below(oddity) == 0;
        if (*at == '#') {
            out = usual_number(out, 1, below, oddity);
        } else if (*at == '@' && is_odd) {
            out = usual_put(out, integers[below(sizeof integers / sizeof *integers)]);
        } else if (*at == '@') {
            *out++ = (char)('1' + below(9));
            out = usual_digits(out, below(12), below);
        } else if (*at == '$') {
            out = usual_put(out, names[is_odd ? below(sizeof names / sizeof *names) : below(3)]);
        } else if (*at == '%') {
            out = usual_levels(out, below, oddity);
        } else {
            *out++ = *at;
        }
    }
    return (unsigned long)(out - frame);
}

#endif
