/* test_decode_deribit.c: every frame, every beginning of it against a guard page, every bound. FEED-1, R8.
 *
 * Values are compared with the slow reference by tests/test_decode.py; here is what needs C: no byte read outside of the frame,
 * the three answers, room, and every byte of a record written. */
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include "../decode.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096, GUARDED_PAGES = 512, RECORDS = 4096 };

static int failures;
static unsigned long decodes;
static char *guarded; /* GUARDED_PAGES pages that may be touched, between two that may not */
static struct quote quotes[4];
static struct trade trades[RECORDS];
static struct book books[RECORDS];
static unsigned char slots[RECORDS * RECORD_SIZE_MAX]; /* for each of the other kinds */
#define OTHERS(count) {[RECORD_BBO] = {slots, count}, [RECORD_INDEX] = {slots, count}, [RECORD_MARK] = {slots, count}, \
                       [RECORD_FUNDING] = {slots, count}, [RECORD_DEPTH] = {slots, count}}
static const struct decode_slots other_rooms[RECORD_KIND_COUNT] = OTHERS(RECORDS);
static const struct decode_room whole_room = {quotes, trades, books, 4, RECORDS, RECORDS, other_rooms};

static void check(int holds, const char *what, const char *frame)
{
    if (!holds) {
        fprintf(stderr, "test_decode_deribit: %s: %.300s\n", what, frame);
        failures++;
    }
}

static void make_guards(void)
{
    char *pages = mmap(NULL, (GUARDED_PAGES + 2) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert(pages != MAP_FAILED);
    guarded = pages + PAGE;
    int denied = mprotect(guarded, GUARDED_PAGES * PAGE, PROT_READ | PROT_WRITE);
    assert(denied == 0);
}

/* Decode with nothing readable right behind the frame, or right before it. */
static enum decode_result decode_guarded(const char *frame, size_t length, int at_front, struct decoded *decoded)
{
    assert(length <= GUARDED_PAGES * PAGE);
    char *placed = at_front ? guarded : guarded + GUARDED_PAGES * PAGE - length;
    memmove(placed, frame, length);
    decodes++;
    return decode_deribit(placed, length, 123456789, 7, &whole_room, decoded);
}

static enum decode_result decode(const char *frame, struct decoded *decoded)
{
    return decode_guarded(frame, strlen(frame), 0, decoded);
}

/* The decoder owes nothing to what is cut off, so it must ask for more, whatever is missing. */
static void every_beginning_needs_more(const char *frame)
{
    size_t length = strlen(frame);
    struct decoded decoded;
    while (length > 0 && strchr(" \t\r\n", frame[length - 1]) != NULL)
        length--; /* without the space behind it a message is complete */
    for (size_t cut = 0; cut < length; cut++)
        for (int at_front = 0; at_front < 2; at_front++)
            if (decode_guarded(frame, cut, at_front, &decoded) != DECODE_MORE) {
                fprintf(stderr, "cut after %zu bytes: ", cut);
                check(0, "a beginning is not answered with MORE", frame);
                return;
            }
}

static void what_follows_a_message_spoils_it(const char *frame)
{
    static const char *const garbage[] = {"}", "]", ",", "x", "0", "\"", "{}", " {}", "\xc3\xa9"};
    size_t length = strlen(frame);
    char *longer = malloc(length + 8);
    struct decoded decoded;
    for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) {
        sprintf(longer, "%s%s", frame, garbage[i]);
        check(decode(longer, &decoded) == DECODE_BAD, "trailing bytes", longer);
    }
    sprintf(longer, "%s%s", frame, " \t\r\n");
    check(decode(longer, &decoded) == DECODE_OK, "trailing space", longer);
    check(decode_guarded(frame, length + 1, 0, &decoded) == DECODE_BAD, "a trailing NUL", frame);
    free(longer);
}

static size_t record_bytes(enum message message)
{
    return record_size((enum record_kind)(int)message);
}

static unsigned char *records_of(enum message message)
{
    return message == MESSAGE_QUOTE   ? (unsigned char *)quotes
           : message == MESSAGE_TRADE ? (unsigned char *)trades
           : message == MESSAGE_BOOK  ? (unsigned char *)books
                                      : slots;
}

static void fill_records(int byte)
{
    memset(quotes, byte, sizeof quotes);
    memset(trades, byte, sizeof trades);
    memset(books, byte, sizeof books);
    memset(slots, byte, 64 * RECORD_SIZE_MAX); /* more than the records of a frame of these tests */
}

/* What was in the slots must not show: each byte but those of seq is written, and none behind the last record. */
static void every_byte_of_a_record_is_written(const char *frame)
{
    struct decoded decoded;
    fill_records(0x55);
    if (decode(frame, &decoded) != DECODE_OK || decoded.message >= MESSAGE_REPLY)
        return;
    size_t size = record_bytes(decoded.message), total = decoded.count * size;
    unsigned char *records = records_of(decoded.message), *first = malloc(total + 64);
    memcpy(first, records, total + 64);
    fill_records(0xaa);
    decode(frame, &decoded);
    for (size_t i = 0; i < total; i++)
        if (i % size >= sizeof(uint64_t) && first[i] != records[i]) {
            fprintf(stderr, "byte %zu: ", i % size);
            check(0, "a byte of a record was not written", frame);
            break;
        }
    for (size_t i = total; i < total + 64; i++)
        check(first[i] == 0x55 && records[i] == 0xaa, "a byte behind the records was written", frame);
    free(first);
}

static void too_little_room_is_told_with_what_is_needed(const char *frame)
{
    struct decoded whole, decoded;
    if (decode(frame, &whole) != DECODE_OK || whole.message >= MESSAGE_REPLY)
        return;
    for (uint64_t room = 0; room <= whole.count; room++) {
        fill_records(0x55);
        struct decode_slots others[RECORD_KIND_COUNT] = OTHERS(room);
        struct decode_room limited = {quotes, trades, books, room, room, room, others};
        enum decode_result result = decode_deribit(frame, strlen(frame), 1, 1, &limited, &decoded);
        check(result == (room < whole.count ? DECODE_FULL : DECODE_OK), "room", frame);
        check(decoded.message == whole.message && decoded.needed == whole.count, "needed", frame);
        check(decoded.count == (room < whole.count ? 0 : whole.count), "count", frame);
        const unsigned char *behind = records_of(whole.message) + room * record_bytes(whole.message);
        check(behind[0] == 0x55 && behind[63] == 0x55, "written beyond the room", frame);
    }
}

static void marks_are_set(const char *frame)
{
    struct decoded decoded;
    if (decode(frame, &decoded) != DECODE_OK || decoded.message >= MESSAGE_REPLY)
        return;
    for (uint64_t i = 0; i < decoded.count; i++) {
        const struct record_head *head =
            (const struct record_head *)(const void *)(records_of(decoded.message) + i * record_bytes(decoded.message));
        check(head->recv_ns == 123456789 && head->conn == 7 && head->exch_ns > 0, "head", frame);
        check(head->instrument[0] != '\0', "a record without a name", frame);
        if (decoded.message != MESSAGE_QUOTE && decoded.message != MESSAGE_BBO && decoded.message != MESSAGE_INDEX &&
            decoded.message != MESSAGE_FUNDING)
            check(!(head->flags & RECORD_LAST) == (i + 1 < decoded.count), "RECORD_LAST", frame);
    }
}

static void check_frame(const char *frame)
{
    every_beginning_needs_more(frame);
    what_follows_a_message_spoils_it(frame);
    every_byte_of_a_record_is_written(frame);
    too_little_room_is_told_with_what_is_needed(frame);
    marks_are_set(frame);
}

/* ------------------------------------------------------------------ frames from files */

static enum message message_of(const char *word)
{
    static const char *const words[] = {[MESSAGE_QUOTE] = "QUOTE", [MESSAGE_TRADE] = "TRADE", [MESSAGE_BOOK] = "BOOK",
                                        [MESSAGE_BBO] = "BBO", [MESSAGE_INDEX] = "INDEX", [MESSAGE_MARK] = "MARK",
                                        [MESSAGE_FUNDING] = "FUNDING", [MESSAGE_DEPTH] = "DEPTH",
                                        [MESSAGE_REPLY] = "REPLY", [MESSAGE_ERROR] = "ERROR", [MESSAGE_HEARTBEAT] = "HEARTBEAT",
                                        [MESSAGE_TEST_REQUEST] = "TEST_REQUEST", [MESSAGE_UNKNOWN] = "UNKNOWN"};
    for (int i = MESSAGE_QUOTE; i <= MESSAGE_UNKNOWN; i++)
        if (words[i] != NULL && strcmp(words[i], word) == 0)
            return (enum message)i;
    return 0;
}

/* Lines of name, message, records and frame (see the file). */
static int own_frames_are_what_they_say(const char *path)
{
    static char line[1 << 16];
    FILE *file = fopen(path, "r");
    int count = 0;
    if (file == NULL) {
        check(0, "cannot be read", path);
        return 0;
    }
    while (fgets(line, sizeof line, file) != NULL) {
        if (line[0] == '#')
            continue;
        line[strcspn(line, "\n")] = '\0';
        strtok(line, "\t");
        const char *word = strtok(NULL, "\t"), *records = strtok(NULL, "\t"), *frame = strtok(NULL, "\t");
        struct decoded decoded;
        check(decode(frame, &decoded) == DECODE_OK, "not decoded", frame);
        check(decoded.message == message_of(word), word, frame);
        check(decoded.count == strtoull(records, NULL, 10), records, frame);
        check_frame(frame);
        count++;
    }
    fclose(file);
    check(count > 20, "too few frames", path);
    return count;
}

/* Recorded frames, where they are: each line from its first brace that begins a message. -1 where there are none. */
static int recorded_frames_are_decoded(const char *path)
{
    static char line[1 << 16];
    FILE *file = fopen(path, "r");
    int count = 0;
    if (file == NULL)
        return -1;
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        const char *frame = strstr(line, "{\"jsonrpc\"");
        struct decoded decoded;
        if (frame == NULL || strstr(line, " <- ") != NULL) /* what the recorder sent */
            continue;
        check(decode(frame, &decoded) == DECODE_OK, "not decoded", frame);
        check(decoded.message != MESSAGE_UNKNOWN, "unknown", frame);
        check_frame(frame);
        count++;
    }
    fclose(file);
    return count;
}

/* ------------------------------------------------------------------ bounds */

static char built[9u << 20];

static const char *build(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(built, sizeof built, format, arguments);
    va_end(arguments);
    return built;
}

#define TICKER(members) \
    "{\"jsonrpc\":\"2.0\",\"method\":\"subscription\",\"params\":{\"channel\":\"ticker.A.raw\",\"data\":{" members "}}}"
#define IDENTITY "\"timestamp\":1,\"instrument_name\":\"A\""
#define TRADES(trades) \
    "{\"jsonrpc\":\"2.0\",\"method\":\"subscription\",\"params\":{\"channel\":\"trades.A.raw\",\"data\":[" trades "]}}"
#define TRADE_IDENTITY IDENTITY ",\"trade_seq\":1,\"trade_id\":\"1\",\"price\":1.0,\"amount\":1.0,\"direction\":\"buy\""
#define BOOK(members) \
    "{\"jsonrpc\":\"2.0\",\"method\":\"subscription\",\"params\":{\"channel\":\"book.A.raw\",\"data\":{" members "}}}"
#define SNAPSHOT IDENTITY ",\"change_id\":5,\"type\":\"snapshot\""
#define CHANGE IDENTITY ",\"change_id\":5,\"type\":\"change\""

static void is_ok(const char *frame)
{
    struct decoded decoded;
    check(decode(frame, &decoded) == DECODE_OK, "should be OK", frame);
    check(decode_guarded(frame, strlen(frame), 1, &decoded) == DECODE_OK, "should be OK, against the front guard", frame);
}

static void is_bad(const char *frame)
{
    struct decoded decoded;
    check(decode(frame, &decoded) == DECODE_BAD, "should be BAD", frame);
    /* The same in the general way: a space in front keeps it from the common one. */
    char *spaced = malloc(strlen(frame) + 2);
    sprintf(spaced, " %s", frame);
    check(decode(spaced, &decoded) == DECODE_BAD, "should be BAD with a space in front", frame);
    free(spaced);
}

/* `count` times `text`, into a static buffer of its own. */
static const char *times(const char *text, size_t count)
{
    static char repeated[1u << 20];
    size_t length = strlen(text);
    assert(length * count < sizeof repeated);
    for (size_t i = 0; i < count; i++)
        memcpy(repeated + i * length, text, length);
    repeated[length * count] = '\0';
    return repeated;
}

static void nesting_is_bounded(void)
{
    char frame[512];
    for (int depth = DECODE_DEPTH_MAX; depth <= DECODE_DEPTH_MAX + 1; depth++) {
        size_t at = (size_t)sprintf(frame, "{\"x\":");
        memset(frame + at, '[', (size_t)depth - 1);
        at += (size_t)depth - 1;
        memset(frame + at, ']', (size_t)depth - 1);
        at += (size_t)depth - 1;
        strcpy(frame + at, "}");
        if (depth <= DECODE_DEPTH_MAX)
            is_ok(frame);
        else
            is_bad(frame);
    }
    /* Four are around the members of a trade. */
    is_ok(build(TRADES("{" TRADE_IDENTITY ",\"x\":%s1%s}"), "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
                "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"));
    is_bad(build(TRADES("{" TRADE_IDENTITY ",\"x\":%s1%s}"), "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
                 "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"));
}

static void numbers_are_bounded(void)
{
    is_ok(build(TICKER(IDENTITY ",\"mark_price\":0.%s"), times("1", DECODE_NUMBER_MAX - 2)));
    is_bad(build(TICKER(IDENTITY ",\"mark_price\":0.%s"), times("1", DECODE_NUMBER_MAX - 1)));
    is_ok(build(TICKER(IDENTITY ",\"unknown\":%s"), times("1", DECODE_NUMBER_MAX)));
    is_bad(build(TICKER(IDENTITY ",\"unknown\":%s"), times("1", DECODE_NUMBER_MAX + 1)));
    is_ok(TICKER(IDENTITY ",\"unknown\":1e999"));
    is_bad(TICKER(IDENTITY ",\"mark_price\":1e999"));
    is_ok(TICKER("\"timestamp\":9223372036854,\"instrument_name\":\"A\""));
    is_bad(TICKER("\"timestamp\":9223372036855,\"instrument_name\":\"A\""));
    is_bad(TICKER("\"timestamp\":-1,\"instrument_name\":\"A\""));
    is_bad(TICKER("\"timestamp\":1.5,\"instrument_name\":\"A\""));
    is_bad(TICKER("\"timestamp\":1e3,\"instrument_name\":\"A\""));
    is_ok(TRADES("{" TRADE_IDENTITY ",\"starbase_timestamp\":9223372036854775807,\"starbase_match_id\":18446744073709551615}"));
    is_bad(TRADES("{" TRADE_IDENTITY ",\"starbase_timestamp\":9223372036854775808}"));
    is_bad(TRADES("{" TRADE_IDENTITY ",\"starbase_match_id\":18446744073709551616}"));
    is_ok(TRADES("{" TRADE_IDENTITY ",\"tick_direction\":254,\"block_trade_leg_count\":4294967295}"));
    is_bad(TRADES("{" TRADE_IDENTITY ",\"tick_direction\":255}"));
    is_bad(TRADES("{" TRADE_IDENTITY ",\"block_trade_leg_count\":4294967296}"));
    static const char *const wrong[] = {"01", "1.", ".5", "+1", "1e", "-", "0x10", "NaN", "Infinity", "-Infinity", "1_0", "1 2", "00", "-01"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        is_bad(build(TICKER(IDENTITY ",\"mark_price\":%s"), wrong[i]));
        is_bad(build(TICKER(IDENTITY ",\"unknown\":%s"), wrong[i]));
        is_bad(build(TICKER(IDENTITY ",\"mark_price\":%s,\"index_price\":1.0,\"last_price\":2.0"), wrong[i]));
        is_bad(build(BOOK(SNAPSHOT ",\"bids\":[[\"new\",%s,2.0]]"), wrong[i]));
    }
}

static void text_is_bounded_and_valid(void)
{
    is_ok(build(TICKER("\"timestamp\":1,\"instrument_name\":\"%s\""), times("N", RECORD_INSTRUMENT_MAX)));
    is_bad(build(TICKER("\"timestamp\":1,\"instrument_name\":\"%s\""), times("N", RECORD_INSTRUMENT_MAX + 1)));
    is_ok(build(TICKER("\"timestamp\":1,\"instrument_name\":\"%s\""), times("\\u20ac", RECORD_INSTRUMENT_MAX / 3)));
    is_bad(build(TICKER("\"timestamp\":1,\"instrument_name\":\"%s\""), times("\\u20ac", RECORD_INSTRUMENT_MAX / 3 + 1)));
    is_bad(TICKER("\"timestamp\":1,\"instrument_name\":\"\""));
    is_ok(TICKER(IDENTITY ",\"state\":\"\""));
    is_ok(TICKER(IDENTITY ",\"state\":\"0123456789abcdef\""));
    is_bad(TICKER(IDENTITY ",\"state\":\"0123456789abcdefg\""));
    is_ok(TRADES("{" TRADE_IDENTITY ",\"block_rfq_id\":\"0123456789abcdef01234567\"}"));
    is_bad(TRADES("{" TRADE_IDENTITY ",\"block_rfq_id\":\"0123456789abcdef012345678\"}"));
    is_ok(TRADES("{" TRADE_IDENTITY ",\"block_rfq_id\":123456789012345678901234}"));
    is_bad(TRADES("{" TRADE_IDENTITY ",\"block_rfq_id\":1234567890123456789012345}"));
    is_bad(TRADES("{" TRADE_IDENTITY ",\"block_rfq_id\":true}"));
    is_ok(build("{\"jsonrpc\":\"2.0\",\"result\":\"%s\"}", times("long ", 100000)));
    /* Stored or skipped, a string must be Unicode; a NUL can be skipped but not stored. */
    static const char *const wrong[] = {
        "\\x", "\\u12g4", "\\ud800", "\\ud800x", "\\ud800\\u0041", "\\udc00", "\x01", "\n", "\x80", "\xc0\x80", "\xc1\xbf",
        "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe2\x82", "\xe2\x82x", "\xff",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        is_bad(build(TICKER(IDENTITY ",\"state\":\"%s\""), wrong[i]));
        is_bad(build(TICKER(IDENTITY ",\"unknown\":\"%s\""), wrong[i]));
        is_bad(build(TICKER(IDENTITY ",\"%s\":1"), wrong[i]));
        is_bad(build("{\"id\":\"%s\",\"result\":1}", wrong[i]));
    }
    is_bad(TICKER(IDENTITY ",\"state\":\"\\u0000\""));
    is_ok(TICKER(IDENTITY ",\"unknown\":\"\\u0000\""));
    static const char *const right[] = {"\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xef\xbf\xbf", "\xf0\x90\x80\x80",
                                        "\xf4\x8f\xbf\xbf", "\\ud83d\\ude00", "\\uDBFF\\uDFFF", "\\/", "\x7f"};
    for (size_t i = 0; i < sizeof right / sizeof *right; i++)
        is_ok(build(TICKER(IDENTITY ",\"state\":\"%s\",\"unknown\":\"%s\",\"%s\":1"), right[i], right[i], right[i]));
}

static void a_record_without_its_identity_is_bad(void)
{
    is_ok(TICKER(IDENTITY));
    is_bad(TICKER("\"timestamp\":1"));
    is_bad(TICKER("\"instrument_name\":\"A\""));
    is_bad(TICKER("\"timestamp\":null,\"instrument_name\":\"A\""));
    is_bad(TICKER("\"timestamp\":1,\"instrument_name\":null"));
    is_ok(TRADES("{" TRADE_IDENTITY "}"));
    is_bad(TRADES("{" IDENTITY ",\"trade_id\":\"1\",\"price\":1.0,\"amount\":1.0,\"direction\":\"buy\"}"));
    is_bad(TRADES("{" IDENTITY ",\"trade_seq\":1,\"price\":1.0,\"amount\":1.0,\"direction\":\"buy\"}"));
    is_bad(TRADES("{" IDENTITY ",\"trade_seq\":1,\"trade_id\":\"1\",\"amount\":1.0,\"direction\":\"buy\"}"));
    is_bad(TRADES("{" IDENTITY ",\"trade_seq\":1,\"trade_id\":\"1\",\"price\":null,\"amount\":1.0,\"direction\":\"buy\"}"));
    is_bad(TRADES("{" IDENTITY ",\"trade_seq\":1,\"trade_id\":\"1\",\"price\":1.0,\"direction\":\"buy\"}"));
    is_bad(TRADES("{" IDENTITY ",\"trade_seq\":1,\"trade_id\":\"1\",\"price\":1.0,\"amount\":1.0}"));
    is_bad(TRADES("{" IDENTITY ",\"trade_seq\":1,\"trade_id\":\"1\",\"price\":1.0,\"amount\":1.0,\"direction\":\"up\"}"));
    is_bad(TRADES("{" TRADE_IDENTITY ",\"liquidation\":\"X\"}"));
    is_bad(TRADES("{" TRADE_IDENTITY "},null"));
    is_bad(TRADES("{" TRADE_IDENTITY "},"));
    is_ok(BOOK(SNAPSHOT));
    is_bad(BOOK(CHANGE));
    is_ok(BOOK(CHANGE ",\"prev_change_id\":4"));
    is_bad(BOOK(IDENTITY ",\"change_id\":5"));
    is_bad(BOOK(IDENTITY ",\"type\":\"snapshot\""));
    is_bad(BOOK(IDENTITY ",\"change_id\":5,\"type\":\"other\""));
}

static void what_has_another_shape_is_bad(void)
{
    static const char *const frames[] = {
        TICKER(IDENTITY ",\"mark_price\":\"1.0\""), TICKER(IDENTITY ",\"mark_price\":true"), TICKER(IDENTITY ",\"mark_price\":{}"),
        TICKER(IDENTITY ",\"state\":1"), TICKER(IDENTITY ",\"stats\":[]"), TICKER(IDENTITY ",\"greeks\":1"),
        TICKER(IDENTITY ",\"mark_price\":1.0,\"mark_price\":1.0"), TICKER(IDENTITY ",\"mark_price\":null,\"mark_price\":1.0"),
        TICKER(IDENTITY ",\"greeks\":{\"delta\":1.0,\"delta\":1.0}"), TICKER(IDENTITY ",\"st\\u0061te\":\"a\",\"state\":\"a\""),
        TICKER(IDENTITY ",\"mark_price\":nul0"), TICKER(IDENTITY ",\"unknown\":tru"), TICKER(IDENTITY ",\"unknown\":[1 2]"),
        TICKER(IDENTITY ",\"unknown\":[1,]"), TICKER(IDENTITY ",\"unknown\":{\"a\"}"), TICKER(IDENTITY ",\"unknown\":{\"a\":1,}"),
        TICKER(IDENTITY ",\"unknown\":{1:1}"), TICKER(IDENTITY ",\"unknown\":[}"), TICKER(IDENTITY ","), TICKER("," IDENTITY),
        TICKER(IDENTITY " \"mark_price\":1.0"), TICKER(IDENTITY ",\"mark_price\" 1.0"), TICKER(IDENTITY ",mark_price:1.0"),
        BOOK(SNAPSHOT ",\"bids\":{}"), BOOK(SNAPSHOT ",\"bids\":[1]"), BOOK(SNAPSHOT ",\"bids\":[[]]"), BOOK(SNAPSHOT ",\"bids\":[[1.0,2.0]]"),
        BOOK(SNAPSHOT ",\"bids\":[[\"new\",1.0]]"), BOOK(SNAPSHOT ",\"bids\":[[\"new\",1.0,2.0,3.0]]"), BOOK(SNAPSHOT ",\"bids\":[[\"old\",1.0,2.0]]"),
        BOOK(SNAPSHOT ",\"bids\":[[\"new\",null,2.0]]"), BOOK(SNAPSHOT ",\"bids\":[[\"new\",1.0,2.0],]"), BOOK(SNAPSHOT ",\"bids\":[[\"newest\",1.0,2.0]]"),
        BOOK(SNAPSHOT ",\"bids\":[],\"bids\":[]"), "[]", "1", "null", "\"\"", "true", "}", "{]", "{\"a\":1,}", "{\"a\"}", "{,}", "{} x", "\xef\xbb\xbf{}",
        "{\"method\":\"subscription\"}", "{\"method\":\"subscription\",\"params\":[]}", "{\"method\":\"subscription\",\"params\":{}}",
        "{\"method\":\"subscription\",\"params\":{\"channel\":5}}", "{\"method\":\"subscription\",\"params\":{\"channel\":\"ticker.A.raw\"}}",
        "{\"method\":\"subscription\",\"params\":{\"channel\":\"ticker.A.raw\",\"data\":null}}", "{\"method\":\"heartbeat\"}",
        "{\"method\":\"heartbeat\",\"params\":7}", "{\"method\":\"a\",\"method\":\"a\"}", "{\"result\":1,\"result\":1}",
        "{\"method\":\"subscription\",\"params\":{\"channel\":\"a\",\"channel\":\"a\"}}",
        "{\"jsonrpc\":\"2.0\",\"method\":\"subscription\",\"params\":{\"channel\":\"ticker.A.raw\",\"data\":{" IDENTITY "}},\"method\":\"x\"}",
        "{\"jsonrpc\":\"2.0\",\"method\":\"subscription\",\"params\":{\"channel\":\"ticker.A.raw\",\"data\":{" IDENTITY "},\"data\":{}}}",
    };
    for (size_t i = 0; i < sizeof frames / sizeof *frames; i++)
        is_bad(frames[i]);
    /* What is behind the data of a common beginning belongs to the message as well. */
    is_ok("{\"jsonrpc\":\"2.0\",\"method\":\"subscription\",\"params\":{\"channel\":\"ticker.A.raw\",\"data\":{" IDENTITY "},\"x\":1},\"y\":2}");
}

static void frames_and_messages_are_bounded(void)
{
    struct decoded decoded;
    /* A reply of exactly the largest size, and one byte more. */
    size_t length = DECODE_FRAME_MAX;
    memset(built, ' ', length + 1);
    memcpy(built, "{\"result\":1", 11);
    built[length - 1] = '}';
    check(decode_deribit(built, length, 1, 1, &whole_room, &decoded) == DECODE_OK, "a frame of the largest size", "");
    check(decode_deribit(built, length + 1, 1, 1, &whole_room, &decoded) == DECODE_BAD, "a larger frame", "");
    for (int excess = 0; excess < 2; excess++) {
        size_t at = (size_t)sprintf(built, "%.*s,\"bids\":[", (int)strlen(BOOK(SNAPSHOT)) - 3, BOOK(SNAPSHOT));
        for (int i = 0; i < DECODE_RECORDS_MAX + excess; i++)
            at += (size_t)sprintf(built + at, "%s[\"new\",1.5,2.0]", i > 0 ? "," : "");
        at += (size_t)sprintf(built + at, "]}}}");
        enum decode_result result = decode_deribit(built, at, 1, 1, &whole_room, &decoded);
        check(result == (excess ? DECODE_BAD : DECODE_FULL), "the largest message", "");
        check(excess || decoded.needed == DECODE_RECORDS_MAX, "needed of the largest message", "");
    }
    check(decode_deribit("", 0, 1, 1, &whole_room, &decoded) == DECODE_MORE, "nothing", "");
}

static void a_long_channel_is_unknown_in_either_way(void)
{
    struct decoded decoded;
    for (int spaced = 0; spaced < 2; spaced++)
        for (size_t length = 128; length <= 129; length++) {
            build("%s{\"jsonrpc\":\"2.0\",\"method\":\"subscription\",\"params\":{\"channel\":\"ticker.%s\",\"data\":{" IDENTITY "}}}",
                  spaced ? " " : "", times("x", length - 7));
            check(decode(built, &decoded) == DECODE_OK, "a long channel", built);
            check(decoded.message == (length > 128 ? MESSAGE_UNKNOWN : MESSAGE_QUOTE), "what it is", built);
        }
}

int main(int argc, char **argv)
{
    make_guards();
    int own = own_frames_are_what_they_say(argc > 1 ? argv[1] : "../tests/frames_deribit.txt");
    nesting_is_bounded();
    numbers_are_bounded();
    text_is_bounded_and_valid();
    a_record_without_its_identity_is_bad();
    what_has_another_shape_is_bad();
    frames_and_messages_are_bounded();
    a_long_channel_is_unknown_in_either_way();
    int old = recorded_frames_are_decoded("../../shared/captures/deribit/options-ws-2021-07-22.txt");
    int new = recorded_frames_are_decoded("../../shared/captures/deribit/2026/raw_option_stream.jsonl");
    printf("test_decode_deribit: %d own frames, ", own);
    if (old < 0 || new < 0)
        printf("no recorded ones (../shared/captures is not there)");
    else
        printf("%d recorded ones", old + new);
    printf(", each cut at every byte: %lu decodes\n", decodes);
    return failures != 0;
}
