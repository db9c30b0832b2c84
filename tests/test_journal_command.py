"""`tickbay journal`: what an operator sees of the journal's files, also while it is written, and that nothing of them
changes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from journal_case import QUOTE, TRADE, JournalCase, numbered, segment_files
from journal_process import JournalProcess
from patience import wait_for


@pytest.fixture
def case(shm_dir: Path) -> JournalCase:
    case = JournalCase(shm_dir, shm_dir / "data")
    (shm_dir / "tickbay.toml").write_text(f'data_dir = "{shm_dir}/data"\nrun_dir = "{shm_dir}"\n')
    return case


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tickbay", "journal", *arguments, "--config", str(folder / "tickbay.toml")]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def filled(case: JournalCase) -> None:
    journal = case.open()
    for _ in range(400):
        case.produce(journal, QUOTE, 30)
        case.produce(journal, TRADE, 3)
        assert journal.commit()
    assert journal.end() == ""
    assert len(segment_files(case.directory)) > 3


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_listing_has_every_segment_and_the_sequences_of_its_streams(case: JournalCase, shm_dir: Path) -> None:
    filled(case)
    before = contents(case.directory)
    done = run(shm_dir, "ls", "--json")
    assert done.returncode == 0, done.stderr
    segments = [json.loads(line) for line in done.stdout.splitlines()]
    assert [segment["segment"] for segment in segments] == list(range(1, len(segment_files(case.directory)) + 1))
    next_seq = {QUOTE: 1, TRADE: 1}
    for segment in segments:
        assert segment["bytes"] == 1 << 20
        for stream, span in segment["streams"].items():
            assert span["first"]["seq"] == next_seq[stream]
            assert span["records"] == span["last"]["seq"] - span["first"]["seq"] + 1
            next_seq[stream] = span["last"]["seq"] + 1
    assert next_seq == {QUOTE: 12_001, TRADE: 1201}
    table = run(shm_dir, "ls").stdout.splitlines()
    assert len(table) == 1 + sum(len(segment["streams"]) for segment in segments)
    assert table[1].split()[:3] == ["1", "1.0", "MB"]
    assert contents(case.directory) == before


def test_a_whole_journal_verifies_and_a_damaged_or_missing_segment_does_not(case: JournalCase, shm_dir: Path) -> None:
    filled(case)
    done = run(shm_dir, "verify")
    assert (done.returncode, done.stderr) == (0, "")
    assert "13,200 records of 2 streams: OK" in done.stdout
    path = case.directory / segment_files(case.directory)[1]
    good = path.read_bytes()
    path.write_bytes(good[:500_000] + bytes([good[500_000] ^ 1]) + good[500_001:])
    before = contents(case.directory)
    done = run(shm_dir, "verify")
    assert done.returncode == 1
    assert "segment 2: damaged at byte" in done.stdout
    assert contents(case.directory) == before
    path.unlink()
    done = run(shm_dir, "verify")
    assert done.returncode == 1
    assert f"segment 3: {QUOTE}" in done.stdout


def test_a_dump_begins_where_it_is_told_to_and_names_what_is_missing(case: JournalCase, shm_dir: Path) -> None:
    filled(case)
    done = run(shm_dir, "dump", QUOTE, "--from", "7000", "--limit", "3")
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["seq"] for record in records] == [7000, 7001, 7002]
    assert [record["instrument"] for record in records] == ["I-7000", "I-7001", "I-7002"]
    assert records[0]["mark_price"] is None
    everything = [json.loads(line)["seq"] for line in run(shm_dir, "dump", TRADE).stdout.splitlines()]
    assert everything == list(range(1, 1201))
    (case.directory / segment_files(case.directory)[1]).unlink()
    lines = [json.loads(line) for line in run(shm_dir, "dump", TRADE).stdout.splitlines()]
    (hole,) = [line["missing"] for line in lines if "missing" in line]
    told = [line["seq"] for line in lines if "seq" in line]
    assert told == [seq for seq in range(1, 1201) if not hole["first"] <= seq <= hole["last"]]


def test_what_cannot_be_dumped_is_refused_in_one_line(case: JournalCase, shm_dir: Path) -> None:
    filled(case)
    for stream, words in (("feed-1.quot", "is not the name of a stream"), ("feed-9.quote", "no records of feed-9")):
        done = run(shm_dir, "dump", stream)
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr
        assert done.stderr.count("\n") == 1
    (shm_dir / "tickbay.toml").write_text('data_dir = "nowhere"\n')
    done = run(shm_dir, "ls")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


@pytest.mark.slow
def test_a_journal_that_is_being_written_lists_verifies_and_dumps(shm_dir: Path) -> None:
    process = JournalProcess(shm_dir, shm_dir / "data", shm_dir / "tickbay.toml")
    done = threading.Event()
    ring = process.attach()

    def produce() -> None:
        produced = 0
        while not done.wait(0.01):
            if ring.free >= 200:
                ring.append(numbered(QUOTE, produced + 1, 200))
                produced += 200

    producer = threading.Thread(target=produce)
    producer.start()
    try:
        wait_for(lambda: ring.durable > 20_000, "some segments")
        for _ in range(3):
            for arguments in (["verify"], ["ls"], ["dump", QUOTE, "--from", str(ring.durable - 500), "--limit", "500"]):
                looked = run(shm_dir, *arguments)
                assert (looked.returncode, looked.stderr) == (0, ""), looked.stdout
        assert len(looked.stdout.splitlines()) == 500
        durable = ring.durable
        wait_for(lambda: ring.durable > durable, "more: nobody was held up")
    finally:
        done.set()
        producer.join()
        process.popen.kill()
        process.popen.communicate()
        ring.close()
