"""Data quality: what was captured and what is missing, from the database itself.

Heartbeats come every 5 s from each feed (`collector_status`): they are the proof that it was capturing.
"""

from __future__ import annotations

from grafana import TIMESCALE, Dashboard, Panel, Query

# The time range, and each feed that was heard of in it or in the day before, with the time since which it counts: one
# that died before the range covered nothing of it, one that is new owes nothing for the time before.
FEEDS = """
WITH span AS (
    SELECT $__timeFrom()::timestamptz AS begins, least($__timeTo()::timestamptz, now()) AS ends
), feeds AS (
    SELECT process AS feed, greatest(min(ts), $__timeFrom()::timestamptz) AS since
    FROM collector_status
    WHERE ts BETWEEN $__timeFrom()::timestamptz - interval '1 day' AND $__timeTo()::timestamptz
    GROUP BY process
    HAVING max(channels_asked) > 0
)"""
# Of each ten minutes: channels that were live at the heartbeats, of those that were asked for at all that were due.
# Where no heartbeat is, nothing was covered; nothing is said of bins in which a feed had no channels to record.
COVERAGE = f"""{FEEDS}, bins AS (
    SELECT bin, feed,
           extract(epoch FROM least(bin + interval '10 minutes', span.ends) - greatest(bin, feeds.since)) AS seconds
    FROM feeds CROSS JOIN span
    CROSS JOIN generate_series(
        date_bin('10 minutes', span.begins, '2000-01-01 00:00Z'), span.ends, interval '10 minutes') AS bin
), beats AS (
    SELECT date_bin('10 minutes', ts, '2000-01-01 00:00Z') AS bin, process AS feed,
           sum(channels_live) AS live, max(channels_asked) AS asked
    FROM collector_status
    WHERE $__timeFilter(ts)
    GROUP BY 1, 2
)
SELECT bin AS time, feed AS metric, least(coalesce(live / (asked * ceil(seconds / 5)), 0), 1) AS share
FROM bins LEFT JOIN beats USING (bin, feed)
WHERE seconds > 0 AND asked IS DISTINCT FROM 0
ORDER BY 1
"""
# Minutes, of the time range, in which each feed has proven itself.
PROVEN = f"""{FEEDS}, beats AS (
    SELECT process AS feed, count(DISTINCT date_bin('1 minute', ts, '2000-01-01 00:00Z')) AS minutes,
           sum(channels_live)::double precision / nullif(sum(channels_asked), 0) AS channels_live,
           max(frames) AS messages, max(undecodable) AS undecodable, max(gaps) AS gaps, max(reconnects) AS reconnects
    FROM collector_status
    WHERE $__timeFilter(ts)
    GROUP BY process
)
SELECT feed, least(coalesce(minutes, 0) / greatest(1, ceil(extract(epoch FROM span.ends - feeds.since) / 60)), 1)
           AS minutes_alive,
       channels_live, messages, undecodable, gaps, reconnects
FROM feeds CROSS JOIN span LEFT JOIN beats USING (feed)
ORDER BY feed
"""
LEDGER = """
SELECT from_ts AS "from", to_ts AS "to", extract(epoch FROM duration) AS lasted, open, feed,
       coalesce(instrument, 'all') AS instrument, coalesce(kind, 'all') AS kind, cause, expected, healed, count, detail
FROM gaps
WHERE coalesce(from_ts, $__timeFrom()::timestamptz) < $__timeTo()::timestamptz
  AND (to_ts IS NULL OR to_ts > $__timeFrom()::timestamptz)
ORDER BY from_ts DESC NULLS FIRST
LIMIT 500
"""
BY_CAUSE = """
SELECT cause, count(*) AS gaps, count(*) FILTER (WHERE open) AS open, count(*) FILTER (WHERE healed) AS healed,
       count(*) FILTER (WHERE expected) AS expected, sum(extract(epoch FROM duration)) AS seconds
FROM gaps
WHERE coalesce(from_ts, $__timeFrom()::timestamptz) < $__timeTo()::timestamptz
  AND (to_ts IS NULL OR to_ts > $__timeFrom()::timestamptz)
GROUP BY cause
ORDER BY gaps DESC
"""
# As a certificate of the time range: of each feed and kind, the share of the time that no hole of the whole feed covers
# (of holes that overlap, each moment counts once), and what holes single instruments have besides. What the healer
# found missing by itself, and nobody knows whose it was, has a line of its own.
CERTIFIED = f"""{FEEDS}, holes AS (
    SELECT d.feed, d.kind, d.instrument,
           tstzrange(greatest(d.from_ts, span.begins), least(d.to_ts, span.ends)) AS hole
    FROM dirty AS d, span
    WHERE coalesce(d.from_ts, span.begins) < span.ends AND coalesce(d.to_ts, span.ends) > span.begins
), streams AS (
    SELECT feed, kind, since FROM feeds CROSS JOIN (VALUES ('quote'), ('trade'), ('book')) AS k (kind)
    UNION SELECT feed, kind, begins FROM holes, span WHERE feed NOT IN (SELECT feed FROM feeds)
), whole AS (
    SELECT feed, kind, range_agg(hole) AS times FROM holes WHERE instrument IS NULL GROUP BY feed, kind
), single AS (
    SELECT feed, kind, count(DISTINCT instrument) AS instruments,
           sum(extract(epoch FROM upper(hole) - lower(hole))) AS seconds
    FROM holes WHERE instrument IS NOT NULL GROUP BY feed, kind
)
SELECT feed, kind,
       1 - coalesce((SELECT sum(extract(epoch FROM upper(t) - lower(t))) FROM unnest(whole.times) AS t), 0)
           / extract(epoch FROM span.ends - least(streams.since, span.ends - interval '1 second')) AS covered,
       coalesce(single.instruments, 0) AS instruments_with_gaps, coalesce(single.seconds, 0) AS their_seconds
FROM streams CROSS JOIN span
LEFT JOIN whole USING (feed, kind) LEFT JOIN single USING (feed, kind)
ORDER BY covered, feed, kind
"""
# Times in which something is missing, and was not healed.
DIRTY = """
SELECT kind, count(*) AS intervals, count(DISTINCT instrument) AS instruments,
       sum(extract(epoch FROM least(to_ts, $__timeTo()::timestamptz) - greatest(from_ts, $__timeFrom()::timestamptz)))
           AS seconds
FROM dirty
WHERE coalesce(from_ts, $__timeFrom()::timestamptz) < $__timeTo()::timestamptz
  AND (to_ts IS NULL OR to_ts > $__timeFrom()::timestamptz)
GROUP BY kind
ORDER BY kind
"""
# Rows by minute: the BRIN indexes have the minute as their second column.
ROWS = """
SELECT date_bin('1 minute', ts, '2000-01-01 00:00Z') AS time, 'quotes' AS metric, count(*)::double precision AS rows
FROM option_quotes WHERE $__timeFilter(ts) GROUP BY 1
UNION ALL
SELECT date_bin('1 minute', ts, '2000-01-01 00:00Z'), 'trades', count(*)
FROM option_trades WHERE $__timeFilter(ts) GROUP BY 1
UNION ALL
SELECT date_bin('1 minute', ts, '2000-01-01 00:00Z'), 'book changes', count(*)
FROM book_changes WHERE $__timeFilter(ts) GROUP BY 1
ORDER BY 1
"""
CURSORS = """
SELECT sink, stream, seq AS committed, epoch, extract(epoch FROM now() - updated_at) AS age
FROM sink_cursor
ORDER BY sink, stream
"""
REFUSED = """
SELECT table_name AS "table", coalesce(sqlstate, 'writer') AS by, reason, count(*) AS rows, max(quarantined_at) AS last
FROM quarantine
WHERE $__timeFilter(quarantined_at)
GROUP BY 1, 2, 3
ORDER BY rows DESC
LIMIT 100
"""
UNIVERSE = """
SELECT kind, base_currency AS currency, count(*) AS listed, count(*) FILTER (WHERE is_active) AS active,
       min(expiration) FILTER (WHERE expiration > now()) AS next_expiry, max(ts) AS last_change
FROM instruments_current
GROUP BY 1, 2
ORDER BY listed DESC
"""

PANELS = (
    Panel(
        title="Coverage", kind="timeseries", width=24, source=TIMESCALE, unit="percentunit", limits=(0, 1),
        help="Of each ten minutes and feed: channels that were live at its heartbeats, of all that were due; a feed "
        "that was dead has 0.",
        queries=(Query(COVERAGE, series=True),),
        custom={"fillOpacity": 20, "lineInterpolation": "stepAfter"},
    ),
    Panel(
        title="Feeds", kind="table", width=24, height=6, source=TIMESCALE,
        help="Minutes with a heartbeat, channels live at them, counters since each feed started. "
        "`tickbay certificate DAY` proves a whole day, instrument by instrument.",
        queries=(Query(PROVEN),),
        overrides=(("minutes_alive", {"unit": "percentunit"}), ("channels_live", {"unit": "percentunit"})),
    ),
    Panel(
        title="Certificate of the time range", kind="table", width=24, source=TIMESCALE,
        help="Of each feed and kind: the share of the time that no gap of the whole feed covers, and the gaps of "
        "single instruments. Without what was healed.",
        queries=(Query(CERTIFIED),),
        overrides=(("covered", {"unit": "percentunit", "decimals": 4}), ("their_seconds", {"unit": "s"})),
    ),
    Panel(
        title="Gaps by cause", kind="table", source=TIMESCALE, help="native/record.h says what each cause means.",
        queries=(Query(BY_CAUSE),), overrides=(("seconds", {"unit": "s"}),),
    ),
    Panel(
        title="Not to be relied upon", kind="table", source=TIMESCALE,
        help="Intervals in which records of a kind are missing, and not healed (view dirty).",
        queries=(Query(DIRTY),), overrides=(("seconds", {"unit": "s"}),),
    ),
    Panel(
        title="Gap ledger", kind="table", width=24, height=12, source=TIMESCALE,
        help="Known gaps, newest first: 500 at most.",
        queries=(Query(LEDGER),), overrides=(("lasted", {"unit": "s"}),),
    ),
    Panel(
        title="Rows by minute", kind="timeseries", source=TIMESCALE, help="As stored, by the venue's time.",
        queries=(Query(ROWS, series=True),), custom={"drawStyle": "bars", "fillOpacity": 40},
    ),
    Panel(
        title="Refused rows", kind="table", source=TIMESCALE, help="Kept in the table quarantine, byte by byte.",
        queries=(Query(REFUSED),),
    ),
    Panel(
        title="How far the database is", kind="table", source=TIMESCALE, help="What was committed last, by stream.",
        queries=(Query(CURSORS),), overrides=(("age", {"unit": "s"}),),
    ),
    Panel(
        title="Instruments", kind="table", source=TIMESCALE, help="Listed and active, by kind and currency.",
        queries=(Query(UNIVERSE),),
    ),
)  # fmt: skip

DASHBOARD = Dashboard(
    uid="tickbay-quality",
    title="tickbay: data quality",
    help="What was captured, what is missing, and why.",
    panels=PANELS,
    since="now-6h",
    refresh="1m",
)
