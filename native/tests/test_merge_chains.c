/* test_merge_chains.c: the table of chains: found, full, forgotten, kept. */
#include "../merge_chains.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures, checks;

static void check(int holds, const char *what)
{
    checks++;
    if (!holds) {
        fprintf(stderr, "test_merge_chains: %s\n", what);
        failures++;
    }
}

enum { FULL = MERGE_CHAINS / 4 * 3 };

static struct merge_chains *chains;

static struct merge_chain *find(enum record_kind kind, unsigned number)
{
    char name[RECORD_INSTRUMENT_MAX] = {0};
    snprintf(name, sizeof name, "ETH-%u", number);
    return merge_chains_find(chains, kind, name);
}

/* As many as fit: the number is the time of the last message, and its id. */
static void fill(void)
{
    memset(chains, 0, sizeof *chains);
    for (unsigned number = 0; number < FULL; number++) {
        struct merge_chain *chain = find(RECORD_TRADE, number);
        if (chain == NULL)
            abort();
        *chain = (struct merge_chain){.kind = RECORD_TRADE, .state = MERGE_WHOLE, .last = number, .last_ns = number};
        snprintf(chain->instrument, sizeof chain->instrument, "ETH-%u", number);
    }
}

static void test_a_book_and_the_trades_of_an_instrument_are_two_chains(void)
{
    memset(chains, 0, sizeof *chains);
    struct merge_chain *book = find(RECORD_BOOK, 1), *trades = find(RECORD_TRADE, 1);
    check(book != trades && book->kind == RECORD_BOOK && trades->kind == RECORD_TRADE, "each has its own");
    check(find(RECORD_BOOK, 1) == book && find(RECORD_TRADE, 1) == trades && chains->used == 2, "and is found again");
}

static void test_a_full_table_has_no_place_for_another_one(void)
{
    fill();
    check(find(RECORD_TRADE, FULL) == NULL && chains->used == FULL, "the next one has no place");
    check(find(RECORD_TRADE, 7)->last == 7, "the others keep theirs");
}

static void test_what_was_silent_for_long_gives_its_place_back_and_all_others_are_found(void)
{
    fill();
    find(RECORD_TRADE, 7)->held[1] = 1;
    check(merge_chains_forget(chains, 0) == 0 && merge_chains_forget(chains, FULL / 2) == FULL / 2 - 1, "the older half goes");
    check(chains->used == FULL - FULL / 2 + 1 && find(RECORD_TRADE, 7)->last == 7, "but not what others wait for");
    int found = 1, gone = 1;
    for (unsigned number = FULL / 2; number < FULL; number++)
        found &= find(RECORD_TRADE, number)->last == number;
    check(found && chains->used == FULL - FULL / 2 + 1, "the younger half is found, wherever it moved");
    for (unsigned number = 8; number < FULL / 2; number++)
        gone &= find(RECORD_TRADE, number)->state == MERGE_NONE;
    check(gone && chains->used == FULL - 7, "what comes again nevertheless begins anew");
}

static void test_chains_outlive_us(void)
{
    static struct merge_chain kept[MERGE_CHAINS];
    fill();
    find(RECORD_TRADE, 7)->held[0] = 2;
    uint64_t count = merge_chains_export(chains, kept);
    kept[0].state = MERGE_BROKEN + 1;
    kept[1].kind = RECORD_QUOTE;
    kept[2].instrument[0] = '\0';
    memset(chains, 0, sizeof *chains);
    check(count == FULL && merge_chains_import(chains, kept, count) == FULL - 3, "but what is not sound");
    check(find(RECORD_TRADE, 7)->held[0] == 0, "and what was held comes again");
}

int main(void)
{
    chains = malloc(sizeof *chains);
    if (chains == NULL)
        return 1;
    test_a_book_and_the_trades_of_an_instrument_are_two_chains();
    test_a_full_table_has_no_place_for_another_one();
    test_what_was_silent_for_long_gives_its_place_back_and_all_others_are_found();
    test_chains_outlive_us();
    free(chains);
    printf("test_merge_chains: %d checks, %d failures\n", checks, failures);
    return failures != 0;
}
