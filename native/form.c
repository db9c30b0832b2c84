/* form.c: see form.h. */
#include "form.h"

#include <string.h>

#include "literal.h"

static bool fits(const struct form *form, const char *text, struct form_places *places)
{
    for (uint32_t i = 0; i < form->count; i++) {
        int key = i == 0 ? 0 : places->commas[i - 1], begin = key + form->key_lengths[i], end = places->commas[i] - form->closers[i];
        if (UNLIKELY(begin >= end || memcmp(text + key, form->keys[i], form->key_lengths[i]) != 0))
            return false;
        places->begins[i] = (uint16_t)begin;
        places->ends[i] = (uint16_t)end;
    }
    return true;
}

static void find_numbers(const uint16_t *members, const struct form_places *places, struct numbers *found)
{
    for (int i = 0; i < NUMBERS; i++) {
        uint16_t member = members[i] == 0 ? 0 : (uint16_t)(members[i] - 1);
        found->ends[i] = places->ends[member];
        found->lengths[i] = members[i] == 0 ? 0 : (uint16_t)(places->ends[member] - places->begins[member]);
    }
}

static bool find(const struct form *form, const char *text, struct form_places *places, struct numbers *found)
{
    if (!fits(form, text, places))
        return false;
    find_numbers(form->members + form->numbers, places, found);
    return true;
}

#if defined __x86_64__ && !defined BLOCK_PORTABLE && !defined NUMBERS_PORTABLE
#include <immintrin.h>

#define WITH_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,bmi2")))

/* In two halves: of what was stored as one of 64 bytes, a load of less is served late from the upper half. */
INLINE WITH_AVX512 void store_halves(void *out, __m512i value)
{
    _mm256_store_si256((__m256i *)(void *)out, _mm512_castsi512_si256(value));
    _mm256_store_si256((__m256i *)(void *)out + 1, _mm512_extracti64x4_epi64(value, 1));
}

INLINE WITH_AVX512 __m512i load_halves(const void *in)
{
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_load_si256((const __m256i *)in)), _mm256_load_si256((const __m256i *)in + 1), 1);
}

INLINE WITH_AVX512 __m256i load_256(const void *at)
{
    return _mm256_loadu_si256((const __m256i *)at);
}

/* Whether there is room for a value between each key and the comma behind it, and where. */
INLINE WITH_AVX512 bool find_values(const struct form *form, struct form_places *places)
{
    static const uint16_t before[FORM_MEMBERS] = {0,  0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14,
                                                  15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30};
    const __mmask32 all = _bzhi_u32(UINT32_MAX, form->count);
    __m512i comma = load_halves(places->commas);
    __m512i key = _mm512_maskz_permutexvar_epi16(~UINT32_C(1), _mm512_loadu_si512(before), comma); /* the first one is at 0 */
    __m512i begins = _mm512_add_epi16(key, _mm512_loadu_si512(form->key_lengths));
    __m512i ends = _mm512_sub_epi16(comma, _mm512_loadu_si512(form->closers));
    store_halves(places->begins, begins);
    store_halves(places->ends, ends);
    return _mm512_mask_cmplt_epi16_mask(all, begins, ends) == all;
}

/* Bytes that differ between the key at `at` and that of member i. What is masked out is not read. */
INLINE WITH_AVX512 __m256i differences(const struct form *form, size_t i, const char *at)
{
    __m256i key = _mm256_maskz_loadu_epi8(_load_mask32((__mmask32 *)(uintptr_t)&form->key_bits[i]), at);
    return _mm256_xor_si256(key, _mm256_load_si256((const __m256i *)(const void *)form->keys[i]));
}

/* A member that the form has not has no key: nothing differs. */
INLINE WITH_AVX512 bool fits_at_once(const struct form *form, const char *text, struct form_places *places)
{
    if (UNLIKELY(!find_values(form, places)))
        return false;
    __m256i others = differences(form, 0, text);
#pragma GCC unroll 31
    for (size_t i = 1; i < FORM_MEMBERS; i++)
        others = _mm256_or_si256(others, differences(form, i, text + places->commas[i - 1]));
    return _mm256_testz_si256(others, others);
}

INLINE WITH_AVX512 void find_numbers_at_once(const uint16_t *members, const struct form_places *places, struct numbers *found)
{
    __m512i counted = _mm512_loadu_si512(members), member = _mm512_sub_epi16(counted, _mm512_set1_epi16(1));
    __m512i begins = _mm512_permutexvar_epi16(member, load_halves(places->begins));
    __m512i ends = _mm512_permutexvar_epi16(member, load_halves(places->ends));
    __mmask32 is_there = _mm512_test_epi16_mask(counted, counted);
    _mm512_store_si512(found->ends, _mm512_maskz_mov_epi16(is_there, ends));
    _mm512_storeu_si512(found->lengths, _mm512_maskz_sub_epi16(is_there, ends, begins));
}

WITH_AVX512 static bool find_at_once(const struct form *form, const char *text, struct form_places *places, struct numbers *found)
{
    bool is_fitting = fits_at_once(form, text, places);
    find_numbers_at_once(form->members + form->numbers, places, found);
    return is_fitting;
}

#else
#define find_at_once find
#endif

bool form_read(const struct form *form, const char *text, const char *end, struct form_places *places, double *numbers)
{
    struct numbers found;
    if (UNLIKELY(commas_find_sparse(places->commas, text, end) + 1 != form->count))
        return false;
    if (UNLIKELY(!(numbers_gain() ? find_at_once : find)(form, text, places, &found)))
        return false;
    for (uint32_t others = numbers_read(text, &found, numbers); others != 0; others &= others - 1) {
        uint64_t i = block_first(others);
        const char *behind = text + found.ends[i];
        if (!literal_any_number(behind - found.lengths[i], behind, end, &numbers[i]))
            return false;
    }
    return true;
}
