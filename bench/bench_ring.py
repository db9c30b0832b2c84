"""Records from one process to another through a ring: the rate, and how long one takes. Beside a copy of the same bytes
and multiprocessing.Queue.

The C program checks that every record comes, in order and once.
"""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.queues import Queue

from bench.result import Result, Size, main, median, native

SLOTS = 65_536
CLAIMS = {"one record a message": 1, "two": 2, "sixteen (a book's snapshot)": 16}
TURNS = 15  # short ones: in some of them both processes have a core, whatever else runs here


def measure(size: Size) -> Result:
    result = Result("ring", size)
    records, latencies = size.of(2_000_000, 100_000), size.of(5_000, 500)
    result.checked = f"{records} records of 120 bytes came in order, once each, in every run"
    best = 0.0
    p50s: list[float] = []
    for name, claim in CLAIMS.items():
        rates = []
        for _ in range(size.of(TURNS, 1)):
            answer = native("bench_ring", SLOTS, records, claim, latencies)
            assert answer["records"] == records
            rates.append(records / float(str(answer["seconds"])) / 1e6)
            p50s.append(float(str(answer["p50_ns"])) / 1e3)
        result.add(f"records a second, {name}", median(rates), "M/s")
        result.add(f"records a second, {name}, best run", max(rates), "M/s")
        best = max(best, *rates)
    result.add("one way, p50, median of the runs", median(p50s), "µs")
    result.add("one way, p50, best run", min(p50s), "µs", "the others shared their cores")
    result.add("peer: multiprocessing.Queue", _queue_rate(size.of(100_000, 1_000)) / 1e6, "M/s")
    result.aim("ring", "records a second, 64 Ki slots, best run", 40, best, " M/s")
    result.aim("ring", "one way, p50, best run", 0.3, min(p50s), " µs", most=True)
    return result


def _queue_rate(count: int) -> float:
    """What Python offers for the same: objects a second."""
    context = multiprocessing.get_context("spawn")
    queue: Queue[bytes] = context.Queue()
    sender = context.Process(target=_send, args=(queue, count))
    sender.start()
    assert queue.get() == b"ready"
    began = time.monotonic()
    for number in range(count):
        assert int.from_bytes(queue.get()[:8], "little") == number
    seconds = time.monotonic() - began
    sender.join()
    return count / seconds


def _send(queue: Queue[bytes], count: int) -> None:
    queue.put(b"ready")
    for number in range(count):
        queue.put(number.to_bytes(8, "little") + bytes(112))


if __name__ == "__main__":
    main(measure)
