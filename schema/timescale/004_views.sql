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
       min_trade_amount, maker_commission, taker_commission, block_trade_commission, block_trade_min_trade_amount,
       block_trade_tick_size, max_leverage, max_liquidation_commission, instrument_type, settlement_period, base_currency,
       quote_currency, counter_currency, settlement_currency, price_index, tick_size_steps, legs, more
FROM instruments;

-- The legs of each combo, one row each; an amount below 0 is sold. What a combo trades is not traded once more in its legs.
CREATE VIEW combo_legs AS
SELECT i.instrument, leg.key AS leg, leg.value::double precision AS amount
FROM instruments_current AS i, jsonb_each_text(i.legs::jsonb) AS leg;

-- A gap that lasts is told twice, when it opens (to_ns NULL) and when it ends, and once more when it is healed. Here each is one row,
-- as told last. Of a gap of all kinds only the trades can be healed: then it has a second row, of kind trade.
CREATE VIEW gaps AS
SELECT DISTINCT ON (feed, instrument, cause, kind, from_ns, first_missing)
       ts AS from_ts, to_ts, to_ts - ts AS duration, to_ns IS NULL AS open, feed, stream, instrument, kind, cause, expected, healed,
       first_missing, last_missing, count, detail, from_ns, to_ns
FROM data_gaps
ORDER BY feed, instrument, cause, kind, from_ns, first_missing, healed DESC, to_ns IS NULL, recv_ns DESC, epoch DESC, seq DESC;

-- What must not be relied upon: for each kind of record the times in which some of it is missing, what was healed left out.
-- Join with it to leave dirty intervals out: schema/README.md has examples.
CREATE VIEW dirty AS
SELECT g.feed, g.instrument, missing.kind, g.from_ts, g.to_ts, coalesce(g.from_ns, 0) AS from_ns,
       coalesce(g.to_ns, 9223372036854775807) AS to_ns, g.cause, g.expected
FROM gaps AS g
JOIN (VALUES ('quote'), ('trade'), ('book'), ('bbo'), ('index'), ('mark'), ('funding'), ('depth')) AS missing (kind)
  ON g.kind IS NULL OR g.kind = missing.kind
WHERE NOT g.healed AND g.cause <> 'expired'
  AND NOT EXISTS (
      SELECT FROM data_gaps AS h
      WHERE h.healed AND h.kind = missing.kind AND h.feed = g.feed AND h.cause = g.cause AND h.from_ns = g.from_ns
        AND h.instrument IS NOT DISTINCT FROM g.instrument AND h.first_missing IS NOT DISTINCT FROM g.first_missing
  );

-- When each feed proves that it was capturing: between two heartbeats of one life of its process, the first of them live and the
-- second soon enough. What went wrong in that time all the same is in the view dirty; tickbay certificate looks at both, and at the rows.
CREATE VIEW capturing AS
SELECT feed, ts AS from_ts, next_ts AS to_ts, recv_ns AS from_ns, next_ns AS to_ns
FROM (
    SELECT replace(stream, '.status', '') AS feed, ts, recv_ns, state, epoch, frames, lead(ts) OVER beats AS next_ts,
           lead(recv_ns) OVER beats AS next_ns, lead(epoch) OVER beats AS next_epoch, lead(frames) OVER beats AS next_frames
    FROM collector_status
    WINDOW beats AS (PARTITION BY stream ORDER BY epoch, seq)
) AS heartbeats
WHERE state = 'live' AND next_epoch = epoch AND next_frames >= frames AND next_ns - recv_ns <= 15000000000;
