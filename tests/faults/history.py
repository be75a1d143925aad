"""What was sent, and what was answered.

An operation ends in one of three ways: it was acknowledged (it counts, once), it was given
up while its outcome was unknown (it may count, once), or it never reached a service whole
(it must not count). A plain model of an article says what each answer has to be.
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import Final


class Fate(Enum):
    ACKED = "acked"
    MAYBE = "maybe"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Said:
    """What a version of an article says."""

    title: str
    text: str


Version = Said | None
"""None: it is retracted."""


@dataclass(frozen=True, slots=True)
class Post:
    said: Said
    order: int
    """The feed's own: of two, the higher is the newer."""
    reinstated: bool = False


@dataclass(frozen=True, slots=True)
class Retract:
    pass


Operation = Post | Retract


@dataclass(slots=True)
class Life:
    """An article. One sender alone changes it, one operation after the other, so that the
    outcome of each is known before it is sent."""

    external_id: str
    section: str
    published_ms: int = field(repr=False)
    id: str = ""
    versions: list[Version] = field(default_factory=list, repr=False)
    order: int = 0
    maybe: tuple[Version, ...] = ()
    """What an operation that was given up would have added; nothing is sent after it."""

    @property
    def retracted(self) -> bool:
        return bool(self.versions) and self.versions[-1] is None

    def foretell(self, operation: Operation) -> tuple[str, tuple[Version, ...]]:
        """The outcome, and what it adds to the versions."""
        match operation:
            case Retract():
                return "retracted", () if self.retracted else (None,)
            case Post(reinstated=False) if self.retracted:
                return "retracted", ()
            case Post(order=order) if order < self.order:
                return "late", ()
            case Post(said=said) if self.versions[-1:] == [said]:
                return "unchanged", ()
            case Post(said=said):
                is_new = not self.versions or self.retracted
                return "published" if is_new else "updated", (said,)

    def acknowledge(self, operation: Operation) -> None:
        outcome, added = self.foretell(operation)
        self.versions += added
        if isinstance(operation, Post) and outcome in {"published", "updated", "unchanged"}:
            self.order = operation.order


@dataclass(frozen=True, slots=True)
class Row:
    """A view. `engaged` tells it from all others of that article and millisecond."""

    article: str
    visitor: str
    at_ms: int
    engaged: int


@dataclass(frozen=True, slots=True)
class Views:
    """A request's views, as the entries that they become."""

    on_time: tuple[Row, ...]
    late: tuple[Row, ...] = ()
    beacon: bool = False
    """Has no key: a repeat is in the log again, and is the same view."""
    fate: Fate = Fate.ACKED


@dataclass(slots=True)
class Comment:
    article: str
    text: str
    fate: Fate
    id: str = ""
    removed: Fate = Fate.NEVER


ENGAGED_MOST: Final = 86_000


@dataclass(slots=True)
class History:
    lives: list[Life] = field(default_factory=list)
    published: list[str] = field(default_factory=list)
    """The ids of those that were answered, the newest last."""
    views: list[Views] = field(default_factory=list)
    comments: list[Comment] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """Answers that the promise does not allow."""
    acked: Counter[str] = field(default_factory=Counter)
    """Events by kind; each view of a request is one."""
    maybe: Counter[str] = field(default_factory=Counter)
    _serial: int = 0

    @property
    def serial(self) -> int:
        """A number that nothing else has."""
        self._serial += 1
        return self._serial

    def count(self, kind: str, fate: Fate, events: int = 1) -> None:
        if fate is Fate.ACKED:
            self.acked[kind] += events
        elif fate is Fate.MAYBE:
            self.maybe[kind] += events
