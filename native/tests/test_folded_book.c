/* test_folded_book.c: a book follows its records, knows when it cannot, and remembers best prices as long as it says. Random
 * histories are compared with a plain list of levels. */
#include "../folded_book.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEVELS = 40, CONN = 7 };
#define SECOND INT64_C(1000000000)
#define BEGIN_NS (1800000000 * SECOND)

static int failures, checks;
static struct folded_book book;
static double ranks[2][LEVELS + 1];
static struct folded_past past[2][FOLDED_PAST_MAX];
static int64_t now_ns;
static uint64_t change_id;
static uint32_t conn;

static void check(int holds, const char *what)
{
    checks++;
    if (!holds) {
        fprintf(stderr, "test_folded_book: %s\n", what);
        failures++;
    }
}

static void begin(void)
{
    folded_begin(&book);
    book.bids.ranks = ranks[0];
    book.asks.ranks = ranks[1];
    book.bids.past = past[0];
    book.asks.past = past[1];
    book.bids.room = book.asks.room = LEVELS + 1;
    book.bids.past_room = book.asks.past_room = FOLDED_PAST_MAX;
    now_ns = BEGIN_NS;
    change_id = 100;
    conn = CONN;
}

/* One record; `first` and `last` of its message. */
static void record(bool first, bool last, bool snapshot, int side, double price, double amount)
{
    struct book row = {.price = price, .amount = amount, .side = (uint8_t)side};
    row.prev_change_id = snapshot ? 0 : change_id - !first;
    change_id += first;
    row.change_id = change_id;
    row.head.conn = conn;
    row.head.recv_ns = now_ns;
    row.head.flags = (last ? RECORD_LAST : 0u) | (snapshot ? RECORD_SNAPSHOT : 0u);
    folded_take(&book, &row);
}

static void change(int side, double price, double amount)
{
    record(true, true, false, side, price, amount);
}

static void begin_with_a_snapshot(void)
{
    begin();
    record(true, false, true, BOOK_BID, 10, 1);
    record(false, false, true, BOOK_BID, 9, 1);
    record(false, true, true, BOOK_ASK, 11, 1);
}

static enum folded_verdict ticker(double bid, double ask)
{
    return folded_compare(&book, CONN, now_ns, bid, ask, now_ns - SECOND);
}

static void a_book_is_known_from_its_snapshot_on(void)
{
    begin();
    change(BOOK_BID, 10, 1);
    check(book.whole_ns == 0 && ticker(10, 11) == FOLDED_UNKNOWN, "a change alone makes no book");
    begin_with_a_snapshot();
    check(folded_bid(&book) == 10 && folded_ask(&book) == 11 && ticker(10, 11) == FOLDED_AGREES, "a snapshot is the book");
    check(folded_compare(&book, CONN + 1, now_ns, 10, 11, now_ns - SECOND) == FOLDED_UNKNOWN, "of another connection nothing is known");
    check(folded_compare(&book, CONN, now_ns - 1, 10, 11, now_ns - SECOND) == FOLDED_UNKNOWN, "nor of before the snapshot");
    now_ns += 2 * SECOND;
    check(ticker(9, 11) == FOLDED_DIFFERS && ticker(10, NAN) == FOLDED_DIFFERS, "other prices are not");
}

static void the_best_price_is_the_next_one_when_it_goes(void)
{
    begin_with_a_snapshot();
    change(BOOK_BID, 10, 0);
    now_ns += 2 * SECOND;
    check(ticker(9, 11) == FOLDED_AGREES && ticker(10, 11) == FOLDED_DIFFERS, "the next one");
    change(BOOK_BID, 9, 0);
    now_ns += 2 * SECOND;
    check(isnan(folded_bid(&book)) && ticker(NAN, 11) == FOLDED_AGREES, "an empty side is one that both have");
    record(true, true, false, 0, NAN, 0);
    check(book.whole_ns == BEGIN_NS && ticker(NAN, 11) == FOLDED_AGREES, "a message without levels changes nothing");
}

static void a_message_counts_when_it_is_whole(void)
{
    begin_with_a_snapshot();
    now_ns += 2 * SECOND;
    record(true, false, false, BOOK_BID, 10, 0);
    check(ticker(10, 11) == FOLDED_AGREES && folded_bid(&book) == 10, "half of it is not seen");
    record(false, true, false, BOOK_BID, 10.5, 1);
    check(folded_bid(&book) == 10.5 && ticker(10, 11) == FOLDED_AGREES && ticker(9, 11) == FOLDED_DIFFERS,
          "what was best between two of its records was never best");
}

static void what_does_not_follow_makes_the_book_unknown(void)
{
    begin_with_a_snapshot();
    change_id += 3;
    change(BOOK_BID, 12, 1);
    check(book.whole_ns == 0 && ticker(10, 11) == FOLDED_UNKNOWN, "a change is missing");
    change(BOOK_BID, 8, 1);
    check(book.whole_ns == 0, "until a snapshot comes");
    record(true, true, true, BOOK_BID, 8, 1);
    check(book.whole_ns == now_ns && folded_bid(&book) == 8 && isnan(folded_ask(&book)), "which replaces all that was");
    change_id -= 1;
    change(BOOK_BID, 9, 1);
    check(folded_bid(&book) == 8 && book.whole_ns == now_ns, "a message that was sent twice changes nothing");
}

static void what_another_connection_says_is_not_of_this_book(void)
{
    begin_with_a_snapshot();
    conn = CONN + 1;
    change(BOOK_BID, 10.5, 1);
    check(folded_bid(&book) == 10 && book.whole_ns != 0, "though it would follow");
    conn = CONN;
    change_id -= 1;
    change(BOOK_BID, 10.2, 1);
    check(folded_bid(&book) == 10.2, "its own goes on");
}

static void a_best_price_is_remembered_for_its_time(void)
{
    begin_with_a_snapshot();
    change(BOOK_BID, 10, 0);
    check(ticker(10, 11) == FOLDED_AGREES, "it ceased right now");
    now_ns += SECOND + 1;
    check(ticker(10, 11) == FOLDED_DIFFERS, "it ceased too long ago");
    for (int i = 0; i < 20; i++) {
        now_ns += FOLDED_PAST_NS;
        change(BOOK_BID, 10, i % 2 == 0);
    }
    check(book.bids.past_count == 2, "what no ticker can tell of any more is forgotten");
    int64_t long_ago = now_ns;
    for (int i = 0; i < (int)FOLDED_PAST_MAX + 2; i++) {
        now_ns += SECOND / 100;
        change(BOOK_BID, 10, i % 2 == 0);
    }
    check(book.bids.past_count == FOLDED_PAST_MAX, "and no more than so many are kept");
    check(folded_compare(&book, CONN, long_ago, 1, 1, long_ago) == FOLDED_UNKNOWN, "what was before is not known any more");
}

static void a_book_is_restored_as_it_was(void)
{
    begin();
    folded_restore_price(&book.bids, 9);
    folded_restore_price(&book.bids, 10);
    folded_restore_price(&book.asks, -11);
    folded_restore(&book, now_ns - SECOND, CONN, change_id);
    check(ticker(10, 11) == FOLDED_AGREES && book.whole_ns == now_ns - SECOND, "its prices");
    check(book.spoke_ns == now_ns - SECOND, "and that it spoke");
    change(BOOK_BID, 10, 0);
    check(folded_bid(&book) == 9, "and it goes on");
}

/* ---------------------------------------------------------------- random histories */

static uint64_t random_state;

static unsigned draw(unsigned below)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(random_state >> 33) % below;
}

static double best_of(const bool *levels, bool is_bid)
{
    for (int i = 0; i < LEVELS; i++) {
        int price = is_bid ? LEVELS - 1 - i : i;
        if (levels[price])
            return price + 1;
    }
    return NAN;
}

static void histories_have_the_best_prices_of_a_plain_list(uint64_t seed)
{
    bool levels[3][LEVELS] = {{false}};
    int wrong = 0;
    random_state = seed;
    begin();
    record(true, true, true, 0, NAN, 0);
    for (int message = 0; message < 20000; message++) {
        now_ns += (int64_t)draw(1000) * 1000000;
        bool snapshot = draw(500) == 0;
        if (snapshot)
            memset(levels, 0, sizeof levels);
        unsigned records = 1 + draw(snapshot ? 30 : 3);
        for (unsigned i = 0; i < records; i++) {
            int side = 1 + (int)draw(2), price = (int)draw(LEVELS);
            bool is_there = snapshot || draw(2) == 0;
            levels[side][price] = is_there;
            wrong += !folded_has_room(&book);
            record(i == 0, i == records - 1, snapshot, side, price + 1, is_there ? 2.5 : 0);
        }
        double bid = best_of(levels[BOOK_BID], true), ask = best_of(levels[BOOK_ASK], false);
        wrong += ticker(bid, ask) != FOLDED_AGREES || book.whole_ns == 0;
        wrong += !(folded_bid(&book) == bid || (isnan(bid) && isnan(folded_bid(&book))));
        wrong += !(folded_ask(&book) == ask || (isnan(ask) && isnan(folded_ask(&book))));
    }
    if (wrong != 0)
        fprintf(stderr, "test_folded_book: seed %llu\n", (unsigned long long)seed);
    check(wrong == 0, "a history has other best prices");
}

int main(int argc, char **argv)
{
    a_book_is_known_from_its_snapshot_on();
    the_best_price_is_the_next_one_when_it_goes();
    a_message_counts_when_it_is_whole();
    what_does_not_follow_makes_the_book_unknown();
    what_another_connection_says_is_not_of_this_book();
    a_best_price_is_remembered_for_its_time();
    a_book_is_restored_as_it_was();
    for (uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1, end = seed + 5; seed < end; seed++)
        histories_have_the_best_prices_of_a_plain_list(seed);
    printf("test_folded_book: %d checks\n", checks);
    return failures != 0;
}
