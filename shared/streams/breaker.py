"""When a group stops consuming: a bug must not drain its stream into the dead letters.

It opens when the last `IN_A_ROW` entries failed, or `MOST_FAILED` of the last `WINDOW`. An
entry that fails again says nothing new, so a few bad ones that are tried over and over
never open it. The first success while it is open closes it, and it begins anew.

(As arroyo's limit for dead letters: max_consecutive_count and max_invalid_ratio.)
"""

from collections import deque
from itertools import islice
from typing import Final

IN_A_ROW: Final = 20
WINDOW: Final = 1_000
MOST_FAILED: Final = 100


class Breaker:
    def __init__(self) -> None:
        self.is_open = False
        self._last: deque[str | None] = deque(maxlen=WINDOW)
        """Of each entry, in the order they were tried, its id where it failed."""

    def succeeded(self, count: int) -> bool:
        """Whether that closed it."""
        was_open, self.is_open = self.is_open, False
        if was_open:
            self._last.clear()
        self._last.extend([None] * count)
        return was_open

    def failed(self, entry_id: str) -> bool:
        """Whether that opened it."""
        if self.is_open or entry_id in self._last:
            return False
        self._last.append(entry_id)
        row = list(islice(reversed(self._last), IN_A_ROW))
        in_a_row = len(row) == IN_A_ROW and None not in row
        self.is_open = in_a_row or len(self._last) - self._last.count(None) >= MOST_FAILED
        return self.is_open
