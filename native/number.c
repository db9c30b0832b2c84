/* number.c: three ways to the same double, each taken only where it is exact.
 *
 * 1. What venues send: up to 15 digits, a point among them or not, at most a short exponent. Read without a loop (block.h); the
 *    most usual of these by number_plain(), which is in the header to be inlined.
 * 2. Any text whose digits fit 2^53 and whose power of ten is at most 10^22 either way. Both are then exact doubles, so one
 *    multiplication or division rounds once and correctly (W. Clinger, "How to read floating point numbers accurately", 1990).
 *    The first way ends like this too.
 * 3. Everything else: integers of up to 1400 bits, divided exactly and rounded once. Rare, slow (below 5 us) and short to
 *    explain; the fast algorithms for this case (Eisel-Lemire) need a table of 10 kB and a fallback to this one.
 *
 * strtod() is not used: it needs a NUL behind the text and takes its decimal point from the locale.
 */
#include "number.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

_Static_assert(FLT_EVAL_METHOD == 0, "double arithmetic must round to double, once");
_Static_assert(DBL_MANT_DIG == 53, "double is IEEE 754 binary64");

#define EXACT_MAX (UINT64_C(1) << 53) /* every integer up to here is a double */
#define TEN_EXACT_MAX 22              /* 10^22 is the largest power of ten that is a double */

static const double tens[TEN_EXACT_MAX + 1] = {
    1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
};
static const uint32_t small_tens[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000};
enum { CHUNK_DIGITS = 9 }; /* decimal digits of one step: 10^9 is the largest power of ten in 32 bits */

/* The rare ways stay out of the common ones, which then need no stack. */
#define NOINLINE __attribute__((noinline))

static double with_sign(double value, bool negative)
{
    return negative ? -value : value;
}

/* ------------------------------------------------------------------ the exact way */

enum { LIMBS_MAX = 48 }; /* 1536 bits; 64 digits, or 2^1360 before it is divided by 10^388, need fewer than 1400 */

struct natural { /* a natural number, least significant limb first, without leading zero limbs */
    uint32_t limbs[LIMBS_MAX];
    unsigned count;
};

static void multiply_add(struct natural *n, uint32_t factor, uint32_t addend)
{
    uint64_t carry = addend;
    for (unsigned i = 0; i < n->count; i++) {
        carry += (uint64_t)n->limbs[i] * factor;
        n->limbs[i] = (uint32_t)carry;
        carry >>= 32;
    }
    if (carry != 0) {
        assert(n->count < LIMBS_MAX);
        n->limbs[n->count++] = (uint32_t)carry;
    }
}

/* Divides in place; returns the remainder. */
static uint32_t divide(struct natural *n, uint32_t divisor)
{
    uint64_t remainder = 0;
    for (unsigned i = n->count; i-- > 0;) {
        uint64_t part = remainder << 32 | n->limbs[i];
        n->limbs[i] = (uint32_t)(part / divisor);
        remainder = part % divisor;
    }
    while (n->count > 0 && n->limbs[n->count - 1] == 0)
        n->count--;
    return (uint32_t)remainder;
}

static int bit_length(const struct natural *n)
{
    return n->count == 0 ? 0 : (int)(32 * n->count) - __builtin_clz(n->limbs[n->count - 1]);
}

static void shift_left(struct natural *n, int bits)
{
    for (; bits >= 32; bits -= 32) {
        assert(n->count < LIMBS_MAX);
        memmove(n->limbs + 1, n->limbs, n->count * sizeof *n->limbs);
        n->limbs[0] = 0;
        n->count++;
    }
    multiply_add(n, UINT32_C(1) << bits, 0);
}

static bool bit(const struct natural *n, int place)
{
    return n->limbs[place / 32] >> (place % 32) & 1;
}

/* Whether any bit below `place` is set. */
static bool any_below(const struct natural *n, int place)
{
    for (int i = 0; i < place / 32; i++)
        if (n->limbs[i] != 0)
            return true;
    return place % 32 != 0 && n->limbs[place / 32] << (32 - place % 32) != 0;
}

static uint64_t bits_from(const struct natural *n, int place, int count)
{
    uint64_t bits = 0;
    for (int i = count; i-- > 0;)
        bits = bits << 1 | bit(n, place + i);
    return bits;
}

/* n * 2^-scale, plus less than one unit of n's last bit if `inexact`, rounded to the nearest double, ties to even.
 * `n` has 64 bits or more. Infinity where it overflows. */
static double rounded(const struct natural *n, int scale, bool inexact)
{
    int exponent = bit_length(n) - 1 - scale; /* 2^exponent <= value < 2^(exponent + 1) */
    if (exponent > 1023)
        return INFINITY;
    int kept = exponent >= -1022 ? 53 : 53 + 1022 + exponent; /* a subnormal has fewer bits; none is left below 2^-1074 */
    if (kept < 0)
        return 0;
    int place = bit_length(n) - kept;
    uint64_t mantissa = bits_from(n, place, kept);
    if (bit(n, place - 1) && (inexact || any_below(n, place - 1) || (mantissa & 1)))
        mantissa++;
    /* A mantissa that rounds up to the next power of two carries into the exponent, which is just right. */
    uint64_t pattern = exponent >= -1022 ? ((uint64_t)(exponent + 1022) << 52) + mantissa : mantissa;
    double value;
    memcpy(&value, &pattern, sizeof value);
    return value;
}

/* digits * 10^ten, nearest double; infinity where it overflows. */
static double exact(const char *digits, int count, int ten)
{
    struct natural n;
    n.count = 0;
    for (int i = 0; i < count;) {
        int step = count - i < CHUNK_DIGITS ? count - i : CHUNK_DIGITS;
        uint32_t chunk = 0;
        for (int j = 0; j < step; j++)
            chunk = chunk * 10 + (uint32_t)(digits[i++] - '0');
        multiply_add(&n, small_tens[step], chunk);
    }
    for (int step; ten > 0; ten -= step) {
        step = ten < CHUNK_DIGITS ? ten : CHUNK_DIGITS;
        multiply_add(&n, small_tens[step], 0);
    }
    /* Scale so that 64 bits or more remain after the division: log2(10) < 3402/1024. */
    int scale = 65 + (-ten * 3402) / 1024 - bit_length(&n);
    scale = scale < 0 ? 0 : scale;
    shift_left(&n, scale);
    /* Dividing in steps and rounding each down gives the same as one division: floor(floor(n/a)/b) = floor(n/(ab)). */
    bool inexact = false;
    for (int step; ten < 0; ten += step) {
        step = -ten < CHUNK_DIGITS ? -ten : CHUNK_DIGITS;
        inexact |= divide(&n, small_tens[step]) != 0;
    }
    return rounded(&n, scale, inexact);
}

/* ------------------------------------------------------------------ any JSON number */

struct decimal { /* digits * 10^ten, no leading zeros: 0 has no digits */
    char digits[NUMBER_MAX + 1];
    int count;
    int ten;
    bool negative;
};

static bool is_digit(const char *at, const char *end)
{
    return at < end && *at >= '0' && *at <= '9';
}

/* The digits at `at`, appended without leading zeros. */
static const char *take_digits(const char *at, const char *end, struct decimal *decimal)
{
    for (; is_digit(at, end); at++)
        if (decimal->count > 0 || *at != '0')
            decimal->digits[decimal->count++] = *at;
    return at;
}

static const char *take_exponent(const char *at, const char *end, struct decimal *decimal)
{
    bool negative = at < end && *at == '-';
    if (at < end && (*at == '-' || *at == '+'))
        at++;
    if (!is_digit(at, end))
        return NULL;
    int exponent = 0;
    for (; is_digit(at, end); at++)
        if (exponent < 100000) /* far beyond any double, even with NUMBER_MAX digits before it */
            exponent = exponent * 10 + (*at - '0');
    decimal->ten += negative ? -exponent : exponent;
    return at;
}

/* Splits a number of at most NUMBER_MAX bytes. Returns the byte behind it, or NULL. */
static const char *split(const char *text, const char *end, struct decimal *decimal)
{
    if (end - text > NUMBER_MAX + 1)
        end = text + NUMBER_MAX + 1; /* enough to see that it is too long */
    decimal->count = decimal->ten = 0;
    decimal->negative = text < end && *text == '-';
    const char *at = text + decimal->negative;
    if (!is_digit(at, end))
        return NULL;
    at = *at == '0' ? at + 1 : take_digits(at, end, decimal);
    if (at < end && *at == '.') {
        const char *fraction = at + 1;
        at = take_digits(fraction, end, decimal);
        if (at == fraction)
            return NULL;
        decimal->ten = (int)(fraction - at);
    }
    if (at < end && (*at == 'e' || *at == 'E'))
        at = take_exponent(at + 1, end, decimal);
    return at != NULL && at - text <= NUMBER_MAX ? at : NULL;
}

const char *number_skip(const char *text, const char *end)
{
    struct decimal decimal;
    return split(text, end, &decimal);
}

static uint64_t integer_of(const struct decimal *decimal)
{
    uint64_t integer = 0;
    for (int i = 0; i < decimal->count; i++)
        integer = integer * 10 + (uint64_t)(decimal->digits[i] - '0');
    return integer;
}

static NOINLINE const char *any_double(const char *text, const char *end, double *value)
{
    struct decimal decimal;
    const char *behind = split(text, end, &decimal);
    if (behind == NULL)
        return NULL;
    double magnitude = 0;
    /* 10^(count + ten - 1) <= magnitude < 10^(count + ten). The largest double is below 10^309; half of the smallest is
     * above 10^-324. The exact way relies on these bounds. */
    if (decimal.count > 0 && decimal.count + decimal.ten > 309)
        return NULL;
    if (decimal.count > 0 && decimal.count + decimal.ten > -324) {
        uint64_t mantissa = decimal.count <= 16 ? integer_of(&decimal) : UINT64_MAX;
        if (mantissa <= EXACT_MAX && decimal.ten >= -TEN_EXACT_MAX && decimal.ten <= TEN_EXACT_MAX)
            magnitude = decimal.ten < 0 ? (double)mantissa / tens[-decimal.ten] : (double)mantissa * tens[decimal.ten];
        else
            magnitude = exact(decimal.digits, decimal.count, decimal.ten);
        if (magnitude > DBL_MAX)
            return NULL;
    }
    *value = with_sign(magnitude, decimal.negative);
    return behind;
}

/* ------------------------------------------------------------------ integers */

static NOINLINE const char *any_u64(const char *text, const char *end, uint64_t *value)
{
    const char *at = text;
    if (!is_digit(at, end) || (*at == '0' && is_digit(at + 1, end)))
        return NULL;
    uint64_t integer = 0;
    for (; is_digit(at, end); at++)
        if (__builtin_mul_overflow(integer, 10u, &integer) ||
            __builtin_add_overflow(integer, (uint64_t)(*at - '0'), &integer))
            return NULL;
    const char *whole_end = at;
    if (at < end && *at == '.') { /* "5.0" is 5; "5.", "5.5" and "5.0e3" end at the point */
        const char *zeros = ++at;
        while (at < end && *at == '0' && at - text < NUMBER_MAX)
            at++;
        if (at == zeros || is_digit(at, end) || (at < end && (*at | 0x20) == 'e'))
            at = whole_end;
    }
    *value = integer;
    return at;
}

/* ------------------------------------------------------------------ what venues send */

_Static_assert(NUMBER_BEFORE >= BLOCK_BYTES, "block_decimal() reads as far back");

/* Near the beginning or the end of a text: read where there is room on both sides. The NULs behind end any number. */
struct room {
    char bytes[3 * BLOCK_BYTES];
};

static const char *place_in(struct room *room, const char *text, const char *end)
{
    size_t length = end - text < BLOCK_BYTES ? (size_t)(end - text) : BLOCK_BYTES;
    *room = (struct room){{0}};
    memcpy(room->bytes + BLOCK_BYTES, text, length);
    return room->bytes + BLOCK_BYTES;
}

/* "-4" or "+5" or "5", a single digit, behind an e at `at`: to *exponent; the byte behind it, or NULL. */
static const char *short_exponent(const char *at, const char *end, int *exponent)
{
    if (end - at < 4)
        return NULL;
    bool negative = at[1] == '-';
    at += 1 + (negative || at[1] == '+');
    if (*at < '0' || *at > '9' || (at[1] >= '0' && at[1] <= '9'))
        return NULL;
    *exponent = negative ? '0' - *at : *at - '0';
    return at + 1;
}

static NOINLINE const char *double_in_room(const char *text, const char *end, double *value)
{
    struct room room;
    const char *placed = place_in(&room, text, end);
    const char *behind = number_double_within(placed, room.bytes + sizeof room.bytes, value);
    /* What does not end inside of the copy is to be read where it is. */
    return behind != NULL && behind < placed + BLOCK_BYTES ? text + (behind - placed) : any_double(text, end, value);
}

const char *number_double(const char *text, const char *end, double *value)
{
    return double_in_room(text, end, value);
}

/* Up to 15 digits, or with a point among them and an exponent of one digit. */
static const char *short_double(const char *text, const char *end, double *value)
{
    bool negative = *text == '-';
    const char *digits = text + negative;
    uint64_t stops = ~block_digits(digits);
    uint64_t whole = block_first(stops), fraction = 0, last = whole;
    int exponent = 0;
    if (digits[whole] == '.') {
        last = block_first(stops & (stops - 1));
        fraction = last - whole - 1;
        if (fraction == 0)
            return NULL;
    }
    if (last >= BLOCK_BYTES || whole == 0 || (*digits == '0' && whole > 1))
        return NULL;
    const char *at = digits + last;
    uint64_t mantissa = last == whole ? block_decimal(at, 0, whole) : block_decimal(at, whole, fraction);
    if ((*at | 0x20) == 'e') {
        at = short_exponent(at, end, &exponent);
        if (at == NULL)
            return NULL;
    }
    int ten = exponent - (int)fraction; /* from -24 to 9 */
    if (ten < -TEN_EXACT_MAX)
        return NULL;
    double magnitude = ten <= 0 ? (double)(int64_t)mantissa / tens[-ten] : (double)(int64_t)mantissa * tens[ten];
    *value = with_sign(magnitude, negative);
    return at;
}

const char *number_plain_negative(const char *text, double *value)
{
    const char *behind = number_plain(text + 1, value);
    if (behind != NULL)
        *value = -*value;
    return behind;
}

const char *number_double_within(const char *text, const char *end, double *value)
{
    if (end - text < NUMBER_AHEAD)
        return double_in_room(text, end, value);
    const char *behind = short_double(text, end, value);
    return behind != NULL ? behind : any_double(text, end, value);
}

const char *number_u64(const char *text, const char *end, uint64_t *value)
{
    return any_u64(text, end, value);
}

const char *number_u64_within(const char *text, const char *end, uint64_t *value)
{
    if (end - text < NUMBER_AHEAD)
        return any_u64(text, end, value);
    uint64_t count = block_first(~block_digits(text));
    if (count == 0 || count >= BLOCK_BYTES || *text == '0' || text[count] == '.')
        return any_u64(text, end, value);
    *value = block_decimal(text + count, 0, count);
    return text + count;
}
