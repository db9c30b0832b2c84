"""Volatility and freshness, from QuestDB over its PostgreSQL wire, for who keeps the ticks there."""

from __future__ import annotations

from grafana import QUESTDB, Dashboard, Panel, Query, Variable, against

OPTIONS = """
    SELECT instrument, strike, option_type, expiration
    FROM instruments
    WHERE kind = 'option' AND price_index = '$index'
    LATEST ON ts PARTITION BY instrument"""
LATEST = f"""
WITH options AS ({OPTIONS}
), latest AS (
    SELECT instrument, mark_iv, bid_iv, ask_iv, underlying_price, open_interest
    FROM option_quotes
    WHERE ts BETWEEN dateadd('m', -5, $__timeTo()) AND $__timeTo()
    LATEST ON ts PARTITION BY instrument
), now AS (
    SELECT i.strike strike, i.option_type option_type, i.expiration expiration, q.mark_iv mark_iv, q.bid_iv bid_iv,
           q.ask_iv ask_iv, q.underlying_price underlying_price, q.open_interest open_interest
    FROM latest q JOIN options i ON (instrument)
    WHERE i.expiration > $__timeTo()
)"""
OUT_OF_THE_MONEY = (
    "((option_type = 'call' AND strike >= underlying_price) OR (option_type = 'put' AND strike < underlying_price))"
)
EXPIRY = "to_str(expiration, 'yyyy-MM-dd HH:mm')"
SMILE = f"""{LATEST}
SELECT strike, mark_iv mark, bid_iv bid, ask_iv ask
FROM now
WHERE {EXPIRY} = '$expiry' AND {OUT_OF_THE_MONEY}
ORDER BY strike
"""
TERM = f"""{LATEST}
SELECT datediff('h', $__timeTo(), expiration) / 24.0 days, avg(mark_iv) "at the money"
FROM now
WHERE underlying_price > 0 AND strike / underlying_price > 0.95 AND strike / underlying_price < 1.05
GROUP BY expiration
ORDER BY expiration
"""
OPEN_INTEREST = f"""{LATEST}
SELECT strike, sum(CASE WHEN option_type = 'call' THEN open_interest END) calls,
       sum(CASE WHEN option_type = 'put' THEN open_interest END) puts
FROM now
WHERE {EXPIRY} = '$expiry'
ORDER BY strike
"""
GREEKS = """
SELECT ts time, avg(delta) delta, avg(gamma) gamma, avg(vega) vega, avg(theta) theta
FROM option_quotes
WHERE $__timeFilter(ts) AND instrument = '$instrument'
SAMPLE BY $__interval ALIGN TO CALENDAR
"""
TRADES = """
SELECT ts time, instrument, direction, price, amount, iv, index_price, liquidation, block_trade_id block
FROM option_trades
WHERE $__timeFilter(ts)
ORDER BY ts DESC
LIMIT 100
"""
ROWS = """
SELECT ts time, count() rows FROM option_quotes WHERE $__timeFilter(ts) SAMPLE BY 1m ALIGN TO CALENDAR
"""
TABLES = """
SELECT name, suspended, sequencerTxn - writerTxn waiting, errorMessage FROM wal_tables() ORDER BY name
"""
GAPS = """
SELECT cause, count() gaps, max(ts) newest FROM data_gaps WHERE $__timeFilter(ts) ORDER BY gaps DESC
"""

PANELS = (
    Panel(
        title="Smile of $expiry", kind="xychart", source=QUESTDB, unit="percent", height=10,
        help="Implied volatility by strike, of the options out of the money: mark, best bid, best ask.",
        queries=(Query(SMILE),),
        options=against("strike", "mark", "bid", "ask"),
        custom={"show": "points+lines", "pointSize": {"fixed": 4}},
    ),
    Panel(
        title="Term structure", kind="xychart", source=QUESTDB, unit="percent", height=10,
        help="Mean mark volatility of strikes within 5 % of the underlying, by days to expiry.",
        queries=(Query(TERM),),
        options=against("days", "at the money"),
        custom={"show": "points+lines", "pointSize": {"fixed": 6}},
    ),
    Panel(
        title="Open interest of $expiry", kind="barchart", source=QUESTDB, help="By strike, in base coins.",
        queries=(Query(OPEN_INTEREST),), options={"xField": "strike", "stacking": "normal"},
    ),
    Panel(
        title="Greeks of $instrument", kind="timeseries", source=QUESTDB, unit="none",
        help="Means of each step: delta, gamma per USD, vega per percentage point, theta per day.",
        queries=(Query(GREEKS, series=True),),
        overrides=(("vega", {"custom.axisPlacement": "right"}), ("theta", {"custom.axisPlacement": "right"})),
    ),
    Panel(
        title="Recent trades", kind="table", width=24, height=10, source=QUESTDB,
        help="The last hundred of the time range.",
        queries=(Query(TRADES),), overrides=(("iv", {"unit": "percent"}),),
    ),
    Panel(
        title="Quotes by minute", kind="timeseries", width=8, source=QUESTDB, help="Rows as stored.",
        queries=(Query(ROWS, series=True),), custom={"drawStyle": "bars", "fillOpacity": 40},
    ),
    Panel(
        title="Gaps by cause", kind="table", width=8, source=QUESTDB, help="Records of gaps: one that lasts has two.",
        queries=(Query(GAPS),),
    ),
    Panel(
        title="Tables", kind="table", width=8, source=QUESTDB,
        help="A suspended table takes rows and shows none: see docs/runbook.md, TickbayTableSuspended.",
        queries=(Query(TABLES),),
    ),
)  # fmt: skip

INDEX = """
SELECT price_index FROM (SELECT price_index, count() n FROM instruments WHERE kind = 'option' ORDER BY n DESC)
"""
EXPIRIES = f"""
SELECT DISTINCT {EXPIRY} expiry FROM instruments
WHERE kind = 'option' AND price_index = '$index' AND expiration > $__timeTo() ORDER BY expiry
"""
INSTRUMENTS = f"""
SELECT instrument FROM ({OPTIONS}) WHERE {EXPIRY} = '$expiry' ORDER BY strike, option_type
"""

DASHBOARD = Dashboard(
    uid="tickbay-questdb",
    title="tickbay: volatility (QuestDB)",
    help="Options of one index, as recorded in QuestDB.",
    panels=PANELS,
    variables=(
        Variable(name="index", label="Index", query=INDEX, source=QUESTDB),
        Variable(name="expiry", label="Expiry (UTC)", query=EXPIRIES, source=QUESTDB),
        Variable(name="instrument", label="Option", query=INSTRUMENTS, source=QUESTDB),
    ),
)
