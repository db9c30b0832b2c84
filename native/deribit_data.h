/* deribit_data.h: what a notification of Deribit carries ("data"), to records: tickers, trades and books. The other kinds:
 * deribit_top.h, deribit_reference.h. */
#ifndef TICKBAY_DERIBIT_DATA_H
#define TICKBAY_DERIBIT_DATA_H

#include <stdbool.h>

#include "decode.h"
#include "deribit_channel.h"
#include "json.h"

#define DERIBIT_INDEX_MAX 32 /* bytes of an index's name, as in struct instrument */

/* One frame being decoded. */
struct decoding {
    struct json json;
    bool is_common;          /* the frame begins as they all do, so it is worth trying whether all of it is usual */
    struct record_head head; /* what all its records begin with: recv_ns and conn, else zeros */
    const struct decode_room *room;
    struct decoded *decoded; /* message and needed are filled here */
    struct deribit_channel channel; /* filled where the message is none of quote, trade and book */
};

/* The room for records of one of the other kinds. */
static inline const struct decode_slots *deribit_room(const struct decoding *decoding, enum record_kind kind)
{
    static const struct decode_slots none = {NULL, 0};
    return decoding->room->others != NULL ? &decoding->room->others[kind] : &none;
}

/* Reads the data of a channel that carries `message` (quote, trade or book) at `at`. The records are written as far as there is
 * room, and counted beyond. The place behind it, or NULL: see json.h. */
const char *deribit_data(struct decoding *decoding, const char *at, enum message message);

#endif
