"""Popular now is the oracle's list, bit for bit, and moves only with reason."""

import random
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.rails.domain.candidates import MARGIN, Candidate, merged, one_per_story
from services.rails.domain.catalogue import Section
from services.rails.domain.counts import BUCKET_MS, Counts
from services.rails.domain.popular import SLOTS, Popular, steady
from tests.oracles import rails as oracle
from tests.unit.rails.logs import (
    BEGIN_MS,
    IDS,
    SECTIONS,
    Entry,
    arrived,
    articles,
    batches,
    catalogue,
    data,
    entries,
    facts,
)

SCORES = st.sampled_from([1.0, 1.02, 1.04, 1.06, 1.1, 1.2, 2.0])


@st.composite
def candidates(draw: st.DrawFn) -> list[Candidate]:
    """Sorted; some share a story, many are within the margin of each other."""
    rows = [
        Candidate(id_, draw(st.sampled_from([id_, id_, "s1", "s2"])), 0, draw(SCORES), "", None, None)
        for id_ in draw(st.lists(st.sampled_from(IDS), unique=True))
    ]  # fmt: skip
    return merged([rows])


def scored(rows: list[Candidate]) -> list[tuple[str, float]]:
    return [(row.id, row.score) for row in one_per_story(rows, 20)]


@given(entries(), st.randoms(use_true_random=False), st.integers(1, 3))
def test_every_list_is_the_oracle_s_bit_for_bit(
    log: list[Entry], rng: random.Random, min_readers: int
) -> None:
    """Ranked now and then while the log is read, in which articles appear and go."""
    now_ms = (log[-1][0] if log else BEGIN_MS) + rng.choice([0, 200_000, 4_000_000])
    known = articles(rng, now_ms)
    counts, books = Counts(), catalogue(known)
    popular = Popular(counts, books, min_readers=min_readers)
    lists: dict[Section, list[Candidate]] = {}
    version = 1
    for batch in batches(log, rng):
        counts.fold(arrived(batch))
        counts.take_totals()
        if rng.random() < 0.3:
            lists |= popular.rank(max(entry[0] for entry in batch))
        if rng.random() < 0.3:
            version += 1
            id_ = rng.choice(IDS)
            known[id_] = articles(rng, now_ms).get(id_, gone(now_ms))
            books.put(facts(id_, known[id_], version))
            popular.replace(id_)
    lists |= popular.rank(now_ms, every=True)
    cells, _ = oracle.fold(log)
    for section in (None, *SECTIONS):
        expected = oracle.popular(cells, known, now_ms, section=section, min_readers=min_readers)
        assert scored(lists.get(section, [])) == expected


def test_only_lists_with_a_change_are_ranked_again() -> None:
    counts, known = Counts(), articles(random.Random(1), BEGIN_MS)
    known |= {id_: there() for id_ in "ab"}
    known["a"]["sections"], known["b"]["sections"] = ["world"], ["sport"]
    popular = Popular(counts, catalogue(known), min_readers=1)
    counts.fold(arrived([(BEGIN_MS, data([("a", 1, BEGIN_MS), ("b", 1, BEGIN_MS)]))]))
    assert set(popular.rank(BEGIN_MS)) == {None, "world", "sport"}
    assert popular.rank(BEGIN_MS + 1) == {}
    counts.fold(arrived([(BEGIN_MS, data([("a", 2, BEGIN_MS)]))]))
    assert set(popular.rank(BEGIN_MS + 2)) == {None, "world"}
    assert set(popular.rank(BEGIN_MS + BUCKET_MS)) == {None, "world", "sport"}


def test_equal_scores_beyond_what_is_looked_at_are_told_apart_by_id() -> None:
    counts, at = Counts(), BEGIN_MS
    ids = [f"{n:03}" for n in range(500)]
    known = {id_: there() | {"story": id_} for id_ in ids}
    popular = Popular(counts, catalogue(known), min_readers=1)
    counts.fold(arrived([(at, data([(id_, 1, at) for id_ in reversed(ids)]))]))
    assert [row.id for row in popular.rank(at)[None]] == ids[:20]


def test_a_story_many_tell_leaves_room_for_others() -> None:
    counts, at = Counts(), BEGIN_MS
    ids = [f"{n:03}" for n in range(500)]
    known = {id_: there() | {"story": "one" if id_ < "400" else id_} for id_ in ids}
    popular = Popular(counts, catalogue(known), min_readers=1)
    views = [(id_, reader, at) for id_ in ids for reader in range(2 if id_ < "400" else 1)]
    counts.fold(arrived([(at, data(views))]))
    rows = one_per_story(popular.rank(at)[None], 20)
    assert [row.id for row in rows] == ["000", *ids[400:419]]


@given(candidates(), st.lists(st.sampled_from(IDS), unique=True, max_size=SLOTS))
def test_afterwards_nobody_beats_who_is_listed_by_more_than_the_margin(
    rows: list[Candidate], current: list[str]
) -> None:
    listed = steady(current, rows)
    stories = {row.story for row in listed}
    assert len(stories) == len(listed) == min(SLOTS, len({row.story for row in rows}))
    for outsider in rows:
        rivals = [row for row in listed if row.story == outsider.story]
        if outsider.story not in stories:
            rivals = listed
        assert all(outsider.score <= MARGIN * row.score for row in rivals)
    for upper, lower in pairwise(listed):
        assert lower.score <= MARGIN * upper.score


@given(candidates(), st.lists(st.sampled_from(IDS), unique=True, max_size=SLOTS))
def test_a_list_that_was_just_made_stays(rows: list[Candidate], current: list[str]) -> None:
    listed = steady(current, rows)
    assert steady([row.id for row in listed], rows) == listed


@given(candidates())
def test_the_first_list_is_the_plain_one(rows: list[Candidate]) -> None:
    assert steady([], rows) == one_per_story(rows, SLOTS)


@given(candidates(), st.lists(st.sampled_from(IDS), unique=True, max_size=SLOTS))
def test_whoever_leaves_was_beaten_or_is_no_candidate(
    rows: list[Candidate], current: list[str]
) -> None:
    by_id = {row.id: row for row in rows}
    members = one_per_story((by_id[id_] for id_ in current if id_ in by_id), SLOTS)
    listed = steady(current, rows)
    for gone in (row for row in members if row not in listed):
        assert any(row.score > MARGIN * gone.score for row in listed)


def there() -> dict[str, Any]:
    return {"published": 0, "sections": [], "story": "s1", "retracted": False}


def gone(now_ms: int) -> dict[str, Any]:
    return there() | {"published": now_ms, "retracted": True}
