"""Volatility, from TimescaleDB or PostgreSQL: smile, surface, term structure, Greeks, open interest, trades.

What an instrument is comes from `instruments_current`, never from its name. "Now" is the end of the time range: the
last quote of each option in the five minutes before it.
"""

from __future__ import annotations

from grafana import TIMESCALE, Dashboard, Panel, Query, Variable, against, matrix

LATEST = """
WITH latest AS (
    SELECT DISTINCT ON (instrument) instrument, mark_iv, bid_iv, ask_iv, underlying_price, open_interest
    FROM option_quotes
    WHERE ts BETWEEN $__timeTo()::timestamptz - interval '5 minutes' AND $__timeTo()::timestamptz
    ORDER BY instrument, recv_ns DESC
), now AS (
    SELECT q.*, i.strike, i.option_type, i.expiration,
           extract(epoch FROM i.expiration - $__timeTo()::timestamptz) / 86400 AS days
    FROM latest AS q
    JOIN instruments_current AS i USING (instrument)
    WHERE i.kind = 'option' AND i.price_index = '$index' AND i.expiration > $__timeTo()::timestamptz
)"""
# Of calls and puts of one strike, the one out of the money: that is where a volatility is traded.
OUT_OF_THE_MONEY = "(option_type = 'call') = (strike >= underlying_price)"

# The strike in percent of the underlying, in steps of 5.
MONEYNESS = "5 * round((strike / underlying_price)::numeric * 20)::integer"
EXPIRY = "to_char(expiration AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI')"
SMILE = f"""{LATEST}
SELECT strike, mark_iv AS mark, bid_iv AS bid, ask_iv AS ask
FROM now
WHERE {EXPIRY} = '$expiry' AND {OUT_OF_THE_MONEY}
ORDER BY strike
"""
SMILES = f"""{LATEST}
SELECT round(ln(strike / underlying_price)::numeric, 3) AS log_moneyness, {EXPIRY} AS expiry, mark_iv
FROM now
WHERE {OUT_OF_THE_MONEY} AND underlying_price > 0
ORDER BY 1
"""
SURFACE = f"""{LATEST}
SELECT {EXPIRY} AS expiry, {MONEYNESS} || ' %' AS moneyness, avg(mark_iv) AS mark_iv
FROM now
WHERE {OUT_OF_THE_MONEY} AND underlying_price > 0 AND strike / underlying_price BETWEEN 0.6 AND 1.6
GROUP BY 1, {MONEYNESS}
ORDER BY {MONEYNESS}, 1
"""
TERM = f"""{LATEST}
SELECT DISTINCT ON (expiration) days, mark_iv AS "at the money", strike, {EXPIRY} AS expiry
FROM now
WHERE underlying_price > 0
ORDER BY expiration, abs(strike - underlying_price), option_type
"""
GREEKS = """
SELECT $__timeGroup(ts, $__interval) AS time,
       avg(delta) AS delta, avg(gamma) AS gamma, avg(vega) AS vega, avg(theta) AS theta
FROM option_quotes
WHERE $__timeFilter(ts) AND instrument = '$instrument'
GROUP BY 1
ORDER BY 1
"""
VOLATILITY = """
SELECT $__timeGroup(ts, $__interval) AS time, avg(mark_iv) AS mark, avg(bid_iv) AS bid, avg(ask_iv) AS ask
FROM option_quotes
WHERE $__timeFilter(ts) AND instrument = '$instrument'
GROUP BY 1
ORDER BY 1
"""
OPEN_INTEREST = f"""{LATEST}
SELECT strike::text AS strike, sum(open_interest) FILTER (WHERE option_type = 'call') AS calls,
       sum(open_interest) FILTER (WHERE option_type = 'put') AS puts
FROM now
WHERE {EXPIRY} = '$expiry'
GROUP BY now.strike
ORDER BY now.strike
"""
# A venue sends some trades again after a reconnection; each is shown once.
TRADES = """
SELECT t.ts AS time, t.instrument, t.direction, t.price, t.amount, t.iv, t.index_price AS index, t.liquidation,
       t.block_trade_id AS block
FROM (
    SELECT DISTINCT ON (ts, instrument, trade_id) *
    FROM option_trades
    WHERE $__timeFilter(ts)
    ORDER BY ts DESC, instrument, trade_id, recv_ns
    LIMIT 1000
) AS t
JOIN instruments_current AS i USING (instrument)
WHERE i.price_index = '$index'
ORDER BY t.ts DESC
LIMIT 100
"""

PANELS = (
    Panel(
        title="Smile of $expiry", kind="xychart", source=TIMESCALE, unit="percent", height=10,
        help="Implied volatility by strike, of the options out of the money: mark, best bid, best ask.",
        queries=(Query(SMILE),),
        options=against("strike", "mark", "bid", "ask"),
        custom={"show": "points+lines", "pointSize": {"fixed": 4}},
    ),
    Panel(
        title="Smiles of all expiries", kind="xychart", source=TIMESCALE, unit="percent", height=10,
        help="Mark volatility by the logarithm of strike over underlying.",
        queries=(Query(SMILES),),
        options={"mapping": "auto"},
        transformations=(
            matrix(row="log_moneyness", column="expiry", value="mark_iv"),
            {"id": "convertFieldType", "options": {"conversions": [
                {"targetField": "log_moneyness\\expiry", "destinationType": "number"}]}},
        ),
        custom={"show": "points+lines", "pointSize": {"fixed": 3}},
    ),
    Panel(
        title="Surface", kind="table", width=24, height=10, source=TIMESCALE, unit="percent", colours=True,
        help="Mark volatility, mean of the options out of the money: expiries down, strike in percent of the "
        "underlying across.",
        queries=(Query(SURFACE),),
        transformations=(
            matrix(row="expiry", column="moneyness", value="mark_iv"),
            {"id": "sortBy", "options": {"sort": [{"field": "expiry\\moneyness"}]}},
        ),
    ),
    Panel(
        title="Term structure", kind="xychart", source=TIMESCALE, unit="percent",
        help="Mark volatility of the strike next to the underlying, by days to expiry.",
        queries=(Query(TERM),),
        options=against("days", "at the money"),
        custom={"show": "points+lines", "pointSize": {"fixed": 6}},
    ),
    Panel(
        title="Open interest of $expiry", kind="barchart", source=TIMESCALE, help="By strike, in base coins.",
        queries=(Query(OPEN_INTEREST),), options={"xField": "strike", "stacking": "normal"},
    ),
    Panel(
        title="Greeks of $instrument", kind="timeseries", source=TIMESCALE, unit="none",
        help="Means of each step: delta, gamma per USD, vega per percentage point, theta per day.",
        queries=(Query(GREEKS, series=True),),
        overrides=(("vega", {"custom.axisPlacement": "right"}), ("theta", {"custom.axisPlacement": "right"})),
    ),
    Panel(
        title="Volatility of $instrument", kind="timeseries", source=TIMESCALE, unit="percent",
        help="Means of each step.",
        queries=(Query(VOLATILITY, series=True),),
    ),
    Panel(
        title="Recent trades", kind="table", width=24, height=10, source=TIMESCALE,
        help="The last hundred of the time range.",
        queries=(Query(TRADES),), overrides=(("iv", {"unit": "percent"}),),
    ),
)  # fmt: skip

INDEX = "SELECT price_index FROM instruments_current WHERE kind = 'option' GROUP BY 1 ORDER BY count(*) DESC"
EXPIRIES = f"""
SELECT {EXPIRY} FROM instruments_current
WHERE kind = 'option' AND price_index = '$index' AND expiration > $__timeTo()::timestamptz
GROUP BY expiration ORDER BY expiration
"""
INSTRUMENTS = f"""
SELECT instrument FROM instruments_current
WHERE kind = 'option' AND price_index = '$index' AND {EXPIRY} = '$expiry' ORDER BY strike, option_type
"""

DASHBOARD = Dashboard(
    uid="tickbay-volatility",
    title="tickbay: volatility",
    help="Options of one index, as recorded in TimescaleDB or PostgreSQL.",
    panels=PANELS,
    variables=(
        Variable(name="index", label="Index", query=INDEX, source=TIMESCALE),
        Variable(name="expiry", label="Expiry (UTC)", query=EXPIRIES, source=TIMESCALE),
        Variable(name="instrument", label="Option", query=INSTRUMENTS, source=TIMESCALE),
    ),
)
