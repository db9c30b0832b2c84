"""Health reports, rings and the kernel's counts → Prometheus' metrics, anew for each scrape. Changes nothing.

In: what `tickbay status` reads, through the same function, so that the two never disagree. Out: the families of
catalogue.py. Runs in the process `metrics`, so a scrape costs a feed, the journal or a writer nothing.

Counters are a process's own, since it started: where it is replaced they begin at 0 again, which Prometheus' rate()
knows, and tickbay_process_restarts_total counts. Of a process that is gone the counters stay as it said last, its
gauges go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family

from tickbay import __version__
from tickbay.config import Config
from tickbay.gap_count import PREFIX as GAPS
from tickbay.health import Report, read_reports
from tickbay.histogram import ENDS_NS
from tickbay.metrics import catalogue
from tickbay.metrics.catalogue import TOLD, Metric
from tickbay.metrics.usage import usage
from tickbay.record import parse_stream
from tickbay.status.snapshot import ProcessStatus, Status, collect
from tickbay.writer import batch_sizes
from tickbay.writer.delays import COMMIT

VERDICTS = ("healthy", "degraded", "down")
STATES = ("starting", "live", "degraded", "waiting", "stopping", "stopped", "failed", "hung", "down")
NS_PER_S = 1e9
# Of tickbay.histogram's buckets every fourth end: a doubling each, from 66 µs to 69 s. A scrape needs no more.
LE_NS = tuple(end for end in ENDS_NS if end and end & (end - 1) == 0 and 1 << 16 <= end <= 1 << 36)

Sample = tuple[tuple[str, ...], float]


class Collector:
    """What prometheus_client asks at every scrape."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def collect(self) -> Iterator[Family]:
        status = collect(self._config)
        reports = read_reports(self._config.run_dir)
        yield from _engine(self._config, status)
        yield from _processes(status.processes, reports)
        yield from _streams(status)
        yield from _counted_gaps(reports)
        yield from _sinks(status.processes, reports)
        yield from _durations(reports)
        living = {process.name for process in status.processes if process.pid is not None}
        for role, tolds in TOLD.items():
            own = [report for report in reports.values() if report.role == role]
            for metric in dict.fromkeys(told.metric for told in tolds):
                same = (told for told in tolds if told.metric == metric)
                yield family(metric, (sample for told in same for sample in _told(told, own, living)))


def family(metric: Metric, samples: Iterable[Sample]) -> Family:
    """A counter or gauge with its samples: the labels' values, and the value."""
    make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    made = make(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples:
        made.add_metric(labels, value)
    return made


def _told(told: catalogue.Told, reports: Iterable[Report], living: set[str]) -> Iterator[Sample]:
    for report in reports:
        figures: Mapping[str, float] = report.counters
        if told.metric.kind == "gauge":
            figures = report.gauges if report.process in living else {}
        if (value := figures.get(told.key)) is not None:
            labels = (_label(report.process), told.leg)
            yield labels[: len(told.metric.labels)], value * told.scale


def _label(process: str) -> str:
    """A feed is called by its process's name, a sink by what follows the role."""
    return process.removeprefix("writer-")


def _engine(config: Config, status: Status) -> Iterator[Family]:
    yield family(catalogue.BUILD, [((__version__,), 1)])
    yield family(catalogue.VERDICT, [((verdict,), status.verdict == verdict) for verdict in VERDICTS])
    yield family(catalogue.SUPERVISED, [((), status.supervised)])
    yield family(catalogue.QUOTA, [((), config.journal.quota_bytes)])


def _processes(processes: Iterable[ProcessStatus], reports: Mapping[str, Report]) -> Iterator[Family]:
    """Of each process, also of those that are down."""
    found: dict[Metric, list[Sample]] = {
        metric: []
        for metric in (
            catalogue.UP, catalogue.STATE, catalogue.STARTED, catalogue.HEARTBEAT, catalogue.RESTARTS,
            catalogue.MEMORY, catalogue.CPU, catalogue.FILES,
        )
    }  # fmt: skip
    for process in processes:
        name = (process.name,)
        found[catalogue.UP].append((name, process.pid is not None))
        found[catalogue.STATE] += [((process.name, state), process.state == state) for state in STATES]
        if process.restarts is not None:
            found[catalogue.RESTARTS].append((name, process.restarts))
        report = reports.get(process.name)
        if process.pid is None or report is None:
            continue
        found[catalogue.STARTED].append((name, report.started_ns / NS_PER_S))
        found[catalogue.HEARTBEAT].append((name, report.age_s()))
        if (used := usage(report.identity)) is not None:
            found[catalogue.MEMORY].append((name, used.memory_bytes))
            found[catalogue.CPU].append((name, used.cpu_s))
            found[catalogue.FILES].append((name, used.files))
    for metric, samples in found.items():
        yield family(metric, samples)


def _streams(status: Status) -> Iterator[Family]:
    named = [(_stream_labels(stream.stream), stream) for stream in status.streams]
    yield family(catalogue.PUBLISHED, [(labels, stream.last) for labels, stream in named])
    yield family(catalogue.DURABLE, [(labels, stream.durable) for labels, stream in named])
    yield family(catalogue.FILL, [(labels, stream.fill) for labels, stream in named])


def _stream_labels(stream: str) -> tuple[str, str]:
    process, kind = parse_stream(stream)
    return process, kind.name.lower()


def _counted_gaps(reports: Mapping[str, Report]) -> Iterator[Family]:
    samples = [
        ((report.process, key.removeprefix(GAPS)), float(value))
        for report in reports.values()
        for key, value in report.counters.items()
        if key.startswith(GAPS)
    ]
    yield family(catalogue.GAPS, samples)


def _sinks(processes: Iterable[ProcessStatus], reports: Mapping[str, Report]) -> Iterator[Family]:
    writers = [process for process in processes if process.role == "writer"]
    rows = [((_label(writer.name),), writer.lag_rows) for writer in writers if writer.lag_rows is not None]
    seconds = [((_label(writer.name),), writer.lag_s) for writer in writers if writer.lag_s is not None]
    yield family(catalogue.LAG_ROWS, rows)
    yield family(catalogue.LAG, seconds)
    yield _batches(report for report in reports.values() if report.role == "writer")


def _batches(writers: Iterable[Report]) -> Family:
    metric = catalogue.BATCH
    made = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for report in writers:
        counts = {
            int(key.removeprefix(batch_sizes.PREFIX)): value
            for key, value in report.counters.items()
            if key.startswith(batch_sizes.PREFIX)
        }
        total, buckets = 0, []
        for end in sorted(counts):
            total += counts[end]
            buckets.append((f"{end:d}.0", float(total)))
        if buckets:
            batches = float(report.counters["batches"])
            rows = float(report.counters["batched_rows"])
            made.add_metric((_label(report.process),), [*buckets, ("+Inf", batches)], rows)
    return made


def _durations(reports: Mapping[str, Report]) -> Iterator[Family]:
    """Commits are the sink's, all other stages a tick's."""
    made = {
        metric: HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for metric in (catalogue.COMMIT, catalogue.STAGE)
    }
    for report in reports.values():
        for stage, by_name in sorted(report.stages.items()):
            for name, found in sorted(by_name.items()):
                metric, labels = (catalogue.COMMIT, [name]) if stage == COMMIT else (catalogue.STAGE, [stage, name])
                made[metric].add_metric(labels, buckets_s(found), found["sum_ns"] / NS_PER_S)
    yield from made.values()


def buckets_s(histogram: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Prometheus' cumulative buckets, in seconds, of one Histogram.report()."""
    filled = [(end, count) for end, count in histogram["buckets"] if end is not None]
    cumulative = [(f"{le / NS_PER_S:.9g}", float(sum(count for end, count in filled if end <= le))) for le in LE_NS]
    return [*cumulative, ("+Inf", float(histogram["count"]))]
