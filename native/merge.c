#include "merge.h"

#include "digest.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

/* The venue counts anew (after a maintenance, on its test system): no late copy is so far behind its own leg. */
#define RESET_TRADES 1000u
/* A snapshot with an older id, but so much younger than what was published, is of a book that counts anew: times of one
 * channel do go backwards, by a fraction of a second. */
#define RESET_BOOK_NS ((int64_t)1000000000)

/* ---------------------------------------------------------------- digests */

/* What it is of. */
static struct digest subject_of(enum record_kind kind, const struct record_head *head)
{
    struct digest subject = digest_begin(kind);
    digest_bytes(&subject, head->instrument, sizeof head->instrument);
    return subject;
}

/* What it is of and what it says. What came without a time of the venue's has the time of its own arrival instead, which the other
 * leg's copy has not; the seconds that remain tell one estimated delivery price from the next. */
static struct digest digest_of(enum record_kind kind, const struct record_head *head, uint64_t id)
{
    struct digest digest = subject_of(kind, head);
    if (kind == RECORD_BOOK || kind == RECORD_TRADE) {
        digest_word(&digest, id);
        digest_word(&digest, head->flags & RECORD_SNAPSHOT);
        return digest;
    }
    digest_word(&digest, head->exch_ns != head->recv_ns ? (uint64_t)head->exch_ns : 0);
    digest_word(&digest, head->flags);
    digest_bytes(&digest, head + 1, record_size(kind) - sizeof *head);
    return digest;
}

/* ---------------------------------------------------------------- the window */

static unsigned late_bucket(int64_t late_ns)
{
    uint64_t us = late_ns > 0 ? (uint64_t)late_ns / 1000 : 0;
    if (us == 0)
        return 0;
    unsigned power = 63u - (unsigned)__builtin_clzll(us);
    unsigned half = power > 0 ? (unsigned)(us >> (power - 1)) & 1u : 0;
    unsigned bucket = 1 + 2 * power + half;
    return bucket < MERGE_LATE_BUCKETS ? bucket : MERGE_LATE_BUCKETS - 1;
}

int64_t merge_late_ns(unsigned bucket)
{
    if (bucket == 0)
        return 1000;
    int64_t power_ns = (int64_t)1000 << (bucket - 1) / 2;
    return (bucket - 1) % 2 == 0 ? power_ns / 2 * 3 : power_ns * 2;
}

static void judge_one(struct merge *merge, struct merge_seen *seen)
{
    if (!seen->judged && (seen->legs == 1 || seen->legs == 2))
        merge->legs[seen->legs - 1].only++;
    seen->judged = 1;
}

void merge_judge(struct merge *merge, int64_t now_ns)
{
    if (merge->seen_count - merge->judged > MERGE_WINDOW)
        merge->judged = merge->seen_count - MERGE_WINDOW;
    for (; merge->judged < merge->seen_count; merge->judged++) {
        struct merge_seen *seen = &merge->seen[merge->judged % MERGE_WINDOW];
        if (seen->recv_ns > now_ns - MERGE_SETTLE_NS)
            return;
        judge_one(merge, seen);
    }
}

static struct merge_seen *find_seen(struct merge *merge, struct digest digest)
{
    uint32_t place = merge->buckets[digest.a % MERGE_WINDOW];
    while (place != 0) {
        struct merge_seen *seen = &merge->seen[place - 1];
        if (seen->digest[0] == digest.a && seen->digest[1] == digest.b)
            return seen;
        place = seen->next;
    }
    return NULL;
}

/* A new entry, in the place of the oldest. */
static struct merge_seen *add_seen(struct merge *merge, struct digest digest)
{
    uint32_t place = (uint32_t)(merge->seen_count % MERGE_WINDOW);
    struct merge_seen *seen = &merge->seen[place];
    if (merge->seen_count >= MERGE_WINDOW) {
        judge_one(merge, seen);
        uint32_t *link = &merge->buckets[seen->digest[0] % MERGE_WINDOW];
        while (*link != place + 1) {
            assert(*link != 0); /* every entry is in its bucket */
            link = &merge->seen[*link - 1].next;
        }
        *link = seen->next;
    }
    merge->seen_count++;
    uint32_t *bucket = &merge->buckets[digest.a % MERGE_WINDOW];
    *seen = (struct merge_seen){.digest = {digest.a, digest.b}, .next = *bucket};
    *bucket = place + 1;
    return seen;
}

static void note_published(struct merge_seen *seen)
{
    if (seen->published < UINT8_MAX)
        seen->published++;
}

/* Count one arrival; `*known` is whether the same came before, on any leg. */
static struct merge_seen *arrive(struct merge *merge, int leg, struct digest digest, int64_t recv_ns, bool resent, bool *known)
{
    struct merge_figures *figures = &merge->legs[leg];
    struct merge_seen *seen = find_seen(merge, digest);
    *known = seen != NULL;
    if (seen == NULL) {
        seen = add_seen(merge, digest);
        seen->recv_ns = recv_ns;
        seen->legs = (uint8_t)(1u << leg);
        figures->first++;
    } else if (seen->legs == 0) {
        return seen; /* published by an earlier life: who was first is not known any more */
    } else if (seen->legs & (1u << leg)) {
        figures->repeats++;
    } else {
        figures->second++;
        figures->late[late_bucket(recv_ns - seen->recv_ns)] += !resent;
        if (seen->judged)
            merge->legs[1 - leg].only--; /* so it was not the only one after all */
        seen->legs = 3;
    }
    return seen;
}

/* ---------------------------------------------------------------- chains */

/* One message, as the rules below see it. */
struct message {
    const struct record_head *head;
    enum record_kind kind;
    int leg;
    uint64_t id;       /* change id, trade_seq */
    uint64_t previous; /* the id that it follows; 0 for a snapshot */
    bool snapshot;
    bool released;     /* it has waited long enough */
    bool published;    /* the same was published, of late */
};

enum verdict { TAKE, DROP, HOLD };

/* Note what a leg has brought, before what becomes of it. */
static void follow_leg(struct merge_chain *chain, const struct message *message)
{
    int leg = message->leg;
    if (chain->leg_conn[leg] != message->head->conn) {
        chain->leg_conn[leg] = message->head->conn;
        chain->leg_last[leg] = 0;
        chain->leg_whole[leg] = 0;
    }
    if (message->snapshot)
        chain->leg_whole[leg] = 1;
    else if (chain->leg_last[leg] == 0) /* we came in the middle: in line with what is published, or not known */
        chain->leg_whole[leg] = chain->state == MERGE_WHOLE && message->previous <= chain->last;
    else if (message->previous > chain->leg_last[leg])
        chain->leg_whole[leg] = 0;
    if (message->snapshot || message->id > chain->leg_last[leg])
        chain->leg_last[leg] = message->id;
}

/* May the other leg still bring what follows the last one published? A hole that it had before does not matter. */
static bool other_supplies(const struct merge *merge, const struct merge_chain *chain, const struct message *message)
{
    int other = 1 - message->leg;
    if (merge->conn[other] == 0 || chain->leg_last[other] > chain->last)
        return false;
    /* A connection that is new may not have had a trade of this instrument yet, but will have the next one; a book begins
     * with a snapshot, so before that one nobody knows. */
    return message->kind == RECORD_TRADE ||
           (chain->leg_conn[other] == merge->conn[other] && chain->leg_last[other] != 0);
}

/* GAP-1: no leg has brought the ids from `first` to `last`. What comes of them later is taken, unless it was published: ranges
 * are joined, and what lies between them has its digest. */
static void miss(struct merge_chain *chain, uint64_t first, uint64_t last)
{
    if (chain->missed_last == 0)
        chain->missed_first = first;
    chain->missed_last = last;
}

static void advance(struct merge_chain *chain, const struct message *message)
{
    chain->last = message->id;
    chain->last_ns = message->head->recv_ns;
    chain->last_exch_ns = message->head->exch_ns;
}

/* A snapshot of a book whose ids the venue counts anew. */
static bool counts_anew(const struct merge_chain *chain, const struct message *message)
{
    return message->snapshot && message->id < chain->last && message->head->exch_ns > chain->last_exch_ns + RESET_BOOK_NS;
}

static void tell(struct merge_turn *turn, const struct merge_chain *chain, const struct message *message, uint64_t first,
                 uint64_t last, bool lasts, bool ends)
{
    struct merge_break *told = &turn->breaks[turn->breaks_count++];
    *told = (struct merge_break){
        .first_missing = first,
        .last_missing = last,
        .from_ns = chain->last_ns,
        .to_ns = lasts ? 0 : message->head->recv_ns,
        .conn = message->head->conn,
        .kind = (uint8_t)message->kind,
        .ends = ends,
    };
    memcpy(told->instrument, chain->instrument, sizeof told->instrument);
}

/* Older than what was published. PAIR-1: only what no leg had brought is taken now. */
static enum verdict judge_late(struct merge_turn *turn, struct merge_chain *chain, const struct message *message)
{
    if (message->id < chain->missed_first || message->id > chain->missed_last)
        return DROP;
    if (message->id == chain->missed_last && chain->state == MERGE_BROKEN && chain->leg_whole[message->leg]) {
        tell(turn, chain, message, 0, 0, false, true); /* this leg has brought all of it */
        chain->state = MERGE_WHOLE;
    }
    return TAKE;
}

/* The first message of an instrument: the other leg may be behind it. */
static void begin(struct merge_chain *chain, const struct message *message)
{
    chain->state = message->kind == RECORD_TRADE || message->snapshot ? MERGE_WHOLE : MERGE_BROKEN;
    miss(chain, 1, message->snapshot ? message->id : message->previous);
    advance(chain, message);
}

static enum verdict judge_snapshot(const struct merge *merge, struct merge_turn *turn, struct merge_chain *chain,
                                   const struct message *message)
{
    bool anew = counts_anew(chain, message);
    if (chain->state == MERGE_WHOLE) {
        if (message->id <= chain->last && !anew)
            return DROP; /* this leg begins behind what is published, and will come up to it */
        if (!message->released && other_supplies(merge, chain, message))
            return HOLD;
        tell(turn, chain, message, anew ? 0 : chain->last, anew ? 0 : message->id, false, false);
    } else if (chain->state == MERGE_BROKEN) {
        if (message->id < chain->last && !anew)
            return DROP;
        tell(turn, chain, message, 0, 0, false, true);
    }
    if (message->id > chain->last)
        miss(chain, chain->last + 1, message->id);
    chain->state = MERGE_WHOLE;
    advance(chain, message);
    return TAKE;
}

static enum verdict judge_change(const struct merge *merge, struct merge_turn *turn, struct merge_chain *chain,
                                 const struct message *message)
{
    if (message->id <= chain->last)
        return judge_late(turn, chain, message);
    bool follows = message->previous <= chain->last;
    if (chain->state == MERGE_WHOLE && !follows) {
        if (!message->released && other_supplies(merge, chain, message))
            return HOLD;
        tell(turn, chain, message, chain->last, message->previous, true, false);
        chain->state = MERGE_BROKEN;
    }
    if (chain->state == MERGE_BROKEN && !follows)
        miss(chain, chain->last + 1, message->previous);
    advance(chain, message);
    return TAKE;
}

static enum verdict judge_trade(const struct merge *merge, struct merge_turn *turn, struct merge_chain *chain,
                                const struct message *message, uint64_t leg_before)
{
    bool anew = message->id + RESET_TRADES < leg_before && message->id + RESET_TRADES < chain->last;
    if (message->id <= chain->last && !anew)
        return judge_late(turn, chain, message);
    if (message->id > chain->last + 1) {
        if (!message->released && other_supplies(merge, chain, message))
            return HOLD;
        tell(turn, chain, message, chain->last + 1, message->id - 1, false, false);
        miss(chain, chain->last + 1, message->id - 1);
    }
    advance(chain, message);
    return TAKE;
}

static enum verdict judge_chained(struct merge *merge, struct merge_turn *turn, struct merge_chain *chain,
                                  const struct message *message)
{
    int leg = message->leg;
    uint64_t leg_before = chain->leg_conn[leg] == message->head->conn ? chain->leg_last[leg] : 0;
    if (turn->again)
        chain->held[leg]--;
    else
        follow_leg(chain, message);
    enum verdict verdict = TAKE;
    if (chain->held[leg] > 0 && !turn->again) {
        verdict = HOLD; /* behind one that is held */
    } else if (message->published) {
        verdict = DROP;
    } else if (chain->state == MERGE_NONE) {
        begin(chain, message);
    } else if (message->kind == RECORD_TRADE) {
        verdict = judge_trade(merge, turn, chain, message, leg_before);
    } else {
        verdict = message->snapshot ? judge_snapshot(merge, turn, chain, message) : judge_change(merge, turn, chain, message);
    }
    chain->held[leg] += verdict == HOLD;
    return verdict;
}

/* ---------------------------------------------------------------- one turn */

static struct message message_of(enum record_kind kind, int leg, const struct record_head *head)
{
    struct message message = {.head = head, .kind = kind, .leg = leg};
    if (kind == RECORD_BOOK) {
        const struct book *book = (const struct book *)head;
        message.snapshot = head->flags & RECORD_SNAPSHOT;
        message.id = book->change_id;
        message.previous = message.snapshot ? 0 : book->prev_change_id;
    } else if (kind == RECORD_TRADE) {
        message.id = ((const struct trade *)head)->trade_seq;
        message.previous = message.id - 1;
    }
    return message;
}

static const struct record_head *next_of(const struct merge_turn *turn, int leg, uint32_t size)
{
    return (const struct record_head *)((const unsigned char *)turn->records[leg] + turn->consumed[leg] * size);
}

/* Records of a leg's next message; 0 where there is none, or not yet its end. The levels of a book stay together; of any
 * other kind each record is for itself. */
static uint64_t message_records(const struct merge_turn *turn, int leg, uint32_t size)
{
    uint64_t left = turn->counts[leg] - turn->consumed[leg];
    if (left == 0 || turn->kind != RECORD_BOOK)
        return left > 0;
    const unsigned char *next = (const unsigned char *)next_of(turn, leg, size);
    for (uint64_t i = 0; i < left; i++)
        if (((const struct record_head *)(next + i * size))->flags & RECORD_LAST)
            return i + 1;
    return 0;
}

void merge_connected(struct merge *merge, int leg, uint32_t conn)
{
    if (conn > merge->conn[leg] && conn > merge->lost_conn[leg])
        merge->conn[leg] = conn;
}

void merge_lost(struct merge *merge, int leg)
{
    if (merge->conn[leg] > merge->lost_conn[leg])
        merge->lost_conn[leg] = merge->conn[leg];
    merge->conn[leg] = 0;
}

/* Best prices may come back to what they were within one millisecond, the unit of the venue's time: 1, 2, 1. So of quotes and
 * best bids and offers the n-th equal one of a leg is the n-th of the other one, and it is new when we have published fewer.
 * What is repeated with nothing else of its instrument in between says nothing new (the venue repeats frames), nor does what
 * a new connection begins with: it counts from there. */
static bool is_new(struct merge *merge, const struct message *message, struct digest digest, struct merge_seen *seen)
{
    int leg = message->leg;
    struct digest *newest = &merge->newest[leg][subject_of(message->kind, message->head).a % MERGE_SUBJECTS];
    bool repeated = newest->a == digest.a && newest->b == digest.b;
    *newest = digest;
    if (seen->conn[leg] != message->head->conn) {
        seen->conn[leg] = message->head->conn;
        seen->times[leg] = 1;
    } else if (!repeated && seen->times[leg] < UINT8_MAX) {
        seen->times[leg]++;
    }
    return seen->times[leg] > seen->published;
}

static enum verdict judge(struct merge *merge, struct merge_turn *turn, struct message *message)
{
    bool chained = message->kind == RECORD_BOOK || message->kind == RECORD_TRADE, known = false;
    assert(chained || !turn->again); /* nothing else is ever held */
    struct digest digest = digest_of(message->kind, message->head, message->id);
    struct merge_chain *chain = chained ? merge_chains_find(&merge->chains, message->kind, message->head->instrument) : NULL;
    struct merge_seen *seen = NULL;
    if (turn->again || message->snapshot) /* counted before; and a leg's snapshot is no copy of the other's */
        seen = find_seen(merge, digest);
    else
        seen = arrive(merge, message->leg, digest, message->head->recv_ns,
                      !chained && message->head->recv_ns < merge->conn_ns[message->leg] + MERGE_SETTLE_NS, &known);
    message->published = seen != NULL && seen->published;
    if (chained && chain == NULL)
        merge->unchained++;
    bool may_come_back = message->kind == RECORD_QUOTE || message->kind == RECORD_BBO;
    bool fresh = may_come_back ? is_new(merge, message, digest, seen) : !known;
    enum verdict verdict = chain != NULL ? judge_chained(merge, turn, chain, message) : fresh ? TAKE : DROP;
    if (verdict == TAKE && seen != NULL)
        note_published(seen);
    return verdict;
}

void merge_run(struct merge *merge, struct merge_turn *turn)
{
    const uint32_t size = record_size(turn->kind);
    for (int leg = 0; leg < MERGE_LEGS; leg++)
        turn->consumed[leg] = turn->held_counts[leg] = 0;
    turn->out_count = turn->breaks_count = 0;
    uint64_t counts[MERGE_LEGS] = {message_records(turn, 0, size), message_records(turn, 1, size)};
    while ((counts[0] > 0 || counts[1] > 0) && turn->breaks_count < turn->breaks_max) {
        int leg = counts[0] == 0;
        if (counts[0] > 0 && counts[1] > 0)
            leg = next_of(turn, 1, size)->recv_ns < next_of(turn, 0, size)->recv_ns;
        const struct record_head *head = next_of(turn, leg, size);
        if (head->conn > merge->conn[leg])
            merge->conn_ns[leg] = head->recv_ns;
        merge_connected(merge, leg, head->conn);
        struct message message = message_of(turn->kind, leg, head);
        message.released = head->recv_ns <= turn->release_ns[leg];
        merge->legs[leg].records += turn->again ? 0 : counts[leg];
        switch (judge(merge, turn, &message)) {
        case TAKE:
            memcpy((unsigned char *)turn->out + turn->out_count * size, head, counts[leg] * size);
            turn->out_count += counts[leg];
            break;
        case HOLD:
            memcpy((unsigned char *)turn->held[leg] + turn->held_counts[leg] * size, head, counts[leg] * size);
            turn->held_counts[leg] += counts[leg];
            break;
        case DROP:
            break;
        }
        turn->consumed[leg] += counts[leg];
        counts[leg] = message_records(turn, leg, size);
    }
}

/* A chain goes on with what an earlier life has published, and tells what is missing before it as that one did. */
static void resume(struct merge_turn *turn, struct merge_chain *chain, const struct message *message)
{
    if (chain->state == MERGE_NONE) {
        begin(chain, message);
        return;
    }
    bool anew = counts_anew(chain, message), follows = message->previous <= chain->last;
    uint64_t first = message->kind == RECORD_TRADE ? chain->last + 1 : chain->last;
    uint64_t last = message->snapshot ? message->id : message->previous;
    if (message->snapshot && chain->state == MERGE_BROKEN)
        tell(turn, chain, message, 0, 0, false, true);
    else if (chain->state == MERGE_WHOLE && (message->snapshot || !follows))
        tell(turn, chain, message, anew ? 0 : first, anew ? 0 : last, message->kind == RECORD_BOOK && !message->snapshot, false);
    if (last > chain->last)
        miss(chain, chain->last + 1, last);
    bool whole = message->snapshot || message->kind == RECORD_TRADE || (chain->state == MERGE_WHOLE && follows);
    chain->state = whole ? MERGE_WHOLE : MERGE_BROKEN;
    advance(chain, message);
}

void merge_published(struct merge *merge, struct merge_turn *turn)
{
    const uint32_t size = record_size(turn->kind);
    bool chained = turn->kind == RECORD_BOOK || turn->kind == RECORD_TRADE;
    turn->consumed[0] = turn->breaks_count = 0;
    for (; turn->consumed[0] < turn->counts[0] && turn->breaks_count < turn->breaks_max; turn->consumed[0]++) {
        const struct record_head *head = next_of(turn, 0, size);
        if (turn->kind == RECORD_BOOK && !(head->flags & RECORD_LAST))
            continue; /* one level of a message speaks for all */
        struct message message = message_of(turn->kind, 0, head);
        struct digest digest = digest_of(turn->kind, head, message.id);
        struct merge_seen *seen = find_seen(merge, digest);
        if (seen == NULL)
            seen = add_seen(merge, digest);
        seen->recv_ns = head->recv_ns;
        seen->judged = 1;
        note_published(seen);
        struct merge_chain *chain = chained ? merge_chains_find(&merge->chains, turn->kind, head->instrument) : NULL;
        bool resent = message.snapshot && chain != NULL && chain->state == MERGE_BROKEN && message.id == chain->last;
        if (chain != NULL && (message.id > chain->last || resent || chain->state == MERGE_NONE || counts_anew(chain, &message)))
            resume(turn, chain, &message);
    }
}
