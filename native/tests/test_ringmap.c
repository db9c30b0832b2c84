/* test_ringmap.c: both copies of the slots are one memory, shared between mappings; what is no ring's size is refused. */
#define _GNU_SOURCE /* memfd_create */

#include "../ringmap.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../ring.h"

static int failures, checks;

static void check(int holds, const char *what)
{
    checks++;
    if (!holds) {
        fprintf(stderr, "test_ringmap: %s\n", what);
        failures++;
    }
}

static int file_of(uint64_t size)
{
    int file = memfd_create("ring", MFD_CLOEXEC);
    check(file >= 0 && ftruncate(file, (off_t)size) == 0, "a file to map");
    return file;
}

static void the_slots_follow_themselves(void)
{
    uint64_t size = ring_file_size(RECORD_BOOK, 512);
    uint64_t slots = size - RING_HEADER_SIZE;
    int file = file_of(size);
    void *first = NULL, *second = NULL;
    check(ringmap_open(file, size, &first) == RINGMAP_OK, "first mapping");
    check(ringmap_open(file, size, &second) == RINGMAP_OK, "second mapping");
    close(file);
    if (first == NULL || second == NULL)
        return;
    unsigned char *one = first, *two = second;
    memset(one + size - 4, 0xab, 8); /* across the end of the file: four bytes before, four at the first slot */
    check(memcmp(one + RING_HEADER_SIZE, "\xab\xab\xab\xab", 4) == 0, "the second copy is the first");
    check(memcmp(two + size - 4, "\xab\xab\xab\xab\xab\xab\xab\xab", 8) == 0, "another mapping sees both");
    check(one[RING_HEADER_SIZE + slots + slots - 1] == 0xab, "the last byte of the second copy can be read");
    ringmap_close(first, size);
    check(two[size - 1] == 0xab, "a mapping outlives the other");
    ringmap_close(second, size);
}

static void what_is_no_rings_size_is_refused(void)
{
    static const uint64_t sizes[] = {0, 1, 4096, RING_HEADER_SIZE, RING_HEADER_SIZE + 1, 2 * RING_HEADER_SIZE - 1,
                                     RINGMAP_FILE_MAX + 65536, UINT64_MAX, UINT64_MAX - 65535};
    int file = file_of(2 * RING_HEADER_SIZE);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        void *memory = NULL;
        check(ringmap_open(file, sizes[i], &memory) == RINGMAP_WRONG && memory == NULL, "a wrong size");
    }
    close(file);
}

static void a_refusal_of_the_kernel_is_told(void)
{
    void *memory = NULL;
    errno = 0;
    uint64_t size = ring_file_size(RECORD_BOOK, 512);
    check(ringmap_open(-1, size, &memory) == RINGMAP_FAILED && errno == EBADF && memory == NULL, "no file");
}

int main(void)
{
    the_slots_follow_themselves();
    what_is_no_rings_size_is_refused();
    a_refusal_of_the_kernel_is_told();
    printf("test_ringmap: %d checks\n", checks);
    return failures != 0;
}
