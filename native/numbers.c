/* numbers.c: eight numbers at once. Each lies in 16 bytes that end where it ends, four of them in a vector; a bit for each byte says
 * whether it is a digit, a point, and so on. These bits are judged as integers of 64 bits, with four lanes of 16 in which nothing
 * carries: to find a number's point is one subtraction for four.
 *
 * The digits are added up and divided as block_eights() and number_plain() do it, so the doubles are the same. */
#include "numbers.h"

#include <math.h>

#include "number.h"

static uint32_t read_each(const char *text, const struct numbers *numbers, double *values)
{
    uint32_t others = 0;
    for (unsigned i = 0; i < NUMBERS; i++) {
        const char *end = text + numbers->ends[i];
        uint16_t length = numbers->lengths[i];
        values[i] = NAN;
        if (length != 0 && UNLIKELY(length > NUMBERS_LENGTH_MAX || !number_plain_signed_until(end - length, end, &values[i])))
            others |= UINT32_C(1) << i;
    }
    return others;
}

#if defined __x86_64__ && !defined BLOCK_PORTABLE && !defined NUMBERS_PORTABLE
#include <immintrin.h>

#define WITH_AVX512 __attribute__((target("avx512f,avx512bw,avx512cd,avx512dq,avx512vl,bmi,bmi2")))

enum { AT_ONCE = 8, FOUR = 4 };

#define EACH(bits) (UINT64_C(0x0001000100010001) * (bits)) /* the same in each lane */
#define LAST UINT64_C(0x8000)                              /* a lane's bit for the last byte */

/* Every second of eight numbers. */
struct four {
    __m512i fours;  /* their digits without points, as integers of four */
    uint64_t marks; /* of each that is plain the point, and its sign if it has one */
    uint64_t bad;   /* not 0 where one is not plain */
};

INLINE WITH_AVX512 __m512i load_four(const char *text, const uint16_t *ends)
{
    const char *before = text - BLOCK_BYTES;
    __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(block_load128(before + ends[0])), block_load128(before + ends[1]), 1);
    __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(block_load128(before + ends[2])), block_load128(before + ends[3]), 1);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

/* Keeps gcc from working on a mask where it was made: one of the processor's ports can, and all can on an integer. */
INLINE uint64_t as_integer(uint64_t mask)
{
    __asm__("" : "+r"(mask));
    return mask;
}

/* `first`: the bits of their first bytes. */
INLINE WITH_AVX512 struct four read_four(const char *text, const uint16_t *ends, uint64_t first)
{
    struct four four;
    __m512i bytes = load_four(text, ends), digits = _mm512_sub_epi8(bytes, _mm512_set1_epi8('0'));
    uint64_t digit = as_integer(_mm512_cmple_epu8_mask(digits, _mm512_set1_epi8(9)));
    uint64_t zero = as_integer(_mm512_testn_epi8_mask(digits, digits));
    uint64_t point = as_integer(_mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8('.')));
    uint64_t minus = as_integer(_mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8('-')));
    minus &= first;
    first += minus; /* the first digit: behind the sign */
    uint64_t places = ~(first - EACH(1)); /* from there to the end */
    point &= places;
    uint64_t stop = point | EACH(LAST), below = stop - EACH(1), until = stop ^ below; /* up to the point, if not to the end */
    four.marks = point | minus;
    four.bad = (places & ~(digit | point)) | (until & EACH(LAST))  /* no number; no digit behind a point, or no point */
               | (point & (below | first))                         /* a second point; no digit before it */
               | ((zero & first) << 1 & ~point);                   /* a zero before a digit */
    /* Only its digits; those before the point move to its place. */
    digits = _mm512_maskz_mov_epi8(as_integer(digit & places), digits);
    digits = _mm512_mask_mov_epi8(digits, until, _mm512_bslli_epi128(digits, 1));
    __m512i pairs = _mm512_maddubs_epi16(digits, _mm512_set1_epi16(1 << 8 | 10));
    four.fours = _mm512_madd_epi16(pairs, _mm512_set1_epi32(1 << 16 | 100));
    return four;
}

INLINE WITH_AVX512 __m512d values_of(const struct four *even, const struct four *odd)
{
    __m512i eights = _mm512_madd_epi16(_mm512_packus_epi32(even->fours, odd->fours), _mm512_set1_epi32(1 << 16 | 10000));
    __m512i integers = _mm512_add_epi64(_mm512_mul_epu32(eights, _mm512_set1_epi64(100000000)), _mm512_srli_epi64(eights, 32));
    /* A lane of marks for each, in their order. */
    __m512i marks = _mm512_mask_set1_epi64(_mm512_set1_epi64((int64_t)even->marks), 0xaa, (int64_t)odd->marks);
    marks = _mm512_srli_epi64(_mm512_sllv_epi64(marks, _mm512_setr_epi64(48, 48, 32, 32, 16, 16, 0, 0)), 48);
    __m512i fraction = _mm512_lzcnt_epi64(marks); /* digits behind the point, and 48, which the next line does not look at */
    __m512d ten = _mm512_permutex2var_pd(_mm512_loadu_pd(number_tens), fraction, _mm512_loadu_pd(number_tens + AT_ONCE));
    __m512d values = _mm512_div_pd(_mm512_cvtepi64_pd(integers), ten);
    __mmask8 two_marks = _mm512_test_epi64_mask(marks, _mm512_sub_epi64(marks, _mm512_set1_epi64(1)));
    return _mm512_mask_xor_pd(values, two_marks, values, _mm512_set1_pd(-0.0));
}

/* Those that are too short or too long. */
INLINE WITH_AVX512 __mmask32 not_plain(__m512i lengths)
{
    const __m512i shortest = _mm512_set1_epi16(NUMBERS_LENGTH_MIN), span = _mm512_set1_epi16(NUMBERS_LENGTH_MAX - NUMBERS_LENGTH_MIN);
    return _mm512_cmpgt_epu16_mask(_mm512_sub_epi16(lengths, shortest), span);
}

/* Of each eight every second one first: so they come to lie beside each other when their digits are added up. */
enum { FOURS = NUMBERS / FOUR };
static const uint16_t order[NUMBERS] = {
    0,  2,  4,  6,  1,  3,  5,  7,  8,  10, 12, 14, 9,  11, 13, 15, 16, 18, 20, 22, 17, 19, 21, 23, 24, 26, 28, 30, 25, 27, 29, 31,
};
struct ordered {
    _Alignas(64) uint16_t ends[NUMBERS];
    _Alignas(32) uint64_t firsts[FOURS]; /* the bits of their first bytes */
    _Alignas(32) uint64_t are_there[FOURS]; /* all bits of those that are */
};

/* In two halves: of what was stored as one of 64 bytes, a load of less is served late from the upper half. */
INLINE WITH_AVX512 void store_halves(void *out, __m512i value)
{
    _mm256_store_si256((__m256i *)(void *)out, _mm512_castsi512_si256(value));
    _mm256_store_si256((__m256i *)(void *)out + 1, _mm512_extracti64x4_epi64(value, 1));
}

/* Those whose length is none of a plain number get the shortest; what is read then is no matter. */
INLINE WITH_AVX512 void put_in_order(const struct numbers *numbers, struct ordered *ordered)
{
    const __m512i by_fours = _mm512_loadu_si512(order), shortest = _mm512_set1_epi16(NUMBERS_LENGTH_MIN);
    const __m512i last = _mm512_set1_epi16((int16_t)LAST), one = _mm512_set1_epi16(1);
    __m512i lengths = _mm512_permutexvar_epi16(by_fours, _mm512_loadu_si512(numbers->lengths));
    store_halves(ordered->are_there, _mm512_movm_epi16(_mm512_test_epi16_mask(lengths, lengths)));
    lengths = _mm512_mask_mov_epi16(lengths, not_plain(lengths), shortest);
    store_halves(ordered->ends, _mm512_permutexvar_epi16(by_fours, _mm512_load_si512(numbers->ends)));
    store_halves(ordered->firsts, _mm512_srlv_epi16(last, _mm512_sub_epi16(lengths, one)));
}

/* Bits 0 to 3: the lanes that are not 0. */
INLINE WITH_AVX512 uint32_t lanes_of(uint64_t bad)
{
    __m128i lanes = _mm_cvtsi64_si128((int64_t)bad);
    return _mm_test_epi16_mask(lanes, lanes);
}

/* The numbers that are there and not plain, which become NaN. */
WITH_AVX512 static uint32_t leave(const uint64_t *bad, __mmask32 are_there, __mmask32 not_plain, double *values)
{
    uint32_t others = not_plain;
    for (int i = 0; i < FOURS; i++)
        others |= _pdep_u32(lanes_of(bad[i]), UINT32_C(0x55) << i % 2) << i / 2 * AT_ONCE;
    others &= are_there;
    for (uint32_t left = others; left != 0; left &= left - 1)
        values[block_first(left)] = NAN;
    return others;
}

WITH_AVX512 static uint32_t read_by_eight(const char *text, const struct numbers *numbers, double *values)
{
    struct ordered ordered;
    uint64_t bad[FOURS], any = 0;
    __m512i lengths = _mm512_loadu_si512(numbers->lengths);
    __mmask32 are_there = _mm512_test_epi16_mask(lengths, lengths);
    put_in_order(numbers, &ordered);
    for (int i = 0; i < FOURS; i += 2) {
        struct four even = read_four(text, ordered.ends + FOUR * i, ordered.firsts[i]);
        struct four odd = read_four(text, ordered.ends + FOUR * (i + 1), ordered.firsts[i + 1]);
        __mmask8 these = (__mmask8)(are_there >> FOUR * i);
        _mm512_storeu_pd(values + FOUR * i, _mm512_mask_mov_pd(_mm512_set1_pd(NAN), these, values_of(&even, &odd)));
        bad[i] = even.bad, bad[i + 1] = odd.bad;
        any |= (even.bad & ordered.are_there[i]) | (odd.bad & ordered.are_there[i + 1]);
    }
    __mmask32 others = not_plain(lengths) & are_there;
    return LIKELY((any | others) == 0) ? 0 : leave(bad, are_there, others, values);
}

/* VBMI2 is not used here: it tells Ice Lake and Zen 4 from the processors before them, which lower their clock for such vectors. */
bool numbers_gain(void)
{
    return __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("bmi") &&
           __builtin_cpu_supports("bmi2");
}

uint32_t numbers_read(const char *text, const struct numbers *numbers, double *values)
{
    return numbers_gain() ? read_by_eight(text, numbers, values) : read_each(text, numbers, values);
}

#else

bool numbers_gain(void)
{
    return false;
}

uint32_t numbers_read(const char *text, const struct numbers *numbers, double *values)
{
    return read_each(text, numbers, values);
}
#endif
