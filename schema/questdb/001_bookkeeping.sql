-- What was applied when. Not a WAL table: a row is seen as soon as it is written.
CREATE TABLE IF NOT EXISTS schema_version (version INT, name SYMBOL, tickbay SYMBOL, applied_at TIMESTAMP);

-- Rows that were refused, and those of an insane time (SINK-4, TIME-1). ts is recv_ns: a refusal that is sent again replaces
-- itself. There is no type for bytes that ILP could fill: record is the record in hexadecimal.
CREATE TABLE IF NOT EXISTS quarantine (
    ts TIMESTAMP_NS,
    sink SYMBOL,
    stream SYMBOL,
    epoch INT,
    seq LONG,
    kind SYMBOL,
    table_name SYMBOL,
    reason VARCHAR,
    layout LONG,
    record VARCHAR
) TIMESTAMP(ts) PARTITION BY YEAR WAL DEDUP UPSERT KEYS(ts, stream, epoch, seq);
