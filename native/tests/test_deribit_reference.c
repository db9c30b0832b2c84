/* test_deribit_reference.c: indices, marks and funding, cut at each byte against a guard page. R8. */
#define _GNU_SOURCE
#include "../deribit_reference.h"

#include <math.h>

#include "other_data.h"

#define PRICE "deribit_price_index.eth_usd"
#define VOLATILITY "deribit_volatility_index.eth_usd"
#define DELIVERY "estimated_expiration_price.eth_usd"
#define MARKS "markprice.options.btc_usd"
#define FUNDING "perpetual.ETH-PERPETUAL.100ms"

static const struct index *index_of(const char *channel, const char *text)
{
    check(take_whole(deribit_reference, channel, text, sizeof(struct index)) == 1, "one record", text);
    check(strcmp(records.indices->head.instrument, "eth_usd") == 0 && records.indices->head.recv_ns == 77, "the head", text);
    return records.indices;
}

static void an_index_has_a_measure_and_a_value(void)
{
    const struct index *got = index_of(PRICE, "{\"timestamp\":1700000000123,\"price\":2417.35,\"index_name\":\"other\"}");
    check(got->measure == INDEX_PRICE && got->value == 2417.35 && isnan(got->remaining_s) && !got->is_estimated, "a price", "");
    check(got->head.exch_ns == INT64_C(1700000000123000000), "its time", "");
    got = index_of(VOLATILITY, "{\"price\":5.5, \"volatility\":46.22, \"index_name\":\"eth_usd\", \"timestamp\":5}");
    check(got->measure == INDEX_VOLATILITY && got->value == 46.22, "a volatility", "");
    check(isnan(index_of(PRICE, "{\"timestamp\":5,\"price\":null}")->value), "null", "");
}

static void a_delivery_price_has_our_time_and_what_remains(void)
{
    const struct index *got = index_of(DELIVERY, "{\"seconds\":180929,\"price\":3939.73,\"is_estimated\":false}");
    check(got->measure == INDEX_DELIVERY && got->value == 3939.73 && got->remaining_s == 180929 && got->is_estimated == 0, "far", "");
    check(got->head.exch_ns == 77, "it is sent without a time", "");
    check(index_of(DELIVERY, "{\"is_estimated\":true ,\"price\":1.5,\"seconds\":17}")->is_estimated == 1, "near", "");
    check(index_of(DELIVERY, "{\"is_estimated\":null,\"timestamp\":9}")->head.exch_ns == 9000000, "a time, should one come", "");
}

static void marks_are_in_percent(void)
{
    check(take_whole(deribit_reference, MARKS,
                     "[{\"timestamp\":1,\"mark_price\":0.0333,\"iv\":0.9,\"instrument_name\":\"A\"}, "
                     "{\"instrument_name\":\"B\",\"iv\":null,\"mark_price\":0.117,\"timestamp\":2}]", sizeof(struct mark)) == 2, "two", "");
    const struct mark *got = records.marks;
    check(got[0].mark_price == 0.0333 && got[0].mark_iv == 90 && isnan(got[1].mark_iv), "the numbers", "");
    check(strcmp(got[0].price_index, "btc_usd") == 0 && strcmp(got[1].price_index, "btc_usd") == 0, "the index", "");
    check(got[0].head.flags == 0 && got[1].head.flags == RECORD_LAST && got[1].head.exch_ns == 2000000, "the heads", "");
    check(take_whole(deribit_reference, MARKS, "[]", sizeof(struct mark)) == 0, "none", "");
}

static void a_funding_is_of_the_channel_s_instrument(void)
{
    check(take_whole(deribit_reference, FUNDING, "{\"timestamp\":1,\"interest\":-4.5e-3,\"index_price\":7872.88}",
                     sizeof(struct funding)) == 1, "one", "");
    check(records.fundings->interest == -4.5e-3 && records.fundings->index_price == 7872.88, "the numbers", "");
    check(strcmp(records.fundings->head.instrument, "ETH-PERPETUAL") == 0, "the instrument", "");
}

static void what_is_wrong_is_bad(void)
{
    static const char *const wrong[][2] = {
        {PRICE, "{}"}, {PRICE, "{\"timestamp\":null,\"price\":1.5}"}, {PRICE, "[]"}, {PRICE, "{\"timestamp\":1,\"price\":\"1\"}"},
        {PRICE, "{\"timestamp\":1,\"price\":1.5,\"price\":1.5}"}, {VOLATILITY, "{\"volatility\":1.5}"},
        {"deribit_price_index.012345678901234567890123456789012", "{\"timestamp\":1,\"price\":1.5}"},
        {DELIVERY, "{\"is_estimated\":1,\"price\":1.5}"}, {DELIVERY, "{\"is_estimated\":\"true\"}"}, {DELIVERY, "{\"is_estimated\":falsy}"},
        {MARKS, "{}"}, {MARKS, "[{\"timestamp\":1}]"}, {MARKS, "[{\"instrument_name\":\"A\"}]"}, {MARKS, "[null]"},
        {MARKS, "[{\"timestamp\":1,\"instrument_name\":\"A\"},]"}, {MARKS, "[{\"timestamp\":1,\"instrument_name\":\"A\",\"iv\":1e308}]"},
        {"markprice.options.012345678901234567890123456789012", "[{\"timestamp\":1,\"instrument_name\":\"A\"}]"},
        {FUNDING, "{\"interest\":1.5}"}, {"perpetual.0123456789012345678901234567890123456789012345678.raw", "{\"timestamp\":1}"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        is_bad(deribit_reference, wrong[i][0], wrong[i][1]);
}

int main(void)
{
    make_guards();
    an_index_has_a_measure_and_a_value();
    a_delivery_price_has_our_time_and_what_remains();
    marks_are_in_percent();
    a_funding_is_of_the_channel_s_instrument();
    what_is_wrong_is_bad();
    printf("test_deribit_reference: indices, marks and funding, each cut at every byte\n");
    return failures != 0;
}
