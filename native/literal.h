/* literal.h: reading an object whose members come in a known order, by a chain of these functions joined by &&.
 *
 * Each takes the key that must come next and the value behind it, up to a comma. The key is compared as words of eight bytes that are
 * in the code, and where the value ends is known beforehand (commas.h). That is half of the work of shape.h, which takes any order;
 * so it is tried first. Where any of these functions says false, the text may be right all the same: what was written does not
 * count, the chain must not go on, and shape.h has the word.
 *
 * `key` is spelled as in the text, with all that is before its value: "\"low\":", "\"stats\":{\"high\":". Behind the last comma
 * there is the text's end, and nothing is read beyond it.
 */
#ifndef TICKBAY_LITERAL_H
#define TICKBAY_LITERAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block.h"
#include "commas.h"
#include "number.h"

enum {
    LITERAL_BEFORE = 2 * BLOCK_BYTES, /* readable bytes before the text, of any value */
    LITERAL_TEXT_MAX = 2 * BLOCK_BYTES,
    LITERAL_NS_PER_MS = 1000000,
};

struct literal {
    const char *text, *end;
    const char *at;       /* behind the comma before; beyond the end where that was the end */
    const uint16_t *next; /* comma */
};

/* Makes the text ready to be read; false where it is too short or too long (commas_find()). `commas` must stay. */
INLINE bool literal_begin(struct literal *literal, struct commas *commas, const char *text, const char *end)
{
    *literal = (struct literal){text, end, text, commas->places};
    return commas_find(commas, text, end);
}

/* Whether the key is before `behind`. It has 4 bytes or more. */
INLINE bool literal_is_key(const char *behind, const char *key, size_t length)
{
    const char *at = behind - length;
    uint64_t difference = 0;
    if (length < sizeof(uint64_t))
        return memcmp(at, key, length) == 0;
    for (size_t i = 0; i + sizeof(uint64_t) < length; i += sizeof(uint64_t))
        difference |= block_load64(at + i) ^ block_load64(key + i);
    size_t last = length - sizeof(uint64_t); /* of the words one may begin inside of the one before */
    return (difference | (block_load64(at + last) ^ block_load64(key + last))) == 0;
}

/* Steps behind the next comma; where that is. Behind the last one this is the text's end, twice. */
INLINE const char *literal_comma(struct literal *literal)
{
    const char *comma = literal->text + *literal->next++;
    literal->at = comma + 1;
    return comma;
}

/* The way of literal_number() for what is not usual: null, an exponent, no fraction, many digits. */
bool literal_any_number(const char *at, const char *end, const char *text_end, double *value);

/* A number up to the next comma and `closers` marks before it, or null, with which *value stays. */
INLINE bool literal_number(struct literal *literal, const char *key, size_t key_length, size_t closers, double *value)
{
    const char *at = literal->at + key_length, *end = literal_comma(literal) - closers;
    if (UNLIKELY(end - at <= 0 || !literal_is_key(at, key, key_length)))
        return false;
    return LIKELY(number_plain_signed_until(at, end, value)) || literal_any_number(at, end, literal->end, value);
}

/* A positive integer of at most 16 digits, in the same place. */
INLINE bool literal_u64(struct literal *literal, const char *key, size_t key_length, size_t closers, uint64_t *value)
{
    const char *at = literal->at + key_length, *end = literal_comma(literal) - closers;
    return end - at > 0 && literal_is_key(at, key, key_length) && number_plain_u64_until(at, end, value);
}

/* Milliseconds from `at` to `end`, to nanoseconds. */
INLINE bool literal_ms(const char *at, const char *end, int64_t *ns)
{
    uint64_t ms = 0;
    if (!number_plain_u64_until(at, end, &ms) || ms > INT64_MAX / LITERAL_NS_PER_MS)
        return false;
    *ns = (int64_t)ms * LITERAL_NS_PER_MS;
    return true;
}

/* Milliseconds, to nanoseconds. */
INLINE bool literal_time_ms(struct literal *literal, const char *key, size_t key_length, int64_t *ns)
{
    const char *at = literal->at + key_length, *end = literal_comma(literal);
    return end - at > 0 && literal_is_key(at, key, key_length) && literal_ms(at, end, ns);
}

/* A member that is spelled so, key and value. Where it is another, nothing was taken. */
INLINE bool literal_member(struct literal *literal, const char *member, size_t length)
{
    const char *behind = literal->at + length;
    if (literal->text + *literal->next != behind || !literal_is_key(behind, member, length))
        return false;
    literal_comma(literal);
    return true;
}

/* Printable ASCII without a backslash from `at` to `quote`, of 1 byte to LITERAL_TEXT_MAX, into a field of `width` zeros, BLOCK_BYTES
 * or more. `quote` may be before `at`. */
INLINE bool literal_string(const char *at, const char *quote, const char *end, char *out, size_t width)
{
    uint64_t length = (uint64_t)(quote - at);
    if (UNLIKELY(length - 1 >= LITERAL_TEXT_MAX || length > width || end - at < BLOCK_BYTES || *quote != '"'))
        return false;
    uint64_t specials = block_specials(quote - 2 * BLOCK_BYTES) | (uint64_t)block_specials(quote - BLOCK_BYTES) << BLOCK_BYTES;
    if (UNLIKELY(specials >> (LITERAL_TEXT_MAX - length) != 0))
        return false;
    block_copy(out, at, length);
    return true;
}

/* A string (literal_string()). */
INLINE bool literal_text(struct literal *literal, const char *key, size_t key_length, char *out, size_t width)
{
    const char *at = literal->at + key_length + 1, *quote = literal_comma(literal) - 1;
    if (UNLIKELY(quote <= at || !literal_is_key(at - 1, key, key_length) || at[-1] != '"'))
        return false;
    return literal_string(at, quote, literal->end, out, width);
}

#endif
