"""What happened between two versions of a list."""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.events import RailMove


@dataclass(frozen=True, slots=True)
class Changes:
    entered: tuple[str, ...]
    left: tuple[str, ...]
    moved: tuple[RailMove, ...]

    def __bool__(self) -> bool:
        return bool(self.entered or self.left or self.moved)


def between(old: Sequence[str], new: Sequence[str]) -> Changes:
    """Ids in order. `moved` has every article whose rank differs, whoever caused it."""
    was = {id_: rank for rank, id_ in enumerate(old, 1)}
    now = {id_: rank for rank, id_ in enumerate(new, 1)}
    return Changes(
        entered=tuple(id_ for id_ in new if id_ not in was),
        left=tuple(id_ for id_ in old if id_ not in now),
        moved=tuple(
            RailMove(id=id_, was=was[id_], now=rank)
            for id_, rank in now.items()
            if was.get(id_, rank) != rank
        ),
    )
