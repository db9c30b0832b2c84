"""The views: what people asked of the older collector, answered from our tables, with real rows in them."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from servers.postgres import fresh_database
from tickbay.config import Timescale
from tickbay.gap import Cause, Gap
from tickbay.record import Flag, Kind, Records, blank, set_text, stream_name
from tickbay.sinks.connection import conninfo_of
from tickbay.sinks.sink import Chunk
from tickbay.sinks.timescale import TimescaleSink

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
OPTION, LINEAR, PERPETUAL, FUTURE = "ETH-27MAR26-2500-C", "ETH_USDC-27MAR26-2500-C", "ETH-PERPETUAL", "ETH-27MAR26"
EXPIRY = datetime(2026, 3, 27, 8, tzinfo=UTC)


def ns(when: datetime) -> int:
    return int(when.timestamp()) * 10**9


def record(of: Kind, instrument: str, second: float, /, **values: Any) -> Records:
    """One record, `second` after noon."""
    made = blank(of)
    set_text(made, "instrument", instrument)
    made["exch_ns"] = made["recv_ns"] = ns(NOON) + int(second * 10**9)
    for name, value in values.items():
        if isinstance(value, str):
            set_text(made, name, value)
        else:
            made[name] = value
    return made


def trade(instrument: str, second: float, trade_seq: int, price: float, amount: float, **values: Any) -> Records:
    flags = Flag.OPTION if "iv" in values else Flag(0)
    return record(
        Kind.TRADE, instrument, second, trade_seq=trade_seq, price=price, amount=amount, flags=flags, direction=1,
        trade_id=f"ETH-{trade_seq}", **values,
    )  # fmt: skip


def quote(instrument: str, second: float, **values: Any) -> Records:
    return record(Kind.QUOTE, instrument, second, flags=Flag.OPTION if "delta" in values else Flag(0), **values)


def instruments() -> list[Records]:
    def one(name: str, kind: int, type: str, index: str, **values: Any) -> Records:
        return record(
            Kind.INSTRUMENT,
            name,
            -3600,
            kind=kind,
            instrument_type=type,
            base_currency="ETH",
            price_index=index,
            **values,
        )

    expiry = {"expiration_ns": ns(EXPIRY)}
    return [
        one(OPTION, 1, "reversed", "eth_usd", strike=2400.0, option_type="put", **expiry),
        one(OPTION, 1, "reversed", "eth_usd", strike=2500.0, option_type="call", **expiry),  # a newer version
        one(LINEAR, 1, "linear", "eth_usdc", strike=2500.0, option_type="call", **expiry),
        one(PERPETUAL, 3, "reversed", "eth_usd"),
        one(FUTURE, 2, "linear", "eth_usd", **expiry),
        one("ETH-FS-27MAR26_PERP", 6, "reversed", "eth_usd"),
    ]


@pytest.fixture(params=["postgres_server", "timescale_server"])
def settings(request: pytest.FixtureRequest) -> Timescale:
    return fresh_database(request.getfixturevalue(request.param))


def store(settings: Timescale, kind: Kind, records: list[Records]) -> None:
    """The records in their order, as one stream."""
    joined = blank(kind, len(records))
    for index, one in enumerate(records):
        joined[index] = one[0]
    joined["seq"] = range(1, len(records) + 1)
    stream = stream_name("feed-1", kind)
    with closing(TimescaleSink(settings)) as sink:
        sink.open([stream])
        committed = sink.commit([Chunk(stream, kind, 1, joined)])
    assert committed.quarantined == 0


def view(settings: Timescale, name: str, where: str = "true") -> list[dict[str, Any]]:
    with psycopg.connect(
        conninfo_of(settings), row_factory=dict_row, options="-c timezone=Asia/Kathmandu"
    ) as connection:
        return connection.execute(f"SELECT * FROM {name} WHERE {where} ORDER BY 1, 2").fetchall()


def test_eth_option_quotes_are_every_tick_of_coin_settled_eth_options(settings: Timescale) -> None:
    store(
        settings,
        Kind.QUOTE,
        [
            quote(OPTION, 1, delta=0.5, bid_price=0.05, bid_amount=10.0, underlying_price=2510.5, mark_price=0.0512),
            quote(OPTION, 1, delta=0.5, ask_price=0.0525, ask_amount=3.0),
            quote(LINEAR, 1, delta=0.5, bid_price=120.0),
            quote("BTC-27MAR26-90000-C", 1, delta=0.5, bid_price=0.1),
            quote(PERPETUAL, 1, bid_price=2500.0),
        ],
    )
    assert view(settings, "eth_option_quotes") == [
        {
            "timestamp": NOON + timedelta(seconds=1),
            "instrument": OPTION,
            "bid_price": 0.05,
            "bid_size": 10.0,
            "ask_price": None,
            "ask_size": None,
            "underlying_price": 2510.5,
            "mark_price": 0.0512,
        },
        {
            "timestamp": NOON + timedelta(seconds=1),
            "instrument": OPTION,
            "bid_price": None,
            "bid_size": None,
            "ask_price": 0.0525,
            "ask_size": 3.0,
            "underlying_price": None,
            "mark_price": None,
        },
    ]


def test_eth_option_trades_are_each_trade_once(settings: Timescale) -> None:
    twice = trade(OPTION, 2, 7, 0.06, 5.0, iv=61.5, index_price=2500.25)
    store(
        settings,
        Kind.TRADE,
        [twice, twice, trade(LINEAR, 2, 1, 120.0, 1.0, iv=60.0), trade(PERPETUAL, 2, 1, 2500.0, 10.0)],
    )
    assert view(settings, "eth_option_trades") == [
        {
            "timestamp": NOON + timedelta(seconds=2),
            "instrument": OPTION,
            "trade_id": "ETH-7",
            "price": 0.06,
            "size": 5.0,
            "side": "buy",
            "iv": 61.5,
            "underlying_price": 2500.25,
        }
    ]


def test_candles_go_by_the_venues_sequence_and_count_a_repeated_trade_once(settings: Timescale) -> None:
    """TIME-1: open and close are the first and last by trade_seq, whatever the clocks say."""
    store(settings, Kind.INSTRUMENT, instruments())
    store(
        settings,
        Kind.TRADE,
        [
            trade(PERPETUAL, 1.0, 12, 2000.0, 4000.0),  # came first, with the earlier time, but is the later trade
            trade(PERPETUAL, 1.5, 11, 2500.0, 5000.0),
            trade(PERPETUAL, 1.0, 12, 2000.0, 4000.0),
            trade(PERPETUAL, 59.999, 13, 1000.0, 1000.0),
            trade(PERPETUAL, 60.0, 14, 1250.0, 2500.0),
            trade(FUTURE, 5, 1, 2600.0, 3.0),
            trade("ETH-FS-27MAR26_PERP", 5, 1, 100.0, 3.0),
            trade("ETH-NOBODY-KNOWS", 5, 1, 100.0, 3.0),
        ],
    )
    first = {"timestamp": NOON, "instrument": PERPETUAL}
    assert view(settings, "perpetuals_ohlcv") == [
        # Inverse: amounts are USD, so 5000/2500 + 4000/2000 + 1000/1000 coins.
        first | {"open": 2500.0, "high": 2500.0, "low": 1000.0, "close": 1000.0, "volume": 5.0},
        first
        | {"timestamp": NOON + MINUTE, "open": 1250.0, "high": 1250.0, "low": 1250.0, "close": 1250.0, "volume": 2.0},
    ]
    assert len(view(settings, "perpetuals_ohlcv", "timestamp > '2026-03-02 12:00Z'")) == 1
    assert view(settings, "futures_ohlcv") == [
        {"timestamp": NOON, "instrument": FUTURE, "expiry_date": date(2026, 3, 27), "open": 2600.0, "high": 2600.0}
        | {"low": 2600.0, "close": 2600.0, "volume": 3.0}
    ]


def test_option_candles_have_the_contract_and_the_last_implied_volatility(settings: Timescale) -> None:
    store(settings, Kind.INSTRUMENT, instruments())
    store(
        settings,
        Kind.TRADE,
        [
            trade(OPTION, 10, 1, 0.05, 10.0, iv=60.0),
            trade(OPTION, 20, 2, 0.07, 5.0, iv=62.0),
            trade(OPTION, 30, 3, 0.06, 1.0, iv=61.0),
        ],
    )
    assert view(settings, "options_ohlcv") == [
        {
            "timestamp": NOON,
            "instrument": OPTION,
            "strike": 2500.0,
            "expiry_date": date(2026, 3, 27),
            "option_type": "call",
            "open": 0.05,
            "high": 0.07,
            "low": 0.05,
            "close": 0.06,
            "volume": 16.0,
            "implied_volatility": 0.61,
        }
    ]


def test_greeks_funding_and_index_are_the_last_of_each_minute(settings: Timescale) -> None:
    store(settings, Kind.INSTRUMENT, instruments())
    greeks = {"gamma": 0.001, "vega": 2.0, "theta": -1.5, "rho": 0.1}
    store(
        settings,
        Kind.QUOTE,
        [
            quote(OPTION, 1, delta=0.4, index_price=2490.0, **greeks),
            quote(OPTION, 58, delta=0.5, index_price=2500.0, **greeks),
            quote(PERPETUAL, 59, funding_8h=0.0001, index_price=2501.0),
            quote(LINEAR, 59.5, delta=0.6, index_price=9999.0, **greeks),  # of another index
            quote(PERPETUAL, 61, funding_8h=0.0002, index_price=2502.0),
            quote(FUTURE, 62, index_price=2503.0),
        ],
    )
    assert view(settings, "options_greeks", f"instrument = '{OPTION}'") == [
        {"timestamp": NOON, "instrument": OPTION, "delta": 0.5} | greeks
    ]
    assert [tuple(row.values()) for row in view(settings, "funding_rates")] == [
        (NOON, PERPETUAL, 0.0001),
        (NOON + MINUTE, PERPETUAL, 0.0002),
    ]
    assert [tuple(row.values()) for row in view(settings, "index_prices")] == [
        (NOON, "ETH", 2501.0),
        (NOON + MINUTE, "ETH", 2503.0),
    ]


def test_instruments_have_a_history_and_a_present(settings: Timescale) -> None:
    older, newer = instruments()[:2]
    newer["exch_ns"] += 10**9
    store(settings, Kind.INSTRUMENT, [older, newer])
    (current,) = view(settings, "instruments_current")
    assert (current["instrument"], current["strike"], current["expiration"]) == (OPTION, 2500.0, EXPIRY)
    history = view(settings, "instrument_history")
    since = NOON - timedelta(hours=1)
    assert [(row["valid_from"], row["valid_to"], row["strike"]) for row in history] == [
        (since, since + timedelta(seconds=1), 2400.0),
        (since + timedelta(seconds=1), None, 2500.0),
    ]


def test_a_gap_told_twice_is_one(settings: Timescale) -> None:
    start = ns(NOON)
    lasting = Gap(cause=Cause.DISCONNECT, from_ns=start)
    ended = Gap(cause=Cause.DISCONNECT, from_ns=start, to_ns=start + 90 * 10**9)
    other = Gap(cause=Cause.SEQUENCE, from_ns=start, kind=Kind.BOOK, instrument=OPTION)
    unknown = Gap(cause=Cause.JOURNAL_TORN, from_ns=0, to_ns=start)
    store(settings, Kind.GAP, [gap.record(recv_ns=start, conn=1) for gap in (lasting, other, ended, unknown)])
    found = {row["cause"]: row for row in view(settings, "gaps")}
    assert len(found) == 3
    assert (found["disconnect"]["open"], found["disconnect"]["duration"]) == (False, timedelta(seconds=90))
    assert (found["sequence"]["open"], found["sequence"]["instrument"]) == (True, OPTION)
    assert found["journal_torn"]["from_ts"] is None


def test_a_condition_on_the_minute_is_one_on_the_index(postgres_server: Any) -> None:
    """A view over months must not read months for one hour."""
    settings = fresh_database(postgres_server)
    store(settings, Kind.TRADE, [trade(PERPETUAL, 1, 1, 2500.0, 1.0)])
    with psycopg.connect(conninfo_of(settings)) as connection:
        connection.execute("SET enable_seqscan = off")
        plan = connection.execute(
            "EXPLAIN SELECT * FROM perpetuals_ohlcv"
            " WHERE timestamp >= '2026-03-02 12:00Z' AND timestamp < '2026-03-02 13:00Z'"
        ).fetchall()
    assert any("Index Cond" in line and "date_bin" in line for (line,) in plan)
