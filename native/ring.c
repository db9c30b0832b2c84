/* ring.c: see ring.h. The names of the memory orders' partners stand at each of them. */
#include "ring.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#define RING_MAGIC 0x31474e4952424b54u /* "TKBRING1" */
#define RING_VERSION 1u
#define RING_LINE 128 /* two cache lines: processors fetch them in pairs, and some aarch64 have lines of 128 */

/* One line per writer, so that no store of one process takes away a line that another one is storing to. */
struct ring_header {
    /* Identity: written once by ring_create(), before the magic. */
    _Alignas(RING_LINE) _Atomic uint64_t magic;
    uint32_t version;
    uint32_t kind;
    uint64_t layout;
    uint64_t capacity;
    uint64_t first_seq; /* of the first record ever: what came before it was never in this ring */
    uint32_t record_size;
    uint32_t reserved;
    char stream[RING_STREAM_MAX];
    char boot_id[40];
    /* Stored by the producer for each message. */
    _Alignas(RING_LINE) _Atomic uint64_t head;
    _Atomic uint64_t claim;
    /* Stored by the journal. */
    _Alignas(RING_LINE) _Atomic uint64_t durable;
    _Atomic uint64_t epoch_first_seq;
    _Atomic uint32_t epoch;
    /* Stored by the producer once per process or connection. */
    _Alignas(RING_LINE) _Atomic uint64_t producer_start_time;
    _Atomic uint32_t producer_pid;
    _Atomic uint32_t conn;
};
_Static_assert(sizeof(struct ring_header) == 4 * RING_LINE, "struct ring_header has another size");
_Static_assert(sizeof(struct ring_header) <= RING_HEADER_SIZE, "struct ring_header does not fit its pages");
_Static_assert(offsetof(struct ring_header, head) == RING_LINE, "the producer's line has moved");
_Static_assert(offsetof(struct ring_header, durable) == 2 * RING_LINE, "the journal's line has moved");
_Static_assert(offsetof(struct ring_header, producer_start_time) == 3 * RING_LINE, "the producer's second line has moved");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2, "a lock inside an atomic does not work between processes");

/* A sequence is a bigint in every database; below this no sum here can wrap. */
#define RING_SEQ_MAX ((uint64_t)INT64_MAX - RING_SLOTS_MAX)

static bool is_capacity(uint32_t size, uint64_t capacity)
{
    if (size == 0 || capacity == 0 || capacity > RING_SLOTS_MAX || (capacity & (capacity - 1)) != 0) {
        return false;
    }
    return capacity * size % RING_PAGE == 0;
}

uint64_t ring_file_size(enum record_kind kind, uint64_t capacity)
{
    uint32_t size = record_size(kind);
    return is_capacity(size, capacity) ? RING_HEADER_SIZE + capacity * size : 0;
}

enum ring_result ring_create(void *memory, uint64_t file_size, enum record_kind kind, uint64_t capacity,
                             const char stream[RING_STREAM_MAX], const char boot_id[40], uint32_t epoch, uint64_t first_seq)
{
    if (file_size == 0 || file_size != ring_file_size(kind, capacity) || first_seq == 0 || first_seq > RING_SEQ_MAX ||
        stream[0] == '\0') {
        return RING_WRONG;
    }
    struct ring_header *header = memory;
    header->version = RING_VERSION;
    header->kind = kind;
    header->layout = record_layout(kind);
    header->capacity = capacity;
    header->first_seq = first_seq;
    header->record_size = record_size(kind);
    header->reserved = 0;
    memcpy(header->stream, stream, sizeof header->stream);
    memcpy(header->boot_id, boot_id, sizeof header->boot_id);
    atomic_store_explicit(&header->head, first_seq, memory_order_relaxed);
    atomic_store_explicit(&header->claim, first_seq, memory_order_relaxed);
    atomic_store_explicit(&header->durable, first_seq - 1, memory_order_relaxed);
    atomic_store_explicit(&header->epoch, epoch, memory_order_relaxed);
    atomic_store_explicit(&header->epoch_first_seq, first_seq, memory_order_relaxed);
    /* Pairs with the acquire in ring_attach(): who sees the magic sees all of the above. */
    atomic_store_explicit(&header->magic, RING_MAGIC, memory_order_release);
    return RING_OK;
}

/* RING-3: the positions must be ones that these functions can have stored. */
static bool positions_hold(struct ring_header *header)
{
    /* Loaded in the order that keeps the inequalities true while the owners go on storing: durable before head before
     * claim (each is stored before the next may pass it; the acquires pair with the releases in ring_set_durable(),
     * ring_publish() and ring_claim()), and durable once more after claim for the bound of the ring's fill. */
    uint64_t durable = atomic_load_explicit(&header->durable, memory_order_acquire);
    uint64_t head = atomic_load_explicit(&header->head, memory_order_acquire);
    uint64_t claim = atomic_load_explicit(&header->claim, memory_order_acquire);
    uint64_t durable_after = atomic_load_explicit(&header->durable, memory_order_relaxed);
    uint64_t first_seq = header->first_seq;
    if (first_seq == 0 || first_seq > head || durable < first_seq - 1 || durable >= head || head > claim || claim > RING_SEQ_MAX) {
        return false;
    }
    return claim - 1 <= durable_after || claim - 1 - durable_after <= header->capacity;
}

enum ring_result ring_attach(struct ring *ring, void *memory, uint64_t file_size, enum record_kind kind)
{
    struct ring_header *header = memory;
    if (file_size < RING_HEADER_SIZE) {
        return RING_WRONG;
    }
    /* Pairs with the release in ring_create(). */
    uint64_t magic = atomic_load_explicit(&header->magic, memory_order_acquire);
    if (magic == 0) {
        return RING_NOT_YET;
    }
    uint32_t size = record_size(kind);
    if (magic != RING_MAGIC || header->version != RING_VERSION || size == 0 || header->kind != (uint32_t)kind ||
        header->record_size != size || header->layout != record_layout(kind)) {
        return RING_WRONG;
    }
    /* Copied once: what was checked is what is used, whatever happens to the file. */
    uint64_t capacity = header->capacity;
    uint64_t slots_size = file_size - RING_HEADER_SIZE;
    if (slots_size / size != capacity || slots_size % size != 0 || !is_capacity(size, capacity) || header->stream[0] == '\0' ||
        !positions_hold(header)) {
        return RING_WRONG;
    }
    *ring = (struct ring){
        .header = header,
        .slots = (unsigned char *)memory + RING_HEADER_SIZE,
        .capacity = capacity,
        .mask = capacity - 1,
        .record_size = size,
        .kind = kind,
        .cached_durable = atomic_load_explicit(&header->durable, memory_order_acquire), /* as in ring_free() */
    };
    return RING_OK;
}

static unsigned char *slot(const struct ring *ring, uint64_t seq)
{
    return ring->slots + (seq & ring->mask) * ring->record_size;
}

uint32_t ring_produce(struct ring *ring, uint32_t pid, uint64_t start_time)
{
    struct ring_header *header = ring->header;
    atomic_store_explicit(&header->producer_start_time, start_time, memory_order_relaxed);
    /* Pairs with the acquire in ring_identify(). */
    atomic_store_explicit(&header->producer_pid, pid, memory_order_release);
    /* A claim left by a producer that died is kept: readers must go on believing it (ring.h). */
    (void)ring_free(ring);
    return atomic_load_explicit(&header->conn, memory_order_relaxed);
}

void ring_set_conn(struct ring *ring, uint32_t conn)
{
    /* Relaxed: a number by itself; each record carries its own. */
    atomic_store_explicit(&ring->header->conn, conn, memory_order_relaxed);
}

uint64_t ring_free(struct ring *ring)
{
    /* Relaxed: the caller is the only one who stores head. */
    uint64_t head = atomic_load_explicit(&ring->header->head, memory_order_relaxed);
    /* Pairs with the release in ring_set_durable(): the journal has read a slot before the producer overwrites it. */
    ring->cached_durable = atomic_load_explicit(&ring->header->durable, memory_order_acquire);
    uint64_t used = head - 1 - ring->cached_durable;
    return used < ring->capacity ? ring->capacity - used : 0;
}

enum ring_result ring_claim(struct ring *ring, uint64_t count, void **slots)
{
    struct ring_header *header = ring->header;
    uint64_t head = atomic_load_explicit(&header->head, memory_order_relaxed); /* our own */
    /* RING-2: the journal's position is the only thing compared. */
    if (count > ring->capacity || (head - 1 - ring->cached_durable > ring->capacity - count && count > ring_free(ring))) {
        return RING_FULL;
    }
    if (head + count > atomic_load_explicit(&header->claim, memory_order_relaxed)) {
        /* Release: pairs with the acquire in positions_hold(), which loads durable after it. */
        atomic_store_explicit(&header->claim, head + count, memory_order_release);
        /* RING-1. Pairs with the acquire fence in ring_read(): a reader that copied any byte which the caller stores
         * after this fence sees the claim stored before it. A release store alone would not keep the later stores back. */
        atomic_thread_fence(memory_order_release);
    }
    *slots = slot(ring, head);
    return RING_OK;
}

void ring_publish(struct ring *ring, uint64_t count)
{
    struct ring_header *header = ring->header;
    uint64_t head = atomic_load_explicit(&header->head, memory_order_relaxed); /* our own */
    assert(count <= atomic_load_explicit(&header->claim, memory_order_relaxed) - head && "published more than was claimed");
    unsigned char *record = slot(ring, head);
    for (uint64_t i = 0; i < count; i++, record += ring->record_size) {
        ((struct record_head *)(void *)record)->seq = head + i;
    }
    /* RING-1. Pairs with the acquire in ring_head(): who sees the new head sees the records before it. */
    atomic_store_explicit(&header->head, head + count, memory_order_release);
}

uint64_t ring_head(const struct ring *ring)
{
    return atomic_load_explicit(&ring->header->head, memory_order_acquire); /* pairs with the release in ring_publish() */
}

uint64_t ring_durable(const struct ring *ring)
{
    return atomic_load_explicit(&ring->header->durable, memory_order_acquire); /* pairs with the release in ring_set_durable() */
}

/* The oldest sequence whose slot the producer has not been allowed to overwrite when it stored `claim`. */
static uint64_t oldest(const struct ring *ring, uint64_t claim)
{
    uint64_t first_seq = ring->header->first_seq;
    return claim > ring->capacity && claim - ring->capacity > first_seq ? claim - ring->capacity : first_seq;
}

uint64_t ring_oldest(const struct ring *ring)
{
    /* Relaxed: only a hint, ring_read() decides. */
    return oldest(ring, atomic_load_explicit(&ring->header->claim, memory_order_relaxed));
}

/* How many records from `seq` on lie before `head`, at most `max` and never more than are mapped contiguously. */
static uint64_t run_length(const struct ring *ring, uint64_t seq, uint64_t head, uint64_t max)
{
    uint64_t count = head - seq;
    count = count < max ? count : max;
    return count < ring->capacity ? count : ring->capacity;
}

/* The one place where memory is read that the producer may be writing at the same time. That is a data race to C and to
 * ThreadSanitizer, and meant: the alternative, atomic words on both sides, would make the decoder store every field
 * atomically, and the claim tells afterwards whether these bytes are worth anything (RING-1). Nothing here branches on
 * them. Words instead of memcpy(), because ThreadSanitizer watches memcpy() even in here; compilers make it one. */
typedef uint64_t __attribute__((may_alias)) record_word; /* a record's fields have other types */
__attribute__((no_sanitize("thread")))
static void copy_racing(record_word *restrict out, const record_word *restrict in, uint64_t words)
{
    for (uint64_t i = 0; i < words; i++) {
        out[i] = in[i];
    }
}

enum ring_result ring_read(const struct ring *ring, uint64_t seq, uint64_t limit, uint64_t max, void *out, uint64_t *count)
{
    *count = 0;
    uint64_t head = ring_head(ring);
    if (seq >= head || seq > limit || max == 0) {
        return RING_EMPTY;
    }
    uint64_t end = limit < head ? limit + 1 : head;
    if (seq < ring_oldest(ring)) {
        return RING_LAPPED;
    }
    uint64_t run = run_length(ring, seq, end, max);
    copy_racing(out, (const record_word *)(const void *)slot(ring, seq), run * ring->record_size / sizeof(record_word));
    /* RING-1. Pairs with the release fence in ring_claim(): the claim is loaded after the last byte of the copy, so if a
     * byte came from a later lap, this claim is at least that lap's. */
    atomic_thread_fence(memory_order_acquire);
    uint64_t claim = atomic_load_explicit(&ring->header->claim, memory_order_relaxed);
    if (seq < oldest(ring, claim)) {
        return RING_LAPPED;
    }
    *count = run;
    return RING_OK;
}

enum ring_result ring_peek(const struct ring *ring, uint64_t seq, uint64_t max, const void **records, uint64_t *count)
{
    *count = 0;
    uint64_t head = ring_head(ring);
    if (seq >= head || max == 0) {
        return RING_EMPTY;
    }
    if (seq < ring_oldest(ring)) {
        return RING_LAPPED;
    }
    *records = slot(ring, seq);
    *count = run_length(ring, seq, head, max);
    return RING_OK;
}

void ring_set_durable(struct ring *ring, uint64_t seq)
{
    struct ring_header *header = ring->header;
    assert(seq >= atomic_load_explicit(&header->durable, memory_order_relaxed) && "JRNL-2: durable never goes back");
    assert(seq < ring_head(ring) && "JRNL-2: durable never passes what was published");
    /* Pairs with the acquires in ring_free() (the journal's reads of these slots are over) and in ring_durable(). */
    atomic_store_explicit(&header->durable, seq, memory_order_release);
}

void ring_set_epoch(struct ring *ring, uint32_t epoch, uint64_t epoch_first_seq)
{
    struct ring_header *header = ring->header;
    assert(epoch_first_seq >= 1 && epoch_first_seq <= RING_SEQ_MAX);
    /* First the sequence, then the epoch: a reader between the two stores has the old epoch with a range that begins
     * behind durable, so an empty one. The other way round it would give old records the new epoch. */
    atomic_store_explicit(&header->epoch_first_seq, epoch_first_seq, memory_order_relaxed);
    /* Pairs with the acquire in ring_epoch(). */
    atomic_store_explicit(&header->epoch, epoch, memory_order_release);
}

void ring_epoch(const struct ring *ring, uint32_t *epoch, uint64_t *first_seq)
{
    /* Pairs with the release in ring_set_epoch(): with a new epoch comes its sequence. */
    *epoch = atomic_load_explicit(&ring->header->epoch, memory_order_acquire);
    *first_seq = atomic_load_explicit(&ring->header->epoch_first_seq, memory_order_relaxed);
}

void ring_identify(const struct ring *ring, struct ring_identity *identity)
{
    const struct ring_header *header = ring->header;
    *identity = (struct ring_identity){
        .kind = ring->kind,
        .record_size = ring->record_size,
        .capacity = ring->capacity,
        /* Pairs with the release in ring_produce(). */
        .producer_pid = atomic_load_explicit(&header->producer_pid, memory_order_acquire),
        .conn = atomic_load_explicit(&header->conn, memory_order_relaxed),
    };
    identity->producer_start_time = atomic_load_explicit(&header->producer_start_time, memory_order_relaxed);
    memcpy(identity->stream, header->stream, sizeof identity->stream);
    memcpy(identity->boot_id, header->boot_id, sizeof identity->boot_id);
}
