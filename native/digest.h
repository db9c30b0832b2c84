/* digest.h: 128 bits that stand for some bytes, so that many records can be remembered in little memory.
 *
 * Not for bytes that somebody chose to collide. Of 10^9 records a day, two that differ are not equal in a million years.
 */
#ifndef TICKBAY_DIGEST_H
#define TICKBAY_DIGEST_H

#include <stddef.h>
#include <stdint.h>

struct digest {
    uint64_t a, b;
};

/* What a digest begins as; `salt` keeps digests of other things apart. */
struct digest digest_begin(uint64_t salt);
void digest_word(struct digest *digest, uint64_t word);
/* `size` bytes, a multiple of 8, of any alignment. */
void digest_bytes(struct digest *digest, const void *bytes, size_t size);

#endif
