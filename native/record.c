/* record.c: the fields of every kind, as record.h declares them, for whoever cannot include a header; and what records have in
 * common. */
#include "record.h"

#include <string.h>

/* The type comes from the declaration itself, so that table and struct cannot disagree. Byte arrays that are padding are
 * listed too, as text: every byte of a record belongs to exactly one field. */
#define TYPE(struct_type, member)                                                                                       \
    _Generic(((const struct struct_type *)0)->member, uint8_t: RECORD_U8, uint32_t: RECORD_U32, uint64_t: RECORD_U64, \
             int64_t: RECORD_I64, double: RECORD_F64, const char *: RECORD_TEXT, const uint8_t *: RECORD_TEXT)
#define FIELD(struct_type, member)                                                  \
    { #member, TYPE(struct_type, member), (uint32_t)offsetof(struct struct_type, member), \
      (uint32_t)sizeof(((const struct struct_type *)0)->member) }
#define HEAD                                                                                                  \
    FIELD(record_head, seq), FIELD(record_head, exch_ns), FIELD(record_head, recv_ns), FIELD(record_head, conn), \
        FIELD(record_head, flags), FIELD(record_head, instrument)
#define END { NULL, RECORD_U8, 0, 0 }

static const struct record_field quote_fields[] = {
    HEAD,
    FIELD(quote, bid_price), FIELD(quote, bid_amount), FIELD(quote, ask_price), FIELD(quote, ask_amount),
    FIELD(quote, mark_price), FIELD(quote, index_price), FIELD(quote, underlying_price), FIELD(quote, last_price),
    FIELD(quote, open_interest), FIELD(quote, mark_iv), FIELD(quote, bid_iv), FIELD(quote, ask_iv),
    FIELD(quote, delta), FIELD(quote, gamma), FIELD(quote, vega), FIELD(quote, theta), FIELD(quote, rho),
    FIELD(quote, settlement_price), FIELD(quote, delivery_price), FIELD(quote, estimated_delivery_price),
    FIELD(quote, min_price), FIELD(quote, max_price), FIELD(quote, interest_rate),
    FIELD(quote, high), FIELD(quote, low), FIELD(quote, price_change), FIELD(quote, volume), FIELD(quote, volume_usd),
    FIELD(quote, volume_notional), FIELD(quote, current_funding), FIELD(quote, funding_8h), FIELD(quote, interest_value),
    FIELD(quote, underlying_index), FIELD(quote, state),
    END,
};

static const struct record_field trade_fields[] = {
    HEAD,
    FIELD(trade, trade_seq), FIELD(trade, price), FIELD(trade, amount), FIELD(trade, contracts),
    FIELD(trade, mark_price), FIELD(trade, index_price), FIELD(trade, iv), FIELD(trade, match_id), FIELD(trade, match_ns),
    FIELD(trade, block_trade_leg_count), FIELD(trade, direction), FIELD(trade, tick_direction), FIELD(trade, liquidation),
    FIELD(trade, reserved), FIELD(trade, trade_id), FIELD(trade, block_trade_id), FIELD(trade, block_rfq_id),
    FIELD(trade, combo_id), FIELD(trade, combo_trade_id),
    END,
};

static const struct record_field book_fields[] = {
    HEAD,
    FIELD(book, change_id), FIELD(book, prev_change_id), FIELD(book, price), FIELD(book, amount), FIELD(book, side),
    FIELD(book, action), FIELD(book, reserved),
    END,
};

static const struct record_field gap_fields[] = {
    HEAD,
    FIELD(gap, from_ns), FIELD(gap, to_ns), FIELD(gap, first_missing), FIELD(gap, last_missing), FIELD(gap, count),
    FIELD(gap, cause), FIELD(gap, kind), FIELD(gap, expected), FIELD(gap, healed), FIELD(gap, reserved), FIELD(gap, feed),
    FIELD(gap, detail),
    END,
};

static const struct record_field instrument_fields[] = {
    HEAD,
    FIELD(instrument, instrument_id), FIELD(instrument, strike), FIELD(instrument, contract_size),
    FIELD(instrument, tick_size), FIELD(instrument, min_trade_amount), FIELD(instrument, maker_commission),
    FIELD(instrument, taker_commission), FIELD(instrument, block_trade_commission),
    FIELD(instrument, block_trade_min_trade_amount), FIELD(instrument, block_trade_tick_size),
    FIELD(instrument, max_leverage), FIELD(instrument, max_liquidation_commission), FIELD(instrument, creation_ns), FIELD(instrument, expiration_ns),
    FIELD(instrument, kind), FIELD(instrument, is_active), FIELD(instrument, reserved), FIELD(instrument, option_type),
    FIELD(instrument, instrument_type), FIELD(instrument, state), FIELD(instrument, settlement_period),
    FIELD(instrument, base_currency), FIELD(instrument, quote_currency), FIELD(instrument, counter_currency),
    FIELD(instrument, settlement_currency), FIELD(instrument, price_index),
    FIELD(instrument, tick_size_steps), FIELD(instrument, legs), FIELD(instrument, more),
    END,
};

static const struct record_field status_fields[] = {
    HEAD,
    FIELD(status, frames), FIELD(status, bytes), FIELD(status, quotes), FIELD(status, trades), FIELD(status, books),
    FIELD(status, bbos), FIELD(status, indices), FIELD(status, marks), FIELD(status, fundings), FIELD(status, depths),
    FIELD(status, undecodable), FIELD(status, overflows), FIELD(status, gaps), FIELD(status, reconnects),
    FIELD(status, channels_asked), FIELD(status, channels_live), FIELD(status, clock_offset_ns),
    FIELD(status, clock_error_ns), FIELD(status, state), FIELD(status, reserved), FIELD(status, process),
    END,
};

static const struct record_field bbo_fields[] = {
    HEAD,
    FIELD(bbo, bid_price), FIELD(bbo, bid_amount), FIELD(bbo, ask_price), FIELD(bbo, ask_amount),
    END,
};

static const struct record_field index_fields[] = {
    HEAD,
    FIELD(index, value), FIELD(index, remaining_s), FIELD(index, measure), FIELD(index, is_estimated), FIELD(index, reserved),
    END,
};

static const struct record_field mark_fields[] = {
    HEAD,
    FIELD(mark, mark_price), FIELD(mark, mark_iv), FIELD(mark, price_index),
    END,
};

static const struct record_field funding_fields[] = {
    HEAD,
    FIELD(funding, interest), FIELD(funding, index_price),
    END,
};

static const struct record_field depth_fields[] = {
    HEAD,
    FIELD(depth, change_id), FIELD(depth, price), FIELD(depth, amount), FIELD(depth, price_group), FIELD(depth, side),
    FIELD(depth, level), FIELD(depth, levels_max), FIELD(depth, reserved),
    END,
};

static const struct {
    const char *name;
    uint32_t size; /* bytes */
    const struct record_field *fields;
} kinds[RECORD_KIND_COUNT] = {
    [RECORD_QUOTE] = {"quote", sizeof(struct quote), quote_fields},
    [RECORD_TRADE] = {"trade", sizeof(struct trade), trade_fields},
    [RECORD_BOOK] = {"book", sizeof(struct book), book_fields},
    [RECORD_GAP] = {"gap", sizeof(struct gap), gap_fields},
    [RECORD_INSTRUMENT] = {"instrument", sizeof(struct instrument), instrument_fields},
    [RECORD_STATUS] = {"status", sizeof(struct status), status_fields},
    [RECORD_BBO] = {"bbo", sizeof(struct bbo), bbo_fields},
    [RECORD_INDEX] = {"index", sizeof(struct index), index_fields},
    [RECORD_MARK] = {"mark", sizeof(struct mark), mark_fields},
    [RECORD_FUNDING] = {"funding", sizeof(struct funding), funding_fields},
    [RECORD_DEPTH] = {"depth", sizeof(struct depth), depth_fields},
};

/* Whether a number, which may come from a file, is a kind. */
static int is_kind(enum record_kind kind)
{
    return (uint32_t)kind >= 1 && (uint32_t)kind < RECORD_KIND_COUNT;
}

const struct record_field *record_fields(enum record_kind kind)
{
    return is_kind(kind) ? kinds[kind].fields : NULL;
}

const char *record_name(enum record_kind kind)
{
    return is_kind(kind) ? kinds[kind].name : NULL;
}

uint32_t record_size(enum record_kind kind)
{
    return is_kind(kind) ? kinds[kind].size : 0;
}

/* FNV-1a, 64 bits: http://www.isthe.com/chongo/tech/comp/fnv/ */
static uint64_t fnv1a(uint64_t hash, uint8_t byte)
{
    return (hash ^ byte) * UINT64_C(0x100000001b3);
}

static uint64_t fnv1a_u32(uint64_t hash, uint32_t number)
{
    for (int shift = 0; shift < 32; shift += 8)
        hash = fnv1a(hash, (uint8_t)(number >> shift));
    return hash;
}

uint64_t record_layout(enum record_kind kind)
{
    if (!is_kind(kind))
        return 0;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (const struct record_field *field = kinds[kind].fields; field->name != NULL; field++) {
        for (const char *byte = field->name; *byte != '\0'; byte++)
            hash = fnv1a(hash, (uint8_t)*byte);
        hash = fnv1a(hash, 0); /* ends the name, so that "ab" then "c" differs from "a" then "bc" */
        hash = fnv1a_u32(hash, (uint32_t)field->type);
        hash = fnv1a_u32(hash, field->offset);
        hash = fnv1a_u32(hash, field->size);
    }
    return hash;
}

struct record_extent record_extent_of(const void *records, uint32_t size, size_t count)
{
    struct record_extent extent = {.first_ns = INT64_MAX, .last_ns = INT64_MIN, .all_flags = UINT32_MAX};
    const unsigned char *record = records;
    for (size_t i = 0; i < count; i++, record += size) {
        int64_t exch_ns;
        uint32_t flags;
        memcpy(&exch_ns, record + offsetof(struct record_head, exch_ns), sizeof exch_ns);
        memcpy(&flags, record + offsetof(struct record_head, flags), sizeof flags);
        extent.first_ns = exch_ns < extent.first_ns ? exch_ns : extent.first_ns;
        extent.last_ns = exch_ns > extent.last_ns ? exch_ns : extent.last_ns;
        extent.any_flags |= flags;
        extent.all_flags &= flags;
    }
    return extent;
}
