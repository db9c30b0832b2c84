"""Which field of a record goes to which column of which table: the one list behind the COPY plans, the check of the
schema and the check that schema/README.md explains every column.

The columns are in the order of schema/timescale/002_records.sql; QuestDB's are derived from them (questdb_columns.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from tickbay import _native
from tickbay._native import PgcopyColumn, PgcopyPlan
from tickbay.gap import Cause
from tickbay.record import DTYPES, FeedState, Flag, Kind

PLANS_MAX = 512  # one for each table, stream and epoch in use; each keeps room for its rows, up to 256 KB


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name, how it is encoded, and the record's field. `words` of an enumeration begin at 0."""

    name: str
    type: int
    field: str = ""
    words: tuple[str, ...] = ()
    flag: int = 0  # one of record.Flag


@dataclass(frozen=True, slots=True)
class Table:
    """A table and the records that belong in it: those of `kind` whose flags & mask == value."""

    name: str
    kind: Kind
    columns: tuple[Column, ...]
    mask: int = 0  # of record.Flag
    value: int = 0
    cut: bool = True  # by day, so its ts must be sane (TIME-1)


# What the database calls each encoding; the schema's test compares.
SQL_TYPES = {
    _native.PGCOPY_INT8_U64: "bigint",
    _native.PGCOPY_INT8_U64_NULL0: "bigint",
    _native.PGCOPY_INT8_U32: "bigint",
    _native.PGCOPY_INT4_U32: "integer",
    _native.PGCOPY_INT4_U32_NULL0: "integer",
    _native.PGCOPY_INT2_U8: "smallint",
    _native.PGCOPY_FLOAT8: "double precision",
    _native.PGCOPY_TIMESTAMPTZ: "timestamp with time zone",
    _native.PGCOPY_TEXT: "text",
    _native.PGCOPY_BOOL_U8: "boolean",
    _native.PGCOPY_BOOL_FLAG: "boolean",
    _native.PGCOPY_ENUM_U8: "text",
    _native.PGCOPY_CONST_TEXT: "text",
    _native.PGCOPY_CONST_INT4: "integer",
}

# Words of record.h's enumerations; an empty word is NULL.
KIND_WORDS = ("", *(kind.name.lower() for kind in Kind))
CAUSE_WORDS = ("", *(cause.name.lower() for cause in Cause))
STATE_WORDS = ("", *(state.name.lower() for state in FeedState))
DIRECTION_WORDS = ("", "buy", "sell")
LIQUIDATION_WORDS = ("", "maker", "taker", "both")
SIDE_WORDS = ("", "bid", "ask")
ACTION_WORDS = ("", "new", "change", "delete")
MEASURE_WORDS = ("", "price", "volatility", "delivery")
INSTRUMENT_WORDS = ("", "option", "future", "perpetual", "spot", "option_combo", "future_combo")


def _columns(type: int, names: str) -> tuple[Column, ...]:
    """Columns that are called as their fields."""
    return tuple(Column(name, type, name) for name in names.split())


def _flag(name: str, flag: Flag) -> Column:
    return Column(name, _native.PGCOPY_BOOL_FLAG, "flags", flag=flag)


def _words(name: str, words: tuple[str, ...]) -> Column:
    return Column(name, _native.PGCOPY_ENUM_U8, name, words)


def _reals(names: str) -> tuple[Column, ...]:
    return _columns(_native.PGCOPY_FLOAT8, names)


def _texts(names: str) -> tuple[Column, ...]:
    return _columns(_native.PGCOPY_TEXT, names)


def _counts(names: str) -> tuple[Column, ...]:
    return _columns(_native.PGCOPY_INT8_U64, names)


def _numbers(names: str) -> tuple[Column, ...]:
    """Integers whose 0 means that they are not known."""
    return _columns(_native.PGCOPY_INT8_U64_NULL0, names)


def _time(name: str, field: str) -> Column:
    return Column(name, _native.PGCOPY_TIMESTAMPTZ, field)


# Every table begins with these. (stream, epoch, seq) is what a row is called for ever.
_ORIGIN = (
    _time("ts", "exch_ns"),
    *_counts("exch_ns recv_ns"),
    Column("stream", _native.PGCOPY_CONST_TEXT),
    Column("epoch", _native.PGCOPY_CONST_INT4),
    *_counts("seq"),
    *_columns(_native.PGCOPY_INT8_U32, "conn"),
)
_HEAD = (*_ORIGIN, *_texts("instrument"))
_HEALED = _flag("healed", Flag.HEALED)
_MESSAGE_END = _flag("message_end", Flag.LAST)

_QUOTE = (
    *_HEAD,
    _HEALED,
    *_reals(
        "bid_price bid_amount ask_price ask_amount mark_price index_price underlying_price last_price open_interest"
    ),
    *_reals(
        "mark_iv bid_iv ask_iv delta gamma vega theta rho settlement_price delivery_price estimated_delivery_price"
    ),
    *_reals("min_price max_price interest_rate high low price_change volume volume_usd volume_notional"),
    *_reals("current_funding funding_8h interest_value"),
    *_texts("underlying_index state"),
)
_TRADE = (
    *_HEAD,
    _HEALED,
    _MESSAGE_END,
    *_counts("trade_seq"),
    *_reals("price amount contracts mark_price index_price iv"),
    *_numbers("match_id match_ns"),
    *_columns(_native.PGCOPY_INT4_U32_NULL0, "block_trade_leg_count"),
    _words("direction", DIRECTION_WORDS),
    *_columns(_native.PGCOPY_INT2_U8, "tick_direction"),
    _words("liquidation", LIQUIDATION_WORDS),
    *_texts("trade_id block_trade_id block_rfq_id combo_id combo_trade_id"),
)
_BOOK = (
    *_HEAD,
    _HEALED,
    _flag("snapshot", Flag.SNAPSHOT),
    _MESSAGE_END,
    *_counts("change_id"),
    *_numbers("prev_change_id"),
    *_reals("price amount"),
    _words("side", SIDE_WORDS),
    _words("action", ACTION_WORDS),
)
_BBO = (*_HEAD, *_reals("bid_price bid_amount ask_price ask_amount"))
_INDEX = (
    *_HEAD,  # the instrument is the index
    _words("measure", MEASURE_WORDS),
    *_reals("value remaining_s"),
    *_columns(_native.PGCOPY_BOOL_U8, "is_estimated"),
)
_MARK = (*_HEAD, _MESSAGE_END, *_texts("price_index"), *_reals("mark_price mark_iv"))
_FUNDING = (*_HEAD, *_reals("interest index_price"))
_DEPTH = (
    *_HEAD,
    _MESSAGE_END,
    *_counts("change_id"),
    *_reals("price_group"),
    *_columns(_native.PGCOPY_INT2_U8, "levels_max"),
    _words("side", SIDE_WORDS),
    *_columns(_native.PGCOPY_INT2_U8, "level"),
    *_reals("price amount"),
)
_GAP = (
    *_HEAD,
    *_numbers("from_ns to_ns"),
    _time("to_ts", "to_ns"),
    *_numbers("first_missing last_missing count"),
    _words("cause", CAUSE_WORDS),
    _words("kind", KIND_WORDS),
    *_columns(_native.PGCOPY_BOOL_U8, "expected healed"),
    *_texts("feed detail"),
)
_STATUS = (
    *_ORIGIN,
    *_texts("process"),
    _words("state", STATE_WORDS),
    *_counts("frames bytes quotes trades books bbos indices marks fundings depths"),
    *_counts("undecodable overflows gaps reconnects"),
    *_columns(_native.PGCOPY_INT8_U32, "channels_asked channels_live"),
    *_numbers("clock_offset_ns clock_error_ns"),
)
_INSTRUMENT = (
    *_HEAD,
    *_numbers("instrument_id"),
    _words("kind", INSTRUMENT_WORDS),
    *_columns(_native.PGCOPY_BOOL_U8, "is_active"),
    *_texts("state"),
    *_reals("strike"),
    *_texts("option_type"),
    _time("expiration", "expiration_ns"),
    *_numbers("expiration_ns"),
    _time("creation", "creation_ns"),
    *_numbers("creation_ns"),
    *_reals("contract_size tick_size min_trade_amount maker_commission taker_commission"),
    *_reals("block_trade_commission block_trade_min_trade_amount block_trade_tick_size"),
    *_reals("max_leverage max_liquidation_commission"),
    *_texts(
        "instrument_type settlement_period base_currency quote_currency counter_currency settlement_currency"
        " price_index tick_size_steps legs more"
    ),
)

TABLES = (
    Table("option_quotes", Kind.QUOTE, _QUOTE, Flag.OPTION, Flag.OPTION),
    Table("delta_one_quotes", Kind.QUOTE, _QUOTE, Flag.OPTION),
    Table("option_trades", Kind.TRADE, _TRADE, Flag.OPTION, Flag.OPTION),
    Table("delta_one_trades", Kind.TRADE, _TRADE, Flag.OPTION),
    Table("book_changes", Kind.BOOK, _BOOK),
    Table("bbo_quotes", Kind.BBO, _BBO),
    Table("index_values", Kind.INDEX, _INDEX),
    Table("mark_prices", Kind.MARK, _MARK),
    Table("perpetual_funding", Kind.FUNDING, _FUNDING),
    Table("depth_levels", Kind.DEPTH, _DEPTH),
    Table("collector_status", Kind.STATUS, _STATUS),
    Table("data_gaps", Kind.GAP, _GAP, cut=False),
    Table("instruments", Kind.INSTRUMENT, _INSTRUMENT, cut=False),
)
CUT_TABLES = tuple(table.name for table in TABLES if table.cut)


@lru_cache(maxsize=PLANS_MAX)
def plan(table: Table, stream: str, epoch: int) -> PgcopyPlan:
    """How records of `stream` and `epoch` become rows of `table`."""
    return PgcopyPlan(table.kind, [_encoded(column, table.kind, stream, epoch) for column in table.columns])


def _encoded(column: Column, kind: Kind, stream: str, epoch: int) -> PgcopyColumn:
    if column.type == _native.PGCOPY_CONST_TEXT:
        return PgcopyColumn(column.type, constant=stream.encode())
    if column.type == _native.PGCOPY_CONST_INT4:
        return PgcopyColumn(column.type, argument=epoch)
    fields = DTYPES[kind].fields
    assert fields is not None
    dtype, offset = fields[column.field][:2]
    return PgcopyColumn(
        column.type,
        offset=offset,
        width=dtype.itemsize,
        argument=column.flag,
        words=tuple(word.encode() for word in column.words),
    )
