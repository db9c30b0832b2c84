/* block.h: questions about the next 16 or 32 bytes of a text, asked at once instead of byte by byte.
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

enum { BLOCK_BYTES = 16, BLOCK_KEY_BYTES = 32 };
#define BLOCK_DIGIT_BITS UINT64_C(0x0f0f0f0f0f0f0f0f) /* what is left of an ASCII digit: its value */

static inline uint64_t block_load64(const char *text)
{
    uint64_t word;
    memcpy(&word, text, sizeof word);
    return word;
}

static inline unsigned block_first(uint64_t mask) /* not 0 */
{
    return (unsigned)__builtin_ctzll(mask);
}

#if BLOCK_SSE2

static inline __m128i block_load128(const char *text)
{
    return _mm_loadu_si128((const __m128i *)(const void *)text);
}

/* Bit i is set where byte i of 16 is not a digit; bits 16 and up are 0. */
static inline uint32_t block_nondigits(const char *text)
{
    /* Moves '0'..'9' to the bottom of the signed range, where one comparison tells them from all others. */
    __m128i moved = _mm_add_epi8(block_load128(text), _mm_set1_epi8((char)(-128 - '0')));
    return (uint32_t)_mm_movemask_epi8(_mm_cmpgt_epi8(moved, _mm_set1_epi8(-128 + 9)));
}

/* Bit i is set where byte i of 16 ends a JSON string or needs a closer look: quote, backslash, control, not ASCII. */
static inline uint32_t block_specials(const char *text)
{
    __m128i bytes = block_load128(text);
    __m128i quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('"'));
    __m128i backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'));
    __m128i outside = _mm_cmplt_epi8(bytes, _mm_set1_epi8(0x20)); /* signed: 0x80 and up are negative */
    return (uint32_t)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, backslash), outside));
}

/* Are the first `length` bytes (1 to 32) the same? Reads 32 of each. */
static inline int block_same(const char *text, const char *other, unsigned length)
{
    uint32_t low = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(block_load128(text), block_load128(other)));
    uint32_t high = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(block_load128(text + 16), block_load128(other + 16)));
    return ~(low | high << 16) << (32 - length) == 0;
}

#else

/* The top bits of the eight bytes, gathered: byte i to bit i. The products do not meet, so nothing carries. */
static inline uint32_t block_gather(uint64_t tops)
{
    return (uint32_t)(((tops >> 7) * UINT64_C(0x0102040810204080)) >> 56);
}

#define BLOCK_EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* The top bit of each byte: whether that byte is not a digit. Adding 0x76 to what is at most 0x7f cannot carry. */
static inline uint64_t block_nondigits64(uint64_t word)
{
    uint64_t moved = word ^ BLOCK_EACH('0');
    return (((moved & BLOCK_EACH(0x7f)) + BLOCK_EACH(0x76)) | moved) & BLOCK_EACH(0x80);
}

static inline uint32_t block_nondigits(const char *text)
{
    return block_gather(block_nondigits64(block_load64(text))) | block_gather(block_nondigits64(block_load64(text + 8))) << 8;
}

/* The top bit of each byte: whether that byte (its low seven bits) is 0. */
static inline uint64_t block_zero64(uint64_t word)
{
    return ~((word & BLOCK_EACH(0x7f)) + BLOCK_EACH(0x7f)) & BLOCK_EACH(0x80);
}

static inline uint64_t block_specials64(uint64_t word)
{
    uint64_t printable = ((word & BLOCK_EACH(0x7f)) + BLOCK_EACH(0x60)) & BLOCK_EACH(0x80); /* low bits 0x20 and up */
    return (block_zero64(word ^ BLOCK_EACH('"')) | block_zero64(word ^ BLOCK_EACH('\\')) | (printable ^ BLOCK_EACH(0x80)) | word) &
           BLOCK_EACH(0x80);
}

static inline uint32_t block_specials(const char *text)
{
    return block_gather(block_specials64(block_load64(text))) | block_gather(block_specials64(block_load64(text + 8))) << 8;
}

static inline int block_same(const char *text, const char *other, unsigned length)
{
    return memcmp(text, other, length) == 0;
}

#endif

/* The number that eight decimal digits write, the first one in the lowest byte; a byte may also be 0 instead of '0'.
 * Adds neighbours: 8 x 1 digit to 4 x 2, to 2 x 4, to 1 x 8 (after D. Lemire, "Quickly parsing eight digits", 2018). */
static inline uint32_t block_eight_digits(uint64_t digits)
{
    digits = (digits & BLOCK_DIGIT_BITS) * (10 * 256 + 1) >> 8;
    digits = (digits & UINT64_C(0x00ff00ff00ff00ff)) * (100 * 65536 + 1) >> 16;
    return (uint32_t)((digits & UINT64_C(0x0000ffff0000ffff)) * (10000 * UINT64_C(4294967296) + 1) >> 32);
}

/* The number that the `count` digits (1 to 8) at `text` write. Reads eight bytes. */
static inline uint32_t block_digits(const char *text, unsigned count)
{
    return block_eight_digits(block_load64(text) << (64 - 8 * count));
}

#endif
