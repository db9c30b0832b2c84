"""The days that the tables of PostgreSQL have, each with a mark: what the server itself counts of writes to it.

The same mark: nobody has written there since, so that a year of rows need not be counted each night. What is written
within TimescaleDB's compressed chunks, which only somebody's DELETE is, does not show.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

from tickbay.sinks import partitions
from tickbay.sinks.columns import CUT_TABLES

# Of a relation, and since when the server counts: it begins anew after a crash. Empty where it does not count at all.
_MARK = sql.SQL(
    "CASE WHEN current_setting('track_counts')::boolean THEN"
    " string_agg(concat_ws(' ', s.relid, pg_relation_filenode(s.relid), s.n_tup_ins, s.n_tup_upd, s.n_tup_del,"
    " (SELECT extract(epoch FROM stats_reset) FROM pg_stat_bgwriter),"
    " (SELECT extract(epoch FROM stats_reset) FROM pg_stat_database WHERE datname = current_database())"
    " ), ', ' ORDER BY s.relid) ELSE '' END"
)
_PARTITIONS = sql.SQL(
    r"SELECT p.relname || '/' || regexp_replace(s.relname, '.*(....)(..)(..)$', '\1-\2-\3'), {mark} FROM pg_inherits i"
    " JOIN pg_class p ON p.oid = i.inhparent JOIN pg_stat_all_tables s ON s.relid = i.inhrelid"
    " WHERE i.inhparent IN (SELECT to_regclass(name) FROM unnest(%s::text[]) AS name) GROUP BY 1 ORDER BY 1"
).format(mark=_MARK)
_CHUNKS = sql.SQL(
    "SELECT hypertable_name || '/' || to_char(day, 'YYYY-MM-DD'), {mark} FROM timescaledb_information.chunks"
    " JOIN pg_stat_all_tables s ON (s.schemaname, s.relname) = (chunk_schema, chunk_name),"
    " generate_series(date_trunc('day', range_start), range_end - interval '1 us', interval '1 day') AS day"
    " WHERE hypertable_schema = current_schema() AND hypertable_name = ANY(%s::text[]) GROUP BY 1 ORDER BY 1"
).format(mark=_MARK)


def marks(connection: psycopg.Connection) -> dict[str, str]:
    """By the names of parts ("option_quotes/2026-11-21"), in their order; also of days that have no rows."""
    query = _PARTITIONS if partitions.edition_of(connection) is partitions.Edition.PLAIN else _CHUNKS
    return dict(connection.execute(query, [list(CUT_TABLES)]).fetchall())
