# Durations in buckets: see histogram.h. Included by _native.pyx.

HISTOGRAM_FIRST_BITS, HISTOGRAM_LAST_BITS = c.HISTOGRAM_FIRST_BITS, c.HISTOGRAM_LAST_BITS
HISTOGRAM_PART_BITS, HISTOGRAM_BUCKETS = c.HISTOGRAM_PART_BITS, c.HISTOGRAM_BUCKETS


@cython.final
cdef class HistogramCounts:
    cdef c.histogram histogram

    def add(self, durations_ns):
        cdef Held held = Held(durations_ns)
        c.histogram_add(&self.histogram, <const int64_t *> held.buffer.buf, whole_records(held, sizeof(int64_t)))

    @property
    def counts(self):
        return memoryview(view_of(self, self.histogram.counts, sizeof(self.histogram.counts)))

    @property
    def sum_ns(self):
        return self.histogram.sum_ns

    @property
    def negative(self):
        return self.histogram.negative
