/* fuzz_merge.c: a market of three instruments over two legs that lose, repeat, lag and reconnect. PAIR-1, GAP-1.
 *
 * Whatever a leg brought is published once, also where the merger is killed; a chain that lost nothing on both legs is published
 * in order and unbroken.
 */
#include "../merge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES = 3, EVENTS = 512, STEP = 3, HELD = 4096, STEPS = 600, OLD = MERGE_CHAINS / 8 * 5 };

static void require(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "fuzz_merge: %s\n", what);
        abort();
    }
}

/* Event n of an instrument has the id STEP * n, as a book's change, or n as a trade. */
struct course {
    int happened;                                /* events so far */
    int place[MERGE_LEGS];                       /* what each leg gets next */
    unsigned char brought[EVENTS], published[EVENTS]; /* by event: bit of the leg; how often */
    int lost_by[EVENTS];                         /* bit of each leg that will never bring it */
    int newest;                                  /* published last, in order */
    int begun;
};

static struct merge *merge;
static struct course courses[NAMES];
static struct merge_break breaks[HELD];
static struct book held[MERGE_LEGS][HELD], again[HELD], out[HELD];
static uint64_t held_count[MERGE_LEGS];
static uint32_t conns[MERGE_LEGS];
static int64_t clock_ns;
static int disordered, broken, released; /* times */

/* What outlives a merger: what each leg recorded, what was published, and a checkpoint. */
static struct book recorded[MERGE_LEGS][HELD], stream[8 * HELD];
static uint64_t recorded_count[MERGE_LEGS], stream_count;
static struct {
    struct merge_chain chains[MERGE_CHAINS];
    uint64_t count, read[MERGE_LEGS];
} checkpoint;

static void note_published(const struct merge_turn *turn)
{
    for (uint64_t i = 0; i < turn->out_count; i++) {
        stream[stream_count++] = out[i];
        struct course *course = &courses[out[i].head.instrument[0] - 'a'];
        int event = (int)(out[i].change_id / STEP);
        if (out[i].head.flags & RECORD_SNAPSHOT) {
            course->newest = event;
            continue;
        }
        require(course->brought[event] != 0, "only what was brought is published");
        require(++course->published[event] == 1, "nothing is published twice");
        disordered += event < course->newest;
        course->newest = event > course->newest ? event : course->newest;
    }
    broken += (int)turn->breaks_count;
}

static void run(int leg, const struct book *records, uint64_t count, int is_again, int64_t release_ns)
{
    struct merge_turn turn = {.kind = RECORD_BOOK, .again = is_again, .out = out, .breaks = breaks, .breaks_max = HELD};
    turn.records[leg] = records;
    turn.counts[leg] = count;
    turn.release_ns[leg] = release_ns;
    for (int each = 0; each < MERGE_LEGS; each++)
        turn.held[each] = held[each] + held_count[each];
    merge_run(merge, &turn);
    require(turn.consumed[leg] == count && turn.held_counts[1 - leg] == 0, "a turn takes what it was given");
    held_count[leg] += turn.held_counts[leg];
    note_published(&turn);
}

/* Give what is held once more until nothing moves. */
static void give_held(int64_t release_ns)
{
    uint64_t before;
    do {
        before = held_count[0] + held_count[1];
        for (int leg = 0; leg < MERGE_LEGS; leg++) {
            uint64_t count = held_count[leg];
            memcpy(again, held[leg], count * sizeof *again);
            held_count[leg] = 0;
            run(leg, again, count, 1, release_ns);
        }
    } while (held_count[0] + held_count[1] < before);
}

static void save(void)
{
    checkpoint.count = merge_chains_export(&merge->chains, checkpoint.chains);
    for (int leg = 0; leg < MERGE_LEGS; leg++)
        checkpoint.read[leg] = held_count[leg] > 0 ? held[leg][0].head.seq : recorded_count[leg];
}

/* Killed: the next life reads what was published, and the legs again from the checkpoint. */
static void kill_and_restart(void)
{
    memset(merge, 0, offsetof(struct merge, seen));
    merge_chains_import(&merge->chains, checkpoint.chains, checkpoint.count);
    struct merge_turn turn = {.kind = RECORD_BOOK, .breaks = breaks, .breaks_max = HELD};
    turn.records[0] = stream;
    turn.counts[0] = stream_count;
    merge_published(merge, &turn);
    require(turn.consumed[0] == stream_count, "all that was published is known");
    uint64_t next[MERGE_LEGS] = {checkpoint.read[0], checkpoint.read[1]};
    for (int leg = 0; leg < MERGE_LEGS; leg++) {
        held_count[leg] = 0;
        merge_connected(merge, leg, conns[leg]);
    }
    while (next[0] < recorded_count[0] || next[1] < recorded_count[1]) {
        int leg = next[0] == recorded_count[0];
        if (next[0] < recorded_count[0] && next[1] < recorded_count[1])
            leg = recorded[1][next[1]].head.recv_ns < recorded[0][next[0]].head.recv_ns;
        run(leg, &recorded[leg][next[leg]++], 1, 0, 0);
        give_held(0);
    }
}

static struct book record(int leg, int name, int event, int snapshot)
{
    struct book book = {.change_id = (uint64_t)event * STEP, .prev_change_id = snapshot ? 0 : (uint64_t)(event - 1) * STEP};
    book.head.instrument[0] = (char)('a' + name);
    book.head.flags = RECORD_LAST | (snapshot ? RECORD_SNAPSHOT : 0);
    book.head.recv_ns = ++clock_ns;
    book.head.conn = conns[leg];
    book.head.seq = recorded_count[leg]; /* its place among what the leg recorded */
    recorded[leg][recorded_count[leg]++] = book;
    return book;
}

/* The leg's next event of an instrument arrives, or is lost on the way. */
static void bring(int leg, int name, int lose)
{
    struct course *course = &courses[name];
    int event = course->place[leg];
    if (event > course->happened)
        return;
    course->place[leg]++;
    if (lose) {
        course->lost_by[event] |= 1 << leg;
        return;
    }
    struct book book = record(leg, name, event, 0);
    course->brought[event] |= (unsigned char)(1 << leg);
    run(leg, &book, 1, 0, 0);
}

/* A new connection: each book begins with a snapshot of now; what was under way is lost. */
static void reconnect(int leg, int tell)
{
    if (tell)
        merge_lost(merge, leg);
    conns[leg]++;
    for (int name = 0; name < NAMES; name++) {
        struct course *course = &courses[name];
        for (; course->place[leg] <= course->happened; course->place[leg]++)
            course->lost_by[course->place[leg]] |= 1 << leg;
        struct book book = record(leg, name, course->happened, 1);
        run(leg, &book, 1, 0, 0);
    }
}

/* Chains that expired long ago, among which those of the market have to find their places. */
static void crowd(struct merge_chain *chains)
{
    for (unsigned i = 0; i < OLD; i++) {
        chains[i] = (struct merge_chain){.kind = RECORD_BOOK, .state = MERGE_WHOLE, .last = i + 1};
        snprintf(chains[i].instrument, sizeof chains[i].instrument, "old %u", i);
    }
    require(merge_chains_import(&merge->chains, chains, OLD) == OLD, "there is room for them");
}

/* What happens next, by a byte. */
static void step(uint8_t byte, size_t place)
{
    int leg = byte & 1, name = (byte >> 1) % NAMES;
    switch (byte >> 3) {
    case 0:
        reconnect(leg, place % 2);
        break;
    case 1:
    case 2:
        bring(leg, name, 1);
        break;
    case 3:
        released++; /* or killed: either way a hole may be told that the other leg fills */
        if (place % 3 == 0)
            save();
        else if (place % 3 == 1 && stream_count < HELD)
            kill_and_restart();
        else
            give_held(clock_ns - 40);
        break;
    default:
        if (byte >> 3 < 14 && courses[name].happened < EVENTS - 1)
            courses[name].happened++;
        else
            bring(leg, name, 0);
        give_held(0);
    }
}

static void begin(void)
{
    if (merge == NULL)
        merge = malloc(sizeof *merge);
    require(merge != NULL, "there is memory");
    memset(merge, 0, offsetof(struct merge, seen));
    held_count[0] = held_count[1] = recorded_count[0] = recorded_count[1] = stream_count = checkpoint.count = 0;
    checkpoint.read[0] = checkpoint.read[1] = 0;
    disordered = broken = released = 0;
    for (int name = 0; name < NAMES; name++)
        courses[name] = (struct course){.happened = 1, .place = {2, 2}};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct merge_chain chains[MERGE_CHAINS];
    begin();
    int crowded = size > 0 && data[0] % 8 == 0;
    if (crowded)
        crowd(chains);
    for (int leg = 0; leg < MERGE_LEGS; leg++) {
        conns[leg] = 0;
        reconnect(leg, 0);
    }
    for (size_t i = 0; i < size && i < STEPS; i++) {
        if (crowded && i == size / 2) {
            merge_chains_forget(&merge->chains, 1);
            require(merge->chains.used == NAMES, "what has expired is forgotten, and nothing else");
        }
        step(data[i], i);
    }
    for (int i = 0; i < MERGE_LEGS * NAMES * EVENTS; i++) /* all that is under way arrives */
        bring(i % MERGE_LEGS, i / MERGE_LEGS % NAMES, 0);
    give_held(0);
    int lost = 0;
    for (int name = 0; name < NAMES; name++)
        for (int event = 0; event < EVENTS; event++)
            lost += courses[name].lost_by[event] == 3;
    int waiting = held_count[0] + held_count[1] > 0;
    require(lost > 0 || released > 0 || !waiting, "only what both legs have lost is waited for in vain");
    give_held(clock_ns);
    require(held_count[0] == 0 && held_count[1] == 0, "nothing is held for ever");
    for (int name = 0; name < NAMES; name++)
        for (int event = 0; event < EVENTS; event++)
            require(!courses[name].brought[event] == !courses[name].published[event], "what was brought is published");
    require(lost > 0 || released > 0 || (broken == 0 && disordered == 0), "what one leg has lost is no hole");
    merge_chains_forget(&merge->chains, 1); /* those of a checkpoint from before are back */
    require(merge_chains_export(&merge->chains, chains) == NAMES, "the chains can be kept");
    return 0;
}

#ifdef FUZZ_MAIN
/* Courses with few losses, so that chains are long. */
int main(int argc, char **argv)
{
    long count = argc > 1 ? atol(argv[1]) / 20 : 1000;
    srand(argc > 2 ? (unsigned)atoi(argv[2]) : 1);
    static uint8_t data[STEPS];
    for (long i = 0; i < count; i++) {
        size_t size = (size_t)rand() % sizeof data;
        int rare = 1 + rand() % 40;
        for (size_t j = 0; j < size; j++)
            data[j] = (uint8_t)(rand() % rare == 0 ? rand() : 32 + rand() % 224);
        LLVMFuzzerTestOneInput(data, size);
    }
    printf("fuzz_merge: %ld courses\n", count);
    return 0;
}
#endif
