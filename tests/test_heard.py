"""The listener's table of instruments as the session reads it, while instruments come and go on one connection."""

from __future__ import annotations

from pathlib import Path

from test_native import Rig, book, quote, text
from tickbay.feed.heard import ListenerHeard
from tickbay.record import Kind

ROOM = 16
LONG_AGO_NS, NOW_NS = 1, 1 << 62


def test_places_of_what_has_expired_are_used_again_and_the_others_keep_theirs(shm_dir: Path) -> None:
    """A connection lasts for months, and each day lists new instruments."""
    rig = Rig(shm_dir, instruments_max=ROOM)
    heard = ListenerHeard(rig.listener)
    names = [f"ETH-{number}" for number in range(ROOM // 2 + 1)]
    rig.play(text(book("ETH-0", 10), *(quote(name) for name in names)))
    times_ns = {name: heard.of(Kind.QUOTE, name) for name in names}
    chained_ns = heard.of(Kind.BOOK, "ETH-0")
    assert all(times_ns.values()) and chained_ns
    assert heard.forget_silent(LONG_AGO_NS, ()) == 0, "nobody is silent"
    kept = {"ETH-0", "ETH-3", "never heard"}
    assert heard.forget_silent(NOW_NS, kept) == len(names) - 2
    assert {name for name in names if heard.of(Kind.QUOTE, name)} == {"ETH-0", "ETH-3"}
    assert heard.of(Kind.QUOTE, "ETH-3") == times_ns["ETH-3"] and heard.of(Kind.BOOK, "ETH-0") == chained_ns
    assert rig.listener.instruments_used == 2
    assert heard.forget_silent(NOW_NS, ()) == 0, "there is room enough"
