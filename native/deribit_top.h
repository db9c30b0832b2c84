/* deribit_top.h: the top of a book, as Deribit sends it whole each time: the best bid and offer, and windows of some levels. */
#ifndef TICKBAY_DERIBIT_TOP_H
#define TICKBAY_DERIBIT_TOP_H

#include "deribit_data.h"

/* Reads the data of a channel that carries MESSAGE_BBO or MESSAGE_DEPTH (decoding->channel) at `at`, into the room of its kind.
 * The records are written as far as there is room, and counted beyond. The place behind it, or NULL: see json.h. */
const char *deribit_top(struct decoding *decoding, const char *at);

#endif
