/* deribit_usual.c: the spellings, each as a chain of what comes: as of 2026, and as of 2021, an alphabet from Z to A. */
#include "deribit_usual.h"

#include <stddef.h>
#include <string.h>

#include "literal.h"

enum { CLOSERS = 3 }; /* behind the last value: of the data, the params and the message */

#define SIZED(text) text, sizeof text - 1
#define SPELLED(key) "\"" key "\":"
#define KEY(key) SIZED(SPELLED(key))
#define FIRST_KEY(key) SIZED("{" SPELLED(key))

/* Behind the data, if that was all of it; or NULL. The other two closers are the caller's to look at. */
static inline const char *finish(const struct literal *literal)
{
    const char *behind = literal->end - CLOSERS + 1;
    return literal->at == literal->end + 1 && behind[-1] == '}' ? behind : NULL;
}

/* ------------------------------------------------------------------ book */

#define MEMBER(key, word) SIZED(SPELLED(key) "\"" word "\"")
#define FIRST_MEMBER(key, word) SIZED("{" SPELLED(key) "\"" word "\"")
#define SIDE(key) SIZED(SPELLED(key) "[")

/* The action of a level at its opening bracket; behind the comma that follows it, or NULL. */
static inline const char *usual_action(const char *at, const char *end, uint8_t *action)
{
    if (end - at < BLOCK_BYTES)
        return NULL;
    bool is_change = memcmp(at, "[\"change", 8) == 0;
    if (memcmp(at, "[\"new\",", 7) == 0) {
        *action = BOOK_NEW;
        return at + 7;
    }
    if ((!is_change && memcmp(at, "[\"delete", 8) != 0) || memcmp(at + 8, "\",", 2) != 0)
        return NULL;
    *action = is_change ? BOOK_CHANGE : BOOK_DELETE;
    return at + 10;
}

/* ["new",0.0065,10.0] and the comma behind it; how many marks are before that. */
INLINE bool usual_level(struct literal *literal, struct book *level, ptrdiff_t *closers)
{
    const char *at = usual_action(literal->at, literal->end, &level->action);
    if (UNLIKELY(at == NULL || at != literal_comma(literal) + 1))
        return false;
    const char *comma = literal_comma(literal);
    if (UNLIKELY(!number_plain_signed_until(at, comma, &level->price))) /* combos have prices below 0 */
        return false;
    at = literal->at;
    comma = literal_comma(literal);
    const char *end = comma;
    while (end > at && (end[-1] | 0x20) == '}')
        end--;
    *closers = comma - end;
    return *closers > 0 && *end == ']' && number_plain_until(at, end, &level->amount);
}

/* The levels of a side, each into the next record; `closing` marks and a comma are behind them. */
INLINE bool usual_side(struct literal *literal, const char *key, size_t key_length, ptrdiff_t closing,
                       struct book_message *message, enum book_side side)
{
    const char *at = literal->at + key_length, *comma = literal->text + *literal->next;
    ptrdiff_t closers;
    if (UNLIKELY(comma - at < 1 || !literal_is_key(at, key, key_length)))
        return false;
    if (*at == ']') {
        literal_comma(literal);
        return comma == at + 1 + closing;
    }
    literal->at = at;
    do {
        if (UNLIKELY(message->count == message->max))
            return false;
        struct book *level = &message->books[message->count++];
        level->side = (uint8_t)side;
        if (UNLIKELY(!usual_level(literal, level, &closers)))
            return false;
    } while (closers == 1);
    return closers == 2 + closing && literal->at[-closers] == ']';
}

/* A snapshot has no prev_change_id. */
INLINE bool is_book_2026(struct literal *literal, struct book_message *message)
{
    if (!literal_time_ms(literal, FIRST_KEY("timestamp"), &message->head.exch_ns))
        return false;
    bool is_change = literal_member(literal, MEMBER("type", "change"));
    message->type = is_change ? BOOK_TYPE_CHANGE : BOOK_TYPE_SNAPSHOT;
    return (is_change || literal_member(literal, MEMBER("type", "snapshot"))) &&
           literal_u64(literal, KEY("change_id"), 0, &message->change_id) &&
           literal_text(literal, KEY("instrument_name"), message->head.instrument, sizeof message->head.instrument) &&
           usual_side(literal, SIDE("bids"), 0, message, BOOK_BID) &&
           usual_side(literal, SIDE("asks"), is_change ? 0 : CLOSERS, message, BOOK_ASK) &&
           (!is_change || literal_u64(literal, KEY("prev_change_id"), CLOSERS, &message->prev_change_id));
}

INLINE bool is_book_2021(struct literal *literal, struct book_message *message)
{
    bool is_change = literal_member(literal, FIRST_MEMBER("type", "change"));
    message->type = is_change ? BOOK_TYPE_CHANGE : BOOK_TYPE_SNAPSHOT;
    return (is_change || literal_member(literal, FIRST_MEMBER("type", "snapshot"))) &&
           literal_time_ms(literal, KEY("timestamp"), &message->head.exch_ns) &&
           (!is_change || literal_u64(literal, KEY("prev_change_id"), 0, &message->prev_change_id)) &&
           literal_text(literal, KEY("instrument_name"), message->head.instrument, sizeof message->head.instrument) &&
           literal_u64(literal, KEY("change_id"), 0, &message->change_id) &&
           usual_side(literal, SIDE("bids"), 0, message, BOOK_BID) && usual_side(literal, SIDE("asks"), CLOSERS, message, BOOK_ASK);
}

const char *deribit_usual_book(const char *at, const char *end, struct book_message *message)
{
    struct commas commas;
    struct literal literal;
    if (!literal_begin(&literal, &commas, at, end))
        return NULL;
    bool is_usual = at[3] == 'i' ? is_book_2026(&literal, message) : is_book_2021(&literal, message);
    return is_usual ? finish(&literal) : NULL;
}
