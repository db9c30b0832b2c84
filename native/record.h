/* record.h: the records that a feed writes and everything else only copies.
 *
 * The one source of truth for their layout: record.c lists the fields for Python (numpy dtypes), the journal stores
 * them as they are, and the sinks encode from them. Little-endian, every field naturally aligned, sizes a multiple of 8.
 *
 * Times are nanoseconds since 1970-01-01 UTC; 0 means "not known". Absent numbers are NaN. Text is UTF-8, padded with
 * NUL to the width of its field; text that fills its field has no terminator. Text that does not fit is refused, never cut.
 */
#ifndef TICKBAY_RECORD_H
#define TICKBAY_RECORD_H

#include <stddef.h>
#include <stdint.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "records are little-endian in memory, on disk and between processes"
#endif

enum record_kind {
    RECORD_QUOTE = 1,      /* one ticker message: best prices, mark, Greeks */
    RECORD_TRADE = 2,      /* one trade */
    RECORD_BOOK = 3,       /* one change of one price level */
    RECORD_GAP = 4,        /* one known hole in what was captured */
    RECORD_INSTRUMENT = 5, /* one version of one instrument's reference data */
    RECORD_STATUS = 6,     /* one heartbeat of one feed: proof that it was capturing */
    RECORD_BBO = 7,        /* one change of the best bid and offer */
    RECORD_INDEX = 8,      /* one value of one index: its price, its volatility or its estimated delivery price */
    RECORD_MARK = 9,       /* the mark of one option, out of a message that has those of all options of an index */
    RECORD_FUNDING = 10,   /* the interest of one perpetual */
    RECORD_DEPTH = 11,     /* one price level of a window onto the best levels of a book */
    RECORD_KIND_COUNT = 12, /* kinds run from 1 to this, exclusive */
};

/* The longest name seen is 44 bytes (a combo); a longer one than this is refused and counted. */
#define RECORD_INSTRUMENT_MAX 48

enum record_flag {
    RECORD_SNAPSHOT = 1u << 0, /* book: part of a whole book, which replaces what was known of it */
    RECORD_LAST = 1u << 1,     /* book, trade, mark, depth: the last record of its message */
    RECORD_OPTION = 1u << 2,   /* quote, trade: the instrument is an option (the message has Greeks or iv) */
    RECORD_HEALED = 1u << 3,   /* fetched afterwards, not captured live */
};

/* What every record begins with. */
struct record_head {
    uint64_t seq;    /* position in its stream, gapless from 1; set by ring_publish() */
    int64_t exch_ns; /* the venue's time */
    int64_t recv_ns; /* our clock, read once per frame before it is decoded */
    uint32_t conn;   /* connection epoch: grows with each connection of the feed */
    uint32_t flags;  /* enum record_flag */
    char instrument[RECORD_INSTRUMENT_MAX];
};

struct quote {
    struct record_head head;
    double bid_price, bid_amount; /* NaN while that side of the book is empty */
    double ask_price, ask_amount;
    double mark_price, index_price, underlying_price, last_price;
    double open_interest;
    double mark_iv, bid_iv, ask_iv; /* percent a year */
    double delta, gamma, vega, theta, rho;
    double settlement_price, delivery_price, estimated_delivery_price;
    double min_price, max_price; /* the venue's price band */
    double interest_rate;        /* a fraction a year */
    double high, low, price_change, volume, volume_usd, volume_notional; /* last 24 hours; price_change in percent */
    double current_funding, funding_8h, interest_value; /* perpetuals */
    char underlying_index[32];
    char state[16]; /* the venue's word, an open set: open, settlement, … */
};

enum trade_direction { TRADE_BUY = 1, TRADE_SELL = 2 }; /* the taker's side */
enum trade_liquidation { TRADE_LIQUIDATION_NONE = 0, TRADE_LIQUIDATION_MAKER = 1, TRADE_LIQUIDATION_TAKER = 2, TRADE_LIQUIDATION_BOTH = 3 };

struct trade {
    struct record_head head;
    uint64_t trade_seq; /* per instrument, grows by 1 */
    double price, amount, contracts;
    double mark_price, index_price;
    double iv;                  /* percent a year; options */
    uint64_t match_id;          /* the venue's starbase_match_id; 0 when absent */
    int64_t match_ns;           /* the venue's starbase_timestamp; 0 when absent */
    uint32_t block_trade_leg_count;
    uint8_t direction;          /* enum trade_direction */
    uint8_t tick_direction;     /* 0 plus, 1 zero-plus, 2 minus, 3 zero-minus; 255 when absent */
    uint8_t liquidation;        /* enum trade_liquidation */
    uint8_t reserved;           /* 0 */
    char trade_id[32];
    char block_trade_id[32];
    char block_rfq_id[24];
    char combo_id[RECORD_INSTRUMENT_MAX];
    char combo_trade_id[32];
};

enum book_side { BOOK_BID = 1, BOOK_ASK = 2 };
enum book_action { BOOK_NEW = 1, BOOK_CHANGE = 2, BOOK_DELETE = 3 };

struct book {
    struct record_head head;
    uint64_t change_id;
    uint64_t prev_change_id; /* 0 in a snapshot */
    double price;            /* NaN in the only record of an empty snapshot or of a change without levels */
    double amount;           /* 0 for a delete */
    uint8_t side;            /* enum book_side; 0 where price is NaN */
    uint8_t action;          /* enum book_action; 0 where price is NaN */
    uint8_t reserved[6];     /* 0 */
};

struct bbo {
    struct record_head head;
    double bid_price, bid_amount; /* NaN while that side of the book is empty */
    double ask_price, ask_amount;
};

enum index_measure { INDEX_PRICE = 1, INDEX_VOLATILITY = 2, INDEX_DELIVERY = 3 };

struct index {
    struct record_head head; /* instrument: the index, such as eth_usd. A delivery price is sent without a time: recv_ns */
    double value;            /* a price, in the index's quote currency; a volatility, percent a year */
    double remaining_s;      /* delivery: until it is final; otherwise NaN */
    uint8_t measure;         /* enum index_measure */
    uint8_t is_estimated;    /* delivery: 1 while the venue calls it an estimate; otherwise 0 */
    uint8_t reserved[6];     /* 0 */
};

struct mark {
    struct record_head head;
    double mark_price;    /* as in a quote: options of an inverse book in coin */
    double mark_iv;       /* percent a year, as in a quote; sent here as a fraction */
    char price_index[32]; /* whose message it was in: all marks of one instant have the same */
};

struct funding {
    struct record_head head;
    double interest; /* the venue's word: what holding for eight hours costs, a fraction */
    double index_price;
};

struct depth {
    struct record_head head;
    uint64_t change_id;
    double price;      /* NaN in the only record of a window that is empty */
    double amount;
    double price_group; /* the channel's word for gathering levels to multiples of a price; NaN: none */
    uint8_t side;      /* enum book_side; 0 where price is NaN */
    uint8_t level;     /* 1 is the best of its side; 0 where price is NaN */
    uint8_t levels_max; /* the window's size: levels asked for a side */
    uint8_t reserved[5]; /* 0 */
};

/* Why something is missing: a closed list, so that it can be counted. */
enum gap_cause {
    GAP_DISCONNECT = 1,     /* the connection was lost or closed */
    GAP_STALE = 2,          /* the connection stood but a channel, or all of it, was silent for too long */
    GAP_SEQUENCE = 3,       /* a change id or trade sequence did not follow the one before */
    GAP_REFUSED = 4,        /* the venue did not acknowledge a channel that was asked for */
    GAP_UNDECODABLE = 5,    /* a frame could not be decoded; its bytes are in the quarantine file */
    GAP_OVERFLOW = 6,       /* the ring was full: the journal did not keep up */
    GAP_MAINTENANCE = 7,    /* the venue said that it is under maintenance */
    GAP_RESTART = 8,        /* the feed process was not running */
    GAP_JOURNAL_TORN = 9,   /* the journal lost its unsynced tail (power loss, damage) */
    GAP_JOURNAL_QUOTA = 10, /* the journal deleted what a sink had not taken, or could not write, for lack of space */
    GAP_EXPIRED = 11,       /* the instrument ended: nothing more will come */
    GAP_REBALANCE = 12,     /* the instrument moved to another feed */
    GAP_DISAGREEMENT = 13,  /* the book's best prices were not the ticker's, from when they agreed last: something was
                             * lost without breaking the chain, farther back in the book perhaps before that */
};

struct gap {
    struct record_head head; /* instrument empty: all instruments of the stream's feed; exch_ns = from_ns */
    int64_t from_ns;         /* our clock: the last time at which nothing was missing */
    int64_t to_ns;           /* our clock: capture complete again; 0 while it lasts */
    uint64_t first_missing;  /* change id, trade_seq or seq, by cause; 0 when not known */
    uint64_t last_missing;
    uint64_t count;          /* records (overflow, quota) or frames (undecodable) known to be lost; 0 when not known */
    uint8_t cause;           /* enum gap_cause */
    uint8_t kind;            /* enum record_kind that is missing; 0 all kinds */
    uint8_t expected;        /* 1: the venue announced it (maintenance, expiry) */
    uint8_t healed;          /* 1: the missing records were fetched afterwards */
    uint8_t reserved[4];     /* 0 */
    char feed[16];           /* whose hole it is; the healer writes of holes that others found */
    char detail[64];         /* for a person: close code, error, channel */
};

enum instrument_kind {
    INSTRUMENT_OPTION = 1, INSTRUMENT_FUTURE = 2, INSTRUMENT_PERPETUAL = 3,
    INSTRUMENT_SPOT = 4, INSTRUMENT_OPTION_COMBO = 5, INSTRUMENT_FUTURE_COMBO = 6,
};

struct instrument {
    struct record_head head; /* exch_ns: when we first saw this version */
    uint64_t instrument_id;
    double strike, contract_size, tick_size, min_trade_amount, maker_commission, taker_commission;
    double block_trade_commission, block_trade_min_trade_amount, block_trade_tick_size;
    double max_leverage, max_liquidation_commission;
    int64_t creation_ns, expiration_ns; /* 0: none (perpetual, spot) */
    uint8_t kind;                       /* enum instrument_kind */
    uint8_t is_active;
    uint8_t reserved[6];                /* 0 */
    char option_type[8];                /* call, put or empty */
    char instrument_type[16];           /* reversed, linear */
    char state[32];                     /* the venue's word, an open set */
    char settlement_period[16];
    char base_currency[16], quote_currency[16], counter_currency[16], settlement_currency[16];
    char price_index[32];
    char tick_size_steps[384]; /* JSON: [{"above_price":…,"tick_size":…},…]; empty: none */
    char legs[512];            /* JSON: {"instrument":amount,…}, of combos; an amount below 0 is sold; empty: none known */
    char more[512];            /* JSON: what else the venue says of it, by its own keys */
};

enum feed_state { FEED_CONNECTING = 1, FEED_SUBSCRIBING = 2, FEED_LIVE = 3, FEED_WAITING = 4, FEED_STOPPING = 5 };

struct status {
    struct record_head head; /* instrument empty; exch_ns = recv_ns = the time of the heartbeat */
    uint64_t frames, bytes; /* since the feed process started, as all of these */
    uint64_t quotes, trades, books, bbos, indices, marks, fundings, depths; /* records */
    uint64_t undecodable, overflows, gaps, reconnects;
    uint32_t channels_asked, channels_live;
    int64_t clock_offset_ns;                       /* the venue's clock less ours; 0: not known */
    int64_t clock_error_ns;                        /* it lies within so much of that, on either side */
    uint8_t state;                                 /* enum feed_state */
    uint8_t reserved[7];                           /* 0 */
    char process[24];
};

#define RECORD_LAYOUT(type, size) _Static_assert(sizeof(struct type) == (size) && (size) % 8 == 0, #type " has another size")
RECORD_LAYOUT(record_head, 80);
RECORD_LAYOUT(quote, 384);
RECORD_LAYOUT(trade, 328);
RECORD_LAYOUT(book, 120);
RECORD_LAYOUT(gap, 208);
RECORD_LAYOUT(instrument, 1776);
RECORD_LAYOUT(status, 248);
RECORD_LAYOUT(bbo, 112);
RECORD_LAYOUT(index, 104);
RECORD_LAYOUT(mark, 128);
RECORD_LAYOUT(funding, 96);
RECORD_LAYOUT(depth, 120);
_Static_assert(offsetof(struct record_head, seq) == 0, "ring_publish() writes seq at the start of a record");

/* The largest of the records above, for buffers that hold one of any kind. */
#define RECORD_SIZE_MAX 1776

/* A field as Python needs it. Lists of fields end with name == NULL. */
enum record_type { RECORD_U8, RECORD_U32, RECORD_U64, RECORD_I64, RECORD_F64, RECORD_TEXT };
struct record_field {
    const char *name; /* fields of record_head come first, without a prefix */
    enum record_type type;
    uint32_t offset, size; /* bytes */
};

/* Fields, size and layout hash of a kind; NULL / 0 for a number that is no kind.
 * The hash is FNV-1a over the names, types, offsets and sizes: it changes with any change of the layout. */
const struct record_field *record_fields(enum record_kind kind);
const char *record_name(enum record_kind kind);
uint32_t record_size(enum record_kind kind);
uint64_t record_layout(enum record_kind kind);

/* What is known of many records without looking at each: found in one pass, for they may be more than the caches hold. */
struct record_extent {
    int64_t first_ns, last_ns;     /* exch_ns of the earliest and the latest; INT64_MAX and INT64_MIN where there is no record */
    uint32_t any_flags, all_flags; /* those that at least one has; those that all have (every bit where there is none) */
};
struct record_extent record_extent_of(const void *records, uint32_t size, size_t count);

#endif
