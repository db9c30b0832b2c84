/* ringmap.h: a ring's file in memory: its header once, its slots twice, back to back.
 *
 * The second copy is what makes any run of slots contiguous (ring.h). Of all units this one and no other talks to the
 * kernel. Opening, sizing (posix_fallocate) and naming the file is ring.py's; here the file is open and has its size.
 */
#ifndef TICKBAY_RINGMAP_H
#define TICKBAY_RINGMAP_H

#include <stdint.h>

/* A file larger than this is no ring: 2^24 slots of the largest record are 6 GiB. */
#define RINGMAP_FILE_MAX (8ull << 30)

enum ringmap_result {
    RINGMAP_OK = 0,
    RINGMAP_WRONG,  /* the size is not RING_HEADER_SIZE and whole pages of slots, or is out of bounds */
    RINGMAP_FAILED, /* the kernel refused: errno says why */
};

/* Map `file_size` bytes of `descriptor`, readable and writable, shared. The descriptor may be closed afterwards. */
enum ringmap_result ringmap_open(int descriptor, uint64_t file_size, void **memory);
/* Unmap what ringmap_open() mapped. */
void ringmap_close(void *memory, uint64_t file_size);

#endif
