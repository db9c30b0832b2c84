"""When a writer commits again: at once while much comes, later while little does."""

from __future__ import annotations

from tickbay.writer.pace import BUSY_ROWS_S, Pace


def test_a_writer_to_whom_much_comes_is_busy_and_one_to_whom_little_comes_is_not() -> None:
    pace = Pace(10.0)
    seen = [pace.busy]
    for now_s in (10.1, 10.3):
        pace.taken(BUSY_ROWS_S // 10, now_s)
        seen.append(pace.busy)
    assert seen == [False, True, False]


def test_it_is_the_rate_that_counts_and_not_the_batch_so_that_shorter_pauses_do_not_make_a_writer_idle() -> None:
    pace = Pace(0.0)
    for turn in range(1, 100):
        pace.taken(BUSY_ROWS_S // 40, turn * 0.02)
        assert pace.busy
