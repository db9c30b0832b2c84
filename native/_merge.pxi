# Two legs into one: see merge.h. Included by _native.pyx.

MERGE_LEGS, MERGE_WINDOW, MERGE_SETTLE_NS = c.MERGE_LEGS, c.MERGE_WINDOW, c.MERGE_SETTLE_NS
MERGE_LATE_NS = tuple(c.merge_late_ns(bucket) for bucket in range(c.MERGE_LATE_BUCKETS))
MERGE_CHAIN_SIZE = sizeof(c.merge_chain)
MERGE_CHAINS = c.MERGE_CHAINS

MergeBreak = namedtuple("MergeBreak", "kind instrument first_missing last_missing from_ns to_ns conn ends")
MergeTurn = namedtuple("MergeTurn", "out held breaks consumed")
MergeFigures = namedtuple("MergeFigures", "records first second repeats only late")

cdef enum:
    BREAKS_MAX = 256


cdef object merge_break_of(const c.merge_break *told):
    return MergeBreak(told.kind, unpad(told.instrument, sizeof(told.instrument)).decode(), told.first_missing, told.last_missing,
                      told.from_ns, told.to_ns, told.conn, bool(told.ends))


cdef class Merge:
    cdef c.merge *merge

    def __cinit__(self):
        self.merge = <c.merge *> PyMem_Calloc(1, sizeof(c.merge))
        if self.merge == NULL:
            raise MemoryError

    def __dealloc__(self):
        PyMem_Free(self.merge)

    def run(self, int kind, legs, release_ns, bint again=False):
        cdef size_t size = c.record_size(<c.record_kind> kind)
        if size == 0 or len(legs) != c.MERGE_LEGS:
            raise ValueError(f"records of kind {kind} from {len(legs)} legs")
        cdef c.merge_turn turn
        cdef c.merge_break breaks[BREAKS_MAX]
        memset(&turn, 0, sizeof(turn))
        turn.kind = <c.record_kind> kind
        turn.again = again
        turn.breaks = breaks
        turn.breaks_max = BREAKS_MAX
        cdef uint64_t total = 0
        cdef int leg
        cdef Held given
        kept, held = [], []
        for leg in range(c.MERGE_LEGS):
            given = Held(legs[leg])
            if given.buffer.len % size != 0:
                raise ValueError(f"{given.buffer.len} bytes are not whole records of {size} bytes")
            turn.records[leg] = given.buffer.buf
            turn.counts[leg] = given.buffer.len // size
            turn.release_ns[leg] = release_ns[leg]
            total += turn.counts[leg]
            held.append(bytearray(given.buffer.len))
            turn.held[leg] = PyByteArray_AS_STRING(held[leg])
            kept.append(given)
        out = bytearray(total * size)
        turn.out = PyByteArray_AS_STRING(out)
        with nogil:
            c.merge_run(self.merge, &turn)
        views = tuple(memoryview(held[leg])[: turn.held_counts[leg] * size] for leg in range(c.MERGE_LEGS))
        told = [merge_break_of(&breaks[place]) for place in range(turn.breaks_count)]
        return MergeTurn(memoryview(out)[: turn.out_count * size], views, told, (turn.consumed[0], turn.consumed[1]))

    def connected(self, int leg, uint32_t conn):
        c.merge_connected(self.merge, leg, conn)

    def lost(self, int leg):
        c.merge_lost(self.merge, leg)

    def published(self, int kind, records):
        cdef Held held = Held(records)
        cdef uint32_t size = c.record_size(<c.record_kind> kind)
        cdef c.merge_turn turn
        cdef c.merge_break breaks[BREAKS_MAX]
        memset(&turn, 0, sizeof(turn))
        turn.kind = <c.record_kind> kind
        turn.records[0] = held.buffer.buf
        turn.counts[0] = whole_records(held, size)
        turn.breaks = breaks
        turn.breaks_max = BREAKS_MAX
        told = []
        while turn.counts[0] > 0:
            with nogil:
                c.merge_published(self.merge, &turn)
            told += [merge_break_of(&breaks[place]) for place in range(turn.breaks_count)]
            turn.records[0] = <const char *> turn.records[0] + turn.consumed[0] * size
            turn.counts[0] -= turn.consumed[0]
        return told

    def judge(self, int64_t now_ns):
        c.merge_judge(self.merge, now_ns)

    def forget(self, int64_t before_ns):
        return c.merge_chains_forget(&self.merge.chains, before_ns)

    @property
    def chains_used(self):
        return self.merge.chains.used

    def chains(self):
        cdef bytes out = PyBytes_FromStringAndSize(NULL, self.merge.chains.used * sizeof(c.merge_chain))
        cdef uint64_t count = c.merge_chains_export(&self.merge.chains, <c.merge_chain *> PyBytes_AS_STRING(out))
        assert count == self.merge.chains.used
        return out

    def restore(self, chains):
        cdef Held held = Held(chains)
        cdef uint64_t count = held.buffer.len // sizeof(c.merge_chain)
        return c.merge_chains_import(&self.merge.chains, <const c.merge_chain *> held.buffer.buf, count)

    @property
    def unchained(self):
        return self.merge.unchained

    def figures(self, int leg):
        cdef c.merge_figures *found = &self.merge.legs[leg]
        late = [found.late[bucket] for bucket in range(c.MERGE_LATE_BUCKETS)]
        return MergeFigures(found.records, found.first, found.second, found.repeats, found.only, late)
