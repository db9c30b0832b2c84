/* other_data.h: data of the kinds behind RECORD_STATUS, cut at each byte against a guard page, for the tests of their decoders. */
#ifndef TICKBAY_OTHER_DATA_H
#define TICKBAY_OTHER_DATA_H

#include "../deribit_data.h"
#include "guarded_text.h"

enum { ROOM = 8 };
static union {
    unsigned char bytes[ROOM * RECORD_SIZE_MAX];
    struct bbo bbos[ROOM];
    struct index indices[ROOM];
    struct mark marks[ROOM];
    struct funding fundings[ROOM];
    struct depth depths[ROOM];
} records;

typedef const char *take_fn(struct decoding *decoding, const char *at);

/* The answer for `length` bytes of the data of a channel, at the end of what is readable or at its front. */
static enum json_result take_cut(take_fn *take, const char *name, const char *text, size_t length, int front, uint64_t room,
                                 uint64_t *needed)
{
    const char *at = front ? against_the_front(text, length, NUMBER_BEFORE) : against_the_end(text, length);
    struct decode_slots others[RECORD_KIND_COUNT];
    for (int kind = 0; kind < RECORD_KIND_COUNT; kind++)
        others[kind] = (struct decode_slots){records.bytes, room};
    const struct decode_room limits = {.others = others};
    struct decoded decoded = {.message = 0, .needed = 99};
    struct decoding decoding = {.json = {.end = at + length}, .head = {.recv_ns = 77, .conn = 3}, .room = &limits, .decoded = &decoded};
    deribit_channel(name, strlen(name), &decoding.channel);
    const char *behind = take(&decoding, at);
    *needed = decoded.needed;
    check(behind == NULL || (behind == at + length && decoded.message == decoding.channel.message), "taken to another place", text);
    return behind == NULL ? decoding.json.why : JSON_OK;
}

/* Takes what is right, cut at any byte it needs more; every byte of the records is written, whatever was in the slots, and none
 * behind them. How many records it needed. */
static inline uint64_t take_whole(take_fn *take, const char *name, const char *text, uint32_t size)
{
    static unsigned char first[sizeof records];
    uint64_t needed, less;
    for (size_t cut = 0; cut < strlen(text); cut++)
        for (int front = 0; front < 2; front++)
            check(take_cut(take, name, text, cut, front, ROOM, &needed) == JSON_MORE, "a beginning does not need more", text);
    memset(&records, 0x55, sizeof records);
    check(take_cut(take, name, text, strlen(text), 0, ROOM, &needed) == JSON_OK && needed <= ROOM, "should be taken", text);
    memcpy(first, &records, sizeof records);
    memset(&records, 0xaa, sizeof records);
    check(take_cut(take, name, text, strlen(text), 1, ROOM, &needed) == JSON_OK, "should be taken again", text);
    check(memcmp(first, &records, needed * size) == 0, "a byte was not written", text);
    for (uint64_t i = needed * size; i < sizeof records; i++)
        check(first[i] == 0x55 && records.bytes[i] == 0xaa, "a byte behind the records was written", text);
    for (uint64_t room = 0; room < needed; room++) {
        memset(&records, 0x55, sizeof records);
        check(take_cut(take, name, text, strlen(text), 1, room, &less) == JSON_OK && less == needed, "counted beyond the room", text);
        for (uint64_t i = room * size; i < sizeof records; i++)
            check(records.bytes[i] == 0x55, "a byte beyond the room was written", text);
    }
    take_cut(take, name, text, strlen(text), 1, ROOM, &needed);
    return needed;
}

static inline void is_bad(take_fn *take, const char *name, const char *text)
{
    uint64_t needed;
    for (int front = 0; front < 2; front++)
        check(take_cut(take, name, text, strlen(text), front, ROOM, &needed) == JSON_BAD, "should be bad", text);
}

#endif
