/* commas.c: see commas.h. Masks of 64 bytes, and from each the places of its bits: four at once or sixteen, for a loop over two or
 * three bits ends after an unpredictable count; what is too much is written over by the next. */
#include "commas.h"

#include <stddef.h>

#include "block.h"

enum { STRIDE = 64, AT_ONCE = 4 };
_Static_assert((int)AT_ONCE <= (int)COMMAS_SPARE && (int)STRIDE <= (int)COMMAS_SPARE, "room for what is too much");

typedef uint64_t finder(const char *text); /* bit i is set where byte i of 64 is a comma */
typedef uint64_t counter(uint64_t bits);   /* how many are set */

INLINE uint16_t *note(uint16_t *out, size_t begin, uint64_t found, counter *count_of)
{
    uint64_t count = count_of(found);
    for (unsigned i = 0; i < AT_ONCE; i++, found &= found - 1)
        out[i] = (uint16_t)(begin + block_first(found | UINT64_C(1) << 63)); /* 63 where none is left, or where it is */
    if (UNLIKELY(count > AT_ONCE))
        for (unsigned i = AT_ONCE; i < count; i++, found &= found - 1)
            out[i] = (uint16_t)(begin + block_first(found));
    return out + count;
}

INLINE bool find(struct commas *commas, const char *text, const char *end, finder *find_64, counter *count_of)
{
    size_t length = (size_t)(end - text), begin = 0;
    uint16_t *out = commas->places;
    if (length < COMMAS_TEXT_MIN || length > COMMAS_TEXT_MAX)
        return false;
    for (; begin + STRIDE <= length; begin += STRIDE)
        out = note(out, begin, find_64(text + begin), count_of);
    if (begin < length) { /* the last 64 bytes, without those that were seen */
        size_t seen = begin - (length - STRIDE);
        out = note(out, length - STRIDE, find_64(end - STRIDE) >> seen << seen, count_of);
    }
    for (int i = 0; i < COMMAS_ENDS; i++)
        out[i] = (uint16_t)length;
    return true;
}

/* ------------------------------------------------------------------ everywhere */

INLINE uint64_t find_by_blocks(const char *text)
{
    uint64_t found = 0;
    for (int i = 0; i < STRIDE / BLOCK_BYTES; i++)
        found |= (uint64_t)block_commas(text + i * BLOCK_BYTES) << (i * BLOCK_BYTES);
    return found;
}

/* Pairs of bits, fours and eights are added up in place. */
INLINE uint64_t count_by_sums(uint64_t bits)
{
    bits -= bits >> 1 & UINT64_C(0x5555555555555555);
    bits = (bits & UINT64_C(0x3333333333333333)) + (bits >> 2 & UINT64_C(0x3333333333333333));
    return ((bits + (bits >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f)) * UINT64_C(0x0101010101010101) >> 56;
}

static bool find_portable(struct commas *commas, const char *text, const char *end)
{
    return find(commas, text, end, find_by_blocks, count_by_sums);
}

static uint32_t find_sparse(uint16_t *places, const char *text, const char *end)
{
    uint16_t length = (uint16_t)(end - text), count = 0;
    for (uint16_t i = 0; i < length && count < COMMAS_SPARSE_MAX; i++)
        if (text[i] == ',')
            places[count++] = i;
    for (uint16_t i = count; i < COMMAS_SPARSE_MAX; i++)
        places[i] = length;
    return count;
}

/* ------------------------------------------------------------------ with AVX2, a third of the instructions */

#if defined __x86_64__ && !defined BLOCK_PORTABLE
#include <immintrin.h>

#define WITH_AVX2 __attribute__((target("avx2,bmi,popcnt")))

INLINE WITH_AVX2 uint64_t find_by_avx2(const char *text)
{
    const __m256i comma = _mm256_set1_epi8(',');
    const __m256i *halves = (const __m256i *)(const void *)text;
    uint32_t low = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_loadu_si256(halves), comma));
    uint32_t high = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_loadu_si256(halves + 1), comma));
    return (uint64_t)high << 32 | low;
}

INLINE WITH_AVX2 uint64_t count_by_popcnt(uint64_t bits)
{
    return (unsigned)__builtin_popcountll(bits);
}

WITH_AVX2 static bool find_with_avx2(struct commas *commas, const char *text, const char *end)
{
    return find(commas, text, end, find_by_avx2, count_by_popcnt);
}

/* ------------------------------------------------------------------ with AVX-512, half of that again */

#define WITH_AVX512 __attribute__((target("avx512bw,avx512vl,avx512vbmi2,bmi,bmi2,popcnt")))

enum { USUAL_MAX = 16 }; /* commas in 64 bytes */

/* The places of the bits that are set, behind `begin` in every lane; how many they are. */
INLINE WITH_AVX512 uint64_t note_at_once(uint16_t *out, __m512i begin, uint64_t found)
{
    static const uint8_t bits[STRIDE] = {
        0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
        32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63,
    };
    uint64_t count = count_by_popcnt(found);
    __m512i places = _mm512_maskz_compress_epi8(found, _mm512_loadu_si512(bits));
    __m256i usual = _mm256_cvtepu8_epi16(_mm512_castsi512_si128(places));
    _mm256_storeu_si256((__m256i *)(void *)out, _mm256_add_epi16(_mm512_castsi512_si256(begin), usual));
    if (UNLIKELY(count > USUAL_MAX)) {
        __m512i low = _mm512_cvtepu8_epi16(_mm512_castsi512_si256(places));
        __m512i high = _mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64(places, 1));
        _mm512_storeu_si512(out, _mm512_add_epi16(begin, low));
        _mm512_storeu_si512(out + STRIDE / 2, _mm512_add_epi16(begin, high));
    }
    return count;
}

WITH_AVX512 static bool find_with_avx512(struct commas *commas, const char *text, const char *end)
{
    const __m512i comma = _mm512_set1_epi8(',');
    __m512i begin = _mm512_setzero_si512();
    size_t length = (size_t)(end - text), rest = length % STRIDE;
    uint16_t *out = commas->places;
    if (length < COMMAS_TEXT_MIN || length > COMMAS_TEXT_MAX)
        return false;
    for (const char *at = text; at < end - rest; at += STRIDE, begin = _mm512_add_epi16(begin, _mm512_set1_epi16(STRIDE)))
        out += note_at_once(out, begin, _mm512_cmpeq_epi8_mask(_mm512_loadu_si512(at), comma));
    uint64_t within = _bzhi_u64(UINT64_MAX, (unsigned)rest); /* what is masked out is not read */
    out += note_at_once(out, begin, _mm512_cmpeq_epi8_mask(_mm512_maskz_loadu_epi8(within, end - rest), comma));
    for (int i = 0; i < COMMAS_ENDS; i++)
        out[i] = (uint16_t)length;
    return true;
}

/* ------------------------------------------------------------------ sparse ones: 256 bytes at once, a comma or none in each eight */

enum { WORDS = 32, WORD = 8 };

/* Of each word where its comma is, counted from 1, or 0; of more than one, their sum. */
INLINE WITH_AVX512 __m512i commas_of_words(__m512i text)
{
    const __m512i counted = _mm512_set1_epi64(0x0807060504030201), comma = _mm512_set1_epi8(',');
    return _mm512_sad_epu8(_mm512_maskz_mov_epi8(_mm512_cmpeq_epi8_mask(text, comma), counted), _mm512_setzero_si512());
}

/* The same of 32 words, each in a lane of its own. */
INLINE WITH_AVX512 __m512i commas_of_lanes(__m512i first, __m512i second, __m512i third, __m512i fourth)
{
    static const uint16_t order[WORDS] = {
        0, 4, 8,  12, 16, 20, 24, 28, 1, 5, 9,  13, 17, 21, 25, 29, 2, 6, 10, 14, 18, 22, 26, 30, 3, 7, 11, 15, 19, 23, 27, 31,
    };
    __m512i low = _mm512_or_si512(commas_of_words(first), _mm512_slli_epi64(commas_of_words(second), 16));
    __m512i high = _mm512_or_si512(_mm512_slli_epi64(commas_of_words(third), 32), _mm512_slli_epi64(commas_of_words(fourth), 48));
    return _mm512_permutexvar_epi16(_mm512_loadu_si512(order), _mm512_or_si512(low, high));
}

/* 64 bytes, and NULs behind the end. What is masked out is not read. */
INLINE WITH_AVX512 __m512i load_within(const char *at, const char *end)
{
    ptrdiff_t left = end - at;
    return _mm512_maskz_loadu_epi8(left <= 0 ? 0 : _bzhi_u64(UINT64_MAX, left < STRIDE ? (unsigned)left : STRIDE), at);
}

INLINE WITH_AVX512 __m512i lanes_at(const char *at, const char *end)
{
    if (LIKELY(end - at >= WORDS * WORD))
        return commas_of_lanes(_mm512_loadu_si512(at), _mm512_loadu_si512(at + STRIDE), _mm512_loadu_si512(at + 2 * STRIDE),
                               _mm512_loadu_si512(at + 3 * STRIDE));
    return commas_of_lanes(load_within(at, end), load_within(at + STRIDE, end), load_within(at + 2 * STRIDE, end),
                           load_within(at + 3 * STRIDE, end));
}

/* All lanes from `count` on; beyond COMMAS_SPARSE_MAX it does not matter which. */
INLINE uint32_t lanes_from(uint64_t count)
{
    return (uint32_t)(UINT64_MAX << count % STRIDE);
}

/* In two stores: of what was stored as 64 bytes at once, less is loaded late where it is in the upper half. */
INLINE WITH_AVX512 void store_halves(uint16_t *out, __m512i lanes)
{
    _mm256_store_si256((__m256i *)(void *)out, _mm512_castsi512_si256(lanes));
    _mm256_store_si256((__m256i *)(void *)(out + STRIDE / 4), _mm512_extracti64x4_epi64(lanes, 1));
}

WITH_AVX512 static uint32_t find_sparse_with_avx512(uint16_t *places, const char *text, const char *end)
{
    static const uint16_t words[WORDS] = { /* one before the place of each */
        UINT16_MAX, 7,   15,  23,  31,  39,  47,  55,  63,  71,  79,  87,  95,  103, 111, 119,
        127,        135, 143, 151, 159, 167, 175, 183, 191, 199, 207, 215, 223, 231, 239, 247,
    };
    __m512i begin = _mm512_loadu_si512(words), all = _mm512_setzero_si512(), length = _mm512_set1_epi16((int16_t)(end - text));
    uint64_t count = 0;
    for (const char *at = text; at < end; at += WORDS * WORD, begin = _mm512_add_epi16(begin, _mm512_set1_epi16(WORDS * WORD))) {
        __m512i lanes = lanes_at(at, end);
        __mmask32 found = _mm512_test_epi16_mask(lanes, lanes);
        uint32_t before = lanes_from(count);
        count += count_by_popcnt(found);
        lanes = _mm512_maskz_compress_epi16(found, _mm512_add_epi16(begin, lanes));
        all = _mm512_or_si512(all, _mm512_maskz_expand_epi16(before ^ lanes_from(count), lanes));
    }
    store_halves(places, _mm512_min_epu16(length, _mm512_mask_mov_epi16(all, lanes_from(count), length)));
    return (uint32_t)count;
}

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt") && __builtin_cpu_supports("bmi");
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("bmi2");
}

uint32_t commas_find_sparse(uint16_t *places, const char *text, const char *end)
{
    return end - text > COMMAS_TEXT_MAX ? COMMAS_SPARSE_MAX + 1
           : has_avx512()               ? find_sparse_with_avx512(places, text, end)
                                        : find_sparse(places, text, end);
}

commas_finder *commas_way(enum commas_way way)
{
    return way == COMMAS_PORTABLE                 ? find_portable
           : way == COMMAS_AVX2 && has_avx2()     ? find_with_avx2
           : way == COMMAS_AVX512 && has_avx512() ? find_with_avx512
                                                  : NULL;
}

bool commas_find(struct commas *commas, const char *text, const char *end)
{
    return has_avx512() ? find_with_avx512(commas, text, end)
           : has_avx2() ? find_with_avx2(commas, text, end)
                        : find_portable(commas, text, end);
}

#else

uint32_t commas_find_sparse(uint16_t *places, const char *text, const char *end)
{
    return end - text > COMMAS_TEXT_MAX ? COMMAS_SPARSE_MAX + 1 : find_sparse(places, text, end);
}

commas_finder *commas_way(enum commas_way way)
{
    return way == COMMAS_PORTABLE ? find_portable : NULL;
}

bool commas_find(struct commas *commas, const char *text, const char *end)
{
    return find_portable(commas, text, end);
}
#endif
