/* block.h: questions about the next 16 bytes of a text, asked at once instead of byte by byte.
 *
 * A loop over the bytes of a short number or name ends after an unpredictable count, and each such surprise costs the
 * processor as much as reading thirty more bytes. These functions have no branches. With SSE2 (every x86-64) they are a few
 * instructions; elsewhere, or with BLOCK_PORTABLE, they work on 64-bit words. Little-endian, as record.h demands.
 *
 * Every function reads all the bytes it says, so the caller must know them to be readable.
 */
#ifndef TICKBAY_BLOCK_H
#define TICKBAY_BLOCK_H

#include <stdint.h>
#include <string.h>

#if defined __SSE2__ && !defined BLOCK_PORTABLE
#include <emmintrin.h>
#define BLOCK_SSE2 1
#else
#define BLOCK_SSE2 0
#endif

enum { BLOCK_BYTES = 16 };

/* Keep the usual way straight: a taken jump costs the processor more than five other instructions. */
#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
/* For what is fast only where the compiler sees its arguments. */
#define INLINE static inline __attribute__((always_inline))

INLINE uint64_t block_load64(const char *text)
{
    uint64_t word;
    memcpy(&word, text, sizeof word);
    return word;
}

INLINE uint64_t block_first(uint64_t mask) /* not 0 */
{
    return (unsigned)__builtin_ctzll(mask);
}

#if BLOCK_SSE2

INLINE __m128i block_load128(const char *text)
{
    return _mm_loadu_si128((const __m128i *)(const void *)text);
}

/* Bit i is set where byte i of 16 is a digit; bits 16 and up are 0. */
INLINE uint64_t block_digits(const char *text)
{
    /* What is above 9 after taking '0' away is above 9 as an unsigned byte: only digits are left at 0. */
    __m128i above = _mm_subs_epu8(_mm_sub_epi8(block_load128(text), _mm_set1_epi8('0')), _mm_set1_epi8(9));
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(above, _mm_setzero_si128()));
}

/* Bit i is set where byte i of 16 ends a JSON string or needs a closer look: quote, backslash, control, not ASCII. */
INLINE uint32_t block_specials(const char *text)
{
    __m128i bytes = block_load128(text);
    __m128i quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('"'));
    __m128i backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'));
    __m128i outside = _mm_cmplt_epi8(bytes, _mm_set1_epi8(0x20)); /* signed: 0x80 and up are negative */
    return (uint32_t)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, backslash), outside));
}

/* Bit i is set where byte i of 16 is a comma. */
INLINE uint32_t block_commas(const char *text)
{
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(block_load128(text), _mm_set1_epi8(',')));
}

/* Bit i is set where byte i of 16 is the same in both. `aligned` is, to 16 bytes. */
INLINE uint32_t block_equal(const char *text, const char *aligned)
{
    __m128i other = _mm_load_si128((const __m128i *)(const void *)aligned);
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(block_load128(text), other));
}

/* The last `count` bytes of 16 (0 to 16) set, the others 0. */
INLINE __m128i block_last(uint64_t count)
{
    static const char bytes[32] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                   -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
    return block_load128(bytes + count);
}

/* Copies `length` bytes (0 to 32) to `out`; fewer than 16 are filled up with zeros. Reads and writes 16 bytes at least. */
INLINE void block_copy(char *out, const char *text, uint64_t length)
{
    if (length >= BLOCK_BYTES) {
        _mm_storeu_si128((__m128i *)(void *)out, block_load128(text));
        _mm_storeu_si128((__m128i *)(void *)(out + length - BLOCK_BYTES), block_load128(text + length - BLOCK_BYTES));
    } else {
        _mm_storeu_si128((__m128i *)(void *)out, _mm_andnot_si128(block_last(BLOCK_BYTES - length), block_load128(text)));
    }
}

/* The digits of `whole` digits, a point and `fraction` digits, as two integers of eight digits, the first in lane 0: without their
 * point, with zeros before them. `behind` is the byte behind them. */
INLINE __m128i block_eights(const char *behind, uint64_t whole, uint64_t fraction)
{
    /* Close the gap of the point: what is before it comes from a load one byte further back. */
    __m128i in_fraction = block_last(fraction);
    __m128i text = _mm_or_si128(_mm_and_si128(in_fraction, block_load128(behind - 16)),
                                _mm_andnot_si128(in_fraction, block_load128(behind - 17)));
    __m128i digits = _mm_and_si128(_mm_and_si128(text, _mm_set1_epi8(0x0f)), block_last(whole + fraction));
    /* Add neighbours: 16 x 1 digit to 8 x 2, to 4 x 4, to 2 x 8. */
    __m128i ten_and_one = _mm_set1_epi16(10 << 8 | 1);
    __asm__("" : "+x"(ten_and_one)); /* keeps gcc from making four shifts and sums of one multiplication */
    __m128i pairs = _mm_srli_epi16(_mm_mullo_epi16(digits, ten_and_one), 8);
    __m128i fours = _mm_madd_epi16(pairs, _mm_set1_epi32(1 << 16 | 100));
    return _mm_madd_epi16(_mm_packs_epi32(fours, fours), _mm_set1_epi32(1 << 16 | 10000));
}

/* The integer that `whole` digits, a point and `fraction` digits write without their point. `behind` is the byte behind them.
 * whole + fraction is 1 to 16; without a point all are `fraction`. Reads
 * as far as 16 bytes before the first digit. */
INLINE uint64_t block_decimal(const char *behind, uint64_t whole, uint64_t fraction)
{
    uint64_t both = (uint64_t)_mm_cvtsi128_si64(block_eights(behind, whole, fraction));
    return (both & UINT32_MAX) * UINT64_C(100000000) + (both >> 32);
}

/* The same as a double; of at most 15 digits, so that it is exact. */
INLINE double block_decimal_double(const char *behind, uint64_t whole, uint64_t fraction)
{
    __m128d parts = _mm_mul_pd(_mm_cvtepi32_pd(block_eights(behind, whole, fraction)), _mm_set_pd(1, 1e8));
    return _mm_cvtsd_f64(_mm_add_sd(parts, _mm_unpackhi_pd(parts, parts)));
}

#else

/* The top bits of the eight bytes, gathered: byte i to bit i. The products do not meet, so nothing carries. */
INLINE uint32_t block_gather(uint64_t tops)
{
    return (uint32_t)(((tops >> 7) * UINT64_C(0x0102040810204080)) >> 56);
}

#define BLOCK_EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* The top bit of each byte: whether that byte is a digit. Adding 0x76 to what is at most 0x7f cannot carry. */
INLINE uint64_t block_digits64(uint64_t word)
{
    uint64_t moved = word ^ BLOCK_EACH('0');
    return ~(((moved & BLOCK_EACH(0x7f)) + BLOCK_EACH(0x76)) | moved) & BLOCK_EACH(0x80);
}

INLINE uint64_t block_digits(const char *text)
{
    return block_gather(block_digits64(block_load64(text))) | block_gather(block_digits64(block_load64(text + 8))) << 8;
}

/* The top bit of each byte: whether that byte is 0. */
INLINE uint64_t block_zero64(uint64_t word)
{
    return ~(((word & BLOCK_EACH(0x7f)) + BLOCK_EACH(0x7f)) | word) & BLOCK_EACH(0x80);
}

INLINE uint64_t block_specials64(uint64_t word)
{
    uint64_t printable = ((word & BLOCK_EACH(0x7f)) + BLOCK_EACH(0x60)) & BLOCK_EACH(0x80); /* low bits 0x20 and up */
    uint64_t marks = block_zero64(word ^ BLOCK_EACH('"')) | block_zero64(word ^ BLOCK_EACH('\\'));
    return (marks | (printable ^ BLOCK_EACH(0x80)) | word) & BLOCK_EACH(0x80);
}

INLINE uint32_t block_specials(const char *text)
{
    return block_gather(block_specials64(block_load64(text))) | block_gather(block_specials64(block_load64(text + 8))) << 8;
}

INLINE uint32_t block_commas(const char *text)
{
    return block_gather(block_zero64(block_load64(text) ^ BLOCK_EACH(','))) |
           block_gather(block_zero64(block_load64(text + 8) ^ BLOCK_EACH(','))) << 8;
}

INLINE uint32_t block_equal(const char *text, const char *other) /* of any alignment, here */
{
    return block_gather(block_zero64(block_load64(text) ^ block_load64(other))) |
           block_gather(block_zero64(block_load64(text + 8) ^ block_load64(other + 8))) << 8;
}

INLINE void block_copy(char *out, const char *text, uint64_t length)
{
    if (length < BLOCK_BYTES)
        memset(out, 0, BLOCK_BYTES);
    memcpy(out, text, length);
}

/* The number that the last `count` digits (0 to 8) before `behind` write. Adds neighbours: 8 x 1 digit to 4 x 2, to 2 x 4,
 * to 1 x 8 (after D. Lemire, "Quickly parsing eight digits", 2018). */
INLINE uint64_t block_eight(const char *behind, uint64_t count)
{
    uint64_t digits = count == 0 ? 0 : (block_load64(behind - 8) & BLOCK_EACH(0x0f)) >> (64 - 8 * count) << (64 - 8 * count);
    digits = (digits * (10 * 256 + 1) >> 8) & UINT64_C(0x00ff00ff00ff00ff);
    digits = (digits * (100 * 65536 + 1) >> 16) & UINT64_C(0x0000ffff0000ffff);
    return digits * (10000 * UINT64_C(4294967296) + 1) >> 32;
}

INLINE uint64_t block_sixteen(const char *behind, uint64_t count)
{
    return count <= 8 ? block_eight(behind, count)
                      : block_eight(behind - 8, count - 8) * UINT64_C(100000000) + block_eight(behind, 8);
}

INLINE uint64_t block_decimal(const char *behind, uint64_t whole, uint64_t fraction)
{
    static const uint64_t tens[17] = {
        1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000, 10000000000, 100000000000, 1000000000000,
        10000000000000, 100000000000000, 1000000000000000, 10000000000000000,
    };
    return block_sixteen(behind - fraction - 1, whole) * tens[fraction] + block_sixteen(behind, fraction);
}

INLINE double block_decimal_double(const char *behind, uint64_t whole, uint64_t fraction)
{
    return (double)(int64_t)block_decimal(behind, whole, fraction);
}

#endif

#endif
