/* test_ring_stress.c: threads that lap each other, and two processes, through a ring too small for them. RING-1, RING-2.
 *
 *     test_ring_stress                 a million records through each
 *     test_ring_stress COUNT SEED      R10 asks for 10^8 under SAN=thread */
#define _GNU_SOURCE

#include "../ring.h"

#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>

#include "shared_ring.h"

/* A producer that never waits but for the journal, a journal, and readers too slow to keep up. */
struct stress {
    struct mapping mapping;
    uint64_t count; /* records to be produced */
    uint64_t seed;
};

struct figures {
    uint64_t read, lapped, skipped, torn;
};

static struct ring attach(const struct stress *stress)
{
    struct ring ring;
    if (ring_attach(&ring, stress->mapping.memory, stress->mapping.file_size, RECORD_BOOK) != RING_OK) {
        fprintf(stderr, "test_ring_stress: cannot attach\n");
        exit(2);
    }
    return ring;
}

static void *run_producer(void *argument)
{
    const struct stress *stress = argument;
    struct ring ring = attach(stress);
    uint64_t random = stress->seed;
    while (ring_head(&ring) <= stress->count) {
        uint64_t left = stress->count + 1 - ring_head(&ring), size = 1 + next_random(&random) % 32;
        if (!produce(&ring, size < left ? size : left)) {
            sched_yield();
        }
    }
    return NULL;
}

static void *run_journal(void *argument)
{
    const struct stress *stress = argument;
    struct ring ring = attach(stress);
    uint64_t seq = 1, torn = 0;
    while (seq <= stress->count) {
        const void *records;
        uint64_t count;
        enum ring_result result = ring_peek(&ring, seq, 256, &records, &count);
        if (result == RING_EMPTY) {
            sched_yield();
            continue;
        }
        torn += result != RING_OK; /* the journal is never lapped (RING-2) */
        for (uint64_t i = 0; i < count; i++) {
            torn += !is_whole((const struct book *)records + i, seq + i);
        }
        seq += count;
        ring_set_durable(&ring, seq - 1);
    }
    return torn == 0 ? NULL : argument;
}

/* RING-1: every record read is whole, and every one not read was reported lapped. Undetected would be a torn one. */
static void read_stressed(const struct stress *stress, struct figures *figures)
{
    struct ring ring = attach(stress);
    static _Thread_local struct book out[CAPACITY];
    uint64_t seq = 1, random = stress->seed;
    while (seq <= stress->count) {
        uint64_t count, max = 1 + next_random(&random) % CAPACITY;
        /* Now and then, and certainly once, wait until it is too late, however the machine shares out its processors. */
        if (figures->lapped == 0 || next_random(&random) % 256 == 0) {
            while (ring_oldest(&ring) <= seq && ring_head(&ring) <= stress->count) {
                sched_yield();
            }
        }
        /* Now and then go to the oldest that there is, which the producer is just about to overwrite. */
        uint64_t oldest = ring_oldest(&ring);
        if (figures->lapped > 0 && next_random(&random) % 4 == 0 && oldest > seq) {
            figures->skipped += oldest - seq;
            seq = oldest;
        }
        enum ring_result result = ring_read(&ring, seq, stress->count, max, out, &count);
        for (uint64_t i = 0; i < count; i++) {
            figures->torn += !is_whole(&out[i], seq + i);
        }
        figures->read += count;
        seq += count;
        if (result == RING_LAPPED) {
            figures->lapped++;
            oldest = ring_oldest(&ring);
            figures->skipped += oldest - seq;
            seq = oldest;
        } else if (result == RING_EMPTY) {
            sched_yield();
        }
    }
}

static struct stress begin_stress(uint64_t count, uint64_t seed)
{
    struct ring ring;
    return (struct stress){.mapping = make_ring(&ring, CAPACITY, 1), .count = count, .seed = seed};
}

struct reader {
    const struct stress *stress;
    struct figures figures;
};

static void *run_reader(void *argument)
{
    struct reader *reader = argument;
    read_stressed(reader->stress, &reader->figures);
    return NULL;
}

static void threads_that_are_lapped_learn_it_and_see_no_torn_record(uint64_t count, uint64_t seed)
{
    struct stress stress = begin_stress(count, seed);
    struct reader reader = {.stress = &stress};
    pthread_t producer, journal, thread;
    void *torn;
    int64_t begun = now_ns();
    pthread_create(&producer, NULL, run_producer, &stress);
    pthread_create(&journal, NULL, run_journal, &stress);
    pthread_create(&thread, NULL, run_reader, &reader);
    pthread_join(producer, NULL);
    pthread_join(journal, &torn);
    pthread_join(thread, NULL);
    struct figures figures = reader.figures;
    check(torn == NULL, "the journal reads every record whole");
    check(figures.torn == 0, "no reader sees a torn record");
    check(figures.read + figures.skipped == count, "every record is read or known to be missed");
    check(figures.lapped > 0, "the stress laps the reader at all");
    printf("test_ring_stress: threads: %llu records in %.1f s, %llu read, lapped %llu times, %llu torn\n", (unsigned long long)count,
           (double)(now_ns() - begun) / 1e9, (unsigned long long)figures.read, (unsigned long long)figures.lapped,
           (unsigned long long)figures.torn);
    unmap_ring(stress.mapping);
}

static void processes_hand_over_every_record_in_order(uint64_t count, uint64_t seed)
{
    struct stress stress = begin_stress(count, seed);
    int64_t begun = now_ns();
    fflush(stdout); /* or the child would have our lines to print, too */
    pid_t child = fork();
    if (child == 0) {
        (void)run_producer(&stress);
        _exit(0);
    }
    void *torn = run_journal(&stress);
    int status = -1;
    waitpid(child, &status, 0);
    check(status == 0, "the producer's process ends well");
    check(torn == NULL, "every record arrives whole from the other process");
    printf("test_ring_stress: processes: %llu records in %.1f s\n", (unsigned long long)count, (double)(now_ns() - begun) / 1e9);
    unmap_ring(stress.mapping);
}

int main(int argc, char **argv)
{
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64_t)now_ns() | 1;
    printf("test_ring_stress: seed %llu\n", (unsigned long long)seed);
    threads_that_are_lapped_learn_it_and_see_no_torn_record(count, seed);
    processes_hand_over_every_record_in_order(count, seed);
    printf("test_ring_stress: %d checks\n", checks);
    return failures != 0;
}
