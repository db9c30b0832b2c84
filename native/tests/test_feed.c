/* test_feed.c: frames become records in the right ring; breaks, overflows and broken frames are told, and lose what they say. */
#define _GNU_SOURCE /* memfd_create */

#include "../feed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../ringmap.h"

enum { SLOTS = 512, TABLE = 16, WAIT_MS = 3 };

static int failures, checks;
static struct ring quotes, trades, books;
static void *memories[FEED_RING_COUNT];
static struct feed feed;
static struct feed_report report;
static struct feed_found found;
static struct continuity_entry table[TABLE];
static char frame[1 << 16];

static void check(int holds, const char *what)
{
    checks++;
    if (!holds) {
        fprintf(stderr, "test_feed: %s\n", what);
        failures++;
    }
}

static void open_ring(struct ring *ring, enum record_kind kind)
{
    uint64_t size = ring_file_size(kind, SLOTS);
    int file = memfd_create("ring", MFD_CLOEXEC);
    static const char stream[RING_STREAM_MAX] = "feed-1.test", boot[40] = "boot";
    if (file < 0 || ftruncate(file, (off_t)size) != 0 || ringmap_open(file, size, &memories[kind]) != RINGMAP_OK ||
        ring_create(memories[kind], size, kind, SLOTS, stream, boot, 1, 1) != RING_OK ||
        ring_attach(ring, memories[kind], size, kind) != RING_OK) {
        fprintf(stderr, "test_feed: no ring\n");
        exit(1);
    }
    close(file);
    ring_produce(ring, 1, 1);
}

static void begin(void)
{
    open_ring(&quotes, RECORD_QUOTE);
    open_ring(&trades, RECORD_TRADE);
    open_ring(&books, RECORD_BOOK);
    memset(table, 0, sizeof table);
    feed_init(&feed, &quotes, &trades, &books, WAIT_MS, table, TABLE);
    feed_connect(&feed, 7);
}

static void end(void)
{
    ringmap_close(memories[RECORD_QUOTE], ring_file_size(RECORD_QUOTE, SLOTS));
    ringmap_close(memories[RECORD_TRADE], ring_file_size(RECORD_TRADE, SLOTS));
    ringmap_close(memories[RECORD_BOOK], ring_file_size(RECORD_BOOK, SLOTS));
}

static unsigned take_waited(const char *text, int64_t recv_ns, uint32_t waited_ms)
{
    return feed_frame(&feed, text, strlen(text), recv_ns, waited_ms, &report);
}

static unsigned take(const char *text, int64_t recv_ns) { return take_waited(text, recv_ns, 0); }

/* A frame in which nothing is found. */
static void take_whole(const char *text, int64_t recv_ns)
{
    check(take(text, recv_ns) == FEED_TELL_RECORDS, "records");
    check(feed_next(&feed, &found) == FEED_NOTHING, "nothing to tell");
}

static const char *quote(const char *instrument)
{
    snprintf(frame, sizeof frame,
             "{\"jsonrpc\":\"2.0\",\"method\":\"subscription\",\"params\":{\"channel\":\"ticker.%s.100ms\",\"data\":{"
             "\"timestamp\":1700000000000,\"instrument_name\":\"%s\",\"best_bid_price\":0.01,\"best_bid_amount\":5.0}}}",
             instrument, instrument);
    return frame;
}

static const char *trade(const char *instrument, unsigned sequence)
{
    snprintf(frame, sizeof frame,
             "{\"jsonrpc\":\"2.0\",\"method\":\"subscription\",\"params\":{\"channel\":\"trades.option.ETH.100ms\",\"data\":[{"
             "\"trade_seq\":%u,\"trade_id\":\"ETH-%u\",\"timestamp\":1700000000000,\"tick_direction\":0,\"price\":0.01,"
             "\"mark_price\":0.01,\"instrument_name\":\"%s\",\"index_price\":2000.0,\"direction\":\"buy\",\"amount\":1.0}]}}",
             sequence, sequence, instrument);
    return frame;
}

/* A book message of `levels` levels: a snapshot where `previous` is 0. */
static const char *book(const char *instrument, unsigned change, unsigned previous, unsigned levels)
{
    size_t at = (size_t)snprintf(frame, sizeof frame,
                                 "{\"jsonrpc\":\"2.0\",\"method\":\"subscription\",\"params\":{\"channel\":\"book.%s.100ms\","
                                 "\"data\":{\"type\":\"%s\",\"timestamp\":1700000000000,\"instrument_name\":\"%s\",",
                                 instrument, previous == 0 ? "snapshot" : "change", instrument);
    if (previous != 0)
        at += (size_t)snprintf(frame + at, sizeof frame - at, "\"prev_change_id\":%u,", previous);
    at += (size_t)snprintf(frame + at, sizeof frame - at, "\"change_id\":%u,\"bids\":[", change);
    for (unsigned level = 0; level < levels; level++)
        at += (size_t)snprintf(frame + at, sizeof frame - at, "%s[\"new\",0.%04u,1.0]", level == 0 ? "" : ",", level + 1);
    snprintf(frame + at, sizeof frame - at, "],\"asks\":[]}}}");
    return frame;
}

/* What the journal does: everything published is on disk. */
static void drain(struct ring *ring) { ring_set_durable(ring, ring_head(ring) - 1); }

static void each_kind_goes_to_its_ring(void)
{
    begin();
    check(take(quote("ETH-1"), 11) == FEED_TELL_RECORDS && ring_head(&quotes) == 2, "a quote");
    check(feed_next(&feed, &found) == FEED_NOTHING, "a quote: nothing to tell");
    check(take(trade("ETH-1", 4), 12) == FEED_TELL_RECORDS && ring_head(&trades) == 2, "a trade");
    check(feed_next(&feed, &found) == FEED_NOTHING, "a trade: nothing to tell");
    check(take(book("ETH-1", 9, 0, 3), 13) == FEED_TELL_RECORDS && ring_head(&books) == 4, "three levels");
    check(feed_next(&feed, &found) == FEED_NOTHING, "a snapshot: nothing to tell");
    struct book read[3];
    uint64_t count = 0;
    check(ring_read(&books, 1, UINT64_MAX, 3, read, &count) == RING_OK && count == 3, "read back");
    check(read[2].head.seq == 3 && read[2].head.conn == 7 && read[2].head.recv_ns == 13, "head");
    check(read[2].price == 0.0003 && read[2].change_id == 9 && (read[2].head.flags & RECORD_LAST), "level");
    const struct feed_counters *counters = &feed.counters;
    check(counters->frames == 3 && counters->quotes == 1 && counters->trades == 1 && counters->books == 3, "counters");
    end();
}

static void what_is_not_a_record_is_for_the_session(void)
{
    begin();
    check(take("{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":[\"a\"]}", 1) == FEED_TELL_MESSAGE, "reply");
    check(report.message == MESSAGE_REPLY && feed.counters.replies == 1, "reply");
    check(take("{\"jsonrpc\":\"2.0\",\"method\":\"heartbeat\",\"params\":{\"type\":\"test_request\"}}", 1) == FEED_TELL_MESSAGE,
          "test request");
    check(report.message == MESSAGE_TEST_REQUEST && feed.counters.test_requests == 1, "test request");
    check(take("{\"jsonrpc\":\"2.0\",", 1) == FEED_TELL_UNDECODABLE, "a frame that does not end");
    check(take("hello", 1) == FEED_TELL_UNDECODABLE && feed.counters.undecodable == 2, "no JSON");
    check(ring_head(&quotes) == 1 && ring_head(&trades) == 1 && ring_head(&books) == 1, "nothing was published");
    end();
}

static void a_broken_book_is_told_once(void)
{
    begin();
    take_whole(book("ETH-1", 10, 0, 1), 1);
    check(take(book("ETH-1", 14, 13, 2), 5) == FEED_TELL_RECORDS, "a change that does not follow is recorded");
    check(feed_next(&feed, &found) == FEED_BREAK, "and told");
    check(found.kind == RECORD_BOOK && found.expected == 10 && found.got == 13, "what was expected");
    check(found.since_ns == 1 && found.recv_ns == 5, "and between which times it is missing");
    check(strcmp(found.instrument, "ETH-1") == 0, "of which instrument");
    check(feed_next(&feed, &found) == FEED_NOTHING, "once");
    take(book("ETH-1", 15, 14, 1), 6);
    check(feed_next(&feed, &found) == FEED_NOTHING && feed.counters.ignored == 1, "not again while it waits for a snapshot");
    take(book("ETH-1", 20, 0, 1), 7);
    check(feed_next(&feed, &found) == FEED_NOTHING, "its snapshot is what was waited for");
    take(book("ETH-1", 21, 20, 1), 8);
    check(feed_next(&feed, &found) == FEED_NOTHING, "and it goes on");
    check(ring_head(&books) == 7 && feed.counters.breaks == 1, "all of it was recorded");
    end();
}

static void a_snapshot_ahead_of_the_chain_is_told(void)
{
    begin();
    take_whole(book("ETH-1", 10, 0, 1), 1);
    take(book("ETH-1", 20, 0, 1), 5);
    check(feed_next(&feed, &found) == FEED_LEAP && feed.counters.breaks == 1, "what came between is missing");
    check(found.kind == RECORD_BOOK && found.expected == 10 && found.got == 20, "which changes");
    check(found.since_ns == 1 && found.recv_ns == 5, "and between which times");
    take(book("ETH-1", 20, 0, 1), 6);
    check(feed_next(&feed, &found) == FEED_NOTHING && feed.counters.repeats == 1, "the same one again says nothing");
    take(book("ETH-1", 21, 20, 1), 7);
    check(feed_next(&feed, &found) == FEED_NOTHING, "and the chain goes on");
    end();
}

static void a_missing_trade_is_told(void)
{
    begin();
    take_whole(trade("ETH-1", 4), 1);
    take(trade("ETH-1", 7), 2);
    check(feed_next(&feed, &found) == FEED_BREAK, "a jump");
    check(found.kind == RECORD_TRADE && found.expected == 5 && found.got == 7, "which are missing");
    check(found.since_ns == 1 && found.recv_ns == 2, "and between which times");
    check(feed_next(&feed, &found) == FEED_NOTHING, "once");
    end();
}

static void trades_go_on_over_a_new_connection_and_books_start_anew(void)
{
    begin();
    static const char known[RECORD_INSTRUMENT_MAX] = "ETH-2";
    feed_remember_trade(&feed, known, 50);
    feed_remember_trade(&feed, known, 40);
    take_whole(trade("ETH-1", 4), 1);
    take_whole(book("ETH-1", 10, 0, 1), 1);
    feed_connect(&feed, 8);
    take(trade("ETH-1", 20), 3);
    check(feed_next(&feed, &found) == FEED_BREAK && found.expected == 5 && found.got == 20, "traded while we were away");
    take(trade("ETH-2", 52), 3);
    check(feed_next(&feed, &found) == FEED_BREAK && found.expected == 51, "traded since an earlier process");
    take(book("ETH-1", 30, 0, 1), 4);
    check(feed_next(&feed, &found) == FEED_NOTHING, "a new snapshot is no break");
    check(feed.conn == 8, "another connection epoch");
    end();
}

static void a_table_half_full_of_old_instruments_starts_empty(void)
{
    begin();
    for (int i = 0; i <= TABLE / 2; i++) {
        char name[RECORD_INSTRUMENT_MAX];
        snprintf(name, sizeof name, "ETH-%d", i);
        take_whole(trade(name, 4), 1);
    }
    feed_connect(&feed, 8);
    check(feed.continuity.used == 0, "empty");
    take(trade("ETH-1", 9), 2);
    check(feed_next(&feed, &found) == FEED_NOTHING && feed.continuity.used == 1, "and usable");
    end();
}

static void a_message_larger_than_the_usual_room_is_decoded_whole(void)
{
    begin();
    take_whole(book("ETH-1", 1, 0, 400), 1);
    check(ring_head(&books) == 401, "400 levels of 512 slots");
    take_whole(book("ETH-2", 1, 0, 112), 1);
    check(ring_head(&books) == 513, "the rest to the last slot");
    end();
}

/* RING-2, FEED-1: the journal stands still. */
static void a_full_ring_costs_one_wait_and_then_counts_what_it_loses(void)
{
    begin();
    for (int i = 0; i < SLOTS; i++)
        take_whole(quote("ETH-1"), i);
    check(take_waited(quote("ETH-1"), 1000, 0) == FEED_TELL_WAIT && report.kind == RECORD_QUOTE, "wait");
    check(take_waited(quote("ETH-1"), 1000, WAIT_MS - 1) == FEED_TELL_WAIT, "wait on");
    check(take_waited(quote("ETH-1"), 1000, WAIT_MS) == FEED_TELL_OVERFLOW, "enough");
    check(take(quote("ETH-1"), 1001) == 0, "no second wait in this episode");
    take_whole(book("ETH-1", 1, 0, 2), 1002); /* the other rings go on */
    check(feed_settle(&feed, RECORD_QUOTE, 0, &report) == 0, "still full");

    ring_set_durable(&quotes, SLOTS / 8 - 1);
    check(take(quote("ETH-1"), 1003) == 0, "a little space does not end it");
    ring_set_durable(&quotes, SLOTS / 8);
    check(take(quote("ETH-1"), 1004) == (FEED_TELL_OVERFLOWED | FEED_TELL_RECORDS), "an eighth does");
    check(report.overflow.records == 3 && report.overflow.from_ns == 1000 && report.overflow.to_ns == 1003, "what it lost");
    check(ring_head(&quotes) == SLOTS + 2, "no sequence was skipped");
    check(feed.counters.frames == SLOTS + 5 && feed.counters.quotes == SLOTS + 1 && feed.counters.lost_records == 3, "counted");
    check(feed.counters.waits == 1 && feed.counters.overflows == 1, "one wait, one episode");
    end();
}

static void an_overflow_counts_records_and_ends_without_frames(void)
{
    begin();
    take_whole(book("ETH-1", 1, 0, 500), 1);
    check(take_waited(book("ETH-1", 2, 1, 20), 2, WAIT_MS) == FEED_TELL_OVERFLOW, "20 levels do not fit");
    check(feed_next(&feed, &found) == FEED_NOTHING, "nothing was published");
    drain(&books);
    check(feed_settle(&feed, RECORD_BOOK, 0, &report) == FEED_TELL_OVERFLOWED, "settled in quiet time");
    check(report.kind == RECORD_BOOK && report.overflow.records == 20, "20 records");
    check(feed_settle(&feed, RECORD_BOOK, 0, &report) == 0, "once");
    check(take(book("ETH-1", 3, 2, 1), 3) == FEED_TELL_RECORDS, "then it goes on");
    check(feed_next(&feed, &found) == FEED_BREAK, "and the book knows that a change is missing");
    end();
}

static void closing_ends_an_overflow_in_any_case(void)
{
    begin();
    take_whole(book("ETH-1", 1, 0, 512), 1);
    take_waited(book("ETH-1", 2, 1, 1), 2, WAIT_MS);
    check(feed_settle(&feed, RECORD_BOOK, 1, &report) == FEED_TELL_OVERFLOWED && report.overflow.records == 1, "told at the end");
    end();
}

static void a_message_larger_than_the_ring_is_lost_without_a_wait(void)
{
    begin();
    check(take(book("ETH-1", 1, 0, 513), 1) == FEED_TELL_OVERFLOW, "513 levels, 512 slots");
    check(feed_settle(&feed, RECORD_BOOK, 0, &report) == FEED_TELL_OVERFLOWED && report.overflow.records == 513, "counted");
    check(feed.counters.waits == 0, "no wait");
    end();
}

int main(void)
{
    each_kind_goes_to_its_ring();
    what_is_not_a_record_is_for_the_session();
    a_broken_book_is_told_once();
    a_snapshot_ahead_of_the_chain_is_told();
    a_missing_trade_is_told();
    trades_go_on_over_a_new_connection_and_books_start_anew();
    a_table_half_full_of_old_instruments_starts_empty();
    a_message_larger_than_the_usual_room_is_decoded_whole();
    a_full_ring_costs_one_wait_and_then_counts_what_it_loses();
    an_overflow_counts_records_and_ends_without_frames();
    closing_ends_an_overflow_in_any_case();
    a_message_larger_than_the_ring_is_lost_without_a_wait();
    printf("test_feed: %d checks\n", checks);
    return failures != 0;
}
