/* pgcopy_step.c: see pgcopy_step.h. What is said of NULLs is reckoned, not chosen with ?:, of which gcc makes a branch. */
#include "pgcopy_step.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "field.h"

/* Every x86-64 has SSE2; elsewhere words do (and with PGCOPY_PORTABLE, so that a test on x86-64 can try them). */
#if defined __SSE2__ && !defined PGCOPY_PORTABLE
#include <immintrin.h>
#define PGCOPY_SSE2
#endif

#define CACHE_LINE 64
#define EPOCH_2000_US INT64_C(946684800000000) /* 2000-01-01 in microseconds since 1970 */

static void store16(unsigned char *out, uint16_t value)
{
    value = __builtin_bswap16(value);
    memcpy(out, &value, sizeof value);
}

static void store32(unsigned char *out, uint32_t value)
{
    value = __builtin_bswap32(value);
    memcpy(out, &value, sizeof value);
}

static void store64(unsigned char *out, uint64_t value)
{
    value = __builtin_bswap64(value);
    memcpy(out, &value, sizeof value);
}

static int64_t minus_one_if(bool null)
{
    return -(int64_t)null;
}

static void store_length(unsigned char *out, uint32_t length, bool null)
{
    store32(out, length | (uint32_t)minus_one_if(null));
}

/* ------------------------------------------------------------------ one field: returns the position behind it */

static unsigned char *put8(unsigned char *out, uint64_t value, bool null)
{
    store_length(out, 8, null);
    store64(out + 4, value);
    return out + 12 + 8 * minus_one_if(null);
}

static unsigned char *put4(unsigned char *out, uint32_t value, bool null)
{
    store_length(out, 4, null);
    store32(out + 4, value);
    return out + 8 + 4 * minus_one_if(null);
}

static unsigned char *put2(unsigned char *out, uint16_t value, bool null)
{
    store_length(out, 2, null);
    store16(out + 4, value);
    return out + 6 + 2 * minus_one_if(null);
}

static unsigned char *put1(unsigned char *out, bool value)
{
    store_length(out, 1, false);
    out[4] = value;
    return out + 5;
}

static unsigned char *put_float8(unsigned char *out, uint64_t bits)
{
    /* NaN: all ones in the exponent and anything in the fraction. */
    return put8(out, bits, bits << 1 > 0xffe0000000000000u);
}

/* Copied whole, for a copy of just `size` bytes would be a call. */
static unsigned char *put_cell(unsigned char *out, const struct pgcopy_cell *cell)
{
    memcpy(out, cell, sizeof *cell);
    return out + cell->size;
}
_Static_assert(sizeof(struct pgcopy_cell) <= PGCOPY_SCRIBBLE, "there is room for a whole cell");

/* Copy 16 bytes of text; returns where among them the first NUL is, or `none`. */
static size_t copy_16(unsigned char *out, const unsigned char *text, size_t none)
{
#ifdef PGCOPY_SSE2
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)text);
    _mm_storeu_si128((__m128i *)(void *)out, bytes);
    unsigned nuls = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_setzero_si128()));
    return nuls != 0 ? (size_t)__builtin_ctz(nuls) : none;
#else
    size_t first = none;
    for (size_t at = 16; at > 0;) {
        at -= 8;
        uint64_t word = field_u64(text + at);
        memcpy(out + at, &word, sizeof word);
        /* The lowest bit set marks the first zero byte (the ones above it may lie). */
        uint64_t nuls = (word - 0x0101010101010101u) & ~word & 0x8080808080808080u;
        first = nuls != 0 ? at + (size_t)__builtin_ctzll(nuls) / 8 : first;
    }
    return first;
#endif
}

/* The length of NUL-padded text, and the text to `out` on the way: all `width` bytes, whatever its length. From the end to
 * the beginning, so that the first NUL wins without leaving the loop early: its number of turns depends on the column
 * alone, which is foreseen; one that depends on the name is not. */
static size_t copy_text(unsigned char *out, const unsigned char *text, size_t width)
{
    size_t length = width, at = width & ~(size_t)15;
    for (size_t i = width; i > at; i--) { /* what is left over of 16: at most 8 bytes in record.h */
        out[i - 1] = text[i - 1];
        length = text[i - 1] == '\0' ? i - 1 : length;
    }
    while (at > 0) {
        at -= 16;
        length = at + copy_16(out + at, text + at, length - at);
    }
    return length;
}

/* ------------------------------------------------------------------ steps */

unsigned char *pgcopy_put_end(unsigned char *out, const struct pgcopy_step *step, const unsigned char *record)
{
    (void)step, (void)record;
    return out;
}

static unsigned char *next(unsigned char *out, const struct pgcopy_step *step, const unsigned char *record)
{
    step++;
    return step->put(out, step, record);
}

unsigned char *pgcopy_put_ask(unsigned char *out, const struct pgcopy_step *step, const unsigned char *record)
{
    for (uint32_t at = 0; at < step->count; at += CACHE_LINE) {
        __builtin_prefetch(record + step->offset + at);
    }
    return next(out, step, record);
}

static unsigned char *int8_u64s(unsigned char *out, const struct pgcopy_step *step, const unsigned char *record)
{
    const unsigned char *field = record + step->offset;
    out = put8(out, field_u64(field), false);
    for (uint32_t i = 1; i < step->count; i++) { /* seldom: told apart from the first one it costs that less */
        out = put8(out, field_u64(field + 8 * i), false);
    }
    return next(out, step, record);
}

static unsigned char *int8_u64_null0(unsigned char *out, const struct pgcopy_step *step, const unsigned char *record)
{
    uint64_t value = field_u64(record + step->offset);
    return next(put8(out, value, value == 0), step, record);
}

static unsigned char *int8_u32(unsigned char *out, const struct pgcopy_step *step, const unsigned char *record)
{
    return next(put8(out, field_u32(record + step->offset), false), step, record);
}

static unsigned char *int4_u32(unsigned char *out, const struct pgcopy_step *step, const unsigned char *record)
{
    return next(put4(out, field_u32(record + step->offset), false), step, record);
}

static unsigned char *int4_u32_null0(unsigned char *out, const struct pgcopy_step *step, const unsigned char *record)
{
    uint32_t value = field_u32(record + step->offset);
    return next(put4(out, value, value == 0), step, record);
}

static unsigned char *int2_u8(unsigned char *out, const struct pgcopy_step *step, const unsigned char *record)
{
    uint8_t value = record[step->offset];
    return next(put2(out, value, value == 255), step, record);
}

/* By twos: one comparison tells that neither is NaN, and then what remains is two loads and four stores. Which fields are
 * absent is mostly the same from row to row, so this branch is foreseen; the neighbours of an absent one are reckoned. */
static unsigned char *float8s(unsigned char *out, const struct pgcopy_step *step, const unsigned char *record)
{
    const unsigned char *field = record + step->offset, *end = field + step->count / 2 * 16;
    for (; field < end; field += 16) {
        double values[2];
        memcpy(values, field, sizeof values);
        if (isunordered(values[0], values[1])) {
            out = put_float8(out, field_u64(field));
            out = put_float8(out, field_u64(field + 8));
        } else {
            out = put8(out, field_u64(field), false);
            out = put8(out, field_u64(field + 8), false);
        }
    }
    return next(step->count % 2 != 0 ? put_float8(out, field_u64(field)) : out, step, record);
}

/* Rounded down, also before 1970: order is kept, and equal times stay equal. A division rounds towards 0, so what it divides
 * is moved above 0: an eighth of the time (1000 is 8 times 125), and a multiple of 125 on top of it. Below 2^63 it is divided by
 * multiplying with 2^68 / 125, rounded up; told to divide, gcc asks for the sign too. */
static unsigned char *timestamptz(unsigned char *out, const struct pgcopy_step *step, const unsigned char *record)
{
    __extension__ typedef unsigned __int128 product;
    const uint64_t moved = UINT64_C(1) << 54;
    int64_t ns = (int64_t)field_u64(record + step->offset);
    uint64_t eighths = (uint64_t)(ns >> 3) + 125 * moved, us = (uint64_t)((product)eighths * 0x20c49ba5e353f7cf >> 68);
    return next(put8(out, us - (moved + EPOCH_2000_US), ns == 0), step, record);
}

static unsigned char *text(unsigned char *out, const struct pgcopy_step *step, const unsigned char *record)
{
    size_t length = copy_text(out + 4, record + step->offset, step->count);
    store_length(out, (uint32_t)length, length == 0);
    return next(out + 4 + length, step, record);
}

static unsigned char *bool_u8(unsigned char *out, const struct pgcopy_step *step, const unsigned char *record)
{
    return next(put1(out, record[step->offset] != 0), step, record);
}

static unsigned char *bool_flag(unsigned char *out, const struct pgcopy_step *step, const unsigned char *record)
{
    return next(put1(out, (field_u32(record + step->offset) & step->mask) != 0), step, record);
}

static unsigned char *enum_u8(unsigned char *out, const struct pgcopy_step *step, const unsigned char *record)
{
    uint32_t number = record[step->offset];
    return next(put_cell(out, &step->cells[number < step->count ? number : step->count]), step, record);
}

static unsigned char *constants(unsigned char *out, const struct pgcopy_step *step, const unsigned char *record)
{
    for (uint32_t i = 0; i < step->count; i++) {
        out = put_cell(out, &step->cells[i]);
    }
    return next(out, step, record);
}

pgcopy_put *pgcopy_put_plain(enum pgcopy_type type)
{
    static pgcopy_put *const puts[] = {
        [PGCOPY_INT8_U64] = int8_u64s,
        [PGCOPY_INT8_U64_NULL0] = int8_u64_null0,
        [PGCOPY_INT8_U32] = int8_u32,
        [PGCOPY_INT4_U32] = int4_u32,
        [PGCOPY_INT4_U32_NULL0] = int4_u32_null0,
        [PGCOPY_INT2_U8] = int2_u8,
        [PGCOPY_FLOAT8] = float8s,
        [PGCOPY_TIMESTAMPTZ] = timestamptz,
        [PGCOPY_TEXT] = text,
        [PGCOPY_BOOL_U8] = bool_u8,
        [PGCOPY_BOOL_FLAG] = bool_flag,
        [PGCOPY_ENUM_U8] = enum_u8,
        [PGCOPY_CONST_TEXT] = constants,
        [PGCOPY_CONST_INT4] = constants,
    };
    return puts[type];
}

/* ------------------------------------------------------------------ with AVX-512, half of the time */

#ifdef PGCOPY_SSE2
#define INLINE static inline __attribute__((always_inline))
#define WITH_AVX512 __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,bmi,bmi2")))

/* Four doubles come out as up to twelve words of four bytes, lengths and halves of values. Which word goes where depends only
 * on which of the four are NaN: a line for each of the sixteen ways, and no branch that could be foreseen wrongly. */
#define NONE 9                          /* word 9 is the length of a NULL, word 8 that of a value */
#define VALUE(i) 8, 2 * (i), 2 * (i) + 1 /* words 0 to 7 are the values, big-endian */
static const struct spread {
    _Alignas(64) uint32_t words[12];
    uint64_t size; /* bytes */
} SPREADS[16] = { /* bit i of the index: value i is NaN */
    {{VALUE(0), VALUE(1), VALUE(2), VALUE(3)}, 48}, {{NONE, VALUE(1), VALUE(2), VALUE(3)}, 40},
    {{VALUE(0), NONE, VALUE(2), VALUE(3)}, 40},     {{NONE, NONE, VALUE(2), VALUE(3)}, 32},
    {{VALUE(0), VALUE(1), NONE, VALUE(3)}, 40},     {{NONE, VALUE(1), NONE, VALUE(3)}, 32},
    {{VALUE(0), NONE, NONE, VALUE(3)}, 32},         {{NONE, NONE, NONE, VALUE(3)}, 24},
    {{VALUE(0), VALUE(1), VALUE(2), NONE}, 40},     {{NONE, VALUE(1), VALUE(2), NONE}, 32},
    {{VALUE(0), NONE, VALUE(2), NONE}, 32},         {{NONE, NONE, VALUE(2), NONE}, 24},
    {{VALUE(0), VALUE(1), NONE, NONE}, 32},         {{NONE, VALUE(1), NONE, NONE}, 24},
    {{VALUE(0), NONE, NONE, NONE}, 24},             {{NONE, NONE, NONE, NONE}, 16},
};

/* In two stores, which are quicker than one of 64 bytes that always lies in two cache lines. */
INLINE WITH_AVX512 unsigned char *put_four(unsigned char *out, const unsigned char *fields)
{
    const __m256i lengths = _mm256_set1_epi64x((int64_t)0xffffffff08000000); /* words 8 and 9, big-endian */
    const __m256i reversed = _mm256_broadcastsi128_si256(_mm_set_epi8(8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
    __m256d reals = _mm256_loadu_pd((const double *)(const void *)fields);
    const struct spread *spread = &SPREADS[_mm256_cmp_pd_mask(reals, reals, _CMP_UNORD_Q)];
    __asm__("" : "+r"(spread)); /* keeps gcc from reckoning it anew for each of its parts */
    __m256i words = _mm256_shuffle_epi8(_mm256_castpd_si256(reals), reversed);
    __m256i eight = _mm256_load_si256((const __m256i *)(const void *)spread->words);
    __m128i four = _mm_load_si128((const __m128i *)(const void *)(spread->words + 8));
    eight = _mm256_permutex2var_epi32(words, eight, lengths);
    four = _mm256_castsi256_si128(_mm256_permutex2var_epi32(words, _mm256_castsi128_si256(four), lengths));
    _mm256_storeu_si256((__m256i *)(void *)out, eight);
    _mm_storeu_si128((__m128i *)(void *)(out + 32), four);
    return out + spread->size;
}

/* Those behind the last four. Not inlined: the registers that it takes would be saved for all. */
__attribute__((noinline)) static unsigned char *float8s_left(unsigned char *out, const struct pgcopy_step *step, const unsigned char *record)
{
    const unsigned char *field = record + step->offset;
    for (uint32_t i = step->count & ~UINT32_C(3); i < step->count; i++) {
        out = put_float8(out, field_u64(field + 8 * i));
    }
    return next(out, step, record);
}

WITH_AVX512 static unsigned char *float8s_by_fours(unsigned char *out, const struct pgcopy_step *step, const unsigned char *record)
{
    const unsigned char *field = record + step->offset;
    for (uint32_t fours = step->count / 4; fours > 0; fours--, field += 32) {
        out = put_four(out, field);
    }
    return step->count % 4 == 0 ? next(out, step, record) : float8s_left(out, step, record);
}

#define AT_ONCE 64 /* bytes of a text; most are not longer */
_Static_assert(AT_ONCE <= PGCOPY_SCRIBBLE, "there is room for all of them");

WITH_AVX512 static unsigned char *text_at_once(unsigned char *out, const struct pgcopy_step *step, const unsigned char *record)
{
    __m512i bytes = _mm512_maskz_loadu_epi8(_bzhi_u64(UINT64_MAX, step->count), record + step->offset);
    uint64_t length = _tzcnt_u64(_mm512_testn_epi8_mask(bytes, bytes)); /* 64 where none of them is 0 */
    store_length(out, (uint32_t)length, length == 0);
    _mm512_storeu_si512(out + 4, bytes);
    return next(out + 4 + length, step, record);
}

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}

pgcopy_put *pgcopy_put_of(enum pgcopy_type type, uint32_t width)
{
    if (type == PGCOPY_FLOAT8 && has_avx512()) {
        return float8s_by_fours;
    }
    return type == PGCOPY_TEXT && width <= AT_ONCE && has_avx512() ? text_at_once : pgcopy_put_plain(type);
}

#else

pgcopy_put *pgcopy_put_of(enum pgcopy_type type, uint32_t width)
{
    (void)width;
    return pgcopy_put_plain(type);
}
#endif
