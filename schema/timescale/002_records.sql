-- One table per kind of record, columns in the order of engine/tickbay/sinks/columns.py. ../README.md says what each means.
--
-- No unique index on the tables of ticks: the cursor is what keeps a record from coming twice (SINK-1), a unique index
-- costs 2.3 times the ingest, and (instrument, ts) is not unique: the levels of one book message share their time.

CREATE TABLE option_quotes (
    ts timestamptz NOT NULL,
    exch_ns bigint NOT NULL,
    recv_ns bigint NOT NULL,
    stream text NOT NULL,
    epoch integer NOT NULL,
    seq bigint NOT NULL,
    conn bigint NOT NULL,
    instrument text NOT NULL,
    healed boolean NOT NULL,
    bid_price double precision,
    bid_amount double precision,
    ask_price double precision,
    ask_amount double precision,
    mark_price double precision,
    index_price double precision,
    underlying_price double precision,
    last_price double precision,
    open_interest double precision,
    mark_iv double precision,
    bid_iv double precision,
    ask_iv double precision,
    delta double precision,
    gamma double precision,
    vega double precision,
    theta double precision,
    rho double precision,
    settlement_price double precision,
    delivery_price double precision,
    estimated_delivery_price double precision,
    min_price double precision,
    max_price double precision,
    interest_rate double precision,
    high double precision,
    low double precision,
    price_change double precision,
    volume double precision,
    volume_usd double precision,
    volume_notional double precision,
    current_funding double precision,
    funding_8h double precision,
    interest_value double precision,
    underlying_index text,
    state text
);

CREATE TABLE option_trades (
    ts timestamptz NOT NULL,
    exch_ns bigint NOT NULL,
    recv_ns bigint NOT NULL,
    stream text NOT NULL,
    epoch integer NOT NULL,
    seq bigint NOT NULL,
    conn bigint NOT NULL,
    instrument text NOT NULL,
    healed boolean NOT NULL,
    message_end boolean NOT NULL,
    trade_seq bigint NOT NULL,
    price double precision,
    amount double precision,
    contracts double precision,
    mark_price double precision,
    index_price double precision,
    iv double precision,
    match_id bigint,
    match_ns bigint,
    block_trade_leg_count integer,
    direction text,
    tick_direction smallint,
    liquidation text,
    trade_id text,
    block_trade_id text,
    block_rfq_id text,
    combo_id text,
    combo_trade_id text
);

-- Everything that is no option: futures, perpetuals, spot and combos.
CREATE TABLE delta_one_quotes (LIKE option_quotes INCLUDING ALL);

CREATE TABLE delta_one_trades (LIKE option_trades INCLUDING ALL);

CREATE TABLE book_changes (
    ts timestamptz NOT NULL,
    exch_ns bigint NOT NULL,
    recv_ns bigint NOT NULL,
    stream text NOT NULL,
    epoch integer NOT NULL,
    seq bigint NOT NULL,
    conn bigint NOT NULL,
    instrument text NOT NULL,
    healed boolean NOT NULL,
    snapshot boolean NOT NULL,
    message_end boolean NOT NULL,
    change_id bigint NOT NULL,
    prev_change_id bigint,
    price double precision,
    amount double precision,
    side text,
    action text
);

CREATE TABLE bbo_quotes (
    ts timestamptz NOT NULL,
    exch_ns bigint NOT NULL,
    recv_ns bigint NOT NULL,
    stream text NOT NULL,
    epoch integer NOT NULL,
    seq bigint NOT NULL,
    conn bigint NOT NULL,
    instrument text NOT NULL,
    bid_price double precision,
    bid_amount double precision,
    ask_price double precision,
    ask_amount double precision
);

-- One row per value of an index (instrument is its name): its price, volatility or estimated delivery price.
CREATE TABLE index_values (
    ts timestamptz NOT NULL,
    exch_ns bigint NOT NULL,
    recv_ns bigint NOT NULL,
    stream text NOT NULL,
    epoch integer NOT NULL,
    seq bigint NOT NULL,
    conn bigint NOT NULL,
    instrument text NOT NULL,
    measure text,
    value double precision,
    remaining_s double precision,
    is_estimated boolean NOT NULL
);

CREATE TABLE mark_prices (
    ts timestamptz NOT NULL,
    exch_ns bigint NOT NULL,
    recv_ns bigint NOT NULL,
    stream text NOT NULL,
    epoch integer NOT NULL,
    seq bigint NOT NULL,
    conn bigint NOT NULL,
    instrument text NOT NULL,
    message_end boolean NOT NULL,
    price_index text,
    mark_price double precision,
    mark_iv double precision
);

CREATE TABLE perpetual_funding (
    ts timestamptz NOT NULL,
    exch_ns bigint NOT NULL,
    recv_ns bigint NOT NULL,
    stream text NOT NULL,
    epoch integer NOT NULL,
    seq bigint NOT NULL,
    conn bigint NOT NULL,
    instrument text NOT NULL,
    interest double precision,
    index_price double precision
);

-- A whole window each time, one row per level.
CREATE TABLE depth_levels (
    ts timestamptz NOT NULL,
    exch_ns bigint NOT NULL,
    recv_ns bigint NOT NULL,
    stream text NOT NULL,
    epoch integer NOT NULL,
    seq bigint NOT NULL,
    conn bigint NOT NULL,
    instrument text NOT NULL,
    message_end boolean NOT NULL,
    change_id bigint NOT NULL,
    price_group double precision,
    levels_max smallint,
    side text,
    level smallint,
    price double precision,
    amount double precision
);

CREATE TABLE collector_status (
    ts timestamptz NOT NULL,
    exch_ns bigint NOT NULL,
    recv_ns bigint NOT NULL,
    stream text NOT NULL,
    epoch integer NOT NULL,
    seq bigint NOT NULL,
    conn bigint NOT NULL,
    process text,
    state text,
    frames bigint NOT NULL,
    bytes bigint NOT NULL,
    quotes bigint NOT NULL,
    trades bigint NOT NULL,
    books bigint NOT NULL,
    bbos bigint NOT NULL,
    indices bigint NOT NULL,
    marks bigint NOT NULL,
    fundings bigint NOT NULL,
    depths bigint NOT NULL,
    undecodable bigint NOT NULL,
    overflows bigint NOT NULL,
    gaps bigint NOT NULL,
    reconnects bigint NOT NULL,
    channels_asked bigint NOT NULL,
    channels_live bigint NOT NULL,
    clock_offset_ns bigint,
    clock_error_ns bigint
);

-- Every hole that is known. ts may be NULL here, and is not checked: no gap is too odd to be told.
CREATE TABLE data_gaps (
    ts timestamptz,
    exch_ns bigint NOT NULL,
    recv_ns bigint NOT NULL,
    stream text NOT NULL,
    epoch integer NOT NULL,
    seq bigint NOT NULL,
    conn bigint NOT NULL,
    instrument text,
    from_ns bigint,
    to_ns bigint,
    to_ts timestamptz,
    first_missing bigint,
    last_missing bigint,
    count bigint,
    cause text,
    kind text,
    expected boolean NOT NULL,
    healed boolean NOT NULL,
    feed text,
    detail text
);

CREATE INDEX data_gaps_ts ON data_gaps (ts);

-- One row per version of an instrument's reference data; ts is when we first saw that version.
CREATE TABLE instruments (
    ts timestamptz NOT NULL,
    exch_ns bigint NOT NULL,
    recv_ns bigint NOT NULL,
    stream text NOT NULL,
    epoch integer NOT NULL,
    seq bigint NOT NULL,
    conn bigint NOT NULL,
    instrument text NOT NULL,
    instrument_id bigint,
    kind text,
    is_active boolean NOT NULL,
    state text,
    strike double precision,
    option_type text,
    expiration timestamptz,
    expiration_ns bigint,
    creation timestamptz,
    creation_ns bigint,
    contract_size double precision,
    tick_size double precision,
    min_trade_amount double precision,
    maker_commission double precision,
    taker_commission double precision,
    block_trade_commission double precision,
    block_trade_min_trade_amount double precision,
    block_trade_tick_size double precision,
    max_leverage double precision,
    max_liquidation_commission double precision,
    instrument_type text,
    settlement_period text,
    base_currency text,
    quote_currency text,
    counter_currency text,
    settlement_currency text,
    price_index text,
    tick_size_steps text,
    legs text,
    more text
);

CREATE INDEX instruments_instrument ON instruments (instrument, ts);
