"""Every bench, small: it runs, it checks what it times, and its result can be written and read again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from bench import (
    bench_copy,
    bench_decode,
    bench_encode,
    bench_growth,
    bench_journal,
    bench_latency,
    bench_peer,
    bench_questdb,
    bench_receive,
    bench_ring,
    corpus,
    peer,
    pipeline,
    report,
)
from bench.result import Goal, Result, Size

from tickbay.embedded_questdb import jar, java
from tickbay.errors import ConfigError

SMALL = Size(small=True, seed=7)
STAGES = {
    "decode": bench_decode.measure,
    "encode": bench_encode.measure,
    "journal": bench_journal.measure,
    "latency": bench_latency.measure,
    "receive": bench_receive.measure,
    "ring": bench_ring.measure,
}


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_a_bench_tells_what_it_checked_and_what_it_measured(stage: str, tmp_path: Path) -> None:
    measure: Callable[[Size], Result] = STAGES[stage]
    result = measure(SMALL)
    assert result.bench == stage and result.checked
    assert result.figures and all(figure.value > 0 for figure in result.figures)
    written = json.loads(result.write(tmp_path).read_text())
    assert written["size"]["seed"] == 7 and written["commit"] and written["machine"]["cpu"]
    assert [figure["name"] for figure in written["figures"]] == [figure.name for figure in result.figures]
    assert all(goal.what in result.render() for goal in result.goals)


@pytest.mark.slow
def test_rows_of_the_writer_and_of_a_ready_file_are_all_in_the_table() -> None:
    assert bench_copy.measure(SMALL).checked == "2000 rows of 43 columns are in the table"


@pytest.mark.slow
def test_the_whole_path_is_measured_only_on_a_run_that_the_audit_calls_good() -> None:
    result = pipeline.measure(SMALL)
    assert "0 lost, 0 twice, 0 different: OK" in result.checked
    assert {figure.name: figure.value for figure in result.figures}["flat out: records lost"] == 0


@pytest.mark.slow
def test_growth_is_measured_only_on_runs_that_the_audit_calls_good() -> None:
    result = bench_growth.measure(SMALL)
    assert "0 lost, 0 twice, 0 different: OK" in result.checked
    assert result.figures[0].name == "20 options, 2 feeds: capture's CPU"


@pytest.mark.slow
def test_the_peer_is_believed_only_when_its_rows_are_in_its_tables() -> None:
    if peer.stores() is None:
        pytest.skip(peer.ABSENT)
    result = bench_peer.measure(SMALL)
    assert "rows of the peer's are there" in result.checked and "0 lost, 0 twice, 0 different: OK" in result.checked
    assert "; 2,000 rows of 8 columns are alike; " in result.checked


def test_the_same_seed_gives_the_same_frames_and_another_seed_gives_others() -> None:
    first, again, other = corpus.load(SMALL), corpus.load(SMALL), corpus.load(Size(small=True, seed=8))
    assert first.frames == again.frames != other.frames
    assert [len(frame) for frame in first.frames] == [len(frame) for frame in other.frames]


def test_without_recorded_frames_the_simulator_s_are_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(corpus, "CAPTURES", tmp_path)
    found = corpus.load(SMALL)
    assert found.origin == "simulated"
    assert bench_decode.check(found.frames)[1] >= len(found.frames)


def test_a_frame_that_is_decoded_wrong_stops_the_bench() -> None:
    """A bench that cannot fail would print any rate."""
    (ticker, *_) = corpus.load(SMALL).of("ticker")
    with pytest.raises(AssertionError):
        bench_decode.check([ticker[:-1]])


def test_a_missed_goal_is_not_called_reached() -> None:
    assert Goal("decode", "x", 50, 50, "").met and not Goal("decode", "x", 50, 49.9, "").met
    assert Goal("ring", "x", 0.3, 0.3, "", most=True).met and not Goal("ring", "x", 0.3, 0.31, "", most=True).met


def test_the_report_has_every_goal_of_every_result_and_a_plot_that_parses(tmp_path: Path) -> None:
    result = Result("ring", SMALL, checked="yes")
    result.aim("ring", "records & more", 40, 20, " M/s")
    result.aim("ring", "one way", 0.3, 0.15, " µs", most=True)
    result.write(tmp_path)
    documents = report.load(tmp_path)
    assert "| ring | records & more | ≥ 40 M/s | 20 M/s | **missed** |" in report.table(documents)
    assert "| ring | one way | ≤ 0.3 µs | 0.15 µs | reached |" in report.table(documents)
    drawn = ElementTree.fromstring(report.plot(report.goals(documents)))
    assert [text.text for text in drawn.iter() if (text.text or "").endswith("x")] == ["0.50x", "2.00x"]


@pytest.mark.slow
def test_rows_of_the_questdb_writer_and_of_ready_bodies_are_all_applied() -> None:
    try:
        jar()
        java()
    except ConfigError as error:
        pytest.skip(str(error))
    checked, *added_up = bench_questdb.measure(SMALL).checked.split("; ")
    assert checked == "4000 rows of 42 columns are applied"
    client = "" if peer.questdb() is None else " + 200 + 200"
    assert added_up == [f"{columns} columns: 500{client} rows add up" for columns in (42, 18)]
