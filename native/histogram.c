#include "histogram.h"

static unsigned bucket_of(int64_t duration_ns)
{
    if (duration_ns < INT64_C(1) << HISTOGRAM_FIRST_BITS)
        return 0;
    if (duration_ns >= HISTOGRAM_LONGEST_NS)
        return HISTOGRAM_BUCKETS - 1;
    unsigned doubling = 63 - (unsigned)__builtin_clzll((unsigned long long)duration_ns);
    unsigned part = (unsigned)(duration_ns >> (doubling - HISTOGRAM_PART_BITS)) & ((1u << HISTOGRAM_PART_BITS) - 1);
    return ((doubling - HISTOGRAM_FIRST_BITS) << HISTOGRAM_PART_BITS) + part + 1;
}

void histogram_add(struct histogram *histogram, const int64_t *durations_ns, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        int64_t duration_ns = durations_ns[i];
        histogram->counts[bucket_of(duration_ns)]++;
        histogram->negative += duration_ns < 0;
        if (duration_ns > HISTOGRAM_LONGEST_NS)
            duration_ns = HISTOGRAM_LONGEST_NS;
        if (duration_ns < -HISTOGRAM_LONGEST_NS)
            duration_ns = -HISTOGRAM_LONGEST_NS;
        histogram->sum_ns += duration_ns;
    }
}
