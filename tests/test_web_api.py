"""The JSON API of the status page: what docs/api.md says is what is answered. In a browser: test_browser.py."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from tickbay.config import Config
from tickbay.gap import Cause
from tickbay.metrics.answer import answer
from tickbay.watch.quoted import NUMBERS
from tickbay.web.api import LIMIT_MAX, STATES, web_pages
from watched import CALL, FEED, NAMES, NEVER, SILENT, Watched

PAGE = (Path(__file__).parent.parent / "docs" / "api.md").read_text()
ENDPOINTS = ("/api/health", "/api/processes", "/api/instruments", "/api/gaps")
LOCAL = {"Host": "127.0.0.1:8080"}


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with closing(Watched(tmp_path)) as watched:
        watched.run()
        yield watched


def ask(config: Config, target: str, method: str = "GET") -> tuple[HTTPStatus, str]:
    found = answer(method, target, LOCAL, pages=web_pages(config), hosts=())
    return found.status, found.body.decode()


def value(config: Config, target: str) -> Any:
    status, body = ask(config, target)
    assert status == HTTPStatus.OK, body
    return json.loads(body)


def documented(endpoint: str) -> str:
    """The part of docs/api.md about it."""
    return re.split(r"^## ", PAGE, flags=re.M)[1 + ENDPOINTS.index(endpoint)]


def keys(found: Any, prefix: str = "") -> set[str]:
    """Of an answer, those of entries of a list as `list.key`."""
    if isinstance(found, list):
        return {key for entry in found for key in keys(entry, prefix)}
    if not isinstance(found, dict) or prefix in ("gauges.", "streams.committed.", "processes.gauges."):
        return set()
    return set.union({prefix + key for key in found}, *(keys(inner, f"{prefix}{key}.") for key, inner in found.items()))


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_the_examples_have_the_keys_of_the_answers(watched: Watched, endpoint: str) -> None:
    example = json.loads(re.findall(r"```json\n(.*?)```", documented(endpoint), re.S)[0])
    given = value(watched.config, endpoint)
    # What this engine has none of: a clock that was measured, stages.
    absent = (
        {key for key in keys(example) if key.startswith(("clock.", "stages."))} if endpoint == "/api/health" else set()
    )
    assert keys(given) | absent == keys(example)
    assert list(given) == list(example), "in the same order"


def test_the_page_names_every_word_of_a_query(watched: Watched) -> None:
    gaps, instruments = documented("/api/gaps"), documented("/api/instruments")
    assert all(f"`{cause.name.lower()}`" in gaps for cause in Cause) and all(f"`{state}`" in gaps for state in STATES)
    for endpoint, part in (("/api/gaps", gaps), ("/api/instruments", instruments)):
        status, body = ask(watched.config, f"{endpoint}?nothing=1")
        named = body.strip().partition("there is ")[2].split(", ")
        assert status == HTTPStatus.BAD_REQUEST and len(named) > 3
        assert all(f"`{name}`" in part for name in named)
    assert all(f'"{name}"' in instruments for name in NUMBERS)


def test_health_and_processes_are_those_of_status(watched: Watched) -> None:
    health = value(watched.config, "/api/health")
    assert health["verdict"] == "degraded" and "the supervisor does not run" in health["reasons"][0]
    found = {process["name"]: process for process in value(watched.config, "/api/processes")["processes"]}
    assert found[FEED]["state"] == "live" and found[FEED]["gauges"]["channels_live"] == 12
    assert found[FEED]["memory_bytes"] > 1e6 and found[FEED]["cpu_s"] > 0 and found[FEED]["reconnects"] == 1
    assert (found["supervisor"]["state"], found["supervisor"]["memory_bytes"]) == ("down", None)


def test_instruments_are_filtered_sorted_and_come_in_pages(watched: Watched) -> None:
    def names(query: str) -> list[str]:
        found = value(watched.config, f"/api/instruments?{query}")
        assert (found["total"], found["stale"]) == (len(NAMES), 2)
        return [each["instrument"] for each in found["instruments"]]

    assert names("") == sorted(NAMES)
    assert names("limit=2&offset=1") == sorted(NAMES)[1:3]
    assert names("filter=3000-c") == [CALL]
    assert names("stale=true&sort=age_s") == [SILENT, NEVER]
    assert names("sort=bid_price&descending=true")[-1] == NEVER
    assert value(watched.config, f"/api/instruments?filter={NEVER}")["instruments"][0]["age_s"] is None


def test_gaps_are_chosen_by_state_cause_and_instrument(watched: Watched) -> None:
    def states(query: str) -> list[str]:
        return [each["state"] for each in value(watched.config, f"/api/gaps?{query}")["gaps"]]

    assert states("") == ["open", "healed", "missing"]
    assert states("state=healed") == ["healed"] and states("cause=stale") == ["open"]
    assert states(f"instrument={CALL}") == ["healed", "missing"], "a hole of all instruments is its, too"
    assert states("limit=1&offset=2") == ["missing"]


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("/api/health?x=1", "a field that does not exist; there is none"),
        ("/api/instruments?sort=name", "sort: one of instrument, age_s, "),
        ("/api/instruments?filter=" + "a" * 65, "filter: at most 64 characters"),
        ("/api/instruments?stale=yes", "stale: true or false"),
        (f"/api/instruments?limit={LIMIT_MAX + 1}", "limit: a whole number up to 1000"),
        ("/api/gaps?offset=-1", "offset: a whole number up to "),
        ("/api/gaps?state=lost", "state: one of open, missing, announced, healed"),
        ("/api/gaps?cause=x", "cause: one of disconnect, "),
        ("/api/gaps?" + "&".join(f"a{number}=1" for number in range(17)), "a query of more than 16 fields"),
    ],
)
def test_a_query_that_cannot_be_answered_gets_one_line(watched: Watched, target: str, complaint: str) -> None:
    status, body = ask(watched.config, target)
    assert status == HTTPStatus.BAD_REQUEST and body.startswith(complaint) and body.count("\n") == 1


def test_it_changes_nothing_and_answers_also_where_nothing_runs(tmp_path: Path) -> None:
    config = Config(run_dir=tmp_path / "run", data_dir=tmp_path / "data")
    for endpoint in ENDPOINTS:
        assert ask(config, endpoint)[0] == ask(config, endpoint, "HEAD")[0] == HTTPStatus.OK
        assert ask(config, endpoint, "POST")[0] == HTTPStatus.METHOD_NOT_ALLOWED
    assert value(config, "/api/health")["verdict"] == "down"
    assert value(config, "/api/instruments")["instruments"] == value(config, "/api/gaps")["gaps"] == []
    assert list(tmp_path.iterdir()) == []
