"""Logins as histories: what was asked, what the venue answered, and which channels were taken."""

from __future__ import annotations

import pytest

from session_case import BOOK, INSTRUMENT, TICKER, World
from tickbay.events import Event as LogEvent
from tickbay.feed.login import RENEWALS_MAX, Standing
from tickbay.gap import Cause
from tickbay.record import FeedState, Kind

RAW = TICKER.replace("100ms", "raw")
KEY = {"api_key": "the key", "api_secret": "the secret"}
HEARD = (Kind.QUOTE, INSTRUMENT)
SLOTH_S = 70.0  # longer than the longest wait


def logins(world: World) -> list[object]:
    """What was sent as public/auth."""
    return [request["params"] for request in world.sent if request["method"] == "public/auth"]


def answer_login(world: World, *, error: int = 0, expires_s: int = 900, renewal: str = "renew") -> None:
    """Answer the newest login, and take it off what answer() will see."""
    place = max(number for number, request in enumerate(world.sent) if request["method"] == "public/auth")
    request = world.sent[place]
    world.sent[place] = {"method": "answered", "id": 0, "params": request["params"]}
    if error:
        world.reply(request["id"], error={"code": error, "message": "as asked by the test"})
    else:
        granted = {"access_token": "access", "refresh_token": renewal, "expires_in": expires_s}
        world.reply(request["id"], result=granted)


def connected(*names: str, **limits: object) -> World:
    world = World(**KEY, **limits)  # type: ignore[arg-type]  # a test's keywords, checked by the dataclass
    world.assign(*names)
    world.connect()
    return world


def subscribed(world: World) -> list[str]:
    return [name for names in world.requests("subscribe") for name in names]


def settle(world: World) -> None:
    world.answer()
    world.sleep(0.2)
    world.answer()


def test_the_login_comes_before_heartbeats_and_channels() -> None:
    world = connected(RAW, BOOK)
    assert [request["method"] for request in world.sent] == ["public/auth", "public/set_heartbeat"]
    assert logins(world) == [
        {"grant_type": "client_credentials", "client_id": "the key", "client_secret": "the secret"}
    ]
    answer_login(world)
    settle(world)
    assert set(subscribed(world)) == {RAW, BOOK}
    assert world.session.state is FeedState.LIVE and world.session.login.standing is Standing.IN
    assert LogEvent.LOGGED_IN in world.events() and world.gaps == []


def test_a_session_without_a_key_does_not_log_in_and_takes_the_throttled_channels_when_it_must() -> None:
    world = World()
    world.assign(RAW)
    world.connect()
    world.answer(error=13778)
    settle(world)
    assert subscribed(world) == [RAW, TICKER]
    assert LogEvent.RAW_REFUSED in world.events()
    assert world.session.login.standing is Standing.ANONYMOUS


def test_a_login_is_renewed_with_its_token_before_it_ends() -> None:
    world = connected(RAW)
    answer_login(world, expires_s=100, renewal="first token")
    settle(world)
    world.sleep(79, speaking=[HEARD])
    assert logins(world) == []
    world.sleep(2, speaking=[HEARD])
    assert logins(world) == [{"grant_type": "refresh_token", "refresh_token": "first token"}]
    answer_login(world, expires_s=100, renewal="second token")
    world.sleep(81, speaking=[HEARD])
    assert logins(world) == [{"grant_type": "refresh_token", "refresh_token": "second token"}]
    assert world.session.state is FeedState.LIVE and world.gaps == []


@pytest.mark.parametrize("error", [13009, 13004, 11094])
def test_a_token_that_is_not_taken_leads_back_to_the_key(error: int) -> None:
    world = connected(RAW)
    answer_login(world, expires_s=10)
    settle(world)
    world.sleep(8.5, speaking=[HEARD])
    answer_login(world, error=error)
    assert [login["grant_type"] for login in logins(world) if isinstance(login, dict)] == ["client_credentials"]
    answer_login(world)
    assert world.session.login.standing is Standing.IN


def test_after_a_new_connection_the_login_comes_before_the_channels() -> None:
    world = connected(RAW)
    answer_login(world)
    settle(world)
    world.lose()
    before = len(world.requests("subscribe"))
    world.sleep(3)
    world.connect()
    world.sleep(1)
    assert len(logins(world)) == 1 and len(world.requests("subscribe")) == before, "no channel before the login"
    answer_login(world)
    assert world.requests("subscribe")[before:] == [[RAW]]


def test_a_wrong_key_is_told_once_and_never_tried_again() -> None:
    """LOGIN-1, also on the next connections."""
    world = connected(RAW, BOOK)
    answer_login(world, error=13004)
    settle(world)
    assert set(subscribed(world)) == {TICKER, BOOK}, "capture goes on with 100ms"
    assert world.session.state is FeedState.LIVE
    world.sleep(SLOTH_S, speaking=[HEARD])
    world.lose()
    world.sleep(3)
    world.connect()
    settle(world)
    assert logins(world) == [] and world.events().count(LogEvent.LOGIN_DENIED) == 1
    assert world.session.login.standing is Standing.DENIED


@pytest.mark.parametrize("error", [10028, 12003, 11094, -32602])
def test_a_login_that_fails_is_tried_again_and_then_the_unthrottled_channels_are_taken(error: int) -> None:
    world = connected(RAW)
    answer_login(world, error=error)
    world.sleep(5)  # a pool that must fill up first
    settle(world)
    assert set(subscribed(world)) == {TICKER}
    for _ in range(round(SLOTH_S)):
        if not logins(world):
            world.sleep(1, speaking=[HEARD])
    answer_login(world)  # one more try
    assert LogEvent.RAW_AGAIN in world.events() and world.connects == 1
    # A hole of our own: named, and not announced by the venue.
    assert [(gap.cause, gap.expected) for gap in world.gaps] == [(Cause.DISCONNECT, False)]
    world.connect()
    answer_login(world)
    settle(world)
    assert subscribed(world)[-1] == RAW and world.session.state is FeedState.LIVE


@pytest.mark.parametrize("error", [13778, 13009])
def test_a_venue_that_has_forgotten_the_login_gets_it_again_and_then_the_same_channels(error: int) -> None:
    world = connected(RAW)
    answer_login(world)
    world.answer(error=error)
    assert len(logins(world)) == 1 and subscribed(world) == [RAW]
    answer_login(world)
    settle(world)
    assert subscribed(world) == [RAW, RAW] and world.session.channels.refusals == 0


def test_a_venue_that_forgets_every_login_is_not_asked_for_ever() -> None:
    world = connected(RAW)
    for _ in range(RENEWALS_MAX):
        answer_login(world)
        world.answer(error=13778)
    answer_login(world)
    world.answer(error=13778)
    assert logins(world) == []
    settle(world)
    assert subscribed(world)[-1] == TICKER


def test_without_an_answer_the_capture_goes_on_without_a_login() -> None:
    world = connected(RAW)
    world.reply(world.sent[1]["id"], result="ok")  # to set_heartbeat
    world.sleep(11)
    assert LogEvent.LOGIN_FAILED in world.events()
    assert subscribed(world) == [TICKER]


def test_no_secret_is_shown() -> None:
    """LOGIN-2."""
    world = connected(RAW)
    actions = world.session.lost("cut", world.at)
    shown = repr((world.limits, world.told, actions, world.session.outbox.take()))
    assert "the secret" not in shown and "the key" not in shown
