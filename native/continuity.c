/* continuity.c: the table of continuity.h, open addressing with linear probing. */
#include "continuity.h"

#include <assert.h>
#include <string.h>

enum { NAME_WORDS = RECORD_INSTRUMENT_MAX / 8 };
_Static_assert(RECORD_INSTRUMENT_MAX % 8 == 0, "names are hashed by words");

void continuity_init(struct continuity *continuity, struct continuity_entry *entries, uint64_t capacity)
{
    assert(capacity >= 4 && (capacity & (capacity - 1)) == 0);
    *continuity = (struct continuity){.entries = entries, .capacity = capacity, .used = 0};
}

/* A product for each word, none of which waits for another: a name is looked up for each message, with all 48 bytes. The
 * names come from the venue, which gains nothing from making them collide: no secret seed. */
static uint64_t hash_of(const char *instrument)
{
    static const uint64_t factors[NAME_WORDS] = {
        /* SplitMix64's first numbers, made odd */
        UINT64_C(0xe220a8397b1dcdaf), UINT64_C(0x6e789e6aa1b965f5), UINT64_C(0x06c45d188009454f),
        UINT64_C(0xf88bb8a8724c81ed), UINT64_C(0x1b39896a51a8749b), UINT64_C(0x53cb9f0c747ea2eb),
    };
    uint64_t hash = 0;
    for (int i = 0; i < NAME_WORDS; i++) {
        uint64_t word;
        memcpy(&word, instrument + 8 * i, sizeof word);
        hash += word * factors[i];
    }
    hash = (hash ^ hash >> 32) * UINT64_C(0x9e3779b97f4a7c15); /* a word's last bytes are in the upper bits only */
    return hash ^ hash >> 32;
}

static bool is_same(const char *one, const char *other)
{
    uint64_t differ = 0;
    for (int i = 0; i < NAME_WORDS; i++) {
        uint64_t a, b;
        memcpy(&a, one + 8 * i, sizeof a);
        memcpy(&b, other + 8 * i, sizeof b);
        differ |= a ^ b;
    }
    return differ == 0;
}

struct continuity_entry *continuity_find(struct continuity *continuity, const char *instrument)
{
    uint64_t mask = continuity->capacity - 1;
    /* At most 3/4 are used, so the walk always ends at a free place. */
    for (uint64_t place = hash_of(instrument) & mask;; place = (place + 1) & mask) {
        struct continuity_entry *entry = &continuity->entries[place];
        if (entry->instrument[0] == '\0') {
            if (continuity->used >= continuity->capacity / 4 * 3)
                return NULL;
            continuity->used++;
            memcpy(entry->instrument, instrument, RECORD_INSTRUMENT_MAX);
            return entry;
        }
        if (is_same(entry->instrument, instrument))
            return entry;
    }
}

bool continuity_forget(struct continuity *continuity, const char *instrument)
{
    struct continuity_entry *entries = continuity->entries;
    uint64_t mask = continuity->capacity - 1, hole = hash_of(instrument) & mask;
    while (!is_same(entries[hole].instrument, instrument)) {
        if (entries[hole].instrument[0] == '\0')
            return false;
        hole = (hole + 1) & mask;
    }
    /* A walk must not end before what it looks for: whatever passed over this place on its own walk moves back to it. */
    for (uint64_t place = (hole + 1) & mask; entries[place].instrument[0] != '\0'; place = (place + 1) & mask) {
        uint64_t walked = (place - hash_of(entries[place].instrument)) & mask;
        if (walked >= ((place - hole) & mask)) {
            entries[hole] = entries[place];
            hole = place;
        }
    }
    memset(&entries[hole], 0, sizeof entries[hole]);
    continuity->used--;
    return true;
}

enum continuity_result continuity_quote(struct continuity *continuity, const struct quote *quote)
{
    struct continuity_entry *entry = continuity_find(continuity, quote->head.instrument);
    if (entry == NULL)
        return CONTINUITY_FULL;
    entry->quote_ns = quote->head.recv_ns; /* tickers have no sequence: only their silence can be judged */
    return CONTINUITY_OK;
}

/* FEED-1: a whole book that is ahead of the chain hides what came between. One that is behind it begins the chain anew. */
static enum continuity_result take_snapshot(struct continuity_entry *entry, uint64_t change_id, struct continuity_before *before)
{
    uint64_t last = entry->change_id;
    bool chained = entry->book_state == BOOK_CHAINED;
    entry->book_state = BOOK_CHAINED;
    entry->change_id = change_id;
    if (chained && change_id == last) /* Deribit repeats the first frames after a subscription now and then */
        return CONTINUITY_REPEAT;
    if (!chained || change_id < last)
        return CONTINUITY_OK;
    before->expected = last;
    return CONTINUITY_BREAK;
}

/* FEED-1: a change whose predecessor we do not have is a loss. */
static enum continuity_result take_change(struct continuity_entry *entry, const struct book *change, struct continuity_before *before)
{
    if (entry->book_state != BOOK_CHAINED)
        return CONTINUITY_IGNORE;
    if (change->change_id <= entry->change_id)
        return CONTINUITY_REPEAT;
    if (change->prev_change_id != entry->change_id) {
        entry->book_state = BOOK_BROKEN;
        before->expected = entry->change_id;
        return CONTINUITY_BREAK;
    }
    entry->change_id = change->change_id;
    return CONTINUITY_OK;
}

enum continuity_result continuity_book(struct continuity *continuity, const struct book *books, uint64_t count,
                                       struct continuity_before *before)
{
    assert(count > 0); /* a message without levels has one record that says so */
    struct continuity_entry *entry = continuity_find(continuity, books->head.instrument);
    if (entry == NULL)
        return CONTINUITY_FULL;
    before->recv_ns = entry->book_ns;
    entry->book_ns = books->head.recv_ns;
    if (books->head.flags & RECORD_SNAPSHOT)
        return take_snapshot(entry, books->change_id, before);
    return take_change(entry, books, before);
}

enum continuity_result continuity_trade(struct continuity *continuity, const struct trade *trade,
                                        struct continuity_before *before)
{
    struct continuity_entry *entry = continuity_find(continuity, trade->head.instrument);
    if (entry == NULL)
        return CONTINUITY_FULL;
    before->recv_ns = entry->trade_ns;
    entry->trade_ns = trade->head.recv_ns;
    uint64_t last = entry->trade_seq;
    if (trade->trade_seq <= last)
        return CONTINUITY_REPEAT;
    entry->trade_seq = trade->trade_seq;
    if (last == 0 || trade->trade_seq == last + 1) /* 0: the first one that we see, or that we were told of */
        return CONTINUITY_OK;
    before->expected = last + 1;
    return CONTINUITY_BREAK;
}

enum continuity_result continuity_other(struct continuity *continuity, enum record_kind kind, const void *record)
{
    static const char *const measures[] = {[INDEX_PRICE] = "price.", [INDEX_VOLATILITY] = "volatility.", [INDEX_DELIVERY] = "delivery."};
    const struct record_head *head = record;
    char name[RECORD_INSTRUMENT_MAX] = {0};
    memcpy(name, head->instrument, sizeof name);
    if (kind == RECORD_MARK) {
        memset(name, 0, sizeof name);
        memcpy(name, ((const struct mark *)record)->price_index, sizeof ((const struct mark *)record)->price_index);
    } else if (kind == RECORD_INDEX) {
        const char *measure = measures[((const struct index *)record)->measure];
        size_t length = strlen(measure);
        memcpy(name, measure, length);
        memcpy(name + length, head->instrument, sizeof name - length);
    }
    struct continuity_entry *entry = continuity_find(continuity, name);
    if (entry == NULL)
        return CONTINUITY_FULL;
    int64_t *heard = kind == RECORD_BBO       ? &entry->bbo_ns
                     : kind == RECORD_INDEX   ? &entry->index_ns
                     : kind == RECORD_MARK    ? &entry->mark_ns
                     : kind == RECORD_FUNDING ? &entry->funding_ns
                                              : &entry->depth_ns;
    *heard = head->recv_ns;
    return CONTINUITY_OK;
}
