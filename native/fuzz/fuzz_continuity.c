/* fuzz_continuity.c: any course of messages against a plain list that remembers the same. FEED-1. */
#include "../continuity.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CAPACITY = 16, NAMES = 24 };

static void require(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "fuzz_continuity: %s\n", what);
        abort();
    }
}

struct remembered { /* the model: one of these for each name, in no order */
    int used, chained, broken;
    uint64_t change_id, trade_seq;
    int64_t trade_ns, book_ns;
};

static enum continuity_result book_by_list(struct remembered *place, const struct book *book, struct continuity_before *before)
{
    before->recv_ns = place->book_ns;
    place->book_ns = book->head.recv_ns;
    if (book->head.flags & RECORD_SNAPSHOT) {
        int repeat = place->chained && place->change_id == book->change_id;
        int leap = place->chained && place->change_id < book->change_id;
        if (leap)
            before->expected = place->change_id;
        place->chained = 1;
        place->broken = 0;
        place->change_id = book->change_id;
        return repeat ? CONTINUITY_REPEAT : leap ? CONTINUITY_BREAK : CONTINUITY_OK;
    }
    if (!place->chained)
        return CONTINUITY_IGNORE;
    if (book->change_id <= place->change_id)
        return CONTINUITY_REPEAT;
    if (book->prev_change_id == place->change_id) {
        place->change_id = book->change_id;
        return CONTINUITY_OK;
    }
    place->chained = 0;
    place->broken = 1;
    before->expected = place->change_id;
    return CONTINUITY_BREAK;
}

static enum continuity_result trade_by_list(struct remembered *place, const struct trade *trade, struct continuity_before *before)
{
    before->recv_ns = place->trade_ns;
    place->trade_ns = trade->head.recv_ns;
    uint64_t last = place->trade_seq, trade_seq = trade->trade_seq;
    if (trade_seq <= last)
        return CONTINUITY_REPEAT;
    place->trade_seq = trade_seq;
    if (last == 0 || trade_seq == last + 1)
        return CONTINUITY_OK;
    before->expected = last + 1;
    return CONTINUITY_BREAK;
}

/* Each message is four bytes: kind and flags, name, id, id before. A multiple of 16 is none: its name is forgotten. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct continuity_entry *entries = calloc(CAPACITY, sizeof *entries);
    struct remembered list[NAMES] = {{0}};
    struct continuity table;
    int used = 0;
    continuity_init(&table, entries, CAPACITY);
    for (size_t at = 0; at + 4 <= size; at += 4) {
        union { /* they begin alike */
            struct record_head head;
            struct quote quote;
            struct trade trade;
            struct book book;
        } record;
        memset(&record, 0, sizeof record);
        unsigned name = data[at + 1] % NAMES, kind = data[at] % 3;
        struct remembered *place = &list[name];
        snprintf(record.head.instrument, sizeof record.head.instrument, "ETH-25DEC26-%u-C", 1000 + name * 50);
        record.head.recv_ns = (int64_t)at + 1;
        if (data[at] % 16 == 0) {
            require(continuity_forget(&table, record.head.instrument) == (place->used != 0), "forgets what it has");
            used -= place->used;
            *place = (struct remembered){0};
            require(table.used == (uint64_t)used, "counts what is left");
            continue;
        }
        struct continuity_before before = {0}, before_by_list = {0};
        enum continuity_result result, wanted = CONTINUITY_OK;
        int is_new = !place->used, is_full = is_new && used == CAPACITY / 4 * 3;
        if (kind == 0) {
            result = continuity_quote(&table, &record.quote);
        } else if (kind == 1) {
            record.trade.trade_seq = data[at + 2];
            result = continuity_trade(&table, &record.trade, &before);
            wanted = is_full ? CONTINUITY_FULL : trade_by_list(place, &record.trade, &before_by_list);
        } else {
            record.head.flags = data[at] & 4 ? RECORD_SNAPSHOT : 0;
            record.book.change_id = data[at + 2];
            record.book.prev_change_id = data[at + 3];
            result = continuity_book(&table, &record.book, 1, &before);
            wanted = is_full ? CONTINUITY_FULL : book_by_list(place, &record.book, &before_by_list);
        }
        require(result == (is_full ? CONTINUITY_FULL : wanted), "says what the list says");
        require(before.expected == before_by_list.expected, "expects what the list expects");
        require(before.recv_ns == before_by_list.recv_ns, "knows when the one before was heard");
        if (!is_full) {
            used += is_new;
            place->used = 1;
            const struct continuity_entry *entry = continuity_find(&table, record.head.instrument);
            require(entry != NULL && entry->change_id == place->change_id && entry->trade_seq == place->trade_seq, "remembers the same");
            require((entry->book_state == BOOK_CHAINED) == place->chained && (entry->book_state == BOOK_BROKEN) == place->broken,
                    "is in the same state");
            require(kind != 0 || entry->quote_ns == (int64_t)at + 1, "was heard now");
            require(entry->trade_ns == place->trade_ns && entry->book_ns == place->book_ns, "was heard when the list says");
        }
        require(table.used == (uint64_t)used, "counts its entries");
    }
    free(entries);
    return 0;
}

#ifdef FUZZ_MAIN
int main(int argc, char **argv)
{
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000, random = (argc > 2 ? strtoull(argv[2], NULL, 10) : 1) * 2 + 1;
    for (uint64_t i = 0; i < count; i++) {
        uint8_t messages[64 * 4];
        uint8_t ids[NAMES] = {0};
        for (size_t at = 0; at < sizeof messages; at += 4) {
            random ^= random >> 12;
            random ^= random << 25;
            random ^= random >> 27;
            uint64_t choice = random * 0x2545f4914f6cdd1du;
            memcpy(messages + at, &choice, 4);
            /* Mostly what should come: the next id, after the last one. */
            uint8_t *last = &ids[messages[at + 1] % NAMES];
            if (choice >> 61 != 0) {
                messages[at + 3] = *last;
                messages[at + 2] = ++*last;
            }
        }
        LLVMFuzzerTestOneInput(messages, sizeof messages);
    }
    printf("fuzz_continuity: %llu inputs of 64 messages\n", (unsigned long long)count);
    return 0;
}
#endif
