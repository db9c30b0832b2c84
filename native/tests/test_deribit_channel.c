/* test_deribit_channel.c: names of channels, and what they say. */
#define _GNU_SOURCE
#include "../deribit_channel.h"

#include <math.h>
#include <stdlib.h>

#include "guarded_text.h"

/* In memory that ends with the name. */
static struct deribit_channel read_name(const char *name)
{
    struct deribit_channel channel;
    memset(&channel, 0x55, sizeof channel);
    deribit_channel(against_the_end(name, strlen(name)), strlen(name), &channel);
    return channel;
}

static void is(const char *name, enum message message, enum index_measure measure, const char *subject)
{
    char field[RECORD_INSTRUMENT_MAX];
    struct deribit_channel channel = read_name(name);
    check(channel.message == message && channel.measure == measure, "what it carries", name);
    check(deribit_subject(&channel, field, sizeof field) && strcmp(field, subject) == 0, "whose it is", name);
}

static void is_unknown(const char *name)
{
    check(read_name(name).message == MESSAGE_UNKNOWN, "is none that we record", name);
}

static void a_name_says_what_and_whose(void)
{
    is("quote.ETH-25DEC26-4000-C", MESSAGE_BBO, 0, "ETH-25DEC26-4000-C");
    is("deribit_price_index.eth_usd", MESSAGE_INDEX, INDEX_PRICE, "eth_usd");
    is("deribit_volatility_index.btc_usd", MESSAGE_INDEX, INDEX_VOLATILITY, "btc_usd");
    is("estimated_expiration_price.x", MESSAGE_INDEX, INDEX_DELIVERY, "x");
    is("markprice.options.sol_usdc", MESSAGE_MARK, 0, "sol_usdc");
    is("perpetual.BTC-PERPETUAL.raw", MESSAGE_FUNDING, 0, "BTC-PERPETUAL");
    is("book.XRP_USDC-30JUN24-0d625-C.none.10.100ms", MESSAGE_DEPTH, 0, "XRP_USDC-30JUN24-0d625-C");
}

static void a_window_says_its_size_and_group(void)
{
    struct deribit_channel channel = read_name("book.A.none.1.agg2");
    check(channel.levels_max == 1 && isnan(channel.price_group), "one level", "");
    channel = read_name("book.A.250.20.100ms");
    check(channel.levels_max == 20 && channel.price_group == 250, "grouped", "");
    channel = read_name("book.A.5.255.100ms");
    check(channel.levels_max == 255, "the most levels", "");
    static const char *const others[] = {"book.A.none.256.100ms", "book.A.none.0.100ms", "book.A.none..100ms", "book.A.all.10.100ms",
                                         "book.A.0.10.100ms", "book.A.-5.10.100ms", "book.A.5x.10.100ms", "book.A..10.100ms",
                                         "book.A.none.10", "book.A.none.10.100ms.x", "book.A.1000000000.10.100ms", "book..none.10.100ms"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        is_unknown(others[i]);
}

static void what_is_none_of_these_is_unknown(void)
{
    static const char *const others[] = {"", ".", "quote", "quote.", "quote.A.100ms", "quotes.A", "deribit_price_index.", "deribit_price_index.a.b",
                                         "markprice.options", "markprice.options.", "markprice.futures.a", "perpetual.A", "perpetual..raw",
                                         "perpetual.A.raw.x", "platform_state", "deribit_price_ranking.btc_usd", "instrument.state.option.ETH"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        is_unknown(others[i]);
}

static void a_subject_fits_or_is_refused(void)
{
    char field[8];
    struct deribit_channel channel = {.subject = "12345678", .subject_length = 8};
    check(deribit_subject(&channel, field, sizeof field) && memcmp(field, "12345678", 8) == 0, "it may fill its field", "");
    memset(field, 'x', sizeof field);
    channel.subject_length = 3;
    check(deribit_subject(&channel, field, sizeof field) && memcmp(field, "123\0\0\0\0", 8) == 0, "it is padded", "");
    memset(field, 'x', sizeof field);
    channel = (struct deribit_channel){.subject = "123456789", .subject_length = 9};
    check(!deribit_subject(&channel, field, sizeof field), "too long", "");
    channel = (struct deribit_channel){.subject = "1\0002", .subject_length = 3};
    check(!deribit_subject(&channel, field, sizeof field) && field[0] == 'x', "with a NUL", "");
}

int main(void)
{
    make_guards();
    a_name_says_what_and_whose();
    a_window_says_its_size_and_group();
    what_is_none_of_these_is_unknown();
    a_subject_fits_or_is_refused();
    printf("test_deribit_channel: names of every kind\n");
    return failures != 0;
}
