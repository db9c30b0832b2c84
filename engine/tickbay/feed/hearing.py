"""When each channel of a connection was last heard: a row for each, in arrays, so that ten thousand are looked at in
one step. Pure. A row is a subscription's as long as that lives (subscription.py); roster.py looks at the whole.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

ROWS = 64  # at first; doubled where that is too few

Times = npt.NDArray[np.int64]


class Hearing:
    def __init__(self) -> None:
        self.heard_ns: Times = np.zeros(ROWS, np.int64)  # our clock: its newest message, as last looked at …
        self.heard_mono_ns: Times = np.zeros(ROWS, np.int64)  # … and when that was new
        self.stirred = True  # some subscription is calm that was not, or is not that was: who is must be found anew
        self._free = list(range(ROWS))

    def take(self) -> int:
        """A row of nothing heard."""
        if not self._free:
            rows = len(self.heard_ns)
            self.heard_ns = np.concatenate([self.heard_ns, np.zeros(rows, np.int64)])
            self.heard_mono_ns = np.concatenate([self.heard_mono_ns, np.zeros(rows, np.int64)])
            self._free = list(range(rows, 2 * rows))
        row = self._free.pop()
        self.heard_ns[row] = self.heard_mono_ns[row] = 0
        return row

    def give(self, row: int) -> None:
        """It is nobody's."""
        self._free.append(row)
