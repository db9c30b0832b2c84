/* fuzz_feed.c: any course of frames, of progress of the journal and of reconnections. FEED-1, RING-2: of each kind, what was
 * sent is what was published plus what the overflows told as lost, and nothing else. Input: steps of four bytes each. */
#define _GNU_SOURCE /* memfd_create */

#include "../feed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../ringmap.h"

enum { SLOTS = 512, TABLE = 16, WAIT_MS = 2, FRAME_MAX = 1 << 15, LEVELS_MAX = 600, BODY_MAX = FRAME_MAX - 512 };

static struct ring rings[FEED_RING_COUNT];
static struct feed feed;
static struct continuity_entry table[TABLE];
static uint64_t sent[FEED_RING_COUNT], told_lost[FEED_RING_COUNT];

static void require(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "fuzz_feed: %s\n", what);
        abort();
    }
}

static void begin(void)
{
    static void *memories[FEED_RING_COUNT];
    static const char stream[RING_STREAM_MAX] = "feed-1.test", boot[40] = "boot";
    memset(table, 0, sizeof table);
    memset(sent, 0, sizeof sent);
    memset(told_lost, 0, sizeof told_lost);
    for (enum record_kind kind = RECORD_QUOTE; kind <= RECORD_BOOK; kind++) {
        uint64_t size = ring_file_size(kind, SLOTS);
        if (memories[kind] == NULL) {
            int file = memfd_create("ring", MFD_CLOEXEC);
            require(file >= 0 && ftruncate(file, (off_t)size) == 0, "a file");
            require(ringmap_open(file, size, &memories[kind]) == RINGMAP_OK, "a mapping");
            close(file);
        }
        memset(memories[kind], 0, RING_HEADER_SIZE);
        require(ring_create(memories[kind], size, kind, SLOTS, stream, boot, 1, 1) == RING_OK, "a ring");
        require(ring_attach(&rings[kind], memories[kind], size, kind) == RING_OK, "the ring again");
        ring_produce(&rings[kind], 1, 1);
    }
    feed_init(&feed, &rings[RECORD_QUOTE], &rings[RECORD_TRADE], &rings[RECORD_BOOK], WAIT_MS, table, TABLE);
    feed_connect(&feed, 1);
}

/* A frame of `kind` for an instrument, with as many records as `*records` (1 for a quote). Returns its length. */
static size_t write_frame(char *frame, enum record_kind kind, unsigned instrument, unsigned id, uint64_t *records)
{
    static const char *const channels[] = {"", "ticker", "trades", "book"};
    size_t at = (size_t)snprintf(frame, 512, "{\"method\":\"subscription\",\"params\":{\"channel\":\"%s.E-%u.100ms\",\"data\":",
                                 channels[kind], instrument);
    if (kind == RECORD_QUOTE) {
        *records = 1;
        at += (size_t)snprintf(frame + at, 512, "{\"timestamp\":1,\"instrument_name\":\"E-%u\"}", instrument);
    } else if (kind == RECORD_TRADE) {
        at += (size_t)snprintf(frame + at, 512, "[");
        uint64_t count = 0;
        for (; count < *records && at < BODY_MAX; count++)
            at += (size_t)snprintf(frame + at, 512,
                                   "%s{\"trade_seq\":%u,\"trade_id\":\"%u\",\"timestamp\":1,\"instrument_name\":\"E-%u\","
                                   "\"price\":1,\"amount\":1,\"direction\":\"buy\"}",
                                   count == 0 ? "" : ",", id + (unsigned)count, id, instrument);
        *records = count;
        at += (size_t)snprintf(frame + at, 512, "]");
    } else {
        at += (size_t)snprintf(frame + at, 512, "{\"type\":\"%s\",\"timestamp\":1,\"instrument_name\":\"E-%u\",",
                               id % 3 == 0 ? "snapshot" : "change", instrument);
        if (id % 3 != 0)
            at += (size_t)snprintf(frame + at, 512, "\"prev_change_id\":%u,", id - 1 + (id % 7 == 0));
        at += (size_t)snprintf(frame + at, 512, "\"change_id\":%u,\"asks\":[],\"bids\":[", id);
        uint64_t count = 0;
        for (; count < *records && at < BODY_MAX; count++)
            at += (size_t)snprintf(frame + at, 512, "%s[\"new\",%u,1]", count == 0 ? "" : ",", (unsigned)count + 1);
        *records = count;
        at += (size_t)snprintf(frame + at, 512, "]}");
    }
    return at + (size_t)snprintf(frame + at, 512, "}}");
}

static void note(unsigned told, const struct feed_report *report)
{
    if (told & FEED_TELL_OVERFLOWED) {
        require(report->overflow.records > 0 && report->overflow.from_ns <= report->overflow.to_ns, "an overflow lost something");
        told_lost[report->kind] += report->overflow.records;
    }
}

static void take(const char *frame, size_t length, int64_t recv_ns, enum record_kind kind, uint64_t records)
{
    struct feed_report report = {0};
    struct feed_found found;
    uint64_t head = ring_head(&rings[kind]);
    unsigned told = feed_frame(&feed, frame, length, recv_ns, 0, &report);
    note(told, &report);
    if (told & FEED_TELL_WAIT) {
        told = feed_frame(&feed, frame, length, recv_ns, WAIT_MS, &report);
        note(told, &report);
        require(!(told & FEED_TELL_WAIT), "it waits only as long as it may");
    }
    require(!(told & (FEED_TELL_MESSAGE | FEED_TELL_UNDECODABLE)), "a proper frame has records");
    sent[kind] += records;
    require(ring_head(&rings[kind]) - head == (told & FEED_TELL_RECORDS ? records : 0), "all of a message or nothing of it");
    uint64_t findings = 0;
    for (enum feed_finding finding; (finding = feed_next(&feed, &found)) != FEED_NOTHING;) {
        require(found.recv_ns == recv_ns && found.kind == kind, "a finding is of this frame");
        require(finding != FEED_BREAK || found.expected != found.got, "what breaks is not what was expected");
        require(finding != FEED_LEAP || found.expected < found.got, "a leap is forward");
        findings++;
    }
    require(findings <= records, "no more findings than records");
}

static void end(void)
{
    for (enum record_kind kind = RECORD_QUOTE; kind <= RECORD_BOOK; kind++) {
        struct feed_report report;
        note(feed_settle(&feed, kind, 1, &report), &report);
        require(sent[kind] == ring_head(&rings[kind]) - 1 + told_lost[kind], "sent is published plus told as lost");
    }
    require(feed.counters.lost_records == told_lost[1] + told_lost[2] + told_lost[3], "the counter says the same");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char frame[FRAME_MAX + 512];
    struct feed_report report;
    begin();
    for (int64_t now = 1; size >= 4; data += 4, size -= 4, now++) {
        enum record_kind kind = RECORD_QUOTE + data[0] % 3;
        uint64_t records = data[1] % 8 == 0 ? 1 + data[2] * 3u % LEVELS_MAX : 1 + data[2] % 8u;
        size_t length = write_frame(frame, kind, data[3] % 14, (unsigned)now, &records);
        uint64_t head = ring_head(&rings[kind]), durable = ring_durable(&rings[kind]);
        switch (data[0] / 3 % 16) {
        case 0: /* the journal goes on, a little or wholly */
            ring_set_durable(&rings[kind], data[1] % 2 ? head - 1 : durable + (head - 1 - durable) * data[2] / 255);
            break;
        case 1:
            note(feed_settle(&feed, kind, data[1] % 8 == 0, &report), &report);
            break;
        case 2:
            feed_connect(&feed, feed.conn + 1);
            break;
        case 3: /* cut off, so neither a message nor records */
            require(feed_frame(&feed, frame, length * data[2] / 256, now, 0, &report) == FEED_TELL_UNDECODABLE, "cut off");
            break;
        default:
            take(frame, length, now, kind, records);
        }
    }
    end();
    return 0;
}

#ifdef FUZZ_MAIN
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1du;
}

int main(int argc, char **argv)
{
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000, random = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    random = random * 2 + 1; /* never 0 */
    uint64_t courses = count / 100 + 1; /* a course has a few hundred frames */
    for (uint64_t i = 0; i < courses; i++) {
        uint8_t input[4 * 400];
        size_t size = 4 * (next_random(&random) % 400);
        for (size_t at = 0; at < size; at++)
            input[at] = (uint8_t)(next_random(&random) >> 32);
        LLVMFuzzerTestOneInput(input, size);
    }
    printf("fuzz_feed: %llu courses\n", (unsigned long long)courses);
    return 0;
}
#endif
