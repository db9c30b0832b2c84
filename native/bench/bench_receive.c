/* bench_receive.c: the limit of receiving: a socket, WebSocket frames parsed by hand, the same decoder. No event loop, no
 * ring, no continuity, no reply. CPU time of the second half of the frames (by then all memory has been touched), as one line
 * of JSON.
 *
 *     bench_receive PORT FRAMES          reads that block
 *     bench_receive PORT FRAMES TIMES    epoll before each read; into the file TIMES goes when the read that brought each
 *                                        frame was done: int64_t, nanoseconds since 1970
 */
#define _GNU_SOURCE

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* As much memory as the rings of ../../bench/bench_receive.py: what is written to memory costs as much as the decoder. */
#define SLOTS_BYTES (65536 * sizeof(struct quote) + 8192 * sizeof(struct trade) + 131072 * sizeof(struct book))
#include "frames.h"

#define BUFFER_BYTES (256u << 10) /* as picows reads at most */

struct reader {
    int descriptor;
    int epoll; /* 0: reads block */
    size_t begin, end; /* of what is in the buffer and not taken */
    int64_t read_ns;   /* when the last read was done; only where times are wanted */
    unsigned char buffer[BUFFER_BYTES];
};

static int64_t unix_ns(void)
{
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        fail("clock_gettime");
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void read_more(struct reader *reader)
{
    memmove(reader->buffer, reader->buffer + reader->begin, reader->end - reader->begin);
    reader->end -= reader->begin;
    reader->begin = 0;
    struct epoll_event event;
    if (reader->epoll != 0 && epoll_wait(reader->epoll, &event, 1, -1) != 1)
        fail("epoll_wait");
    ssize_t got = recv(reader->descriptor, reader->buffer + reader->end, BUFFER_BYTES - reader->end, 0);
    if (got <= 0)
        fail("the connection ended early");
    if (reader->epoll != 0)
        reader->read_ns = unix_ns();
    reader->end += (size_t)got;
}

static void need(struct reader *reader, size_t size)
{
    while (reader->end - reader->begin < size)
        read_more(reader);
}

/* One text frame's payload, in the buffer. */
static const char *next_frame(struct reader *reader, size_t *length)
{
    need(reader, 4);
    const unsigned char *head = reader->buffer + reader->begin;
    size_t size = head[1], skip = 2;
    if (size == 126) {
        size = ((size_t)head[2] << 8) | head[3];
        skip = 4;
    } else if (size > 126) {
        fail("a frame is longer than this bench's");
    }
    need(reader, skip + size);
    const char *payload = (const char *)reader->buffer + reader->begin + skip;
    reader->begin += skip + size;
    *length = size;
    return payload;
}

static void upgrade(struct reader *reader, uint16_t port)
{
    char request[256];
    int size = snprintf(request, sizeof request,
                        "GET / HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n", port);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    reader->descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(reader->descriptor, (struct sockaddr *)&address, sizeof address) != 0 ||
        send(reader->descriptor, request, (size_t)size, 0) != size)
        fail("no connection");
    unsigned char *end;
    do {
        read_more(reader);
        end = memmem(reader->buffer, reader->end, "\r\n\r\n", 4);
    } while (end == NULL);
    reader->begin = (size_t)(end - reader->buffer) + 4;
}

static void use_epoll(struct reader *reader)
{
    struct epoll_event event = {.events = EPOLLIN};
    reader->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (reader->epoll < 0 || epoll_ctl(reader->epoll, EPOLL_CTL_ADD, reader->descriptor, &event) != 0)
        fail("epoll");
}

static void write_times(const char *path, const int64_t *times, size_t count)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(times, sizeof *times, count, file) != count || fclose(file) != 0)
        fail("the times cannot be written");
}

int main(int argc, char **argv)
{
    if (argc != 3 && argc != 4)
        fail("bench_receive PORT FRAMES [TIMES]");
    struct reader *reader = memory(sizeof *reader);
    size_t frames = strtoul(argv[2], NULL, 10), used = 0;
    unsigned char *slots = memory(SLOTS_BYTES);
    uint64_t records = 0;
    int64_t *times = argc == 4 ? memory(frames * sizeof *times) : NULL;
    upgrade(reader, (uint16_t)strtoul(argv[1], NULL, 10));
    if (times != NULL)
        use_epoll(reader);
    double began = 0;
    for (size_t i = 0; i < frames; i++) {
        if (i == frames / 2)
            began = cpu_ns();
        size_t length;
        const char *frame = next_frame(reader, &length);
        if (times != NULL)
            times[i] = reader->read_ns;
        used = used > SLOTS_BYTES - ROOM_BYTES ? 0 : used;
        struct decode_room room = room_at(slots, used);
        struct decoded decoded;
        if (decode_deribit(frame, length, 1, 1, &room, &decoded) != DECODE_OK)
            fail("a frame cannot be decoded");
        used += decoded.count * record_size((enum record_kind)(int)decoded.message);
        records += decoded.count;
    }
    if (times != NULL)
        write_times(argv[3], times, frames);
    printf("{\"ns\": %.2f, \"records\": %llu}\n", (cpu_ns() - began) / (double)(frames - frames / 2), (unsigned long long)records);
    return 0;
}
