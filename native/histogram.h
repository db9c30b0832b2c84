/* histogram.h: durations counted in fixed buckets, four to each doubling, from a microsecond to over an hour. One pass. */
#ifndef TICKBAY_HISTOGRAM_H
#define TICKBAY_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_FIRST_BITS 10 /* below 2^10 ns there is one bucket */
#define HISTOGRAM_LAST_BITS 42  /* and one from 2^42 ns, 73 minutes, on */
#define HISTOGRAM_PART_BITS 2   /* four to a doubling: a duration is known to 25 % */
#define HISTOGRAM_BUCKETS (((HISTOGRAM_LAST_BITS - HISTOGRAM_FIRST_BITS) << HISTOGRAM_PART_BITS) + 2)
#define HISTOGRAM_LONGEST_NS (INT64_C(1) << HISTOGRAM_LAST_BITS)

struct histogram {
    int64_t counts[HISTOGRAM_BUCKETS];
    int64_t sum_ns;   /* each counted as no longer than HISTOGRAM_LONGEST_NS, nor shorter than that below zero: one insane time
                       * must not spoil it for ever */
    int64_t negative; /* a clock was set back, or ours is behind the venue's; they are in the first bucket */
};

/* Zeroed memory is an empty one. */
void histogram_add(struct histogram *histogram, const int64_t *durations_ns, uint64_t count);

#endif
