/* deribit_data.h: what a notification of Deribit carries ("data"), to records: tickers, trades and books. */
#ifndef TICKBAY_DERIBIT_DATA_H
#define TICKBAY_DERIBIT_DATA_H

#include "decode.h"
#include "json.h"

/* One frame being decoded. */
struct decoding {
    struct json json;
    struct record_head head; /* what all its records begin with: recv_ns and conn, else zeros */
    const struct decode_room *room;
    struct decoded *decoded; /* message and needed are filled here */
};

/* Reads the data of a channel that carries `message` (quote, trade or book) at `at`. The records are written as far as there is
 * room, and counted beyond. The place behind it, or NULL: see json.h. */
const char *deribit_data(struct decoding *decoding, const char *at, enum message message);

#endif
