/* numbers.c: eight numbers at once. Each lies in 16 bytes that end where it ends, four of them in a vector; a bit for each byte says
 * whether it is a digit, a point, and so on. These bits are judged as integers of 64 bits, with four lanes of 16 in which nothing
 * carries: to find a number's point is one subtraction for four.
 *
 * The digits are added up and divided as block_eights() and number_plain() do it, so the doubles are the same. */
#include "numbers.h"

#include "number.h"

static uint64_t read_each(const struct numbers *numbers, uint64_t count)
{
    uint64_t others = 0;
    for (uint64_t i = 0; i < count; i++) {
        const struct number *number = &numbers->noted[i];
        if (UNLIKELY(!number_plain_signed_until(number->end - number->length, number->end, number->value)))
            others |= UINT64_C(1) << i;
    }
    return others;
}

#if defined __x86_64__ && !defined BLOCK_PORTABLE && !defined NUMBERS_PORTABLE
#include <immintrin.h>

#define WITH_AVX512 __attribute__((target("avx512f,avx512bw,avx512cd,avx512dq,avx512vl,bmi,bmi2")))

enum { AT_ONCE = 8 };

#define EACH(bits) (UINT64_C(0x0001000100010001) * (bits)) /* the same in each lane */
#define LAST UINT64_C(0x8000)                              /* a lane's bit for the last byte */

/* Every second of eight numbers. */
struct four {
    __m512i fours;  /* their digits without points, as integers of four */
    uint64_t marks; /* of each that is plain the point, and its sign if it has one */
    uint64_t bad;   /* not 0 where one is not plain */
};

INLINE WITH_AVX512 __m512i load_four(const struct number *numbers)
{
    __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(block_load128(numbers[0].end - BLOCK_BYTES)),
                                          block_load128(numbers[2].end - BLOCK_BYTES), 1);
    __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(block_load128(numbers[4].end - BLOCK_BYTES)),
                                           block_load128(numbers[6].end - BLOCK_BYTES), 1);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

/* The bits of their first bytes. */
INLINE WITH_AVX512 uint64_t firsts(const struct number *numbers)
{
    const uint64_t behind = LAST << 1; /* what is behind the last lane does not fit: there the shift is one less */
    return behind >> numbers[0].length | behind << 16 >> numbers[2].length | behind << 32 >> numbers[4].length |
           LAST << 48 >> (numbers[6].length - 1);
}

/* Keeps gcc from working on a mask where it was made: one of the processor's ports can, and all can on an integer. */
INLINE uint64_t as_integer(uint64_t mask)
{
    __asm__("" : "+r"(mask));
    return mask;
}

INLINE WITH_AVX512 struct four read_four(const struct number *numbers)
{
    struct four four;
    __m512i text = load_four(numbers), digits = _mm512_sub_epi8(text, _mm512_set1_epi8('0'));
    uint64_t digit = as_integer(_mm512_cmple_epu8_mask(digits, _mm512_set1_epi8(9)));
    uint64_t zero = as_integer(_mm512_testn_epi8_mask(digits, digits));
    uint64_t point = as_integer(_mm512_cmpeq_epi8_mask(text, _mm512_set1_epi8('.')));
    uint64_t minus = as_integer(_mm512_cmpeq_epi8_mask(text, _mm512_set1_epi8('-')));
    uint64_t first = firsts(numbers);
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

/* Bits 0, 2, 4 and 6: the lanes that are not 0. */
static uint64_t lanes_of(uint64_t bad)
{
    uint64_t lanes = 0;
    for (int i = 0; i < 4; i++)
        lanes |= (uint64_t)((bad >> 16 * i & 0xffff) != 0) << 2 * i;
    return lanes;
}

INLINE WITH_AVX512 uint64_t read_eight(const struct number *numbers)
{
    struct four even = read_four(numbers), odd = read_four(numbers + 1);
    double values[AT_ONCE];
    _mm512_storeu_pd(values, values_of(&even, &odd));
    if (LIKELY((even.bad | odd.bad) == 0)) {
        for (int i = 0; i < AT_ONCE; i++)
            *numbers[i].value = values[i];
        return 0;
    }
    uint64_t others = lanes_of(even.bad) | lanes_of(odd.bad) << 1;
    for (int i = 0; i < AT_ONCE; i++)
        if ((others >> i & 1) == 0)
            *numbers[i].value = values[i];
    return others;
}

WITH_AVX512 static uint64_t read_by_eight(const struct numbers *numbers, uint64_t count)
{
    uint64_t others = 0;
    for (uint64_t i = 0; i < count; i += AT_ONCE) {
        uint64_t begin = i + AT_ONCE <= count ? i : count - AT_ONCE; /* the last eight, some of them once more */
        others |= read_eight(&numbers->noted[begin]) << begin;
    }
    return others;
}

/* VBMI2 is not used here: it tells Ice Lake and Zen 4 from the processors before them, which lower their clock for such vectors. */
bool numbers_gain(void)
{
    return __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("bmi") &&
           __builtin_cpu_supports("bmi2");
}

uint64_t numbers_read(struct numbers *numbers, uint64_t count)
{
    return count >= AT_ONCE && numbers_gain() ? read_by_eight(numbers, count) : read_each(numbers, count);
}

#else

bool numbers_gain(void)
{
    return false;
}

uint64_t numbers_read(struct numbers *numbers, uint64_t count)
{
    return read_each(numbers, count);
}
#endif
