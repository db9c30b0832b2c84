/* test_deribit_usual.c: what is usual is taken the fast way, what is not is left to the tables; each cut against a guard page. R8, R9. */
#define _GNU_SOURCE
#include "../deribit_usual.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "../decode.h"
#include "../deribit_ticker.h"
#include "../literal.h"
#include "guarded_text.h"
#include "usual_frames.h"

enum { ROOM = 2 * USUAL_LEVELS_MAX, ROUNDS = 400 };

static union { struct quote quote; struct book books[ROOM]; } records, others;
static struct book_message message;
static const struct record_head head;
static uint64_t random_state = 20261121;

static unsigned below(unsigned bound) /* xorshift64* */
{
    random_state ^= random_state >> 12, random_state ^= random_state << 25, random_state ^= random_state >> 27;
    return (unsigned)((random_state * 0x2545f4914f6cdd1du) >> 33) % bound;
}

static size_t data_of(const char *frame)
{
    return (size_t)(strstr(frame, "\"data\":") - frame) + strlen("\"data\":");
}

/* The data up to `length` bytes of the frame, at the end of what is readable, or with LITERAL_BEFORE bytes before it. */
static bool is_taken(const char *frame, size_t length, bool is_front, uint64_t room)
{
    size_t begin = data_of(frame);
    bool is_ticker = strstr(frame, "\"ticker.") != NULL;
    const char *at = is_front ? against_the_front(frame + begin, length - begin, LITERAL_BEFORE)
                              : against_the_end(frame, length) + begin;
    const char *end = at + length - begin;
    memset(&records, 0, sizeof records);
    message = (struct book_message){.books = records.books, .max = room};
    const char *behind = is_ticker ? deribit_ticker(at, end, &head, &records.quote) : deribit_usual_book(at, end, &message);
    check(behind == NULL || behind == end - 2, "taken to another place", frame);
    return behind != NULL;
}

static const char *frame_of(unsigned which, unsigned oddity)
{
    static char frame[USUAL_BYTES_MAX];
    frame[usual_frame(frame, which, below, oddity)] = '\0';
    return frame;
}

static void what_is_usual_is_taken(void)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        const char *frame = frame_of(round % USUAL_FRAMES, 0);
        check(is_taken(frame, strlen(frame), false, ROOM) && is_taken(frame, strlen(frame), true, ROOM), "left to the tables", frame);
        if (round < 3 * USUAL_FRAMES)
            for (size_t cut = data_of(frame); cut < strlen(frame) - 2; cut++)
                check(!is_taken(frame, cut, false, ROOM) && !is_taken(frame, cut, true, ROOM), "a beginning is taken", frame);
    }
}

/* Cut by one or two closers a frame's end is another's: whoever calls looks at what is behind the data. */
static void what_ends_in_another_way_is_left(void)
{
    static const char *const ends[] = {"", "}", "]}}", "}}}}", " }}", ",\"x\":1}}", "}},"};
    for (unsigned which = 0; which < USUAL_FRAMES; which++)
        for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
            char other[USUAL_BYTES_MAX];
            const char *frame = frame_of(which, 0);
            int length = snprintf(other, sizeof other, "%.*s%s", (int)strlen(frame) - 3, frame, ends[i]);
            check(!is_taken(other, (size_t)length, false, ROOM), "taken", other);
        }
}

static void a_side_without_room_is_left(void)
{
    const char *text = USUAL_BEGINNING("book.x.raw") "{\"type\":\"snapshot\",\"timestamp\":1700000000123,\"instrument_name\":\"x\",\"change_id\":9,"
                       "\"bids\":[[\"new\",1.5,2.0],[\"change\",1.25,0.5]],\"asks\":[[\"delete\",-1.75,0.0]]}}}";
    check(!is_taken(text, strlen(text), false, 2), "more levels than room", text);
    check(is_taken(text, strlen(text), false, 3) && message.count == 3 && message.type == BOOK_TYPE_SNAPSHOT, "a snapshot", text);
    check(message.change_id == 9 && message.head.exch_ns == INT64_C(1700000000123000000), "what all have in common", text);
    const struct book *books = records.books;
    check(books[0].price == 1.5 && books[0].amount == 2.0 && books[0].action == BOOK_NEW && books[0].side == BOOK_BID, "a level", text);
    check(books[1].price == 1.25 && books[1].action == BOOK_CHANGE && books[1].side == BOOK_BID, "the next level", text);
    check(books[2].price == -1.75 && books[2].amount == 0 && books[2].action == BOOK_DELETE && books[2].side == BOOK_ASK, "the other side", text);
}

/* A space behind the frame is allowed, and not usual. */
static void both_ways_read_the_same(void)
{
    for (unsigned round = 0; round < 20 * ROUNDS; round++) {
        char spaced[USUAL_BYTES_MAX + 1];
        const char *frame = frame_of(round % USUAL_FRAMES, 60);
        struct decoded decoded = {.count = 0}, expected = {.count = 0};
        const struct decode_room room = {&records.quote, NULL, records.books, 1, 0, ROOM, NULL};
        const struct decode_room other_room = {&others.quote, NULL, others.books, 1, 0, ROOM, NULL};
        size_t length = (size_t)snprintf(spaced, sizeof spaced, "%s ", frame) - 1;
        memset(&records, 0x55, sizeof records);
        memset(&others, 0x55, sizeof others);
        enum decode_result result = decode_deribit(frame, length, 5, 6, &room, &decoded);
        check(result == decode_deribit(spaced, length + 1, 5, 6, &other_room, &expected), "another answer", frame);
        check(result != DECODE_OK || (decoded.count == expected.count && memcmp(&records, &others, sizeof records) == 0), "other records", frame);
    }
}

int main(void)
{
    make_guards();
    what_is_usual_is_taken();
    what_ends_in_another_way_is_left();
    a_side_without_room_is_left();
    both_ways_read_the_same();
    printf("test_deribit_usual: %d frames by both ways\n", 20 * ROUNDS);
    return failures != 0;
}
