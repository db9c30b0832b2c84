"""Every metric: its name, type, labels, what it means, and where its value comes from. docs/metrics.md is made of this.

Names and units are Prometheus' conventions: seconds and bytes, counters end in `_total`. A label's values are of sets
that the configuration bounds (processes, sinks, streams) or that the code lists (states, causes, stages); never
instruments or texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tickbay.legs import LEGS


@dataclass(frozen=True, slots=True)
class Metric:
    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str


@dataclass(frozen=True, slots=True)
class Told:
    """A metric that a process tells itself, as `key` of its health report's counters or gauges, times `scale`."""

    metric: Metric
    key: str
    scale: float = 1.0
    leg: str = ""  # the value of the label of that name, where the metric has it


def _counter(key: str, name: str, labels: tuple[str, ...], help: str) -> Told:
    return Told(Metric(name, "counter", labels, help), key)


def _gauge(key: str, name: str, labels: tuple[str, ...], help: str, *, scale: float = 1.0) -> Told:
    return Told(Metric(name, "gauge", labels, help), key, scale)


FEED, SINK, NONE = ("process",), ("sink",), ()

# With feeds.redundancy = 2: of the two feeds of one pair.
LEG = ("process", "leg")
LEG_RECORDS = Metric("tickbay_merger_leg_records_total", "counter", LEG, "Records that came over the leg.")
LEG_FIRST = Metric("tickbay_merger_leg_first_total", "counter", LEG, "Of those, the ones that came over it first.")
LEG_MISSED = Metric("tickbay_merger_leg_missed_total", "counter", LEG, "Records that came over the other leg only.")

# By role. The one label, where there is one, is the process ("feed-1") or the sink ("timescale").
TOLD: Mapping[str, tuple[Told, ...]] = {
    "feed": (
        _counter("frames", "tickbay_feed_frames_total", FEED, "Messages received from the venue."),
        _counter("bytes", "tickbay_feed_bytes_total", FEED, "Bytes of these messages, without WebSocket and TLS."),
        _counter("undecodable", "tickbay_feed_decode_errors_total", FEED,
                 "Messages that could not be decoded; they are kept in quarantine."),
        _counter("unknown", "tickbay_feed_unknown_total", FEED, "Messages of kinds that are not recorded."),
        _counter("reconnects", "tickbay_feed_reconnects_total", FEED, "Connections made after the first one."),
        _counter("overflows", "tickbay_feed_overflows_total", FEED, "Times that a ring was full: records were lost."),
        _counter("lost_records", "tickbay_feed_lost_records_total", FEED, "Records lost to a full ring."),
        _counter("refusals", "tickbay_feed_refusals_total", FEED, "Channels that the venue refused, each time."),
        _counter("resyncs", "tickbay_feed_resyncs_total", FEED,
                 "Channels subscribed to again because a book broke or the channel fell silent."),
        _counter("repeats", "tickbay_feed_repeats_total", FEED, "Messages that repeated an earlier one."),
        _counter("strays", "tickbay_feed_strays_total", FEED, "Answers of the venue to requests that were never sent."),
        _counter("lost_gaps", "tickbay_feed_lost_gaps_total", FEED,
                 "Gap records that could not be written: only the log has them."),
        _counter("quarantine_unkept", "tickbay_feed_quarantine_unkept_total", FEED,
                 "Undecodable messages that the quarantine had no room for."),
        _gauge("silent_s", "tickbay_feed_staleness_seconds", FEED,
               "Since the last message came, while connected; since the last one that is known, while not."),
        _gauge("channels_asked", "tickbay_feed_channels_asked", FEED, "Channels that this feed is to record."),
        _gauge("channels_live", "tickbay_feed_channels_live", FEED, "Channels that the venue has acknowledged."),
        _gauge("channels_whole", "tickbay_feed_channels_whole", FEED, "Those of them that have no open gap."),
        _gauge("channels_troubled", "tickbay_feed_channels_troubled", FEED, "Channels that have an open gap."),
        _gauge("gaps_pending", "tickbay_feed_gaps_pending", FEED,
               "Gap records that are waiting for room in their ring."),
        _gauge("clock_offset_ms", "tickbay_clock_offset_seconds", FEED,
               "The venue's clock minus this machine's, by the best of the last answers.", scale=1e-3),
        _gauge("clock_error_ms", "tickbay_clock_error_seconds", FEED,
               "Error bound of tickbay_clock_offset_seconds, plus or minus.", scale=1e-3),
    ),
    "journal": (
        _counter("records", "tickbay_journal_records_total", NONE, "Records synced to disk."),
        _counter("bytes", "tickbay_journal_written_bytes_total", NONE, "Bytes written to segments."),
        _counter("syncs", "tickbay_journal_syncs_total", NONE, "Group commits: each one is one sync of the disk."),
        _counter("segments", "tickbay_journal_segments_total", NONE, "Segments started."),
        _counter("write_errors", "tickbay_journal_write_errors_total", NONE,
                 "Writes and syncs that failed; the records stayed in the rings."),
        _counter("dropped_segments", "tickbay_journal_dropped_segments_total", NONE, "Segments deleted."),
        _counter("dropped_records", "tickbay_journal_dropped_records_total", NONE,
                 "Records deleted for lack of space before every sink had stored them."),
        _gauge("lag_records", "tickbay_journal_lag_records", NONE, "Records in the rings that are not on disk yet."),
        _gauge("sync_p50_ms", "tickbay_journal_sync_p50_seconds", NONE, "Half of the last minute's syncs took less.",
               scale=1e-3),
        _gauge("sync_p99_ms", "tickbay_journal_sync_p99_seconds", NONE, "99 % of the last minute's syncs took less.",
               scale=1e-3),
        _gauge("journal_bytes", "tickbay_journal_size_bytes", NONE, "Bytes that the segments occupy."),
        _gauge("free_bytes", "tickbay_journal_free_bytes", NONE, "Free space of the journal's disk."),
        _gauge("hold_hours", "tickbay_journal_hold_seconds", NONE,
               "How long an outage of a database the journal can hold at the present rate, by quota and free space.",
               scale=3600.0),
    ),
    "writer": (
        _counter("rows", "tickbay_sink_rows_total", SINK, "Rows committed."),
        _counter("bytes", "tickbay_sink_sent_bytes_total", SINK, "Bytes of encoded rows sent."),
        _counter("batches", "tickbay_sink_batches_total", SINK, "Batches committed."),
        _counter("retries", "tickbay_sink_retries_total", SINK, "Steps that failed and were tried again."),
        _counter("quarantined", "tickbay_sink_quarantined_rows_total", SINK,
                 "Rows that the database refused; they are in its table quarantine."),
        _counter("holes", "tickbay_sink_holes_total", SINK,
                 "Ranges of records that the journal did not have any more when this sink was to store them."),
        _counter("rivals", "tickbay_sink_rivals_total", SINK, "Times that another writer moved our cursor."),
        _gauge("batch_rows", "tickbay_sink_batch_rows_max", SINK, "Largest batch in rows, as adapted to the server."),
        _gauge("parked", "tickbay_sink_parked", SINK, "1 while the writer waits for an operator."),
        _gauge("suspended_tables", "tickbay_sink_suspended_tables", SINK,
               "Tables that QuestDB has suspended: it takes rows and shows none."),
    ),
    "universe": (
        _counter("fetches", "tickbay_universe_fetches_total", NONE, "Fetches of what the venue lists."),
        _counter("fetch_failures", "tickbay_universe_fetch_failures_total", NONE, "Fetches that failed."),
        _gauge("instruments", "tickbay_universe_instruments", NONE, "Instruments that the rules select."),
        _gauge("channels", "tickbay_universe_channels", NONE, "Channels assigned to feeds."),
        _gauge("refused", "tickbay_universe_refused", NONE, "Instruments that no feed has room for."),
        _gauge("announcing", "tickbay_universe_announcing", NONE, "1 while the venue's announcements are received."),
    ),
    "healer": (
        _counter("requests", "tickbay_healer_requests_total", NONE, "Requests for trades that were missed."),
        _counter("failures", "tickbay_healer_failures_total", NONE, "Requests that failed."),
        _counter("rows", "tickbay_healer_rows_total", NONE, "Trades fetched afterwards."),
        _counter("healed", "tickbay_healer_healed_total", NONE, "Gaps that were filled."),
        _counter("unhealed", "tickbay_healer_unhealed_total", NONE, "Gaps that could not be filled."),
        _gauge("cases", "tickbay_healer_cases", NONE, "Gaps that are being filled or waiting for it."),
        _gauge("missing", "tickbay_healer_missing", NONE, "Trades known to be missing in them."),
    ),
    "checker": (
        _counter("compared", "tickbay_checker_compared_total", NONE, "Tickers compared with the book's best prices."),
        _counter("disagreements", "tickbay_checker_disagreements_total", NONE,
                 "Books subscribed to again because they disagreed with their ticker."),
        _gauge("books", "tickbay_checker_books", NONE, "Books known: followed since a snapshot."),
        _gauge("differ", "tickbay_checker_differing", NONE,
               "Books that currently disagree with their ticker (often transient)."),
    ),
    "merger": (
        _counter("records", "tickbay_merger_records_total", FEED, "Records published: each once, from either leg."),
        _counter("unchained", "tickbay_merger_unchained_total", FEED,
                 "Messages of instruments that the table of chains has no room for: gaps in their chains are not "
                 "detected."),
        _gauge("held", "tickbay_merger_held", FEED, "Records that are waiting for what comes before them."),
        *(
            told
            for leg in LEGS
            for told in (
                Told(LEG_RECORDS, f"{leg}_records", leg=leg), Told(LEG_FIRST, f"{leg}_first", leg=leg),
                Told(LEG_MISSED, f"{leg}_missed", leg=leg),
            )
        ),
    ),
}  # fmt: skip

BUILD = Metric("tickbay_build_info", "gauge", ("version",), "1; the version that serves this.")
VERDICT = Metric("tickbay_verdict", "gauge", ("verdict",), "1 for what `tickbay status` says, 0 for the others.")
SUPERVISED = Metric("tickbay_supervised", "gauge", (), "1 while a supervisor replaces what dies.")
UP = Metric("tickbay_process_up", "gauge", ("process",), "1 while the process runs.")
STATE = Metric("tickbay_process_state", "gauge", ("process", "state"), "1 for the process's state, 0 for the others.")
STARTED = Metric("tickbay_process_start_time_seconds", "gauge", ("process",), "When it started, unix time.")
HEARTBEAT = Metric("tickbay_process_heartbeat_age_seconds", "gauge", ("process",), "Since its last heartbeat.")
RESTARTS = Metric(
    "tickbay_process_restarts_total", "counter", ("process",),
    "Times that it was restarted since the engine was started.",
)  # fmt: skip
MEMORY = Metric(
    "tickbay_process_resident_memory_bytes", "gauge", ("process",),
    "Its memory, with the parts of the shared rings that it has touched.",
)  # fmt: skip
CPU = Metric("tickbay_process_cpu_seconds_total", "counter", ("process",), "User and system time that it has used.")
FILES = Metric("tickbay_process_open_fds", "gauge", ("process",), "File descriptors that it has open.")
GAPS = Metric("tickbay_gaps_total", "counter", ("process", "cause"), "Gaps found, each once, by cause.")
PUBLISHED = Metric(
    "tickbay_stream_published_total", "counter", ("process", "kind"), "Records published: the stream's last sequence."
)
DURABLE = Metric(
    "tickbay_stream_durable_total", "counter", ("process", "kind"), "Records of the stream that are on disk."
)
FILL = Metric(
    "tickbay_ring_fill_ratio", "gauge", ("process", "kind"),
    "How full the ring is of records that the journal has not synced, 0 to 1: at 1 records are lost.",
)  # fmt: skip
QUOTA = Metric("tickbay_journal_quota_bytes", "gauge", (), "Bytes that the segments may occupy (journal.quota_gb).")
LAG_ROWS = Metric("tickbay_sink_lag_rows", "gauge", SINK, "Records published that the sink has not committed.")
LAG = Metric("tickbay_sink_lag_seconds", "gauge", SINK, "Since the oldest record came that the sink has not committed.")
COMMIT = Metric("tickbay_sink_commit_seconds", "histogram", SINK, "How long a commit took.")
BATCH = Metric("tickbay_sink_batch_rows", "histogram", SINK, "Rows of a committed batch.")
STAGE = Metric(
    "tickbay_stage_seconds", "histogram", ("stage", "process"),
    "How long a stage of a tick's way took: exchange to receive, receive to durable, durable to commit, and receive to "
    "commit. The first depends on both clocks: see tickbay_clock_offset_seconds.",
)  # fmt: skip

COMPUTED = (
    BUILD, VERDICT, SUPERVISED, UP, STATE, STARTED, HEARTBEAT, RESTARTS, MEMORY, CPU, FILES, GAPS, PUBLISHED, DURABLE,
    FILL, QUOTA, LAG_ROWS, LAG, COMMIT, BATCH, STAGE,
)  # fmt: skip


def every_metric() -> tuple[Metric, ...]:
    """In the order in which they are served."""
    return (*COMPUTED, *dict.fromkeys(told.metric for tolds in TOLD.values() for told in tolds))
