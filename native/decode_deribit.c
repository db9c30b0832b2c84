/* decode_deribit.c: Deribit v2 JSON-RPC frames (https://docs.deribit.com): which message is it, and where is its data.
 *
 * A notification that begins as they all do is decoded in one pass; its data is first tried as it is usually spelled
 * (deribit_ticker.c, deribit_usual.c). Anything else is walked over as a whole, with the places of its parts noted, so the keys may come in any
 * order. What is not usual is read by the same tables in either way (deribit_data.c).
 *
 * What counts as a fault of the frame (DECODE_BAD), beyond JSON itself: a known key that comes twice in one object, a value of
 * another type or out of its bounds, text that does not fit its field, and a record without what identifies it.
 */
#include "decode.h"

#include <stdbool.h>

#include "deribit_data.h"
#include "deribit_reference.h"
#include "deribit_top.h"
#include "literal.h"
#include "shape.h"

_Static_assert((int)JSON_OK == DECODE_OK && (int)JSON_MORE == DECODE_MORE && (int)JSON_BAD == DECODE_BAD,
               "the answers of json.h are passed on");
_Static_assert(JSON_DEPTH_MAX == DECODE_DEPTH_MAX && NUMBER_MAX == DECODE_NUMBER_MAX, "decode.h announces these bounds");
_Static_assert(DECODE_PADDING == 0, "json.h reads nothing behind the frame");

/* The records are written as far as there is room: is there enough? */
static enum decode_result judge(const struct decode_room *room, struct decoded *decoded)
{
    uint64_t max = decoded->message == MESSAGE_QUOTE   ? room->quotes_max
                   : decoded->message == MESSAGE_TRADE ? room->trades_max
                   : decoded->message == MESSAGE_BOOK  ? room->books_max
                   : room->others != NULL              ? room->others[decoded->message].count
                                                       : 0;
    if (decoded->needed > max)
        return DECODE_FULL;
    decoded->count = decoded->needed;
    return DECODE_OK;
}

static inline bool begins_with(const char *text, size_t length, const char *beginning, size_t beginning_length)
{
    return length >= beginning_length && memcmp(text, beginning, beginning_length) == 0;
}

/* What a channel carries; MESSAGE_UNKNOWN for one that we do not record. `*other` is filled for what is none of quote, trade and
 * book. */
static enum message channel_message(const char *channel, size_t length, struct deribit_channel *other)
{
    if (begins_with(channel, length, "ticker.", 7))
        return MESSAGE_QUOTE;
    if (begins_with(channel, length, "trades.", 7))
        return MESSAGE_TRADE;
    if (begins_with(channel, length, "book.", 5)) {
        /* book.{instrument}.{interval} has levels with actions; book.{instrument}.{group}.{depth}.{interval} is another thing.
         * No name of an instrument has a dot: a strike's is spelled "d". */
        const char *dot = memchr(channel + 5, '.', length - 5);
        const char *end = channel + length;
        if (dot != NULL && memchr(dot + 1, '.', (size_t)(end - dot - 1)) == NULL)
            return MESSAGE_BOOK;
    }
    deribit_channel(channel, length, other);
    return other->message;
}

/* The data of a channel that carries `message`, by the unit that knows it. */
static inline const char *take_data(struct decoding *decoding, const char *at, enum message message)
{
    if (message <= MESSAGE_BOOK)
        return deribit_data(decoding, at, message);
    return message == MESSAGE_BBO || message == MESSAGE_DEPTH ? deribit_top(decoding, at) : deribit_reference(decoding, at);
}

enum { CHANNEL_MAX = 128 }; /* bytes; the longest that we ask for has an instrument of 48 and 20 around it */

static const char common_beginning[] = "{\"jsonrpc\":\"2.0\",\"method\":\"subscription\",\"params\":{\"channel\":\"";
static const char common_data[] = "\",\"data\":";
static const char common_end[] = "}}";
enum {
    COMMON_BEGINNING = sizeof common_beginning - 1,
    COMMON_DATA = sizeof common_data - 1,
    COMMON_END = sizeof common_end - 1,
};
_Static_assert((int)COMMON_BEGINNING >= (int)LITERAL_BEFORE, "what is usual looks back so far from the data");

/* The data of a notification that begins as they all do, of a channel that we record; NULL where it is anything else. */
static const char *find_common_data(const struct json *json, const char *frame, enum message *message,
                                    struct deribit_channel *other)
{
    if (!begins_with(frame, (size_t)(json->end - frame), common_beginning, COMMON_BEGINNING))
        return NULL;
    const char *channel = frame + COMMON_BEGINNING;
    for (const char *block = channel; json->end - block >= BLOCK_BYTES; block += BLOCK_BYTES) {
        uint32_t specials = block_specials(block);
        if (specials == 0)
            continue;
        const char *stop = block + block_first(specials);
        *message = channel_message(channel, (size_t)(stop - channel), other);
        if (stop - channel > CHANNEL_MAX || *message == MESSAGE_UNKNOWN ||
            !begins_with(stop, (size_t)(json->end - stop), common_data, COMMON_DATA))
            return NULL;
        return stop + COMMON_DATA;
    }
    return NULL;
}

/* Where the parts of a message are; NULL where they are absent. */
struct envelope {
    const char *method, *params, *result, *error;
};
enum { ENVELOPE_METHOD, ENVELOPE_PARAMS, ENVELOPE_RESULT, ENVELOPE_ERROR };
static const struct shape_field envelope_fields[] = {
    [ENVELOPE_METHOD] = {SHAPE_VALUE(ENVELOPE_METHOD, "method", PLACE, envelope, method, 0)},
    [ENVELOPE_PARAMS] = {SHAPE_VALUE(ENVELOPE_PARAMS, "params", PLACE, envelope, params, 0)},
    [ENVELOPE_RESULT] = {SHAPE_VALUE(ENVELOPE_RESULT, "result", PLACE, envelope, result, 0)},
    [ENVELOPE_ERROR] = {SHAPE_VALUE(ENVELOPE_ERROR, "error", PLACE, envelope, error, 0)},
    SHAPE_END,
};
static const struct shape envelope_shape = {envelope_fields, SHAPE_COUNT(envelope_fields), {0, 0}, 1};

struct params {
    const char *channel, *data, *type;
};
enum { PARAMS_CHANNEL, PARAMS_DATA, PARAMS_TYPE };
static const struct shape_field params_fields[] = {
    [PARAMS_CHANNEL] = {SHAPE_VALUE(PARAMS_CHANNEL, "channel", PLACE, params, channel, 0)},
    [PARAMS_DATA] = {SHAPE_VALUE(PARAMS_DATA, "data", PLACE, params, data, 0)},
    [PARAMS_TYPE] = {SHAPE_VALUE(PARAMS_TYPE, "type", PLACE, params, type, 0)},
    SHAPE_END,
};
static const struct shape params_shape = {params_fields, SHAPE_COUNT(params_fields), {0, 0}, 2};

/* Whether there is a string that reads `word`, at a place that was walked over before. */
static bool reads(struct json *json, const char *place, const char *word)
{
    char text[SHAPE_WORD_MAX];
    size_t length = 0;
    return place != NULL && json_string(json, place, text, sizeof text, &length) != NULL && length == strlen(word) &&
           memcmp(text, word, length) == 0;
}

static enum decode_result decode_subscription(struct decoding *decoding, const struct params *params)
{
    char channel[CHANNEL_MAX];
    size_t length = 0;
    if (params->channel == NULL || json_string(&decoding->json, params->channel, channel, sizeof channel, &length) == NULL)
        return DECODE_BAD;
    enum message message = length <= sizeof channel ? channel_message(channel, length, &decoding->channel) : MESSAGE_UNKNOWN;
    if (message == MESSAGE_UNKNOWN) {
        decoding->decoded->message = message;
        return DECODE_OK;
    }
    if (params->data == NULL || take_data(decoding, params->data, message) == NULL)
        return DECODE_BAD;
    return judge(decoding->room, decoding->decoded);
}

/* A request of the venue, or a notification: what has a method. */
static enum decode_result decode_method(struct decoding *decoding, const struct envelope *envelope)
{
    struct json *json = &decoding->json;
    bool is_subscription = reads(json, envelope->method, "subscription");
    struct params params = {NULL, NULL, NULL};
    uint64_t present;
    if (!is_subscription && !reads(json, envelope->method, "heartbeat")) {
        decoding->decoded->message = MESSAGE_UNKNOWN;
        return DECODE_OK;
    }
    if (envelope->params == NULL || shape_take(json, envelope->params, &params_shape, &params, &present) == NULL)
        return DECODE_BAD;
    if (is_subscription)
        return decode_subscription(decoding, &params);
    decoding->decoded->message = reads(json, params.type, "test_request") ? MESSAGE_TEST_REQUEST
                                 : reads(json, params.type, "heartbeat")  ? MESSAGE_HEARTBEAT
                                                                          : MESSAGE_UNKNOWN;
    return DECODE_OK;
}

/* Any message: first over all of it, so that from here on it is known to be complete. */
static enum decode_result decode_any(struct decoding *decoding, const char *frame)
{
    struct json *json = &decoding->json;
    struct envelope envelope = {NULL, NULL, NULL, NULL};
    uint64_t present;
    *decoding->decoded = (struct decoded){.count = 0};
    const char *behind = shape_take(json, json_space(json, frame), &envelope_shape, &envelope, &present);
    if (behind == NULL)
        return (enum decode_result)json->why;
    if (json_space(json, behind) != json->end)
        return DECODE_BAD;
    if (envelope.method != NULL)
        return decode_method(decoding, &envelope);
    decoding->decoded->message = envelope.error != NULL    ? MESSAGE_ERROR
                                 : envelope.result != NULL ? MESSAGE_REPLY
                                                           : MESSAGE_UNKNOWN;
    return DECODE_OK;
}

enum decode_result decode_deribit(const char *frame, size_t length, int64_t recv_ns, uint32_t conn,
                                  const struct decode_room *room, struct decoded *decoded)
{
    struct decoding decoding; /* filled piece by piece: gcc clears larger structs by "rep stos", which is slower */
    enum message message;
    if (length > DECODE_FRAME_MAX)
        return DECODE_BAD;
    decoding.json = (struct json){.end = frame + length};
    decoding.is_common = true;
    decoding.head.seq = 0;
    decoding.head.exch_ns = 0;
    decoding.head.recv_ns = recv_ns;
    decoding.head.conn = conn;
    decoding.head.flags = 0;
    memset(decoding.head.instrument, 0, sizeof decoding.head.instrument);
    decoding.room = room;
    decoding.decoded = decoded;
    const char *data = find_common_data(&decoding.json, frame, &message, &decoding.channel);
    if (data != NULL) {
        const char *behind = take_data(&decoding, data, message);
        if (behind == NULL)
            return (enum decode_result)decoding.json.why;
        if (decoding.json.end - behind == COMMON_END && memcmp(behind, common_end, COMMON_END) == 0)
            return judge(room, decoded);
    }
    decoding.is_common = false;
    return decode_any(&decoding, frame);
}
