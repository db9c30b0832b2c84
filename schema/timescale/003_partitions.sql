-- The big tables are cut by day: as hypertables where TimescaleDB is, as native partitions elsewhere. How long, how large and
-- whether compressed are settings, not steps: partitions.py sets those at every start.

-- The tables that are cut, and nothing else may be touched by the functions below.
CREATE FUNCTION tickbay_cut_tables() RETURNS SETOF text LANGUAGE sql IMMUTABLE AS $$
    VALUES ('option_quotes'), ('option_trades'), ('delta_one_quotes'), ('delta_one_trades'), ('book_changes'), ('bbo_quotes'),
           ('index_values'), ('mark_prices'), ('perpetual_funding'), ('depth_levels'), ('collector_status')
$$;

DO $$
DECLARE
    cut text;
BEGIN
    FOR cut IN SELECT tickbay_cut_tables() LOOP
        IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
            -- create_hypertable() rather than WITH (tsdb.hypertable): it is in every version, and the other also chooses a
            -- compression of its own.
            PERFORM create_hypertable(cut::regclass, 'ts', chunk_time_interval => interval '1 day', create_default_indexes => false);
        ELSE
            EXECUTE format('ALTER TABLE %I RENAME TO tickbay_uncut', cut);
            EXECUTE format('CREATE TABLE %I (LIKE tickbay_uncut INCLUDING ALL) PARTITION BY RANGE (ts)', cut);
            DROP TABLE tickbay_uncut;
        END IF;
        -- Rows arrive almost in the order of ts, so a BRIN index finds a span of time and costs next to nothing on ingest.
        -- Its second column is what the views by the minute group by: a condition on their `timestamp` finds its rows too.
        EXECUTE format('CREATE INDEX %I ON %I USING brin (ts, date_bin(''1 minute'', ts, ''2000-01-01 00:00Z''))
                        WITH (pages_per_range = 32, autosummarize = on)', cut || '_ts', cut);
    END LOOP;
END
$$;

-- Plain PostgreSQL: make the partition of `day` (UTC) of every cut table that has none. Returns how many were made.
-- It is made as a table of its own and then attached: that does not wait for, or hold up, those who read the other days.
CREATE FUNCTION tickbay_make_partitions(day date) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    cut text;
    part text;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('tickbay partitions'));
    FOR cut IN SELECT relname FROM pg_class
               WHERE relkind = 'p' AND oid IN (SELECT to_regclass(name) FROM tickbay_cut_tables() AS name) LOOP
        part := cut || to_char(day, '_YYYYMMDD');
        -- Not to_regclass(): a session remembers that there was no such table, also when another has just made it.
        CONTINUE WHEN EXISTS (SELECT FROM pg_class WHERE relname = part AND relnamespace = current_schema()::regnamespace);
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', part, cut);
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', cut, part,
                       day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;

-- Drop what lies wholly before `horizon` of one cut table, chunks or partitions. Returns how many were dropped.
CREATE FUNCTION tickbay_drop_before(cut text, horizon timestamptz) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    part text;
    dropped integer := 0;
BEGIN
    IF cut NOT IN (SELECT tickbay_cut_tables()) THEN
        RAISE EXCEPTION '% is not a table of ticks', cut;
    END IF;
    IF (SELECT relkind = 'r' FROM pg_class WHERE oid = to_regclass(cut)) THEN
        SELECT count(*) INTO dropped FROM drop_chunks(cut::regclass, older_than => horizon);
        RETURN dropped;
    END IF;
    FOR part IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                WHERE i.inhparent = to_regclass(cut) AND c.relname ~ '_[0-9]{8}$'
                  AND (to_date(right(c.relname, 8), 'YYYYMMDD') + 1)::timestamp AT TIME ZONE 'UTC' <= horizon LOOP
        EXECUTE format('DROP TABLE %I', part);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END
$$;
