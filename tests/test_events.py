"""The log: one event, one line; repeats counted; no secrets; and never in the way of capture."""

from __future__ import annotations

import ast
import os
import pty
import time
from pathlib import Path

import orjson
import pytest

import tickbay
from tickbay import events as catalogue
from tickbay.events import LINE_BYTES_MAX, Event, Events, Level


class Log:
    """A pipe that events are written to."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)

    def lines(self) -> list[dict[str, object]]:
        try:
            return [orjson.loads(line) for line in os.read(self.reader, 1 << 20).splitlines()]
        except BlockingIOError:
            return []

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


@pytest.fixture
def log() -> object:
    log = Log()
    yield log
    log.close()


def test_an_event_is_one_line_of_json_with_its_fields(log: Log) -> None:
    Events("feed-1", fd=log.writer).emit(Event.CHILD_EXITED, child="a\nb", pid=7, status="exit 1", restart_s=0.5)
    (line,) = log.lines()
    assert str(line.pop("time")).endswith("Z")
    assert line == {
        "level": "error",
        "process": "feed-1",
        "event": "child_exited",
        "child": "a\nb",
        "pid": 7,
        "status": "exit 1",
        "restart_s": 0.5,
    }


def test_repeats_are_counted_and_told_when_they_end(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    events = Events("p", fd=log.writer)
    for pid in range(5):
        events.emit(Event.CHILD_EXITED, child="x", pid=pid)
    events.emit(Event.CHILD_EXITED, child="y", pid=9)  # another text is another event
    assert [(line["child"], line["pid"]) for line in log.lines()] == [("x", 0), ("y", 9)]
    now_s += catalogue.REPEAT_S
    events.settle()
    assert [(line["child"], line["pid"], line["repeats"]) for line in log.lines()] == [("x", 4, 4)]
    events.settle(all=True)
    assert log.lines() == []


def test_an_event_after_the_repeats_says_how_many_there_were(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    events = Events("p", fd=log.writer)
    for _ in range(3):
        events.emit(Event.CHILD_EXITED, child="x")
    now_s += catalogue.REPEAT_S
    events.emit(Event.CHILD_EXITED, child="x")
    assert [line.get("repeats") for line in log.lines()] == [None, 2]


def test_the_memory_of_repeats_is_bounded_and_loses_no_count(log: Log) -> None:
    events = Events("p", fd=log.writer)
    for number in range(3 * catalogue.REPEATS_MAX):
        events.emit(Event.CHILD_EXITED, child=f"c{number}")
        events.emit(Event.CHILD_EXITED, child=f"c{number}")
        if number % 100 == 0:
            log.lines()
    events.settle(all=True)
    assert log.lines()[-1]["repeats"] == 1
    assert events.dropped == 0


def test_a_secret_is_in_no_line(log: Log) -> None:
    events = Events("p", fd=log.writer, secrets=("canary", ""))
    events.emit(Event.PROCESS_FAILED, error=ValueError("password=canary failed"), where="canary.py")
    (line,) = log.lines()
    assert "canary" not in str(line) and line["error"] == "password=*** failed"


def test_what_is_below_the_level_is_not_written_but_an_error_is_told_to_health_at_any_level(log: Log) -> None:
    told: list[str] = []
    events = Events("p", fd=log.writer, level="warning", on_error=told.append)
    events.emit(Event.PROCESS_STARTED, version="1")
    events.emit(Event.STOP_FORCED, processes=1)
    events.emit(Event.PROCESS_FAILED, error="x", where="y")
    assert [line["event"] for line in log.lines()] == ["stop_forced", "process_failed"]
    assert told == ["process failed: x  where=y"]


def test_a_terminal_gets_lines_for_a_person_and_no_control_characters() -> None:
    person, terminal = pty.openpty()
    try:
        Events("feed-1", fd=terminal).emit(Event.CHILD_EXITED, child="a\x1b[2Jb", pid=7)
        line = os.read(person, 4096).decode()
        assert "error   feed-1           a process died and will be replaced: child=a\ufffd[2Jb  pid=7" in line
    finally:
        os.close(person)
        os.close(terminal)


def test_a_full_log_pipe_does_not_hold_the_process_up(log: Log) -> None:
    events = Events("p", fd=log.writer)
    for number in range(5000):  # far more than a pipe holds, and nobody reads
        events.emit(Event.CHILD_EXITED, child=f"c{number}", status="x" * 100)
    assert events.dropped > 0
    written = log.lines()
    assert len(written) + events.dropped == 5000, "each line was written whole or counted"
    events.emit(Event.CHILD_EXITED, child="after")
    assert log.lines()[-1]["child"] == "after"


def test_a_log_whose_reader_is_gone_does_not_end_the_process(log: Log) -> None:
    events = Events("p", fd=log.writer)
    os.close(log.reader)
    log.reader = os.dup(log.writer)
    events.emit(Event.CHILD_EXITED, child="x")
    assert events.dropped == 1


def test_a_long_text_is_cut_so_that_a_line_stays_one_write(log: Log) -> None:
    events = Events("p", fd=log.writer)
    events.emit(Event.CHILD_EXITED, child="x" * 100_000)
    events.emit(Event.CHILD_EXITED, **{f"f{number}": "\x01" * 600 for number in range(8)})
    first, second = os.read(log.reader, 1 << 20).splitlines()
    assert len(first) < 1000 and len(second) <= LINE_BYTES_MAX
    assert orjson.loads(second)["event"] == "child_exited"


def test_every_call_uses_the_fields_that_the_catalogue_names() -> None:
    """An event's fields are what a log is searched by; this reads every emit() and tell() of the sources."""
    seen = set()
    for path in Path(tickbay.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
                continue
            event = ast.unparse(node.args[0]).removeprefix("Event.")
            if node.func.attr not in ("emit", "tell") or event not in Event.__members__:
                continue
            seen.add(event)
            used = {keyword.arg for keyword in node.keywords if keyword.arg is not None}
            assert used <= set(Event[event].value.fields.split()), f"{path.name}:{node.lineno} {event}"
    assert len(seen) > 20


def test_every_event_reads_as_a_sentence() -> None:
    for event in Event:
        meaning = event.value
        assert meaning.level in Level and meaning.sentence and not meaning.sentence.endswith((".", ":")), event
        assert len(set(meaning.fields.split())) == len(meaning.fields.split()), event
