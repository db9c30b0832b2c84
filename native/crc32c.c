/* crc32c.c: see crc32c.h. The polynomial is 0x1EDC6F41 (iSCSI, RFC 3720), bits reflected: 0x82F63B78. */
#include "crc32c.h"

#include <string.h>

/* A CRC is linear: the entry of a byte is the sum (xor) of the entries of its bits. So a table of 256 is written as its
 * eight entries of one bit each, and the compiler adds them up. */
#define ENTRY(n, b0, b1, b2, b3, b4, b5, b6, b7)                                                                            \
    ((((n) & 1u) ? (b0) : 0u) ^ (((n) & 2u) ? (b1) : 0u) ^ (((n) & 4u) ? (b2) : 0u) ^ (((n) & 8u) ? (b3) : 0u) ^            \
     (((n) & 16u) ? (b4) : 0u) ^ (((n) & 32u) ? (b5) : 0u) ^ (((n) & 64u) ? (b6) : 0u) ^ (((n) & 128u) ? (b7) : 0u))
#define FOUR(n, ...) ENTRY(n, __VA_ARGS__), ENTRY(n + 1u, __VA_ARGS__), ENTRY(n + 2u, __VA_ARGS__), ENTRY(n + 3u, __VA_ARGS__)
#define SIXTEEN(n, ...) FOUR(n, __VA_ARGS__), FOUR(n + 4u, __VA_ARGS__), FOUR(n + 8u, __VA_ARGS__), FOUR(n + 12u, __VA_ARGS__)
#define SIXTY_FOUR(n, ...) \
    SIXTEEN(n, __VA_ARGS__), SIXTEEN(n + 16u, __VA_ARGS__), SIXTEEN(n + 32u, __VA_ARGS__), SIXTEEN(n + 48u, __VA_ARGS__)
#define TABLE_OF(...) \
    { SIXTY_FOUR(0u, __VA_ARGS__), SIXTY_FOUR(64u, __VA_ARGS__), SIXTY_FOUR(128u, __VA_ARGS__), SIXTY_FOUR(192u, __VA_ARGS__) }

/* TABLE[k][byte]: what a byte does to the CRC when k bytes follow it ("slicing by 8"). */
static const uint32_t TABLE[8][256] = {
    TABLE_OF(0xf26b8303u, 0xe13b70f7u, 0xc79a971fu, 0x8ad958cfu, 0x105ec76fu, 0x20bd8edeu, 0x417b1dbcu, 0x82f63b78u),
    TABLE_OF(0x13a29877u, 0x274530eeu, 0x4e8a61dcu, 0x9d14c3b8u, 0x3fc5f181u, 0x7f8be302u, 0xff17c604u, 0xfbc3faf9u),
    TABLE_OF(0xa541927eu, 0x4f6f520du, 0x9edea41au, 0x38513ec5u, 0x70a27d8au, 0xe144fb14u, 0xc76580d9u, 0x8b277743u),
    TABLE_OF(0xdd45aab8u, 0xbf672381u, 0x7b2231f3u, 0xf64463e6u, 0xe964b13du, 0xd725148bu, 0xaba65fe7u, 0x52a0c93fu),
    TABLE_OF(0x38116facu, 0x7022df58u, 0xe045beb0u, 0xc5670b91u, 0x8f2261d3u, 0x1ba8b557u, 0x37516aaeu, 0x6ea2d55cu),
    TABLE_OF(0xef306b19u, 0xdb8ca0c3u, 0xb2f53777u, 0x6006181fu, 0xc00c303eu, 0x85f4168du, 0x0e045bebu, 0x1c08b7d6u),
    TABLE_OF(0x68032cc8u, 0xd0065990u, 0xa5e0c5d1u, 0x4e2dfd53u, 0x9c5bfaa6u, 0x3d5b83bdu, 0x7ab7077au, 0xf56e0ef4u),
    TABLE_OF(0x493c7d27u, 0x9278fa4eu, 0x211d826du, 0x423b04dau, 0x847609b4u, 0x0d006599u, 0x1a00cb32u, 0x34019664u),
};

uint32_t crc32c_portable(uint32_t crc, const void *bytes, size_t length)
{
    const unsigned char *at = bytes;
    crc = ~crc;
    for (; length >= 8; length -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        word ^= crc;
        crc = TABLE[7][word & 255] ^ TABLE[6][word >> 8 & 255] ^ TABLE[5][word >> 16 & 255] ^ TABLE[4][word >> 24 & 255] ^
              TABLE[3][word >> 32 & 255] ^ TABLE[2][word >> 40 & 255] ^ TABLE[1][word >> 48 & 255] ^ TABLE[0][word >> 56];
    }
    for (; length > 0; length--, at++) {
        crc = crc >> 8 ^ TABLE[0][(crc ^ *at) & 255];
    }
    return ~crc;
}

#if defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("sse4.2")))
static uint32_t crc32c_instruction(uint32_t crc, const void *bytes, size_t length)
{
    const unsigned char *at = bytes;
    uint64_t state = ~crc;
    for (; length >= 8; length -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        state = _mm_crc32_u64(state, word);
    }
    for (; length > 0; length--, at++) {
        state = _mm_crc32_u8((uint32_t)state, *at);
    }
    return ~(uint32_t)state;
}

static int has_instruction(void)
{
    return __builtin_cpu_supports("sse4.2");
}

#elif defined(__aarch64__) && defined(__linux__)
#include <arm_acle.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>

__attribute__((target("arch=armv8-a+crc")))
static uint32_t crc32c_instruction(uint32_t crc, const void *bytes, size_t length)
{
    const unsigned char *at = bytes;
    crc = ~crc;
    for (; length >= 8; length -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        crc = __crc32cd(crc, word);
    }
    for (; length > 0; length--, at++) {
        crc = __crc32cb(crc, *at);
    }
    return ~crc;
}

static int has_instruction(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0; /* a look into our own memory, no system call */
}

#else

static uint32_t crc32c_instruction(uint32_t crc, const void *bytes, size_t length)
{
    return crc32c_portable(crc, bytes, length);
}

static int has_instruction(void)
{
    return 0;
}
#endif

uint32_t crc32c(uint32_t crc, const void *bytes, size_t length)
{
    return has_instruction() ? crc32c_instruction(crc, bytes, length) : crc32c_portable(crc, bytes, length);
}
