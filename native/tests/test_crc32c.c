/* test_crc32c.c: known values, and the two ways agree for every length and alignment. */
#include "../crc32c.h"

#include <stdio.h>
#include <string.h>

static int failures, checks;

static void check(int holds, const char *what)
{
    checks++;
    if (!holds) {
        fprintf(stderr, "test_crc32c: %s\n", what);
        failures++;
    }
}

static void known_values_come_out(void)
{
    /* RFC 3720 B.4, and the check value that every catalogue of CRCs lists. */
    unsigned char zeros[32] = {0}, ones[32], up[32], down[32];
    memset(ones, 0xff, sizeof ones);
    for (unsigned i = 0; i < 32; i++) {
        up[i] = (unsigned char)i;
        down[i] = (unsigned char)(31 - i);
    }
    uint32_t (*const ways[])(uint32_t, const void *, size_t) = {crc32c, crc32c_portable};
    for (size_t i = 0; i < 2; i++) {
        check(ways[i](0, "", 0) == 0, "of nothing");
        check(ways[i](0, "123456789", 9) == 0xe3069283, "check value");
        check(ways[i](0, zeros, 32) == 0x8a9136aa, "32 zeros");
        check(ways[i](0, ones, 32) == 0x62a8ab43, "32 ones");
        check(ways[i](0, up, 32) == 0x46dd794e, "32 up");
        check(ways[i](0, down, 32) == 0x113fdb5c, "32 down");
    }
}

/* One bit at a time, as the definition says: neither table nor instruction. */
static uint32_t by_definition(uint32_t crc, const unsigned char *bytes, size_t length)
{
    crc = ~crc;
    for (size_t i = 0; i < length; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
        }
    }
    return ~crc;
}

static void every_length_and_alignment_agrees(void)
{
    static unsigned char bytes[16384 + 64];
    uint32_t random = 1;
    for (size_t i = 0; i < sizeof bytes; i++) {
        random = random * 1664525 + 1013904223;
        bytes[i] = (unsigned char)(random >> 24);
    }
    for (size_t offset = 0; offset < 16; offset++) {
        for (size_t length = 0; length < 640; length++) {
            uint32_t want = by_definition((uint32_t)length * 77, bytes + offset, length);
            check(crc32c((uint32_t)length * 77, bytes + offset, length) == want, "instruction");
            check(crc32c_portable((uint32_t)length * 77, bytes + offset, length) == want, "table");
        }
    }
    for (size_t length = 640; length < 16384; length += 509) {
        check(crc32c(9, bytes + length % 8, length) == by_definition(9, bytes + length % 8, length), "long");
    }
}

static void parts_give_the_crc_of_the_whole(void)
{
    static const unsigned char text[] = "the CRC of the bytes that follow bytes whose CRC is the first argument";
    uint32_t whole = crc32c(0, text, sizeof text);
    for (size_t cut = 0; cut <= sizeof text; cut++) {
        check(crc32c(crc32c(0, text, cut), text + cut, sizeof text - cut) == whole, "in two parts");
        check(crc32c_portable(crc32c(0, text, cut), text + cut, sizeof text - cut) == whole, "in two parts, two ways");
    }
}

int main(void)
{
    known_values_come_out();
    every_length_and_alignment_agrees();
    parts_give_the_crc_of_the_whole();
    printf("test_crc32c: %d checks\n", checks);
    return failures != 0;
}
