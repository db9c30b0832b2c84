"""histogram.py: durations in buckets, against the definition and against all the values themselves."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from tickbay._native import HISTOGRAM_BUCKETS
from tickbay.histogram import ENDS_NS, Counts, Histogram, quantile_ns

ENDS = np.array([end for end in ENDS_NS if end is not None])


def bucket_counts(durations_ns: npt.NDArray[np.int64]) -> Counts:
    histogram = Histogram()
    histogram.add(durations_ns)
    return histogram.counts


def test_every_duration_lies_below_the_end_of_its_bucket_and_not_below_the_end_of_the_one_before() -> None:
    rng = np.random.default_rng(5)
    edges = np.concatenate([ENDS - 1, ENDS, ENDS + 1, [-(1 << 62), -1, 0, 1, (1 << 62)]])
    values = np.concatenate([edges, np.exp(rng.uniform(0, 40, 100_000)).astype(np.int64)])
    places = np.searchsorted(ENDS, values, side="right")
    assert (bucket_counts(values) == np.bincount(places, minlength=HISTOGRAM_BUCKETS)).all()


def test_buckets_grow_by_at_most_a_quarter_from_a_microsecond_to_over_an_hour() -> None:
    assert ENDS[0] == 1024 and ENDS[-1] == 1 << 42 > 3600e9
    assert (ENDS[1:] / ENDS[:-1]).max() <= 1.25
    assert len(ENDS_NS) == HISTOGRAM_BUCKETS and ENDS_NS[-1] is None


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_quantile_is_right_to_the_width_of_its_bucket(share: float) -> None:
    values = np.random.default_rng(6).lognormal(17, 1.5, 200_000).astype(np.int64)
    assert quantile_ns(bucket_counts(values), share) == pytest.approx(float(np.quantile(values, share)), rel=0.05)


def test_of_nothing_no_quantile_is_known() -> None:
    assert math.isnan(quantile_ns(bucket_counts(np.zeros(0, np.int64)), 0.5))
    report = Histogram().report(0.0)
    assert report["buckets"] == [] and report["recent"] == {"seconds": 0.0, "count": 0, "p50_ns": None, "p99_ns": None}


def test_a_report_has_all_since_the_start_and_the_quantiles_of_the_last_minute() -> None:
    histogram = Histogram()
    for second in range(200):
        histogram.add(np.full(10, 1_000_000 if second < 100 else 50_000_000, np.int64))
        report = histogram.report(float(second))
    assert report["count"] == 2000 and report["sum_ns"] == 1000 * 1_000_000 + 1000 * 50_000_000
    buckets = report["buckets"]
    assert isinstance(buckets, list) and [count for _, count in buckets] == [1000, 1000]
    assert buckets[0][0] > 1_000_000 and buckets[1][0] > 50_000_000
    recent = report["recent"]
    assert isinstance(recent, dict) and 50 <= recent["seconds"] <= 60
    assert recent["p50_ns"] == pytest.approx(50e6, rel=0.25)


def test_what_is_negative_is_counted_and_tells_of_a_clock() -> None:
    histogram = Histogram()
    histogram.add(np.array([-5_000_000, 3_000_000], np.int64))
    report = histogram.report(0.0)
    assert report["negative"] == 1 and report["count"] == 2 and report["sum_ns"] == -2_000_000


def test_one_insane_time_does_not_spoil_the_sum() -> None:
    histogram = Histogram()
    histogram.add(np.array([1_800_000_000 * 10**9] * 20, np.int64))
    report = histogram.report(0.0)
    assert report["count"] == 20 and report["sum_ns"] == 20 << 42
