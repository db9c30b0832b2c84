/* commas.c: see commas.h. Masks of 64 bytes, and from each the places of its bits: four at once, for a loop over two or three
 * bits ends after an unpredictable count; what is too much is written over by the next. */
#include "commas.h"

#include <stddef.h>

#include "block.h"

enum { STRIDE = 64, AT_ONCE = COMMAS_SPARE };

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

bool commas_find_portable(struct commas *commas, const char *text, const char *end)
{
    return find(commas, text, end, find_by_blocks, count_by_sums);
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

bool commas_find(struct commas *commas, const char *text, const char *end)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt") && __builtin_cpu_supports("bmi")
               ? find_with_avx2(commas, text, end)
               : commas_find_portable(commas, text, end);
}

#else

bool commas_find(struct commas *commas, const char *text, const char *end)
{
    return commas_find_portable(commas, text, end);
}
#endif
