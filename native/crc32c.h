/* crc32c.h: CRC-32C (Castagnoli), with the processor's instruction where it has one, by table elsewhere. */
#ifndef TICKBAY_CRC32C_H
#define TICKBAY_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The CRC of `length` bytes that follow bytes whose CRC is `crc` (0 at the beginning). */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t length);
/* The table version, always available: what the other is tested against. */
uint32_t crc32c_portable(uint32_t crc, const void *bytes, size_t length);

#endif
