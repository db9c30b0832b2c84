#include "folded_book.h"

#include <assert.h>
#include <math.h>
#include <string.h>

void folded_begin(struct folded_book *book)
{
    memset(book, 0, sizeof *book);
    book->bids.best = book->asks.best = NAN;
}

static bool has_room(const struct folded_side *side)
{
    return side->count < side->room && (side->past_count < side->past_room || side->past_count == FOLDED_PAST_MAX);
}

bool folded_has_room(const struct folded_book *book)
{
    return has_room(&book->bids) && has_room(&book->asks);
}

static bool is_same(double one, double other)
{
    return one == other || (isnan(one) && isnan(other));
}

static double best_of(const struct folded_side *side)
{
    return side->count > 0 ? side->ranks[side->count - 1] : NAN;
}

/* Where a rank is, or would be. Most changes are near the best price, at the end. */
static uint32_t place_of(const struct folded_side *side, double rank)
{
    uint32_t low = 0, high = side->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (side->ranks[middle] < rank)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void put(struct folded_side *side, double rank)
{
    uint32_t place = place_of(side, rank);
    if (place < side->count && side->ranks[place] == rank)
        return;
    assert(side->count < side->room);
    memmove(side->ranks + place + 1, side->ranks + place, (side->count - place) * sizeof *side->ranks);
    side->ranks[place] = rank;
    side->count++;
}

static void take_away(struct folded_side *side, double rank)
{
    uint32_t place = place_of(side, rank);
    if (place == side->count || side->ranks[place] != rank)
        return;
    side->count--;
    memmove(side->ranks + place, side->ranks + place + 1, (side->count - place) * sizeof *side->ranks);
}

static void forget_past(struct folded_side *side, int64_t now_ns)
{
    uint32_t old = side->past_count == FOLDED_PAST_MAX;
    while (old < side->past_count && side->past[old].ended_ns < now_ns - FOLDED_PAST_NS)
        old++;
    if (old == 0)
        return;
    side->known_ns = side->past[old - 1].ended_ns;
    side->past_count -= old;
    memmove(side->past, side->past + old, side->past_count * sizeof *side->past);
}

/* A message is whole: has it moved the best price? */
static void settle(struct folded_side *side, int64_t now_ns)
{
    double best = best_of(side);
    if (is_same(best, side->best))
        return;
    forget_past(side, now_ns);
    assert(side->past_count < side->past_room);
    side->past[side->past_count++] = (struct folded_past){.rank = side->best, .ended_ns = now_ns};
    side->best = best;
}

static void empty(struct folded_side *side)
{
    side->count = side->past_count = 0;
    side->known_ns = 0;
}

void folded_forget(struct folded_book *book)
{
    book->whole_ns = 0;
    empty(&book->bids);
    empty(&book->asks);
}

/* The first record of a message: is it taken? */
static void begin_message(struct folded_book *book, const struct book *record)
{
    if (record->head.flags & RECORD_SNAPSHOT) {
        folded_forget(book);
        book->whole_ns = record->head.recv_ns;
        book->conn = record->head.conn;
        book->change_id = record->change_id;
        book->skips = false;
        return;
    }
    bool known = book->whole_ns != 0 && record->head.conn == book->conn;
    book->skips = !known || record->change_id <= book->change_id; /* a message that was sent twice changes nothing */
    if (!book->skips && record->prev_change_id != book->change_id) {
        folded_forget(book);
        book->skips = true;
    }
    if (!book->skips)
        book->change_id = record->change_id;
}

void folded_take(struct folded_book *book, const struct book *record)
{
    if (!book->in_message)
        begin_message(book, record);
    book->spoke_ns = record->head.recv_ns;
    book->in_message = !(record->head.flags & RECORD_LAST);
    if (book->skips)
        return;
    if (!isnan(record->price)) {
        bool is_bid = record->side == BOOK_BID;
        (record->amount != 0 ? put : take_away)(is_bid ? &book->bids : &book->asks, is_bid ? record->price : -record->price);
    }
    if (!book->in_message) {
        settle(&book->bids, record->head.recv_ns);
        settle(&book->asks, record->head.recv_ns);
    }
}

/* Is it the best, or was it since then? */
static bool had(const struct folded_side *side, double rank, int64_t since_ns)
{
    if (is_same(rank, side->best))
        return true;
    for (uint32_t i = 0; i < side->past_count; i++)
        if (side->past[i].ended_ns >= since_ns && is_same(rank, side->past[i].rank))
            return true;
    return false;
}

enum folded_verdict folded_compare(const struct folded_book *book, uint32_t conn, int64_t recv_ns, double bid, double ask,
                                   int64_t since_ns)
{
    if (book->whole_ns == 0 || conn != book->conn || recv_ns < book->whole_ns)
        return FOLDED_UNKNOWN;
    if (book->bids.known_ns >= since_ns || book->asks.known_ns >= since_ns)
        return FOLDED_UNKNOWN;
    return had(&book->bids, bid, since_ns) && had(&book->asks, -ask, since_ns) ? FOLDED_AGREES : FOLDED_DIFFERS;
}

double folded_bid(const struct folded_book *book)
{
    return book->bids.best;
}

double folded_ask(const struct folded_book *book)
{
    return -book->asks.best;
}

void folded_restore_price(struct folded_side *side, double rank)
{
    put(side, rank);
}

void folded_restore(struct folded_book *book, int64_t whole_ns, uint32_t conn, uint64_t change_id)
{
    book->whole_ns = book->spoke_ns = whole_ns;
    book->conn = conn;
    book->change_id = change_id;
    settle(&book->bids, whole_ns);
    settle(&book->asks, whole_ns);
}
