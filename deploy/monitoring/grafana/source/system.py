"""System: what the processes do, from Prometheus."""

from __future__ import annotations

from grafana import PROMETHEUS, Dashboard, Panel, Query

GOOD, BAD, SOSO = "green", "red", "orange"
COMMITS = "sum by (le, sink) (rate(tickbay_sink_commit_seconds_bucket[$__rate_interval]))"

SUMMARY = (
    Panel(
        title="Verdict", kind="stat", width=4, height=4, source=PROMETHEUS,
        help="What tickbay status says: 2 healthy, 1 degraded (it records, look at it), 0 down.",
        queries=(
            Query('2 * tickbay_verdict{verdict="healthy"} + ignoring(verdict) tickbay_verdict{verdict="degraded"}'),
        ),
        steps=((None, BAD), (1, SOSO), (2, GOOD)),
    ),
    Panel(
        title="Messages a second", kind="stat", width=4, height=4, source=PROMETHEUS, unit="cps",
        help="From the venue, all feeds.",
        queries=(Query("sum(rate(tickbay_feed_frames_total[$__rate_interval]))"),),
        options={"colorMode": "value", "graphMode": "area"},
    ),
    Panel(
        title="Captured, last hour", kind="stat", width=4, height=4, source=PROMETHEUS, unit="percentunit",
        help="Share of the channels that came without a gap. The alert is at 98 %.",
        queries=(Query("avg_over_time(tickbay:capture:ratio[1h])"),),
        steps=((None, BAD), (0.98, SOSO), (0.999, GOOD)), limits=(0, 1),
    ),
    Panel(
        title="Worst lag of a database", kind="stat", width=4, height=4, source=PROMETHEUS, unit="s",
        help="Since the oldest record came that a database does not have.",
        queries=(Query("max(tickbay_sink_lag_seconds)"),),
        steps=((None, GOOD), (10, SOSO), (300, BAD)),
    ),
    Panel(
        title="The journal can hold", kind="stat", width=4, height=4, source=PROMETHEUS, unit="s",
        help="How long an outage of a database may last at the present rate before data are lost.",
        queries=(Query("min(tickbay_journal_hold_seconds)"),),
        steps=((None, BAD), (6 * 3600, SOSO), (24 * 3600, GOOD)),
    ),
    Panel(
        title="Alerts", kind="stat", width=4, height=4, source=PROMETHEUS,
        help="Firing now. docs/runbook.md says what to do.",
        queries=(Query('count(ALERTS{alertname=~"Tickbay.+",alertstate="firing"}) or vector(0)'),),
        steps=((None, GOOD), (1, BAD)),
    ),
)  # fmt: skip

RATES = (
    Panel(
        title="Messages by feed", kind="timeseries", source=PROMETHEUS, unit="cps", help="Received from the venue.",
        queries=(Query("rate(tickbay_feed_frames_total[$__rate_interval])", "{{process}}"),),
    ),
    Panel(
        title="Records by kind", kind="timeseries", source=PROMETHEUS, unit="cps", help="Published into the rings.",
        queries=(Query("sum by (kind) (rate(tickbay_stream_published_total[$__rate_interval]))", "{{kind}}"),),
    ),
    Panel(
        title="Bytes", kind="timeseries", source=PROMETHEUS, unit="Bps",
        help="From the venue, into the journal, to each database.",
        queries=(
            Query("sum(rate(tickbay_feed_bytes_total[$__rate_interval]))", "venue"),
            Query("rate(tickbay_journal_written_bytes_total[$__rate_interval])", "journal"),
            Query("rate(tickbay_sink_sent_bytes_total[$__rate_interval])", "{{sink}}"),
        ),
    ),
    Panel(
        title="Rows stored", kind="timeseries", source=PROMETHEUS, unit="cps", help="Committed by each database.",
        queries=(Query("rate(tickbay_sink_rows_total[$__rate_interval])", "{{sink}}"),),
    ),
)  # fmt: skip

LAG = (
    Panel(
        title="Time of each stage, 99th percentile", kind="timeseries", source=PROMETHEUS, unit="s",
        help="Exchange to receive rests on both clocks; mind the clock offset below.",
        queries=(
            Query(
                "histogram_quantile(0.99, sum by (le, stage) (rate(tickbay_stage_seconds_bucket[$__rate_interval])))",
                "{{stage}}",
            ),
        ),
    ),
    Panel(
        title="Lag of each database", kind="timeseries", source=PROMETHEUS, unit="s",
        help="Since the oldest record came that it does not have.",
        queries=(Query("tickbay_sink_lag_seconds", "{{sink}}"),), limits=(0, None),
    ),
    Panel(
        title="Commits", kind="timeseries", source=PROMETHEUS, unit="s", help="How long a commit takes.",
        queries=(
            Query(f"histogram_quantile(0.5, {COMMITS})", "{{sink}} half"),
            Query(f"histogram_quantile(0.99, {COMMITS})", "{{sink}} 99 %"),
        ),
    ),
    Panel(
        title="Rows of a batch", kind="timeseries", source=PROMETHEUS,
        help="Mean; it grows while a database catches up.",
        queries=(
            Query(
                "rate(tickbay_sink_batch_rows_sum[$__rate_interval])"
                " / rate(tickbay_sink_batch_rows_count[$__rate_interval])",
                "{{sink}}",
            ),
        ),
    ),
    Panel(
        title="Rings", kind="timeseries", source=PROMETHEUS, unit="percentunit", limits=(0, 1),
        help="How full the fullest ring of each process is. At 100 % records are lost.",
        queries=(Query("max by (process) (tickbay_ring_fill_ratio)", "{{process}}"),),
    ),
    Panel(
        title="Journal", kind="timeseries", source=PROMETHEUS, unit="bytes", limits=(0, None),
        help="What it takes, what it may take, and what is free on its disk.",
        queries=(
            Query("tickbay_journal_size_bytes", "used"),
            Query("tickbay_journal_quota_bytes", "quota"),
            Query("tickbay_journal_free_bytes", "free on the disk"),
        ),
    ),
    Panel(
        title="Syncs of the journal", kind="timeseries", source=PROMETHEUS, unit="s", limits=(0, None),
        help="How long the journal's disk takes, of the last minute: half of them, and 99 %.",
        queries=(
            Query("tickbay_journal_sync_p50_seconds", "half"),
            Query("tickbay_journal_sync_p99_seconds", "99 %"),
        ),
    ),
)  # fmt: skip

GAPS = (
    Panel(
        title="Gaps by cause", kind="timeseries", source=PROMETHEUS, help="Gaps found within each step.",
        queries=(Query("sum by (cause) (increase(tickbay_gaps_total[$__rate_interval]))", "{{cause}}"),),
        custom={"drawStyle": "bars", "stacking": {"mode": "normal"}, "fillOpacity": 60},
    ),
    Panel(
        title="Channels", kind="timeseries", source=PROMETHEUS, help="To be recorded, and coming without a gap.",
        queries=(
            Query("sum(tickbay_feed_channels_asked)", "asked"),
            Query("sum(tickbay_feed_channels_live)", "acknowledged"),
            Query("sum(tickbay_feed_channels_whole)", "whole"),
        ),
    ),
    Panel(
        title="Trouble", kind="timeseries", source=PROMETHEUS, help="All of it should be 0.",
        queries=(
            Query("sum(increase(tickbay_feed_decode_errors_total[$__rate_interval]))", "decode errors"),
            Query("sum(increase(tickbay_feed_reconnects_total[$__rate_interval]))", "reconnects"),
            Query("sum(increase(tickbay_feed_lost_records_total[$__rate_interval]))", "lost records"),
            Query("sum(increase(tickbay_sink_quarantined_rows_total[$__rate_interval]))", "rows refused"),
            Query("sum(increase(tickbay_sink_retries_total[$__rate_interval]))", "retries"),
        ),
    ),
    Panel(
        title="Silence of each feed", kind="timeseries", source=PROMETHEUS, unit="s", limits=(0, None),
        help="Since the last message came.",
        queries=(Query("tickbay_feed_staleness_seconds", "{{process}}"),),
    ),
    Panel(
        title="Clock offset", kind="timeseries", source=PROMETHEUS, unit="s", help="The venue's clock less ours.",
        queries=(Query("tickbay_clock_offset_seconds", "{{process}}"),),
    ),
)  # fmt: skip

PROCESSES = (
    Panel(
        title="Processor", kind="timeseries", source=PROMETHEUS, unit="percentunit", help="1 is one core.",
        queries=(Query("rate(tickbay_process_cpu_seconds_total[$__rate_interval])", "{{process}}"),),
        custom={"stacking": {"mode": "normal"}, "fillOpacity": 30},
    ),
    Panel(
        title="Memory", kind="timeseries", source=PROMETHEUS, unit="bytes", limits=(0, None),
        help="Resident, with the parts of shared rings that each process has touched: do not add them up.",
        queries=(Query("tickbay_process_resident_memory_bytes", "{{process}}"),),
    ),
    Panel(
        title="Restarts", kind="timeseries", source=PROMETHEUS, help="Within each step.",
        queries=(Query("increase(tickbay_process_restarts_total[$__rate_interval])", "{{process}}"),),
        custom={"drawStyle": "bars", "fillOpacity": 60},
    ),
    Panel(
        title="Processes now", kind="table", width=24, source=PROMETHEUS,
        help="Whether each runs, for how long, the age of its heartbeat.",
        queries=(
            Query("tickbay_process_up", instant=True),
            Query("time() - tickbay_process_start_time_seconds", instant=True),
            Query("tickbay_process_heartbeat_age_seconds", instant=True),
            Query("tickbay_process_restarts_total", instant=True),
            Query("tickbay_process_open_fds", instant=True),
        ),
        transformations=(
            {"id": "joinByField", "options": {"byField": "process", "mode": "outer"}},
            {
                "id": "organize",
                "options": {
                    "includeByName": dict.fromkeys(
                        ("process", "Value #A", "Value #B", "Value #C", "Value #D", "Value #E"), True
                    ),
                    "renameByName": {
                        "Value #A": "runs", "Value #B": "up for", "Value #C": "last heartbeat", "Value #D": "restarts",
                        "Value #E": "open files",
                    },
                },
            },
        ),
        overrides=(("up for", {"unit": "s"}), ("last heartbeat", {"unit": "s"})),
    ),
)  # fmt: skip

DASHBOARD = Dashboard(
    uid="tickbay-system",
    title="tickbay: system",
    help="What the engine does right now: rates, lag, gaps, processes.",
    panels=SUMMARY + RATES + LAG + GAPS + PROCESSES,
)
