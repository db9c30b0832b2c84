/* deribit_ticker.h: an option's ticker that is spelled as it nearly always is, read faster than by any order of keys. */
#ifndef TICKBAY_DERIBIT_TICKER_H
#define TICKBAY_DERIBIT_TICKER_H

#include "record.h"

/* The data at `at`, with LITERAL_BEFORE readable bytes before it and the frame's end at `end`, into `quote`, all of which is written;
 * its head is `head` but for time, name and flags. The place behind the closing brace. NULL where it is spelled in another way: it
 * may be right all the same, and what was written does not count. */
const char *deribit_ticker(const char *at, const char *end, const struct record_head *head, struct quote *quote);

/* A quote in which all is absent. */
void deribit_ticker_clear(const struct record_head *head, struct quote *quote);

#endif
