/* test_digest.c: every bit counts, and so does the order. */
#include "../digest.h"

#include <stdio.h>
#include <string.h>

static int failures, checks;

static void check(int holds, const char *what)
{
    checks++;
    if (!holds) {
        fprintf(stderr, "test_digest: %s\n", what);
        failures++;
    }
}

static struct digest of(const void *bytes, size_t size, uint64_t salt)
{
    struct digest digest = digest_begin(salt);
    digest_bytes(&digest, bytes, size);
    return digest;
}

static int differ(struct digest one, struct digest other)
{
    return one.a != other.a && one.b != other.b;
}

int main(void)
{
    unsigned char bytes[128] = {0}, moved[129];
    struct digest none = of(bytes, sizeof bytes, 1);
    for (size_t bit = 0; bit < sizeof bytes * 8; bit++) {
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        check(differ(of(bytes, sizeof bytes, 1), none), "every bit changes both lanes");
        bytes[bit / 8] = 0;
    }
    check(differ(of(bytes, sizeof bytes, 2), none), "so does the salt");
    check(differ(of(bytes, sizeof bytes - 8, 1), none), "and the length");
    memcpy(bytes, "first...second..", 16);
    memcpy(moved + 1, bytes, sizeof bytes);
    struct digest whole = of(bytes, 16, 1), words = digest_begin(1), swapped = digest_begin(1);
    uint64_t first, second;
    memcpy(&first, bytes, 8);
    memcpy(&second, bytes + 8, 8);
    digest_word(&words, first);
    digest_word(&words, second);
    digest_word(&swapped, second);
    digest_word(&swapped, first);
    check(words.a == whole.a && words.b == whole.b, "words and bytes are one");
    check(differ(swapped, whole), "their order counts");
    struct digest shifted = of(moved + 1, 16, 1);
    check(shifted.a == whole.a && shifted.b == whole.b, "the alignment does not");
    printf("test_digest: %d checks, %d failures\n", checks, failures);
    return failures != 0;
}
