"""The gaps that are being healed: by their key, by whose trades they want, and which of them may have ended. Pure.

After a lost connection there may be one for each instrument of the venue, so nothing here walks them all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from tickbay.healer.case import Case, Key, Window
from tickbay.healer.spans import Range


class Cases:
    def __init__(self, cases: Iterable[Case] = ()) -> None:
        self._all: dict[Key, Case] = {}
        self._untold: dict[Key, Case] = {}  # those with windows: it is not known yet who traded in them
        self._wanting: dict[str, dict[Key, Case]] = {}  # instrument → those in which trades of it were missing
        self._moved: dict[Key, Case] = {}  # those without windows of whose trades something was learnt
        self._checks = 0
        for case in cases:
            self.add(case)

    @property
    def checking(self) -> bool:
        return self._checks > 0

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Case]:
        return iter(self._all.values())

    def __contains__(self, key: Key) -> bool:
        return key in self._all

    @property
    def gaps(self) -> int:
        """How many there are; a check is none."""
        return len(self._all) - self._checks

    def get(self, key: Key) -> Case | None:
        return self._all.get(key)

    def add(self, case: Case) -> None:
        key = case.key
        self._all[key] = case
        self._checks += case.is_check
        (self._untold if case.windows else self._moved)[key] = case
        for instrument in case.wanted:
            self._wanting.setdefault(instrument, {})[key] = case

    def remove(self, key: Key) -> None:
        """Nothing where there is none."""
        case = self._all.pop(key, None)
        if case is None:
            return
        self._checks -= case.is_check
        self._untold.pop(key, None)
        self._moved.pop(key, None)
        for instrument in case.wanted:
            wanting = self._wanting[instrument]
            del wanting[key]
            if not wanting:
                del self._wanting[instrument]

    def want(self, case: Case, instrument: str, ranges: list[Range]) -> None:
        """These were missing in it too."""
        if ranges:
            case.want(instrument, ranges)
            self._wanting.setdefault(instrument, {})[case.key] = case

    def wanting(self, instrument: str) -> Collection[Case]:
        """Those in which trades of it were missing."""
        return self._wanting.get(instrument, {}).values()

    def untold(self) -> list[Case]:
        """Those of which it is not known yet who traded in them."""
        return list(self._untold.values())

    def told(self, case: Case, window: Window) -> None:
        """Who traded in this window of it is known, or never will be."""
        case.windows.remove(window)
        if not case.windows:
            del self._untold[case.key]
            self._moved[case.key] = case

    def learnt(self, instrument: str) -> None:
        """Something of its trades: that they are here, or that nobody has them."""
        for key, case in self._wanting.get(instrument, {}).items():
            if not case.windows:
                self._moved[key] = case

    def moved(self) -> list[Case]:
        """Which may have ended since this was asked last."""
        moved = list(self._moved.values())
        self._moved.clear()
        return moved
