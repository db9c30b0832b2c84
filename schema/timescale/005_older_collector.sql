-- For people who come from the older collector: its tables, by name and column, as views over ours. ../README.md says where
-- theirs and ours differ.
--
-- Everything "by the minute" is of the minute that begins at `timestamp`. date_bin() is spelt exactly as in the BRIN indexes of
-- step 003, so a condition on `timestamp` reads only its part of the tables. Repeated trades (a venue sends some again after
-- a reconnect, and we keep them) count once. Open and close go by the venue's trade sequence, not by a clock (TIME-1).

CREATE VIEW eth_option_quotes AS
SELECT ts AS timestamp, instrument, bid_price, bid_amount AS bid_size, ask_price, ask_amount AS ask_size,
       underlying_price, mark_price
FROM option_quotes
WHERE instrument LIKE 'ETH-%';

CREATE VIEW eth_option_trades AS
SELECT DISTINCT ON (ts, instrument, trade_id)
       ts AS timestamp, instrument, trade_id, price, amount AS size, direction AS side, iv, index_price AS underlying_price
FROM option_trades
WHERE instrument LIKE 'ETH-%'
ORDER BY ts, instrument, trade_id, recv_ns;

-- Volume is in the base currency: the venue gives the amount of an inverse contract in USD, all others in coins.
CREATE VIEW tickbay_delta_one_candles AS
SELECT t.minute AS timestamp, t.instrument, i.kind, i.expiration,
       (array_agg(t.price ORDER BY t.trade_seq))[1] AS open, max(t.price) AS high, min(t.price) AS low,
       (array_agg(t.price ORDER BY t.trade_seq DESC))[1] AS close,
       sum(CASE WHEN i.instrument_type = 'reversed' THEN t.amount / nullif(t.price, 0) ELSE t.amount END) AS volume
FROM (
    SELECT DISTINCT ON (instrument, date_bin('1 minute', ts, '2000-01-01 00:00Z'), trade_seq)
           instrument, date_bin('1 minute', ts, '2000-01-01 00:00Z') AS minute, trade_seq, price, amount
    FROM delta_one_trades
    WHERE price IS NOT NULL
    ORDER BY instrument, date_bin('1 minute', ts, '2000-01-01 00:00Z'), trade_seq, recv_ns
) AS t
JOIN instruments_current AS i USING (instrument)
GROUP BY t.minute, t.instrument, i.kind, i.expiration;

CREATE VIEW perpetuals_ohlcv AS
SELECT timestamp, instrument, open, high, low, close, volume
FROM tickbay_delta_one_candles
WHERE kind = 'perpetual';

CREATE VIEW futures_ohlcv AS
SELECT timestamp, instrument, (expiration AT TIME ZONE 'UTC')::date AS expiry_date, open, high, low, close, volume
FROM tickbay_delta_one_candles
WHERE kind = 'future';

CREATE VIEW options_ohlcv AS
SELECT t.minute AS timestamp, t.instrument, i.strike, (i.expiration AT TIME ZONE 'UTC')::date AS expiry_date, i.option_type,
       (array_agg(t.price ORDER BY t.trade_seq))[1] AS open, max(t.price) AS high, min(t.price) AS low,
       (array_agg(t.price ORDER BY t.trade_seq DESC))[1] AS close, sum(t.amount) AS volume,
       (array_agg(t.iv ORDER BY t.trade_seq DESC))[1] / 100 AS implied_volatility
FROM (
    SELECT DISTINCT ON (instrument, date_bin('1 minute', ts, '2000-01-01 00:00Z'), trade_seq)
           instrument, date_bin('1 minute', ts, '2000-01-01 00:00Z') AS minute, trade_seq, price, amount, iv
    FROM option_trades
    WHERE price IS NOT NULL
    ORDER BY instrument, date_bin('1 minute', ts, '2000-01-01 00:00Z'), trade_seq, recv_ns
) AS t
JOIN instruments_current AS i USING (instrument)
GROUP BY t.minute, t.instrument, i.strike, i.expiration, i.option_type;

-- The last Greeks of each minute.
CREATE VIEW options_greeks AS
SELECT DISTINCT ON (instrument, date_bin('1 minute', ts, '2000-01-01 00:00Z'))
       date_bin('1 minute', ts, '2000-01-01 00:00Z') AS timestamp, instrument, delta, gamma, vega, theta, rho
FROM option_quotes
WHERE delta IS NOT NULL
ORDER BY instrument, date_bin('1 minute', ts, '2000-01-01 00:00Z'), recv_ns DESC, epoch DESC, seq DESC;

-- The last 8-hour funding rate of each minute; only perpetuals have one.
CREATE VIEW funding_rates AS
SELECT DISTINCT ON (instrument, date_bin('1 minute', ts, '2000-01-01 00:00Z'))
       date_bin('1 minute', ts, '2000-01-01 00:00Z') AS timestamp, instrument, funding_8h AS funding_rate
FROM delta_one_quotes
WHERE funding_8h IS NOT NULL
ORDER BY instrument, date_bin('1 minute', ts, '2000-01-01 00:00Z'), recv_ns DESC, epoch DESC, seq DESC;

-- The last price of each minute of a currency's index in USD, as any of its tickers carried it. An instrument that settles in
-- another index (ETH_USDC-… in eth_usdc) says nothing about it.
CREATE VIEW index_prices AS
SELECT DISTINCT ON (i.base_currency, q.minute) q.minute AS timestamp, i.base_currency AS currency, q.index_price AS price
FROM (
    SELECT date_bin('1 minute', ts, '2000-01-01 00:00Z') AS minute, instrument, recv_ns, index_price FROM option_quotes
    UNION ALL
    SELECT date_bin('1 minute', ts, '2000-01-01 00:00Z') AS minute, instrument, recv_ns, index_price FROM delta_one_quotes
) AS q
JOIN instruments_current AS i USING (instrument)
WHERE i.price_index = lower(i.base_currency) || '_usd' AND q.index_price IS NOT NULL
ORDER BY i.base_currency, q.minute, q.recv_ns DESC;
