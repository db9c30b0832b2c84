/* deribit_reference.h: what Deribit itself reckons: values of indices, marks of options, interest of perpetuals. */
#ifndef TICKBAY_DERIBIT_REFERENCE_H
#define TICKBAY_DERIBIT_REFERENCE_H

#include "deribit_data.h"

/* Reads the data of a channel that carries MESSAGE_INDEX, MESSAGE_MARK or MESSAGE_FUNDING (decoding->channel) at `at`, into the
 * room of its kind. The records are written as far as there is room, and counted beyond. The place behind it, or NULL: see
 * json.h. Whose they are is told by the channel where the data does not say it. */
const char *deribit_reference(struct decoding *decoding, const char *at);

#endif
