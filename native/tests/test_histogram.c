/* test_histogram.c: each duration is in the bucket whose ends, counted out one after another, it lies between. */
#include "../histogram.h"

#include <stdio.h>
#include <string.h>

static int failures, checks;

static void check(int holds, const char *what)
{
    checks++;
    if (!holds) {
        fprintf(stderr, "test_histogram: %s\n", what);
        failures++;
    }
}

static int bucket_of(int64_t duration_ns)
{
    struct histogram histogram = {0};
    histogram_add(&histogram, &duration_ns, 1);
    for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
        if (histogram.counts[i] == 1)
            return i;
    return -1;
}

int main(void)
{
    int64_t end_ns = 1024, step_ns = 256;
    check(bucket_of(INT64_MIN) == 0 && bucket_of(-1) == 0 && bucket_of(0) == 0, "what is negative is in the first");
    for (int bucket = 0; bucket < HISTOGRAM_BUCKETS - 1; bucket++) {
        if (bucket > 0 && bucket % 4 == 0)
            step_ns *= 2;
        check(bucket_of(end_ns - 1) == bucket && bucket_of(end_ns) == bucket + 1, "a bucket ends a quarter of its doubling on");
        end_ns += step_ns;
    }
    check(bucket_of(HISTOGRAM_LONGEST_NS - 1) == HISTOGRAM_BUCKETS - 2 && bucket_of(INT64_MAX) == HISTOGRAM_BUCKETS - 1,
          "the last has no end");
    struct histogram histogram = {0};
    int64_t durations_ns[] = {-5000000, 3000000, INT64_MAX, INT64_MIN, 7};
    histogram_add(&histogram, durations_ns, 5);
    check(histogram.sum_ns == -2000000 + 7 && histogram.negative == 2, "sums are of what is sane");
    printf("test_histogram: %d checks\n", checks);
    return failures != 0;
}
