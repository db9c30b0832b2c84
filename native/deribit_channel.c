/* deribit_channel.c: names of channels, taken apart at their dots. No name of an instrument or index has one. */
#include "deribit_channel.h"

#include <math.h>
#include <string.h>

enum { PARTS_MAX = 4 }; /* of a name, behind its prefix */

struct part {
    const char *text;
    size_t length;
};

static const struct prefix {
    const char *text;
    enum message message;
    enum index_measure measure;
    int parts; /* behind it, between dots */
} prefixes[] = {
    {"quote.", MESSAGE_BBO, 0, 1},
    {"deribit_price_index.", MESSAGE_INDEX, INDEX_PRICE, 1},
    {"deribit_volatility_index.", MESSAGE_INDEX, INDEX_VOLATILITY, 1},
    {"estimated_expiration_price.", MESSAGE_INDEX, INDEX_DELIVERY, 1},
    {"markprice.options.", MESSAGE_MARK, 0, 1},
    {"perpetual.", MESSAGE_FUNDING, 0, 2},
    {"book.", MESSAGE_DEPTH, 0, 4},
};

/* The text's parts between dots; how many there are, also beyond `max`. */
static int split(const char *text, size_t length, struct part *parts, int max)
{
    int count = 0;
    for (const char *end = text + length;; count++) {
        const char *dot = memchr(text, '.', (size_t)(end - text));
        const char *stop = dot != NULL ? dot : end;
        if (count < max)
            parts[count] = (struct part){text, (size_t)(stop - text)};
        if (dot == NULL)
            return count + 1;
        text = dot + 1;
    }
}

/* A whole number of one to nine digits; 0 for anything else. */
static unsigned long whole_number(const struct part *part)
{
    unsigned long number = 0;
    if (part->length > 9)
        return 0;
    for (size_t i = 0; i < part->length; i++) {
        if (part->text[i] < '0' || part->text[i] > '9')
            return 0;
        number = 10 * number + (unsigned long)(part->text[i] - '0');
    }
    return number;
}

/* {instrument}.{group}.{depth}.{interval} */
static int read_window(const struct part *parts, struct deribit_channel *channel)
{
    unsigned long levels = whole_number(&parts[2]);
    unsigned long group = whole_number(&parts[1]);
    int ungrouped = parts[1].length == 4 && memcmp(parts[1].text, "none", 4) == 0;
    if (levels == 0 || levels > UINT8_MAX || (group == 0 && !ungrouped))
        return 0;
    channel->levels_max = (uint8_t)levels;
    channel->price_group = ungrouped ? NAN : (double)group;
    return 1;
}

void deribit_channel(const char *name, size_t length, struct deribit_channel *channel)
{
    struct part parts[PARTS_MAX];
    *channel = (struct deribit_channel){.message = MESSAGE_UNKNOWN, .price_group = NAN};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        const struct prefix *prefix = &prefixes[i];
        size_t before = strlen(prefix->text);
        if (length <= before || memcmp(name, prefix->text, before) != 0)
            continue;
        if (split(name + before, length - before, parts, PARTS_MAX) != prefix->parts || parts[0].length == 0)
            return;
        if (prefix->message == MESSAGE_DEPTH && !read_window(parts, channel))
            return;
        channel->message = prefix->message;
        channel->measure = prefix->measure;
        channel->subject = parts[0].text;
        channel->subject_length = parts[0].length;
        return;
    }
}

int deribit_subject(const struct deribit_channel *channel, char *field, size_t width)
{
    if (channel->subject_length > width || memchr(channel->subject, '\0', channel->subject_length) != NULL)
        return 0;
    memset(field, 0, width);
    memcpy(field, channel->subject, channel->subject_length);
    return 1;
}
