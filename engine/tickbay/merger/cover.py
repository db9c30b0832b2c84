"""Which of the legs' holes are holes of the pair: those that both have at the same time. Pure.

In: the gaps that the two feeds record of themselves, in any order. Out: the pair's gaps, written twice like all that
last. A broken chain of one leg's book or trades is none of them: what the two together lack is told by the ids
(native/merge.c).

GAP-1: the two connections bring the same message at different times. `late_ns` is for each leg how far it was behind
the other one at most. What one leg missed comes over the other one that much later, so a hole that begins there soon
after may have the same message in it; and the pair's hole is wider by the greater of the two on both sides.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from tickbay.gap import Cause, Gap
from tickbay.record import Kind

KEEP_NS = 3600 * 10**9  # a feed that was down tells only when it is back what it missed
HOLES_MAX = 10_000  # kept of each leg; a hole that is older and over meets no new one
NEVER_NS = 1 << 62

APART_NS = 10**9  # from the end of a leg's hole until the other leg is not needed, at least

Key = tuple[object, ...]
Late = tuple[int, int]  # of each leg


@dataclass(slots=True)
class Cover:
    """The holes of both legs, and what was told of the pair."""

    holes: tuple[dict[Key, Gap], dict[Key, Gap]] = field(default_factory=lambda: ({}, {}))
    told: dict[tuple[Key, Key], Gap] = field(default_factory=dict)
    # What an earlier life told: holes that both legs had, of which we know no more than that, and broken chains.
    before: dict[Key, Gap] = field(default_factory=dict)
    broken_before: dict[Key, Gap] = field(default_factory=dict)

    def add(self, leg: int, gap: Gap, *, late_ns: Late) -> list[Gap]:
        """A record of a leg's gap stream; returns what is to be recorded of the pair."""
        if gap.cause is Cause.SEQUENCE:
            return []
        self.holes[leg][gap.key] = gap
        self._forget(leg, gap.to_ns or gap.from_ns)
        news: list[Gap] = []
        for other in list(self.holes[1 - leg].values()):
            both = (gap, other) if leg == 0 else (other, gap)
            shared = _shared(both, late_ns)
            if shared is not None:
                keys = (both[0].key, both[1].key)
                news += self._tell(keys, shared)
        return news

    def _tell(self, keys: tuple[Key, Key], shared: Gap) -> list[Gap]:
        known = self.told.get(keys) or self._of_earlier_life(shared)
        if known is None:
            self.told[keys] = shared
            return [replace(shared, to_ns=0), shared] if shared.to_ns else [shared]
        shared = replace(shared, cause=known.cause, from_ns=known.from_ns)  # what makes it the same hole
        if known.to_ns and known.to_ns >= shared.to_ns:  # told as wider than it proves to be now
            self.told[keys] = known
            return []
        self.told[keys] = shared
        if shared.key in self.before:  # else one that is over would last for ever, and have all later ones in it
            self.before[shared.key] = shared
        return [shared] if shared.to_ns else []

    def _of_earlier_life(self, shared: Gap) -> Gap | None:
        """The last one that it may be. For a new life it begins no earlier: the legs are not known to be late yet."""
        found = [
            gap
            for gap in self.before.values()
            if (gap.kind, gap.instrument) == (shared.kind, shared.instrument)
            and gap.from_ns <= shared.from_ns <= (gap.to_ns or NEVER_NS)
        ]
        return max(found, key=lambda gap: gap.from_ns, default=None)

    def has(self, kind: Kind, instrument: str, from_ns: int, to_ns: int) -> bool:
        """Is there a told hole of the pair in which messages of this time may be missing?"""
        return any(
            gap.kind in (None, kind)
            and gap.instrument in ("", instrument)
            and gap.from_ns <= to_ns
            and from_ns <= (gap.to_ns or NEVER_NS)
            for gap in (*self.told.values(), *self.before.values())
        )

    def depends_on(self, leg: int, now_ns: int, *, late_ns: Late) -> bool:
        """Is this leg the only one that has all? It is while the other one is away, and until a moment later: what that
        one missed may still be on its way over this one."""
        since_ns = now_ns - max(APART_NS, 2 * late_ns[leg])  # it may become later yet
        return any(
            not gap.instrument and gap.kind is None and (not gap.to_ns or gap.to_ns >= since_ns)
            for gap in self.holes[1 - leg].values()
        )

    def open(self) -> list[Gap]:
        """Holes of the pair that last."""
        return [gap for gap in (*self.told.values(), *self.before.values()) if not gap.to_ns]

    def _forget(self, leg: int, now_ns: int) -> None:
        """What is over for long."""
        holes = self.holes[leg]
        old = [key for key, gap in holes.items() if gap.to_ns and gap.to_ns < now_ns - KEEP_NS]
        for key in old if len(holes) < HOLES_MAX else [*old, *holes][: len(holes) // 2]:
            holes.pop(key, None)
        if old:
            known = (self.holes[0], self.holes[1])
            self.told = {keys: gap for keys, gap in self.told.items() if keys[0] in known[0] and keys[1] in known[1]}

    # -------- kept between two lives

    def state(self) -> dict[str, Any]:
        """For JSON."""
        return {"holes": [[_plain(gap) for gap in leg.values()] for leg in self.holes]}

    @classmethod
    def of_state(cls, state: dict[str, Any], told: Iterable[Gap]) -> Cover:
        """`told`: what the pair's own gap stream has, newest last. KeyError, ValueError, TypeError: it is no state."""
        cover = cls()
        for leg, gaps in zip(cover.holes, state["holes"], strict=True):
            for gap in map(_gap, gaps):
                leg[gap.key] = gap
        for gap in told:
            (cover.broken_before if gap.cause is Cause.SEQUENCE else cover.before)[gap.key] = gap
        return cover


def _shared(holes: tuple[Gap, Gap], late_ns: Late) -> Gap | None:
    """What a hole of each leg have in common; None where that is nothing."""
    one, other = holes
    if one.instrument and other.instrument and one.instrument != other.instrument:
        return None
    if one.kind and other.kind and one.kind is not other.kind:
        return None
    begun_ns, ended_ns = max(one.from_ns, other.from_ns), min(one.to_ns or NEVER_NS, other.to_ns or NEVER_NS)
    later, behind_ns = (one, late_ns[0]) if one.from_ns >= other.from_ns else (other, late_ns[1])
    if begun_ns > ended_ns + behind_ns:
        return None
    skew_ns = max(late_ns)
    last_ns = max(one.to_ns or NEVER_NS, other.to_ns or NEVER_NS)
    return Gap(
        cause=later.cause,
        from_ns=max(min(one.from_ns, other.from_ns), begun_ns - skew_ns),
        to_ns=0 if ended_ns == NEVER_NS else min(last_ns, ended_ns + skew_ns),
        kind=one.kind or other.kind,
        instrument=one.instrument or other.instrument,
        count=min(one.count, other.count) if one.cause is other.cause else 0,
        expected=one.expected and other.expected,
        detail=f"both legs: {later.detail}",
    )


def _plain(gap: Gap) -> dict[str, Any]:
    return {
        "cause": int(gap.cause), "from_ns": gap.from_ns, "to_ns": gap.to_ns, "kind": int(gap.kind or 0),
        "instrument": gap.instrument, "count": gap.count, "expected": gap.expected, "detail": gap.detail,
    }  # fmt: skip


def _gap(plain: dict[str, Any]) -> Gap:
    kind = Kind(plain["kind"]) if plain["kind"] else None
    return Gap(**{**plain, "cause": Cause(plain["cause"]), "kind": kind})
