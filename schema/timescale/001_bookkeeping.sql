-- What the writers need about themselves: which steps were applied, how far each stream is committed, what was refused.

CREATE TABLE schema_version (
    version integer PRIMARY KEY,
    name text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    tickbay text NOT NULL
);

-- SINK-1: rows and cursor commit in one transaction; the cursor moves by compare-and-swap.
CREATE TABLE sink_cursor (
    sink text NOT NULL,
    stream text NOT NULL,
    epoch bigint NOT NULL,
    seq bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (sink, stream)
);
-- One small row per stream, updated ten times a second: room in the page keeps the updates off the index.
ALTER TABLE sink_cursor SET (fillfactor = 20, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);

-- SINK-4: a record that the database refuses lies here with the reason, in the transaction of its neighbours.
CREATE TABLE quarantine (
    quarantined_at timestamptz NOT NULL DEFAULT now(),
    sink text NOT NULL,
    stream text NOT NULL,
    epoch bigint NOT NULL,
    seq bigint NOT NULL,
    kind text NOT NULL,
    table_name text NOT NULL,
    sqlstate text,
    reason text NOT NULL,
    layout bigint NOT NULL,
    record bytea NOT NULL
);
