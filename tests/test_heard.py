"""The listener's table of instruments as the session reads it, while instruments come and go on one connection."""

from __future__ import annotations

from pathlib import Path

from test_native import Rig, book, quote, text
from tickbay.feed.heard import ListenerHeard
from tickbay.record import Kind
from tickbay.venues.deribit import channel

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


def test_all_channels_at_once_are_heard_as_each_of_them_is(shm_dir: Path) -> None:
    rig = Rig(shm_dir, instruments_max=ROOM)
    heard = ListenerHeard(rig.listener)
    names = [f"{kind}.ETH-{number}.raw" for kind in ("ticker", "book") for number in range(4)]
    channels = tuple(map(channel, [*names, "quote.ETH-0", "trades.option.ETH.raw", "platform_state"]))

    def check(*told: str) -> None:
        newest_ns = heard.newest(channels).tolist()
        assert newest_ns == [heard.of(each.kind, each.heard_as) for each in channels]
        assert [each.name for each, ns in zip(channels, newest_ns, strict=True) if ns] == list(told)

    check()
    rig.play(text(quote("ETH-0"), quote("ETH-2"), book("ETH-1", 10), book("ETH-2", 10)))
    check("ticker.ETH-0.raw", "ticker.ETH-2.raw", "book.ETH-1.raw", "book.ETH-2.raw")
    heard.begin()
    others = [quote(f"other-{number}") for number in range(ROOM // 2)]
    rig.play(text(quote("ETH-2"), *others, book("ETH-2", 10), book("ETH-1", 10), book("ETH-1", 12, 11)), conn=6)
    check("ticker.ETH-2.raw", "book.ETH-2.raw")  # the other book's chain is broken
    used = rig.listener.instruments_used
    assert heard.forget_silent(NOW_NS, {"ETH-2"}) and rig.listener.instruments_used < used
    newcomers = [quote(f"newcomer-{number}") for number in range(used - rig.listener.instruments_used - 1)]
    rig.play(text(quote("ETH-3"), *newcomers, quote("ETH-2"), book("ETH-2", 10)), conn=7)
    assert rig.listener.instruments_used == used, "as many as before, others"
    check("ticker.ETH-2.raw", "ticker.ETH-3.raw", "book.ETH-2.raw")  # wherever they are now
