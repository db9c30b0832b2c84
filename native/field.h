/* field.h: a record's fields from its bytes, of any alignment: to a plan an offset is a number like any other. */
#ifndef TICKBAY_FIELD_H
#define TICKBAY_FIELD_H

#include <stdint.h>
#include <string.h>

static inline uint32_t field_u32(const unsigned char *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline uint64_t field_u64(const unsigned char *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

#endif
