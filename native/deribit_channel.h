/* deribit_channel.h: what the name of a channel of Deribit says: of whom its data is, and what kind it is of. */
#ifndef TICKBAY_DERIBIT_CHANNEL_H
#define TICKBAY_DERIBIT_CHANNEL_H

#include "decode.h"

struct deribit_channel {
    enum message message;
    enum index_measure measure; /* of MESSAGE_INDEX */
    uint8_t levels_max;         /* of MESSAGE_DEPTH: 1 to 255 */
    double price_group;         /* of MESSAGE_DEPTH; NaN: levels are not gathered */
    const char *subject;        /* the index or instrument, in the name; not terminated */
    size_t subject_length;      /* bytes, 1 or more */
};

/* Reads a name that is no ticker, no trades and no book with actions (those are told apart in decode_deribit.c, for they come a
 * thousand times more often). MESSAGE_UNKNOWN for what we do not record, then nothing else counts. */
void deribit_channel(const char *name, size_t length, struct deribit_channel *channel);

/* The subject into a field of `width` bytes, padded with NUL. 0 where it does not fit or has a NUL: nothing was written. */
int deribit_subject(const struct deribit_channel *channel, char *field, size_t width);

#endif
