/* deribit_usual.h: messages of Deribit that are spelled as they nearly always are, read faster than by any order of keys. */
#ifndef TICKBAY_DERIBIT_USUAL_H
#define TICKBAY_DERIBIT_USUAL_H

#include <stdbool.h>

#include "record.h"

/* All of these take the data at `at`, with LITERAL_BEFORE readable bytes before it and the frame's end at `end`, and return the place
 * behind its closing brace. NULL where it is spelled in another way: it may be right all the same, and what was written does not
 * count. */

/* An option's ticker into `quote`, whose fields hold what absent means. */
const char *deribit_usual_ticker(const char *at, const char *end, struct quote *quote);

enum book_type { BOOK_TYPE_SNAPSHOT = 1, BOOK_TYPE_CHANGE = 2 };

/* A book message while it is read. Levels go to their records at once; what all have in common comes at the end. */
struct book_message {
    struct record_head head;
    uint64_t change_id, prev_change_id;
    struct book *books;
    uint64_t max;   /* records that fit */
    uint64_t count; /* levels read, also those that do not fit */
    uint8_t type;   /* enum book_type */
};

/* A book whose levels all fit. */
const char *deribit_usual_book(const char *at, const char *end, struct book_message *message);

#endif
