-- What a person asks first of the tables that keep versions.

-- The newest version of each instrument.
CREATE VIEW instruments_current AS
SELECT DISTINCT ON (instrument) *
FROM instruments
ORDER BY instrument, ts DESC, epoch DESC, seq DESC;

-- Every version with the time in which it held: from valid_from until before valid_to (NULL: still).
CREATE VIEW instrument_history AS
SELECT instrument, ts AS valid_from, lead(ts) OVER (PARTITION BY instrument ORDER BY ts, epoch, seq) AS valid_to,
       instrument_id, kind, is_active, state, strike, option_type, expiration, creation, contract_size, tick_size,
       min_trade_amount, maker_commission, taker_commission, instrument_type, settlement_period, base_currency,
       quote_currency, counter_currency, settlement_currency, price_index
FROM instruments;

-- A gap that lasts is told twice: when it opens (to_ns NULL) and when it ends. Here each is one row, as told last.
CREATE VIEW gaps AS
SELECT DISTINCT ON (stream, instrument, cause, kind, from_ns)
       ts AS from_ts, to_ts, to_ts - ts AS duration, to_ns IS NULL AS open, stream, instrument, kind, cause, expected, healed,
       first_missing, last_missing, count, detail
FROM data_gaps
ORDER BY stream, instrument, cause, kind, from_ns, epoch DESC, seq DESC;
