"""Entries to counts: the one way, whether they are read as they come or once more."""

from collections.abc import Sequence
from typing import Final

from services.rails.domain.columns import read
from services.rails.domain.counts import Arrived, Counts
from shared.events import Unreadable
from shared.streams.entries import Entry

READ_MOST: Final = 100
FOLD_MOST: Final = 50
"""Entries at a time, so that the arrays stay in the processor's cache."""


def fold(
    counts: Counts, entries: Sequence[Entry], *, only_visitors: bool = False
) -> list[tuple[str, str]]:
    """Which of them cannot be read: id and reason. For `only_visitors` see `Counts.fold`."""
    unreadable: list[tuple[str, str]] = []
    for start in range(0, len(entries), FOLD_MOST):
        arrived = []
        for entry in entries[start : start + FOLD_MOST]:
            match read(entry.fields):
                case Unreadable(reason):
                    unreadable.append((entry.id, f"unreadable: {reason}"))
                case columns:
                    arrived.append(Arrived(entry.at_ms, columns))
        counts.fold(arrived, only_visitors=only_visitors)
    return unreadable
