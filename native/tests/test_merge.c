/* test_merge.c: two legs with holes, late copies, snapshots and reconnects, and what is published of them. PAIR-1, GAP-1. */
#include "../merge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures, checks;

static void check(int holds, const char *what)
{
    checks++;
    if (!holds) {
        fprintf(stderr, "test_merge: %s\n", what);
        failures++;
    }
}

enum { ROOM = 64 };

static struct merge *merge;
static struct merge_break breaks[ROOM];
static struct merge_turn turn;
static union {
    struct book book[ROOM];
    struct trade trade[ROOM];
    struct quote quote[ROOM];
    struct bbo bbo[ROOM];
} out, held[MERGE_LEGS];
static uint32_t conns[MERGE_LEGS];
static int64_t now_ns;

static void begin(void)
{
    memset(merge, 0, sizeof *merge);
    for (int leg = 0; leg < MERGE_LEGS; leg++)
        merge_connected(merge, leg, conns[leg] = 1);
    now_ns = 1000;
}

/* Give one leg's records (the other one nothing); returns how many were published. */
static uint64_t give(enum record_kind kind, int leg, const void *records, uint64_t count, int again, int64_t release_ns)
{
    turn = (struct merge_turn){.kind = kind, .again = again, .out = &out, .breaks = breaks, .breaks_max = ROOM};
    turn.records[leg] = records;
    turn.counts[leg] = count;
    for (int each = 0; each < MERGE_LEGS; each++) {
        turn.held[each] = &held[each];
        turn.release_ns[each] = release_ns;
    }
    merge_run(merge, &turn);
    check(turn.consumed[leg] == count, "a turn takes all complete messages");
    return turn.out_count;
}

static struct book book_of(int leg, uint64_t change_id, uint64_t previous)
{
    struct book book = {.change_id = change_id, .prev_change_id = previous};
    book.head.flags = RECORD_LAST | (previous == 0 ? RECORD_SNAPSHOT : 0);
    book.head.recv_ns = now_ns++;
    book.head.conn = conns[leg];
    memcpy(book.head.instrument, "ETH-X", 5);
    return book;
}

/* One change of a book, or a snapshot where `previous` is 0. */
static uint64_t book(int leg, uint64_t change_id, uint64_t previous)
{
    struct book record = book_of(leg, change_id, previous);
    return give(RECORD_BOOK, leg, &record, 1, 0, 0);
}

static uint64_t trade(int leg, uint64_t trade_seq)
{
    struct trade record = {.trade_seq = trade_seq};
    record.head.recv_ns = now_ns++;
    record.head.conn = conns[leg];
    memcpy(record.head.instrument, "ETH-X", 5);
    return give(RECORD_TRADE, leg, &record, 1, 0, 0);
}

static uint64_t quote(int leg, int64_t exch_ns, double price)
{
    struct quote record = {.bid_price = price};
    record.head.exch_ns = exch_ns;
    record.head.recv_ns = now_ns += 1000000;
    record.head.conn = conns[leg];
    memcpy(record.head.instrument, "ETH-X", 5);
    return give(RECORD_QUOTE, leg, &record, 1, 0, 0);
}

/* All with one time of the venue. */
static struct bbo bbo_of(int leg, double amount)
{
    struct bbo record = {.bid_price = 100.0, .bid_amount = amount};
    record.head.exch_ns = 7;
    record.head.recv_ns = now_ns++;
    record.head.conn = conns[leg];
    memcpy(record.head.instrument, "ETH-X", 5);
    return record;
}

static uint64_t bbo(int leg, double amount)
{
    struct bbo record = bbo_of(leg, amount);
    return give(RECORD_BBO, leg, &record, 1, 0, 0);
}

/* By an earlier life; `breaks` and turn.breaks_count say what was missing between. */
static void published(enum record_kind kind, const void *records, uint64_t count)
{
    turn = (struct merge_turn){.kind = kind, .records = {records}, .counts = {count}, .breaks = breaks, .breaks_max = ROOM};
    merge_published(merge, &turn);
    check(turn.consumed[0] == count, "all of it is taken");
}

static uint64_t hold_again(enum record_kind kind, int leg, int64_t release_ns)
{
    static unsigned char before[sizeof held[0]];
    uint64_t count = turn.held_counts[leg];
    memcpy(before, &held[leg], sizeof before);
    return give(kind, leg, before, count, 1, release_ns);
}

static void test_first_arrival_wins_and_the_copy_is_dropped(void)
{
    begin();
    check(book(0, 10, 0) == 1 && book(1, 10, 0) == 0, "one snapshot is enough");
    check(book(1, 12, 10) == 1 && book(0, 12, 10) == 0, "a change is published once");
    check(trade(0, 5) == 1 && trade(1, 5) == 0 && trade(1, 6) == 1 && trade(0, 6) == 0, "a trade is published once");
    check(quote(1, 7, 1.0) == 1 && quote(0, 7, 1.0) == 0, "an equal ticker is published once");
    check(quote(0, 7, 1.5) == 1 && quote(0, 6, 1.0) == 1, "one of another value or time is another one");
    check(merge->legs[0].second == 3 && merge->legs[1].second == 1, "second arrivals are counted");
    check(quote(0, 6, 1.0) == 0 && merge->legs[0].repeats == 1, "a repeated one says nothing new");
    check(turn.breaks_count == 0, "nothing is missing");
}

static void test_a_leg_s_hole_that_was_published_already_keeps_nobody_waiting(void)
{
    begin();
    book(0, 10, 0);
    book(1, 10, 0);
    book(0, 12, 10);
    check(book(1, 15, 12) == 1 && turn.breaks_count == 0, "leg 1 lost 12, which leg 0 had brought");
}

static void test_a_change_waits_for_what_only_the_other_leg_has(void)
{
    begin();
    book(0, 10, 0);
    book(1, 10, 0);
    check(book(1, 15, 12) == 0 && turn.held_counts[1] == 1, "12 is missing, and the other leg may bring it");
    struct book waiting = held[1].book[0];
    check(book(0, 12, 10) == 1, "it brings it");
    check(give(RECORD_BOOK, 1, &waiting, 1, 1, 0) == 1 && turn.breaks_count == 0, "and what waited follows");
    check(book(0, 15, 12) == 0, "its copy comes too late");
}

static void test_a_hole_in_both_legs_is_told(void)
{
    begin();
    book(0, 10, 0);
    book(1, 10, 0);
    check(book(1, 15, 12) == 0, "waits");
    struct book waiting = held[1].book[0];
    check(book(0, 15, 12) == 1, "the other leg has lost 12 too, so nobody brings it");
    check(turn.breaks_count == 1 && breaks[0].first_missing == 10 && breaks[0].last_missing == 12 && breaks[0].to_ns == 0 &&
              breaks[0].kind == RECORD_BOOK && breaks[0].ends == 0,
          "the hole is told, and lasts");
    check(give(RECORD_BOOK, 1, &waiting, 1, 1, 0) == 0, "the copy is dropped");
    check(book(0, 20, 0) == 1 && turn.breaks_count == 1 && breaks[0].ends == 1, "a snapshot ends it");
}

static void test_who_waited_long_enough_is_published_and_the_late_one_too(void)
{
    begin();
    book(0, 10, 0);
    book(1, 10, 0);
    check(book(1, 15, 12) == 0, "waits");
    check(hold_again(RECORD_BOOK, 1, 0) == 0 && turn.held_counts[1] == 1, "still");
    check(hold_again(RECORD_BOOK, 1, now_ns) == 1 && turn.breaks_count == 1, "long enough");
    check(book(0, 12, 10) == 1 && turn.breaks_count == 1 && breaks[0].ends == 1, "the late one fills the hole");
    check(book(0, 15, 12) == 0 && book(0, 16, 15) == 1 && turn.breaks_count == 0, "and the chain is whole");
}

static void test_a_snapshot_of_a_leg_that_is_back_is_not_published(void)
{
    begin();
    book(0, 10, 0);
    book(1, 10, 0);
    merge_lost(merge, 1);
    book(0, 12, 10);
    conns[1] = 2;
    check(book(1, 12, 0) == 0 && turn.held_counts[1] == 0, "it says what is known");
    check(book(1, 14, 12) == 1, "and its chain goes on");
    merge_lost(merge, 0);
    conns[0] = 2;
    check(book(0, 18, 0) == 0 && turn.held_counts[0] == 1, "one that is ahead waits for the chain");
    struct book waiting = held[0].book[0];
    book(1, 16, 14);
    book(1, 18, 16);
    check(give(RECORD_BOOK, 0, &waiting, 1, 1, 0) == 0 && turn.held_counts[0] == 0, "which has come up to it");
}

static void test_after_both_legs_were_away_the_snapshot_counts(void)
{
    begin();
    book(0, 10, 0);
    merge_lost(merge, 0);
    merge_lost(merge, 1);
    conns[0] = conns[1] = 2;
    check(book(0, 30, 0) == 1 && turn.breaks_count == 1 && breaks[0].to_ns != 0 && breaks[0].first_missing == 10 &&
              breaks[0].last_missing == 30,
          "the hole has both ends");
    check(book(1, 30, 0) == 0, "one snapshot is enough");
}

static void test_a_message_without_its_end_waits_for_it(void)
{
    begin();
    struct book levels[2] = {book_of(0, 10, 0), book_of(0, 10, 0)};
    levels[0].head.flags = RECORD_SNAPSHOT;
    turn = (struct merge_turn){.kind = RECORD_BOOK, .out = &out, .held = {&held[0], &held[1]}, .breaks = breaks, .breaks_max = ROOM};
    turn.records[0] = levels;
    turn.counts[0] = 1;
    merge_run(merge, &turn);
    check(turn.consumed[0] == 0 && turn.out_count == 0, "half of a message is none");
    check(give(RECORD_BOOK, 0, levels, 2, 0, 0) == 2, "its levels stay together");
}

static void test_an_earlier_life_is_not_repeated(void)
{
    begin();
    struct book books[] = {book_of(0, 10, 0), book_of(0, 12, 10)};
    published(RECORD_BOOK, books, 2);
    check(book(0, 10, 0) == 0 && book(0, 12, 10) == 0 && book(1, 12, 10) == 0, "what it published is dropped");
    check(book(1, 14, 12) == 1 && turn.breaks_count == 0, "and what follows is not");
    static struct merge_chain chains[MERGE_CHAINS];
    uint64_t count = merge_chains_export(&merge->chains, chains);
    memset(merge, 0, sizeof *merge);
    check(count == 1 && merge_chains_import(&merge->chains, chains, count) == 1, "the chains outlive us");
    published(RECORD_BOOK, books, 2); /* older than the chains: told for the window's sake */
    check(book(0, 14, 12) == 0 && book(0, 16, 14) == 1, "and go on");
}

static void test_a_hole_that_an_earlier_life_published_past_is_told_again(void)
{
    begin();
    struct book books[] = {book_of(0, 10, 0), book_of(0, 15, 12), book_of(0, 20, 0), book_of(0, 20, 0), book_of(0, 30, 0)};
    books[2].head.flags = RECORD_SNAPSHOT; /* a message of two levels */
    published(RECORD_BOOK, books, 5);
    check(turn.breaks_count == 3, "a break, its end, and a snapshot ahead of the chain");
    check(breaks[0].first_missing == 10 && breaks[0].last_missing == 12 && breaks[0].from_ns == books[0].head.recv_ns &&
              breaks[0].to_ns == 0 && !breaks[0].ends,
          "a change that did not follow");
    check(breaks[1].ends && breaks[1].to_ns == books[3].head.recv_ns, "the snapshot behind it");
    check(breaks[2].first_missing == 20 && breaks[2].last_missing == 30 && breaks[2].to_ns != 0 && !breaks[2].ends, "the next one");
    struct trade trades[] = {{.trade_seq = 5}, {.trade_seq = 6}, {.trade_seq = 9}};
    published(RECORD_TRADE, trades, 3);
    check(turn.breaks_count == 1 && breaks[0].first_missing == 7 && breaks[0].last_missing == 8, "trades");
    turn = (struct merge_turn){.kind = RECORD_TRADE, .records = {trades}, .counts = {3}, .breaks = breaks, .breaks_max = 0};
    merge_published(merge, &turn);
    check(turn.consumed[0] == 0, "no room for what is told: later");
}

static void test_what_one_leg_alone_brought_is_missed_by_the_other(void)
{
    begin();
    quote(0, 1, 1.0);
    quote(0, 2, 1.0);
    quote(1, 2, 1.0);
    merge_judge(merge, now_ns);
    check(merge->legs[0].only == 0, "not yet");
    merge_judge(merge, now_ns + MERGE_SETTLE_NS);
    check(merge->legs[0].only == 1 && merge->legs[1].only == 0, "one was missed by leg 1");
    quote(1, 1, 1.0);
    check(merge->legs[0].only == 0 && merge->legs[1].second == 2, "it was only late");
    for (unsigned bucket = 1; bucket < MERGE_LATE_BUCKETS; bucket++)
        check(merge_late_ns(bucket) > merge_late_ns(bucket - 1), "the buckets ascend");
}

static void test_best_prices_that_come_back_within_a_millisecond_are_published_again(void)
{
    begin();
    check(bbo(0, 1) == 1 && bbo(0, 2) == 1 && bbo(0, 1) == 1, "what comes back is news");
    check(bbo(1, 1) == 0 && bbo(1, 2) == 0 && bbo(1, 1) == 0, "and the other leg's copies of it are none");
    check(bbo(1, 1) == 0 && bbo(0, 1) == 0, "nor is what the venue says twice in a row");
    check(bbo(1, 2) == 1 && bbo(1, 1) == 1 && bbo(0, 2) == 0 && bbo(0, 1) == 0, "whichever leg is first");
    struct quote quotes[3] = {{.bid_amount = 1}, {.bid_amount = 2}, {.bid_amount = 1}};
    for (int i = 0; i < 3; i++)
        quotes[i].head.conn = conns[0];
    check(give(RECORD_QUOTE, 0, quotes, 3, 0, 0) == 3, "so it is with tickers");
    check(merge->legs[0].repeats == 5 && merge->legs[1].repeats == 4, "all are counted");
}

static uint64_t delivery(int leg, double remaining_s)
{
    struct index record = {.value = 4000.5, .remaining_s = remaining_s, .measure = INDEX_DELIVERY, .is_estimated = 1};
    record.head.exch_ns = record.head.recv_ns = now_ns += 1000000;
    record.head.conn = conns[leg];
    memcpy(record.head.instrument, "eth_usd", 7);
    return give(RECORD_INDEX, leg, &record, 1, 0, 0);
}

static void test_what_comes_without_a_time_of_the_venue_is_published_once(void)
{
    begin();
    check(delivery(0, 30) == 1 && delivery(1, 30) == 0, "a copy that arrived later is a copy");
    check(delivery(1, 29) == 1 && delivery(0, 29) == 0, "a second later it is news");
}

static void test_what_a_leg_has_lost_or_begins_with_is_no_news(void)
{
    begin();
    bbo(0, 1);
    bbo(0, 2);
    bbo(0, 1);
    check(bbo(1, 2) == 0 && bbo(1, 1) == 0, "leg 1 has lost the first one");
    conns[0] = 2;
    check(bbo(0, 1) == 0, "a new connection says what is known");
    check(bbo(0, 2) == 0 && bbo(0, 1) == 0, "and goes on from there");
}

static void test_what_an_earlier_life_published_again_is_not_published_a_third_time(void)
{
    begin();
    struct bbo bbos[] = {bbo_of(0, 1), bbo_of(0, 2), bbo_of(0, 1)};
    published(RECORD_BBO, bbos, 3);
    check(give(RECORD_BBO, 0, bbos, 3, 0, 0) == 0 && bbo(1, 1) == 0 && bbo(1, 2) == 0 && bbo(1, 1) == 0, "all are known");
    check(bbo(1, 2) == 1, "and what follows is not");
}

static void test_a_full_window_forgets_the_oldest(void)
{
    begin();
    for (int64_t i = 0; i <= MERGE_WINDOW; i++)
        quote(0, i, 1.0);
    check(quote(1, 1, 1.0) == 0, "the newest are known");
    check(quote(1, 0, 1.0) == 1, "the oldest is not any more");
}

static void test_a_full_table_of_chains_is_told(void)
{
    begin();
    for (unsigned number = 0; number < MERGE_CHAINS / 4 * 3; number++) {
        char name[RECORD_INSTRUMENT_MAX] = {0};
        snprintf(name, sizeof name, "ETH-%u", number);
        merge_chains_find(&merge->chains, RECORD_TRADE, name);
    }
    check(trade(0, 5) == 1 && merge->unchained == 1, "one more has no chain");
    check(trade(0, 9) == 1 && turn.breaks_count == 0 && merge->unchained == 2, "what is missing of it cannot be told");
    merge_chains_forget(&merge->chains, 1);
    check(trade(0, 10) == 1 && merge->unchained == 2, "there is room again");
}

int main(void)
{
    merge = calloc(1, sizeof *merge);
    if (merge == NULL)
        return 1;
    test_first_arrival_wins_and_the_copy_is_dropped();
    test_a_leg_s_hole_that_was_published_already_keeps_nobody_waiting();
    test_a_change_waits_for_what_only_the_other_leg_has();
    test_a_hole_in_both_legs_is_told();
    test_who_waited_long_enough_is_published_and_the_late_one_too();
    test_a_snapshot_of_a_leg_that_is_back_is_not_published();
    test_after_both_legs_were_away_the_snapshot_counts();
    test_a_message_without_its_end_waits_for_it();
    test_an_earlier_life_is_not_repeated();
    test_a_hole_that_an_earlier_life_published_past_is_told_again();
    test_what_one_leg_alone_brought_is_missed_by_the_other();
    test_best_prices_that_come_back_within_a_millisecond_are_published_again();
    test_what_comes_without_a_time_of_the_venue_is_published_once();
    test_what_a_leg_has_lost_or_begins_with_is_no_news();
    test_what_an_earlier_life_published_again_is_not_published_a_third_time();
    test_a_full_window_forgets_the_oldest();
    test_a_full_table_of_chains_is_told();
    free(merge);
    printf("test_merge: %d checks, %d failures\n", checks, failures);
    return failures != 0;
}
