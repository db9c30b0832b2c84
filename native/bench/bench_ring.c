/* bench_ring.c: one ring between two processes: records a second, and how long one record takes from one to the other.
 *
 *     bench_ring SLOTS RECORDS CLAIM LATENCIES
 *
 * The reader is a journal without a disk: it looks at every record in place and moves `durable`. Each record carries its
 * number, and the reader checks that they come without a hole. One line of JSON.
 */
#define _GNU_SOURCE

#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../ring.h"
#include "../ringmap.h"
#include "frames.h"

#define PEEK_MAX 1024
#define PAUSE_NS 1000   /* between two records whose way is measured: the reader is waiting for it */
#define SPINS_MAX 20000 /* then the other side is not running: let it */

static void wait_a_little(unsigned *spins)
{
    if (++*spins > SPINS_MAX) {
        *spins = 0;
        (void)sched_yield();
    }
}

static void produce(struct ring *ring, uint64_t records, uint64_t claim)
{
    unsigned spins = 0;
    for (uint64_t number = 1; number <= records;) {
        uint64_t count = claim < records - number + 1 ? claim : records - number + 1;
        void *slots;
        if (ring_claim(ring, count, &slots) == RING_FULL) {
            wait_a_little(&spins);
            continue;
        }
        for (uint64_t i = 0; i < count; i++, number++) {
            struct book *book = (struct book *)slots + i;
            memset(book, 0, sizeof *book);
            book->change_id = number;
        }
        ring_publish(ring, count);
    }
}

static void consume(struct ring *ring, uint64_t records)
{
    unsigned spins = 0;
    for (uint64_t seq = 1; seq <= records;) {
        const void *found;
        uint64_t count;
        if (ring_peek(ring, seq, PEEK_MAX, &found, &count) != RING_OK) {
            wait_a_little(&spins);
            continue;
        }
        const struct book *books = found;
        for (uint64_t i = 0; i < count; i++)
            if (books[i].change_id != seq + i || books[i].head.seq != seq + i)
                fail("a record is not the next one");
        seq += count;
        ring_set_durable(ring, seq - 1);
    }
}

static int by_value(const void *left, const void *right)
{
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

/* The next one goes only when the last has arrived: a reader that was not running spoils one time, not all behind it. */
static void send_times(struct ring *ring, uint64_t first, uint64_t count)
{
    unsigned spins = 0;
    for (uint64_t seq = first; seq < first + count; seq++) {
        while (ring_durable(ring) != seq - 1)
            wait_a_little(&spins);
        int64_t until = wall_ns() + PAUSE_NS;
        while (wall_ns() < until) {
        }
        void *slot;
        if (ring_claim(ring, 1, &slot) != RING_OK)
            fail("the ring is full"); /* it is empty */
        struct book *book = slot;
        memset(book, 0, sizeof *book);
        book->head.recv_ns = wall_ns();
        ring_publish(ring, 1);
    }
}

static void receive_times(struct ring *ring, uint64_t first, uint64_t count, int64_t *times)
{
    unsigned spins = 0;
    for (uint64_t i = 0; i < count; i++) {
        const void *found;
        uint64_t got;
        while (ring_peek(ring, first + i, 1, &found, &got) != RING_OK)
            wait_a_little(&spins);
        times[i] = wall_ns() - ((const struct book *)found)->head.recv_ns;
        ring_set_durable(ring, first + i);
    }
    qsort(times, count, sizeof *times, by_value);
}

int main(int argc, char **argv)
{
    if (argc != 5)
        fail("bench_ring SLOTS RECORDS CLAIM LATENCIES");
    uint64_t slots = strtoull(argv[1], NULL, 10), records = strtoull(argv[2], NULL, 10);
    uint64_t claim = strtoull(argv[3], NULL, 10), latencies = strtoull(argv[4], NULL, 10);
    uint64_t size = ring_file_size(RECORD_BOOK, slots);
    int descriptor = memfd_create("bench_ring", MFD_CLOEXEC);
    void *at;
    struct ring ring;
    static const char stream[RING_STREAM_MAX] = "bench.book", boot_id[40] = "bench";
    if (claim == 0 || latencies == 0 || size == 0 || ftruncate(descriptor, (off_t)size) != 0 ||
        ringmap_open(descriptor, size, &at) != RINGMAP_OK)
        fail("no ring of this size");
    if (ring_create(at, size, RECORD_BOOK, slots, stream, boot_id, 1, 1) != RING_OK ||
        ring_attach(&ring, at, size, RECORD_BOOK) != RING_OK)
        fail("the ring cannot be made");
    int64_t *times = memory(latencies * sizeof *times);
    pid_t child = fork();
    if (child == 0) {
        (void)ring_produce(&ring, (uint32_t)getpid(), 1);
        produce(&ring, records, claim);
        send_times(&ring, records + 1, latencies);
        _exit(0);
    }
    int64_t began = wall_ns();
    consume(&ring, records);
    double seconds = (double)(wall_ns() - began) / 1e9;
    receive_times(&ring, records + 1, latencies, times);
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
        fail("the producer failed");
    printf("{\"records\": %llu, \"seconds\": %.6f, \"p50_ns\": %lld, \"p99_ns\": %lld}\n", (unsigned long long)records, seconds,
           (long long)times[latencies / 2], (long long)times[latencies * 99 / 100]);
    return 0;
}
