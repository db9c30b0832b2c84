#include "digest.h"

#include <assert.h>
#include <string.h>

struct digest digest_begin(uint64_t salt)
{
    return (struct digest){salt, salt + 0x2545f4914f6cdd1du};
}

/* Two lanes of multiply and fold; each step can be undone, so no two words of the same place lead to the same state. */
static inline void mix(struct digest *digest, uint64_t word)
{
    digest->a = (digest->a ^ word) * 0x9e3779b97f4a7c15u;
    digest->a ^= digest->a >> 32;
    digest->b = (digest->b + word) * 0xd6e8feb86659fd93u;
    digest->b ^= digest->b >> 29;
}

void digest_word(struct digest *digest, uint64_t word)
{
    mix(digest, word);
}

void digest_bytes(struct digest *digest, const void *bytes, size_t size)
{
    assert(size % sizeof(uint64_t) == 0);
    struct digest mixed = *digest;
    for (size_t place = 0; place < size; place += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, (const unsigned char *)bytes + place, sizeof word);
        mix(&mixed, word);
    }
    *digest = mixed;
}
