/* test_continuity.c: what follows, what breaks, what repeats, and a table that fills up. FEED-1. */
#include "../continuity.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures, checks;

static void check(int holds, const char *what)
{
    checks++;
    if (!holds) {
        fprintf(stderr, "test_continuity: %s\n", what);
        failures++;
    }
}

static struct continuity_entry entries[64];
static struct continuity table;
static struct continuity_before before;

static void begin(uint64_t capacity)
{
    memset(entries, 0, sizeof entries);
    continuity_init(&table, entries, capacity);
    before = (struct continuity_before){0};
}

static enum continuity_result book(const char *name, uint32_t flags, uint64_t change_id, uint64_t prev_change_id)
{
    struct book record = {.change_id = change_id, .prev_change_id = prev_change_id};
    record.head.flags = flags;
    record.head.recv_ns = (int64_t)change_id;
    memcpy(record.head.instrument, name, strlen(name));
    return continuity_book(&table, &record, 1, &before);
}

static enum continuity_result trade(const char *name, uint64_t trade_seq)
{
    struct trade record = {.trade_seq = trade_seq};
    record.head.recv_ns = 7;
    memcpy(record.head.instrument, name, strlen(name));
    return continuity_trade(&table, &record, &before);
}

static enum continuity_result quote(const char *name)
{
    struct quote record = {0};
    record.head.recv_ns = 9;
    memcpy(record.head.instrument, name, strlen(name));
    return continuity_quote(&table, &record);
}

static struct continuity_entry *find(const char *name)
{
    char instrument[RECORD_INSTRUMENT_MAX] = {0};
    memcpy(instrument, name, strlen(name));
    return continuity_find(&table, instrument);
}

static void a_change_follows_the_one_before(void)
{
    begin(64);
    check(book("A", RECORD_SNAPSHOT, 100, 0) == CONTINUITY_OK, "a snapshot begins a chain");
    check(book("A", 0, 150, 100) == CONTINUITY_OK, "change ids grow by any step");
    check(book("B", 0, 160, 140) == CONTINUITY_IGNORE, "a change before the snapshot waits for it");
    check(book("A", 0, 170, 150) == CONTINUITY_OK, "another instrument's change is not in this chain");
    check(find("A")->change_id == 170 && find("A")->book_ns == 170, "the last change is remembered");
    check(find("B")->book_state == BOOK_NONE, "a change alone does not begin a chain");
}

static void a_missing_change_breaks_once_until_the_next_snapshot(void)
{
    begin(64);
    book("A", RECORD_SNAPSHOT, 100, 0);
    check(book("A", 0, 130, 120) == CONTINUITY_BREAK && before.expected == 100, "a change whose predecessor we lack breaks");
    check(before.recv_ns == 100, "and says when the one before it was heard");
    check(find("A")->book_state == BOOK_BROKEN, "the book is broken");
    check(book("A", 0, 140, 130) == CONTINUITY_IGNORE, "it is reported once");
    check(book("A", RECORD_SNAPSHOT, 150, 0) == CONTINUITY_OK, "a snapshot heals it");
    check(book("A", 0, 151, 150) == CONTINUITY_OK, "and the chain goes on");
}

static void a_snapshot_ahead_of_the_chain_is_a_break_that_is_over(void)
{
    begin(64);
    book("A", RECORD_SNAPSHOT, 100, 0);
    book("A", 0, 110, 100);
    check(book("A", RECORD_SNAPSHOT, 150, 0) == CONTINUITY_BREAK && before.expected == 110, "what came between is missing");
    check(find("A")->book_state == BOOK_CHAINED, "the book is whole");
    check(book("A", RECORD_SNAPSHOT, 150, 0) == CONTINUITY_REPEAT, "the same one again");
    check(book("A", 0, 151, 150) == CONTINUITY_OK, "and the chain goes on");
}

static void what_we_have_already_is_a_repeat(void)
{
    begin(64);
    book("A", RECORD_SNAPSHOT, 100, 0);
    check(book("A", RECORD_SNAPSHOT, 100, 0) == CONTINUITY_REPEAT, "the same snapshot again");
    book("A", 0, 110, 100);
    check(book("A", 0, 110, 100) == CONTINUITY_REPEAT, "the same change again");
    check(book("A", 0, 105, 100) == CONTINUITY_REPEAT, "an older change");
    check(book("A", 0, 120, 110) == CONTINUITY_OK, "a repeat does not move the chain");
    check(book("A", RECORD_SNAPSHOT, 100, 0) == CONTINUITY_OK, "an older snapshot replaces the book");
    check(find("A")->change_id == 100, "and the chain starts there");
}

static void trade_sequences_grow_by_one(void)
{
    begin(64);
    check(trade("A", 500) == CONTINUITY_OK, "the first trade may have any sequence");
    check(trade("A", 501) == CONTINUITY_OK, "the next");
    check(trade("A", 501) == CONTINUITY_REPEAT && trade("A", 400) == CONTINUITY_REPEAT, "known ones repeat");
    check(trade("A", 505) == CONTINUITY_BREAK && before.expected == 502, "a jump breaks");
    check(before.recv_ns == 7, "and says when the one before it was heard");
    check(trade("A", 506) == CONTINUITY_OK, "and goes on from there");
    check(find("A")->trade_ns == 7, "when it was heard");
    find("B")->trade_seq = 40;
    check(trade("B", 43) == CONTINUITY_BREAK && before.expected == 41, "a sequence known from before a restart shows the hole");
    check(quote("A") == CONTINUITY_OK && find("A")->quote_ns == 9, "a quote is heard");
    check(find("A")->trade_seq == 506, "without touching the rest");
}

static void a_full_table_says_so_and_keeps_what_it_has(void)
{
    begin(16);
    char name[RECORD_INSTRUMENT_MAX];
    for (int i = 0; i < 12; i++) {
        snprintf(name, sizeof name, "ETH-25DEC26-%d-C", 1000 + i);
        check(trade(name, (uint64_t)(10 + i)) == CONTINUITY_OK, "three quarters fit");
    }
    check(trade("ONE-MORE", 1) == CONTINUITY_FULL, "trade: full");
    check(book("ONE-MORE", RECORD_SNAPSHOT, 1, 0) == CONTINUITY_FULL, "book: full");
    check(quote("ONE-MORE") == CONTINUITY_FULL, "quote: full");
    for (int i = 0; i < 12; i++) {
        snprintf(name, sizeof name, "ETH-25DEC26-%d-C", 1000 + i);
        check(find(name) != NULL && find(name)->trade_seq == (uint64_t)(10 + i), "the others are all there");
    }
}

static bool forget(const char *name)
{
    char instrument[RECORD_INSTRUMENT_MAX] = {0};
    memcpy(instrument, name, strlen(name));
    return continuity_forget(&table, instrument);
}

static void what_is_forgotten_makes_room_and_the_others_are_found(void)
{
    begin(16);
    char name[RECORD_INSTRUMENT_MAX];
    for (int i = 0; i < 5000; i++) { /* a year of listings and expiries, of which twelve live at a time */
        snprintf(name, sizeof name, "ETH-25DEC26-%d-C", 1000 + i);
        check(trade(name, (uint64_t)(10 + i)) == CONTINUITY_OK, "there is room for a new one");
        if (i < 11)
            continue;
        for (int old = i - 11; old <= i; old++) {
            snprintf(name, sizeof name, "ETH-25DEC26-%d-C", 1000 + old);
            check(find(name)->trade_seq == (uint64_t)(10 + old), "all that live are remembered");
        }
        snprintf(name, sizeof name, "ETH-25DEC26-%d-C", 1000 + i - 11);
        check(forget(name) && !forget(name), "once");
        check(table.used == 11, "its place is free");
    }
    check(!forget("NEVER-SEEN"), "nor what was never there");
}

static void a_name_that_fills_its_field_is_told_from_its_beginning(void)
{
    begin(16);
    const char *full = "123456789012345678901234567890123456789012345678";
    trade(full, 5);
    trade("12345678901234567890123456789012345678901234567", 9);
    check(find(full)->trade_seq == 5, "48 bytes");
    check(table.used == 2, "two entries");
}

int main(void)
{
    a_change_follows_the_one_before();
    a_missing_change_breaks_once_until_the_next_snapshot();
    a_snapshot_ahead_of_the_chain_is_a_break_that_is_over();
    what_we_have_already_is_a_repeat();
    trade_sequences_grow_by_one();
    a_full_table_says_so_and_keeps_what_it_has();
    what_is_forgotten_makes_room_and_the_others_are_found();
    a_name_that_fills_its_field_is_told_from_its_beginning();
    printf("test_continuity: %d checks\n", checks);
    return failures != 0;
}
