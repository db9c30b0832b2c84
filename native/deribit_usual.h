/* deribit_usual.h: books of Deribit that are spelled as they nearly always are, read faster than by any order of keys. */
#ifndef TICKBAY_DERIBIT_USUAL_H
#define TICKBAY_DERIBIT_USUAL_H

#include <stdbool.h>

#include "record.h"

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

/* The data at `at`, with LITERAL_BEFORE readable bytes before it and the frame's end at `end`, if all its levels fit. The place behind
 * its closing brace. NULL where it is spelled in another way: it may be right all the same, and what was written does not count. */
const char *deribit_usual_book(const char *at, const char *end, struct book_message *message);

#endif
