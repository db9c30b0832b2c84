/* merge_chains.c: the table of merge_chains.h, open addressing with linear probing. */
#include "merge_chains.h"

#include "digest.h"

#include <stdbool.h>
#include <string.h>

/* Where the walk to a chain begins. */
static uint64_t home_of(enum record_kind kind, const char *instrument)
{
    struct digest digest = digest_begin(kind);
    digest_bytes(&digest, instrument, RECORD_INSTRUMENT_MAX);
    return digest.a ^ digest.b;
}

struct merge_chain *merge_chains_find(struct merge_chains *chains, enum record_kind kind, const char *instrument)
{
    /* At most 3/4 are used, so the walk always ends at a free place. */
    for (uint64_t place = home_of(kind, instrument) % MERGE_CHAINS;; place = (place + 1) % MERGE_CHAINS) {
        struct merge_chain *chain = &chains->places[place];
        if (chain->instrument[0] == '\0') {
            if (chains->used >= MERGE_CHAINS / 4 * 3)
                return NULL;
            chains->used++;
            memcpy(chain->instrument, instrument, RECORD_INSTRUMENT_MAX);
            chain->kind = (uint8_t)kind;
            return chain;
        }
        if (chain->kind == kind && memcmp(chain->instrument, instrument, RECORD_INSTRUMENT_MAX) == 0)
            return chain;
    }
}

static void take_out(struct merge_chains *chains, uint64_t hole)
{
    struct merge_chain *places = chains->places;
    /* A walk must not end before what it looks for: whatever passed over this place on its own walk moves back to it. */
    for (uint64_t place = (hole + 1) % MERGE_CHAINS; places[place].instrument[0] != '\0'; place = (place + 1) % MERGE_CHAINS) {
        uint64_t walked = (place - home_of((enum record_kind)places[place].kind, places[place].instrument)) % MERGE_CHAINS;
        if (walked >= (place - hole) % MERGE_CHAINS) {
            places[hole] = places[place];
            hole = place;
        }
    }
    memset(&places[hole], 0, sizeof places[hole]);
    chains->used--;
}

uint64_t merge_chains_forget(struct merge_chains *chains, int64_t before_ns)
{
    uint64_t used = chains->used;
    for (uint64_t place = 0; place < MERGE_CHAINS;) {
        const struct merge_chain *chain = &chains->places[place];
        bool waits = chain->held[0] > 0 || chain->held[1] > 0;
        if (chain->instrument[0] != '\0' && chain->last_ns < before_ns && !waits)
            take_out(chains, place); /* and another one may be there now */
        else
            place++;
    }
    return used - chains->used;
}

uint64_t merge_chains_export(const struct merge_chains *chains, struct merge_chain *out)
{
    uint64_t count = 0;
    for (uint64_t place = 0; place < MERGE_CHAINS; place++)
        if (chains->places[place].instrument[0] != '\0') {
            out[count] = chains->places[place];
            memset(out[count++].held, 0, sizeof out->held); /* it comes again: the caller's positions are before it */
        }
    return count;
}

uint64_t merge_chains_import(struct merge_chains *chains, const struct merge_chain *kept, uint64_t count)
{
    uint64_t taken = 0;
    for (uint64_t i = 0; i < count; i++) {
        bool sound = kept[i].instrument[0] != '\0' && kept[i].state <= MERGE_BROKEN &&
                     (kept[i].kind == RECORD_BOOK || kept[i].kind == RECORD_TRADE);
        struct merge_chain *chain = sound ? merge_chains_find(chains, kept[i].kind, kept[i].instrument) : NULL;
        if (chain != NULL) {
            *chain = kept[i];
            taken++;
        }
    }
    return taken;
}
