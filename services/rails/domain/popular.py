"""Popular now: three nested rates of distinct readers an hour, half-lives 15 minutes, 1
and 3 hours, each shrunk to the next slower one, so that one set of parameters serves
busy and quiet lists.

For each half-life H, at `now` in bucket B:

    N = sum over q of readers[B - q] * 2 ** (-q * 5 minutes / H)      in the order of q
    T = H / ln 2 * (1 - 2 ** (-age / H))     hours of weighted exposure; age at least 300 s
    r3 = (N3 + 0.5) / T3    r1 = (N1 + 5) / (T1 + 5 / r3)    rate = (N + 3) / (T + 3 / r1)

A list has what is published, not retracted, no longer embargoed and read by at least
`min_readers`; the greatest rate first, of equal ones the newer, then by id. Sums are
taken in one order and powers of two by Python, so that a plain loop over the log gives
the same bits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.rails.domain.candidates import KEPT, Candidate, candidate, of_stories, one_per_story
from services.rails.domain.catalogue import Catalogue, Section
from services.rails.domain.counts import BUCKET_MS, BUCKETS, Counts, widened

SLOTS: Final = 5
HALF_LIVES_H: Final = (0.25, 1.0, 3.0)
EVIDENCE: Final = (3.0, 5.0, 0.5)
"""Readers that each rate needs before it leaves the next slower one; for the slowest,
those every article is given."""
AGE_LEAST_S: Final = 300
NEVER: Final = 2**62

_BLOCK: Final = 1 << 13
"""Slots summed at a time, so that the sums stay in the processor's cache."""


def _weights(half_life_h: float) -> list[float]:
    return [2.0 ** (-q / (12 * half_life_h)) for q in range(BUCKETS)]


def _exposures(half_life_h: float) -> NDArray[np.float64]:
    """T by age in seconds. After 54 half-lives it no longer changes in 64 bits."""
    ages = range(int(54 * 3600 * half_life_h) + 1)
    return np.array(
        [
            half_life_h / log(2) * (1 - 2.0 ** (-max(age, AGE_LEAST_S) / 3600 / half_life_h))
            for age in ages
        ]
    )


_WEIGHTS: Final = tuple(zip(*map(_weights, HALF_LIVES_H), strict=True))
"""Of bucket B - q, for each half-life."""
_EXPOSURES: Final = tuple(map(_exposures, HALF_LIVES_H))


@dataclass(slots=True)
class _Members:
    """Slots of the articles of a section, as a set to change and as an array to rank."""

    slots: set[int] = field(default_factory=set)
    _array: NDArray[np.intp] | None = None
    _added: list[int] = field(default_factory=list)

    def add(self, slot: int) -> None:
        self.slots.add(slot)
        self._added.append(slot)

    def discard(self, slot: int) -> None:
        self.slots.discard(slot)
        self._array = None

    def ranked(self) -> NDArray[np.intp]:
        if self._array is None:
            self._array = np.fromiter(self.slots, np.intp, len(self.slots))
        elif self._added:
            self._array = np.append(self._array, self._added)
        self._added.clear()
        return self._array


class Popular:
    """The lists of one partition, kept up with its counts and its catalogue."""

    def __init__(self, counts: Counts, catalogue: Catalogue, *, min_readers: int) -> None:
        # Whoever ranked them before has looked at these.
        counts.slots.touched.update(range(len(counts.slots.ids)))
        self._counts = counts
        self._catalogue = catalogue
        self._min_readers = min_readers
        self._bucket = -1
        self._members: dict[Section, _Members] = {}
        self._sections: dict[int, tuple[Section, ...]] = {}
        self._sums = np.zeros((len(HALF_LIVES_H), 0))
        self._readers = np.zeros(0, np.int64)
        self._published_ms = np.zeros(0, np.int64)
        self._from_ms = np.zeros(0, np.int64)

    def replace(self, article: str) -> None:
        """It changed in the catalogue."""
        slot = self._counts.slots.get(article)
        if slot is not None:
            self._counts.slots.touched.add(slot)

    def rank(self, now_ms: int, *, every: bool = False) -> dict[Section, list[Candidate]]:
        """The candidates of the sections in which a count or an article changed since the
        last call; `every`: of all, for rates also change with time alone."""
        bucket = now_ms // BUCKET_MS
        self._counts.roll(bucket)
        self._grow()
        changed = self._counts.take_changed()
        every = every or bucket != self._bucket
        self._add_up(bucket, np.arange(len(changed)) if every else np.flatnonzero(changed))
        self._bucket = bucket
        moved = self._place()
        rates = self._rates(now_ms)
        lists = {
            section: self._best(members.ranked(), rates)
            for section, members in self._members.items()
            if every or section in moved or changed[members.ranked()].any()
        }
        for section in [section for section, members in self._members.items() if not members.slots]:
            del self._members[section]
        return lists

    def _grow(self) -> None:
        if len(self._readers) < self._counts.size:
            self._sums = widened(self._sums, self._counts.size)
            self._readers = widened(self._readers, self._counts.size)
            self._published_ms = widened(self._published_ms, self._counts.size)
            self._from_ms = widened(self._from_ms, self._counts.size)

    def _add_up(self, bucket: int, slots: NDArray[np.intp]) -> None:
        columns = [
            (weights, column)
            for q, weights in enumerate(_WEIGHTS)
            # A bucket without views adds zero to a sum, which changes no bit of it.
            if (column := self._counts.column(bucket - q)) is not None
        ]
        for start in range(0, len(slots), _BLOCK):
            block = slots[start : start + _BLOCK]
            sums = np.zeros((len(HALF_LIVES_H), len(block)))
            readers = np.zeros(len(block), np.int64)
            for weights, column in columns:
                cells = column[block]
                readers += cells
                for total, weight in zip(sums, weights, strict=True):
                    total += cells * weight
            self._sums[:, block] = sums
            self._readers[block] = readers

    def _place(self) -> set[Section]:
        """Puts articles whose slot or facts changed into their sections; which these are."""
        moved: set[Section] = set()
        for slot in self._counts.slots.touched:
            moved.update(self._sections.get(slot, ()))
            for section in self._sections.pop(slot, ()):
                self._members[section].discard(slot)
            id_ = self._counts.slots.ids[slot]
            facts = self._catalogue.shown(id_) if id_ else None
            self._from_ms[slot] = facts.from_ms if facts else NEVER
            if facts:
                self._published_ms[slot] = facts.published_ms
                self._sections[slot] = (None, *facts.sections)
                moved.update(self._sections[slot])
                for section in self._sections[slot]:
                    self._members.setdefault(section, _Members()).add(slot)
        self._counts.slots.touched.clear()
        return moved

    def _rates(self, now_ms: int) -> NDArray[np.float64]:
        """(rate, r1, r3) by slot; -1 where the article may not be listed."""
        rates = np.full((3, len(self._readers)), -1.0)
        may = np.flatnonzero((self._readers >= self._min_readers) & (self._from_ms <= now_ms))
        age_s = (now_ms - self._published_ms[may]) // 1000
        exposures = [table.take(age_s, mode="clip") for table in _EXPOSURES]
        fast, middle, slow = self._sums[:, may]
        r3 = (slow + EVIDENCE[2]) / exposures[2]
        r1 = (middle + EVIDENCE[1]) / (exposures[1] + EVIDENCE[1] / r3)
        rate = (fast + EVIDENCE[0]) / (exposures[0] + EVIDENCE[0] / r1)
        rates[:, may] = rate, r1, r3
        return rates

    def _best(self, slots: NDArray[np.intp], rates: NDArray[np.float64]) -> list[Candidate]:
        slots = slots[rates[0, slots] >= 0]
        looked_at = 2 * KEPT
        while True:
            best = slots
            if looked_at < len(slots):
                of_these = rates[0, slots]
                # All that are as good as the last one: equal rates are told apart below.
                best = slots[of_these >= np.partition(of_these, -looked_at)[-looked_at]]
            rows = sorted((self._row(slot, rates) for slot in best.tolist()), key=lambda r: r.place)
            if looked_at >= len(slots) or len(one_per_story(rows, KEPT)) == KEPT:
                return of_stories(rows)
            looked_at *= 4

    def _row(self, slot: int, rates: NDArray[np.float64]) -> Candidate:
        facts = self._catalogue.get(self._counts.slots.named([slot])[0])
        assert facts is not None  # noqa: S101 - it is a member of a section
        rate, r1, r3 = rates[:, slot].tolist()
        parts = {"readers": int(self._readers[slot]), "rate_1h": r1, "rate_3h": r3}
        return candidate(facts, rate, parts)


def steady(current: Sequence[str], candidates: Sequence[Candidate]) -> list[Candidate]:
    """The list that follows `current`: whoever takes a place, or goes past another, must
    beat it by the margin. Without that a list changes five times as often, for nothing.

    Afterwards no candidate beats one that is listed by more, but for those whose story is
    listed. `candidates`: the best first.
    """
    by_id: Mapping[str, Candidate] = {each.id: each for each in candidates}
    listed = one_per_story((by_id[id_] for id_ in current if id_ in by_id), SLOTS)
    for each in candidates:
        stories = [one.story for one in listed]
        if each.story in stories:
            place = stories.index(each.story)
            if each.beats(listed[place]):
                listed[place] = each
        elif len(listed) < SLOTS:
            listed.append(each)
        else:
            weakest = max(listed, key=lambda one: one.place)
            if each.beats(weakest):
                listed.remove(weakest)
                listed.append(each)
    return _settled(listed)


def _settled(listed: list[Candidate]) -> list[Candidate]:
    """Neighbours change places while the lower one beats the upper one. Ends: each change
    puts two scores in order and no other out of it."""
    place = 1
    while place < len(listed):
        if listed[place].beats(listed[place - 1]):
            listed[place - 1 : place + 1] = listed[place], listed[place - 1]
            place = max(place - 1, 1)
        else:
            place += 1
    return listed
