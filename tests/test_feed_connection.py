"""The feed process when its connection ends, in every way there is: what is on record afterwards names the hole."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from feed_case import (
    FeedCase,
    begin,
    ended,
    text,
)
from simulator import Simulator, simulating
from tickbay.gap import Cause
from tickbay.record import Kind

Simulate = Callable[..., Simulator]


@pytest.fixture
def case(shm_dir: Path, tmp_path: Path) -> Iterator[FeedCase]:
    case = FeedCase(shm_dir, tmp_path / "data")
    yield case
    case.close()


@pytest.fixture
def simulate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Simulator]]:
    """Start a simulated venue of four options, each with a folder of its own."""
    with ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(
            simulating(tmp_path_factory.mktemp("sim"), "--instruments", "ETH=4", *arguments)
        )


@pytest.mark.slow
def test_every_kind_of_close_is_a_hole_with_its_code_and_everything_comes_back(
    case: FeedCase, simulate: Simulate
) -> None:
    simulator = simulate("--rate", "300")
    channels = begin(case, simulator)
    conns = [case.ask("status")["conn"]]
    for number, code in enumerate((1000, 1001, 1008, 1011, 1012, 4000), start=1):
        simulator.fault(f"close code={code} reason=test")
        case.until_gaps(Cause.DISCONNECT, 2 * number)
        case.until_live(len(channels))
        opened, closed = case.gaps(Cause.DISCONNECT)[-2:]
        assert text(case.gaps(Cause.DISCONNECT), "detail")[-1] == f"the venue closed: {code} test"
        assert opened["from_ns"] == closed["from_ns"]
        assert (opened["to_ns"], opened["instrument"], opened["kind"]) == (0, b"", 0)
        conns.append(case.ask("status")["conn"])
        assert conns[-1] > conns[-2]
        quotes = case.records(Kind.QUOTE)
        silent = (quotes["recv_ns"] > opened["from_ns"]) & (quotes["conn"] <= conns[-2])
        assert not silent.any(), "GAP-1: nothing of the old connection came after the hole began"
    case.until(lambda: case.health().counters["reconnects"] == 6, "reconnects")


@pytest.mark.slow
def test_a_reset_connection_is_made_anew(case: FeedCase, simulate: Simulate) -> None:
    simulator = simulate("--rate", "300")
    channels = begin(case, simulator)
    simulator.fault("kill")
    case.until(lambda: ended(case, Cause.DISCONNECT), "the hole of the reset")
    case.until_live(len(channels))


@pytest.mark.slow
def test_a_feed_whose_venue_stays_away_is_degraded_at_first_and_then_waits(case: FeedCase, simulate: Simulate) -> None:
    """What broke: it was degraded, "recording, but something needs attention", for as long as the line was down."""
    simulator = simulate("--rate", "300")
    begin(case, simulator, silent_s=2.0)
    case.until(lambda: case.health().state == "live", "it to say so")
    simulator.stop()
    states: list[str] = []

    def waiting() -> bool:
        states.append(case.health().state)
        return states[-1] == "waiting"

    case.until(waiting, "it to say that it records nothing")
    assert list(dict.fromkeys(states))[-2:] == ["degraded", "waiting"]
    assert case.health().detail.startswith("no connection for 2 s: ")


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["half_open", "stall seconds=60"])
def test_a_silent_socket_is_given_up(case: FeedCase, simulate: Simulate, fault: str) -> None:
    simulator = simulate("--rate", "300")
    channels = begin(case, simulator, silent_s=1.0)
    simulator.fault(fault)
    case.until(lambda: ended(case, Cause.STALE), "the hole ends")
    case.until_live(len(channels))
    opened = case.gaps(Cause.STALE)[0]
    first = case.records(Kind.QUOTE)["conn"][0]
    recorded = [case.records(kind) for kind in (Kind.QUOTE, Kind.TRADE, Kind.BOOK)]
    newest_ns = max(int(records["recv_ns"][records["conn"] == first].max(initial=0)) for records in recorded)
    assert opened["from_ns"] == newest_ns, "from the last message of that connection"


@pytest.mark.slow
def test_maintenance_is_an_expected_hole(case: FeedCase, simulate: Simulate) -> None:
    simulator = simulate("--rate", "300")
    channels = begin(case, simulator)
    simulator.fault("maintenance state=on")
    case.until(lambda: len(case.gaps(Cause.MAINTENANCE)) == 1, "the venue says so")
    assert case.gaps(Cause.MAINTENANCE)["expected"].tolist() == [1]
    simulator.fault("maintenance state=off")
    case.until_live(len(channels))
    case.until(lambda: ended(case, Cause.MAINTENANCE) and ended(case, Cause.DISCONNECT), "both holes end")


def test_a_feed_killed_goes_on_behind_its_last_record_and_knows_the_hole(case: FeedCase, simulate: Simulate) -> None:
    simulator = simulate("--rate", "300")
    channels = begin(case, simulator)
    case.until(lambda: len(case.records(Kind.BOOK)) > 100, "books")
    case.end(signal.SIGKILL)
    before = {kind: case.records(kind) for kind in (Kind.QUOTE, Kind.TRADE, Kind.BOOK)}
    case.start()
    case.until_live(len(channels))
    case.until(lambda: ended(case, Cause.RESTART), "the hole of the restart")
    opened, closed = case.gaps(Cause.RESTART)
    newest_ns = max(int(records["recv_ns"].max()) for records in before.values() if len(records))
    assert opened["from_ns"] == newest_ns
    for kind, records in before.items():
        after = case.records(kind)
        assert after["seq"].tolist() == list(range(1, len(after) + 1))
        assert after[: len(records)].tobytes() == records.tobytes(), "what was recorded is untouched"
        new = after[len(records) :]
        assert len(new) == 0 or new["conn"].min() > records["conn"].max(initial=0)
        inside = (new["recv_ns"] > opened["from_ns"]) & (new["recv_ns"] < opened["recv_ns"])
        assert not inside.any()
    assert closed["to_ns"] > newest_ns


@pytest.mark.slow
def test_a_feed_whose_ring_was_replaced_ends_so_that_nothing_is_written_where_nobody_reads(
    case: FeedCase, simulate: Simulate
) -> None:
    begin(case, simulate("--rate", "300"))
    path = case.rings[Kind.QUOTE].path
    shutil.copyfile(path, path.with_suffix(".new"))
    path.with_suffix(".new").rename(path)
    assert case.process is not None
    assert case.process.wait(10) == 1
    assert "is not ours any more" in case.health().last_error
