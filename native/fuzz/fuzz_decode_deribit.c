/* fuzz_decode_deribit.c: any bytes as a frame. R8.
 *
 * Whatever the answer, nothing outside of the frame is read (the frame is in memory of exactly its size) and the records are
 * what record.h allows. If the answer is OK, then also: a beginning needs MORE, a space in front changes nothing (so the common
 * way and the general way agree), and too little room is told with what is needed. */
#include "../decode.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM = 64 };

static void require(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "fuzz_decode_deribit: %s\n", what);
        abort();
    }
}

union records {
    unsigned char bytes[ROOM * sizeof(struct quote)];
    struct quote quotes[ROOM];
    struct trade trades[ROOM];
    struct book books[ROOM];
    struct bbo bbos[ROOM];
    struct index indices[ROOM];
    struct mark marks[ROOM];
    struct funding fundings[ROOM];
    struct depth depths[ROOM];
};

/* In memory of exactly the size of the frame, so that a sanitizer sees any byte too many. */
static enum decode_result decode(const char *bytes, size_t size, uint64_t room, union records *records, struct decoded *decoded)
{
    char *frame = malloc(size > 0 ? size : 1);
    memcpy(frame, bytes, size);
    struct decode_slots others[RECORD_KIND_COUNT] = {{NULL, 0}};
    for (int kind = RECORD_BBO; kind < RECORD_KIND_COUNT; kind++)
        others[kind] = (struct decode_slots){records->bytes, room};
    const struct decode_room rooms = {records->quotes, records->trades, records->books, room, room, room, others};
    enum decode_result result = decode_deribit(frame, size, 5, 6, &rooms, decoded);
    free(frame);
    return result;
}

/* UTF-8 without NUL, then NULs up to the width. */
static void check_text(const char *text, size_t width)
{
    const char *nul = memchr(text, '\0', width);
    size_t length = nul == NULL ? width : (size_t)(nul - text);
    for (size_t i = length; i < width; i++)
        require(text[i] == '\0', "text is padded with NUL");
    for (size_t i = 0; i < length;) {
        unsigned char lead = (unsigned char)text[i++];
        int more = lead < 0x80 ? 0 : lead >= 0xc2 && lead < 0xe0 ? 1 : lead >= 0xe0 && lead < 0xf0 ? 2 : lead >= 0xf0 && lead < 0xf5 ? 3 : -1;
        require(more >= 0, "text is UTF-8");
        for (; more > 0; more--)
            require(i < length && ((unsigned char)text[i++] & 0xc0) == 0x80, "text is UTF-8");
    }
}

static void check_fields(enum record_kind kind, const unsigned char *record)
{
    for (const struct record_field *field = record_fields(kind); field->name != NULL; field++) {
        double value;
        if (field->type == RECORD_F64) {
            memcpy(&value, record + field->offset, sizeof value);
            require(!isinf(value), "numbers are finite or absent");
        } else if (field->type == RECORD_TEXT) {
            check_text((const char *)record + field->offset, field->size);
        }
    }
    const struct record_head *head = (const struct record_head *)(const void *)record;
    require(head->instrument[0] != '\0' && head->recv_ns == 5 && head->conn == 6 && head->exch_ns >= 0, "the head is filled");
}

static void check_record(enum message message, const union records *records, uint64_t i, uint64_t count)
{
    if (message == MESSAGE_QUOTE) {
        const struct quote *quote = &records->quotes[i];
        check_fields(RECORD_QUOTE, (const unsigned char *)quote);
        require(!isnan(quote->bid_price) || (isnan(quote->bid_amount) && isnan(quote->bid_iv)), "an empty bid is all absent");
        require(!isnan(quote->ask_price) || (isnan(quote->ask_amount) && isnan(quote->ask_iv)), "an empty ask is all absent");
        require((quote->head.flags & ~(uint32_t)RECORD_OPTION) == 0, "flags of a quote");
    } else if (message == MESSAGE_TRADE) {
        const struct trade *trade = &records->trades[i];
        check_fields(RECORD_TRADE, (const unsigned char *)trade);
        require(trade->direction == TRADE_BUY || trade->direction == TRADE_SELL, "a direction");
        require(trade->liquidation <= TRADE_LIQUIDATION_BOTH && trade->reserved == 0, "a liquidation");
        require(!(trade->head.flags & RECORD_OPTION) == isnan(trade->iv), "an option's trade has iv");
        require(!isnan(trade->price) && !isnan(trade->amount), "a trade has price and amount");
        require(!(trade->head.flags & RECORD_LAST) == (i + 1 < count), "the last trade is marked");
    } else if (message == MESSAGE_BBO) {
        const struct bbo *bbo = &records->bbos[i];
        check_fields(RECORD_BBO, (const unsigned char *)bbo);
        require(bbo->head.flags == 0, "flags of a best bid and offer");
        require(!isnan(bbo->bid_price) || isnan(bbo->bid_amount), "an empty bid is all absent");
        require(!isnan(bbo->ask_price) || isnan(bbo->ask_amount), "an empty ask is all absent");
    } else if (message == MESSAGE_INDEX) {
        const struct index *index = &records->indices[i];
        check_fields(RECORD_INDEX, (const unsigned char *)index);
        require(index->measure >= INDEX_PRICE && index->measure <= INDEX_DELIVERY && index->is_estimated <= 1, "a measure");
        require(index->measure == INDEX_DELIVERY || (isnan(index->remaining_s) && !index->is_estimated), "what is not final is a delivery");
    } else if (message == MESSAGE_MARK) {
        const struct mark *mark = &records->marks[i];
        check_fields(RECORD_MARK, (const unsigned char *)mark);
        require(mark->price_index[0] != '\0' && !(mark->head.flags & RECORD_LAST) == (i + 1 < count), "a mark has an index");
    } else if (message == MESSAGE_FUNDING) {
        check_fields(RECORD_FUNDING, (const unsigned char *)&records->fundings[i]);
    } else if (message == MESSAGE_DEPTH) {
        const struct depth *depth = &records->depths[i];
        check_fields(RECORD_DEPTH, (const unsigned char *)depth);
        require(isnan(depth->price) ? count == 1 && depth->side == 0 && depth->level == 0
                                    : depth->side >= 1 && depth->side <= 2 && depth->level >= 1 && depth->levels_max >= 1,
                "a level has a side and a number");
        require(!(depth->head.flags & RECORD_LAST) == (i + 1 < count), "the last level is marked");
    } else {
        const struct book *book = &records->books[i];
        check_fields(RECORD_BOOK, (const unsigned char *)book);
        require(isnan(book->price) ? count == 1 && book->side == 0 && book->action == 0
                                   : book->side >= 1 && book->side <= 2 && book->action >= 1 && book->action <= 3,
                "a level has a side and an action");
        require(!(book->head.flags & RECORD_SNAPSHOT) || book->prev_change_id == 0, "a snapshot follows nothing");
        require(!(book->head.flags & RECORD_LAST) == (i + 1 < count), "the last level is marked");
    }
}

static size_t record_bytes(enum message message)
{
    return record_size((enum record_kind)(int)message);
}

static void check_accepted(const char *frame, size_t size, const union records *records, const struct decoded *decoded)
{
    static union records others;
    struct decoded other;
    require(decoded->message >= MESSAGE_QUOTE && decoded->message <= MESSAGE_UNKNOWN, "a message");
    require(decoded->count <= ROOM && (decoded->message < MESSAGE_REPLY || decoded->count == 0), "a count");
    for (uint64_t i = 0; i < decoded->count; i++)
        check_record(decoded->message, records, i, decoded->count);

    char *spaced = malloc(size + 1);
    spaced[0] = ' ';
    memcpy(spaced + 1, frame, size);
    memset(&others, 0x5a, sizeof others);
    require(decode(spaced, size + 1, ROOM, &others, &other) == DECODE_OK, "a space in front changes nothing");
    require(other.message == decoded->message && other.count == decoded->count, "the general way finds the same message");
    for (uint64_t i = 0; i < decoded->count; i++) {
        size_t bytes = record_bytes(decoded->message), skipped = sizeof(uint64_t); /* seq */
        require(memcmp(records->bytes + i * bytes + skipped, others.bytes + i * bytes + skipped, bytes - skipped) == 0,
                "the general way writes the same records");
    }
    free(spaced);

    size_t end = size;
    while (end > 0 && strchr(" \t\r\n", frame[end - 1]) != NULL)
        end--;
    for (size_t i = 1; i <= 4; i++) { /* some cuts, spread by what is in the frame */
        size_t cut = (end * i * 37 + (unsigned char)frame[end / 2] * 11) % end;
        require(decode(frame, cut, ROOM, &others, &other) == DECODE_MORE, "a beginning needs more");
    }
    if (decoded->count > 0) {
        require(decode(frame, size, decoded->count - 1, &others, &other) == DECODE_FULL, "too little room is told");
        require(other.needed == decoded->count && other.message == decoded->message, "and what is needed");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static union records records;
    struct decoded decoded;
    memset(&records, 0xa5, sizeof records);
    enum decode_result result = decode((const char *)data, size, ROOM, &records, &decoded);
    require(result >= DECODE_OK && result <= DECODE_FULL, "one of the answers");
    if (result == DECODE_OK)
        check_accepted((const char *)data, size, &records, &decoded);
    if (result == DECODE_FULL)
        require(decoded.needed > ROOM && decoded.count == 0 && decoded.message < MESSAGE_REPLY, "what is needed is more");
    return 0;
}

#ifdef FUZZ_MAIN
/* ------------------------------------------------------------------ frames by grammar, with faults */

static char frame_text[1 << 16];
static size_t frame_length;
static uint64_t random_state, fault; /* one value in `fault` is of another type or form; 0: none */
static unsigned long accepted;

static unsigned below(unsigned bound)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (unsigned)((random_state * 0x2545f4914f6cdd1du) >> 33) % bound;
}

static int at_fault(void)
{
    return fault != 0 && below((unsigned)fault) == 0;
}

static void put(const char *piece)
{
    size_t bytes = strlen(piece);
    if (frame_length + bytes < sizeof frame_text) {
        memcpy(frame_text + frame_length, piece, bytes);
        frame_length += bytes;
    }
}

static void put_space(void)
{
    if (below(60) == 0)
        put(below(2) ? " " : "\n\t");
}

static void put_mark(const char *mark)
{
    put_space();
    put(at_fault() && below(8) == 0 ? "" : mark);
    put_space();
}

static void put_number(void)
{
    char number[64];
    static const char *const odd[] = {"0", "0.0", "-0.0", "1e400", "-1", "01", "1.", "99999999999999999999999999", "1e-5", "0.0000000000000000001",
                                      "1234567890123456789012345678901234567890123456789012345678901234567890", "null", "5.00", "7E+2"};
    int digits = sprintf(number, "%s%u", below(4) == 0 ? "-" : "", below(below(3) ? 100000 : 10));
    if (below(5) != 0)
        digits += sprintf(number + digits, ".%0*u", 1 + (int)below(8), below(10000));
    if (below(12) == 0)
        sprintf(number + digits, "e-%u", below(12));
    put(below(20) == 0 ? odd[below(sizeof odd / sizeof *odd)] : number);
}

static void put_integer(void)
{
    char number[64];
    sprintf(number, "%u%0*u", 1 + below(1000), 1 + (int)below(9), below(10));
    put(number);
}

static void put_string(const char *word)
{
    put("\"");
    if (word != NULL && below(40) != 0)
        put(word);
    else
        for (unsigned count = below(12); count > 0; count--) {
            static const char *const pieces[] = {"A", "ETH-", "\\u0041", "\\n", "\xc3\xa9", "\\ud83d\\ude00", "\xf0\x9f\x98\x80", "4000", "\\\"", "\\/"};
            static const char *const wrong[] = {"\\u0000", "\\x", "\xff", "\x01", "\\ud800", "0123456789012345678901234567890123456789"};
            put(at_fault() ? wrong[below(sizeof wrong / sizeof *wrong)] : pieces[below(sizeof pieces / sizeof *pieces)]);
        }
    put("\"");
}

static void put_anything(int depth)
{
    switch (below(depth > 6 ? 5 : 8)) {
    case 0:
        put_number();
        break;
    case 1:
        put_string(NULL);
        break;
    case 2:
        put("null");
        break;
    case 3:
        put(below(2) ? "true" : "false");
        break;
    case 4:
        put(below(2) ? "{}" : "[]");
        break;
    case 5:
        put("{\"a\":");
        put_anything(depth + 1);
        put(",\"b\":[1,");
        put_anything(depth + 1);
        put("]}");
        break;
    case 6:
        for (unsigned levels = below(70), i = 0; i < 2 * levels; i++)
            put(i < levels ? "[" : "]");
        break;
    default:
        put("[");
        put_anything(depth + 1);
        put("]");
    }
}


#include "deribit_members.h"

static void put_members(const struct member *members, size_t count);

static void put_levels(int with_action)
{
    static const char *const actions[] = {"new", "change", "delete"};
    put("[");
    for (unsigned count = below(8) == 0 ? below(80) : below(5), i = 0; i < count; i++) {
        put(i > 0 ? "," : "");
        put_mark("[");
        if (with_action) {
            put_string(actions[below(3)]);
            put_mark(",");
        }
        put_number();
        put_mark(",");
        put_number();
        put_mark("]");
    }
    put("]");
}

static void put_many(const struct member *members, size_t members_count)
{
    put("[");
    for (unsigned count = below(16) == 0 ? below(70) : below(4), i = 0; i < count; i++) {
        put(i > 0 ? "," : "");
        put_members(members, members_count);
    }
    put("]");
}

static void put_value(enum value value)
{
    static const char *const names[] = {"ETH-25DEC26-4000-C", "BTC-PERPETUAL", "XRP_USDC-30JUN24-0d625-C", "BTC_USDC"};
    if (at_fault()) {
        put_anything(0);
        return;
    }
    switch (value) {
    case NUMBER:
        put_number();
        break;
    case INTEGER:
        put_integer();
        break;
    case NAME:
        put_string(names[below(4)]);
        break;
    case WORD:
        put_string("open");
        break;
    case DIRECTION:
        put_string(below(2) ? "buy" : "sell");
        break;
    case LIQUIDATION:
        put_string(below(2) ? "M" : "MT");
        break;
    case KIND:
        put_string(below(2) ? "snapshot" : "change");
        break;
    case LEVELS:
    case WINDOW:
        put_levels(value == LEVELS);
        break;
    case STATS:
        put_members(stats, COUNT(stats));
        break;
    case GREEKS:
        put_members(greeks, COUNT(greeks));
        break;
    case TRADES:
        put_many(trade, COUNT(trade));
        break;
    case MARKS:
        put_many(mark, COUNT(mark));
        break;
    case TRUTH:
        put(below(2) ? "true" : "false");
        break;
    }
}

/* An object: mostly whole and in the usual order, else with members missing, unknown, repeated or in another order. */
static void put_members(const struct member *members, size_t count)
{
    size_t order[32];
    for (size_t i = 0; i < count; i++)
        order[i] = i;
    for (size_t i = below(3) == 0 ? count : 0; i > 1; i--) {
        size_t j = below((unsigned)i), other = order[j];
        order[j] = order[i - 1];
        order[i - 1] = other;
    }
    int first = 1;
    put_mark("{");
    for (size_t i = 0; i < count; i++) {
        const struct member *member = &members[order[i]];
        if (member->always ? at_fault() : below(8) == 0)
            continue;
        for (int again = at_fault() ? 2 : 1; again > 0; again--) {
            put_mark(first ? "" : ",");
            first = 0;
            put_string(below(50) == 0 ? "unknown" : member->name);
            put_mark(":");
            put_value(member->value);
        }
    }
    put_mark("}");
}

static void put_notification(void)
{
    static const struct {
        const char *channel;
        const struct member *members; /* NULL: `value` */
        size_t count;
        enum value value;
    } notifications[] = {
        {"ticker.ETH-25DEC26-4000-C.100ms", ticker, COUNT(ticker), 0}, {"trades.option.ETH.100ms", NULL, 0, TRADES},
        {"book.BTC-PERPETUAL.raw", book, COUNT(book), 0}, {"quote.BTC-PERPETUAL", bbo, COUNT(bbo), 0},
        {"book.BTC-PERPETUAL.none.10.100ms", window, COUNT(window), 0}, {"book.BTC-PERPETUAL.25.20.agg2", window, COUNT(window), 0},
        {"deribit_price_index.eth_usd", price, COUNT(price), 0}, {"deribit_volatility_index.eth_usd", volatility, COUNT(volatility), 0},
        {"estimated_expiration_price.eth_usd", delivery, COUNT(delivery), 0}, {"markprice.options.eth_usd", NULL, 0, MARKS},
        {"perpetual.ETH-PERPETUAL.100ms", funding, COUNT(funding), 0}, {"platform_state", book, COUNT(book), 0},
    };
    unsigned kind = below(3) ? below(3) : below(sizeof notifications / sizeof *notifications);
    int usual = below(4) != 0, data_first = !usual && below(2);
    put(usual ? "{\"jsonrpc\":\"2.0\",\"method\":\"subscription\",\"params\":{" : "{\"params\" : {");
    for (int part = 0; part < 2; part++) {
        put(part > 0 ? "," : "");
        if ((part == 0) != data_first) {
            put("\"channel\":");
            put_string(notifications[kind].channel);
        } else {
            put("\"data\":");
            if (notifications[kind].members == NULL)
                put_value(notifications[kind].value);
            else
                put_members(notifications[kind].members, notifications[kind].count);
        }
    }
    put(usual ? "}}" : "},\"method\":\"subscription\",\"usOut\":1}");
}

static void put_other(void)
{
    static const char *const frames[] = {
        "{\"jsonrpc\":\"2.0\",\"method\":\"heartbeat\",\"params\":{\"type\":\"test_request\"}}",
        "{\"params\":{\"type\":\"heartbeat\"},\"method\":\"heartbeat\",\"jsonrpc\":\"2.0\"}",
        "{\"jsonrpc\":\"2.0\",\"id\":5,\"result\":[\"book.BTC-PERPETUAL.100ms\"],\"usIn\":1}", "{\"id\":null,\"error\":{\"code\":11050}}",
    };
    if (below(2)) {
        put(frames[below(4)]);
    } else {
        put("{\"id\":");
        put_anything(0);
        put(below(2) ? ",\"result\":" : ",\"error\":");
        put_anything(0);
        put("}");
    }
}

/* Bytes changed, gone or doubled, as a broken line would. */
static void damage(void)
{
    for (unsigned count = 1 + below(3); count > 0 && frame_length > 0; count--) {
        size_t at = below((unsigned)frame_length);
        if (below(3) == 0)
            frame_length = at;
        else if (below(2))
            frame_text[at] = (char)below(256);
        else
            memmove(frame_text + at, frame_text + at + 1, --frame_length - at);
    }
}

int main(int argc, char **argv)
{
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000;
    random_state = (argc > 2 ? strtoull(argv[2], NULL, 10) : 1) * 2 + 1; /* never 0 */
    for (uint64_t i = 0; i < count; i++) {
        static union records records;
        struct decoded decoded;
        frame_length = 0;
        fault = below(3) == 0 ? 30 : 0;
        if (below(10) == 0)
            put_other();
        else
            put_notification();
        if (below(8) == 0)
            damage();
        accepted += decode(frame_text, frame_length, ROOM, &records, &decoded) == DECODE_OK;
        LLVMFuzzerTestOneInput((const uint8_t *)frame_text, frame_length);
    }
    printf("fuzz_decode_deribit: %llu frames, %lu of them messages\n", (unsigned long long)count, accepted);
    require(count < 1000 || (accepted > count / 4 && accepted < count), "the generator makes both kinds of frames");
    return 0;
}
#endif
