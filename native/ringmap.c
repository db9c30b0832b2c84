#define _GNU_SOURCE /* MAP_ANONYMOUS, MAP_NORESERVE */

#include "ringmap.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ring.h"

/* Header, slots, slots again. */
static size_t span(uint64_t file_size)
{
    return (size_t)(RING_HEADER_SIZE + 2 * (file_size - RING_HEADER_SIZE));
}

static bool map_at(unsigned char *address, uint64_t length, int descriptor, off_t offset)
{
    return mmap(address, (size_t)length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, descriptor, offset) != MAP_FAILED;
}

enum ringmap_result ringmap_open(int descriptor, uint64_t file_size, void **memory)
{
    long page = sysconf(_SC_PAGESIZE);
    if (page <= 0 || RING_HEADER_SIZE % (unsigned long)page != 0 || file_size <= RING_HEADER_SIZE ||
        file_size > RINGMAP_FILE_MAX || file_size % (unsigned long)page != 0)
        return RINGMAP_WRONG;

    /* Reserve the whole range first, so that MAP_FIXED cannot hit anything that is not ours. */
    unsigned char *base = mmap(NULL, span(file_size), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return RINGMAP_FAILED;
    uint64_t slots_size = file_size - RING_HEADER_SIZE;
    if (map_at(base, file_size, descriptor, 0) && map_at(base + file_size, slots_size, descriptor, RING_HEADER_SIZE)) {
        *memory = base;
        return RINGMAP_OK;
    }
    int error = errno; /* munmap() may set another */
    (void)munmap(base, span(file_size));
    errno = error;
    return RINGMAP_FAILED;
}

void ringmap_close(void *memory, uint64_t file_size)
{
    (void)munmap(memory, span(file_size));
}
