"""The fold gives what a plain loop over the log gives, however the log is cut."""

import random
from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from services.rails.domain.counts import BUCKET_MS, Counts
from services.rails.snapshots import packed, unpacked
from tests.oracles import rails as oracle
from tests.unit.rails.logs import (
    BEGIN_MS,
    Entry,
    arrived,
    as_counter,
    batches,
    cells_of,
    data,
    entries,
    in_ring,
)


def folded(log: list[Entry], rng: random.Random) -> tuple[Counts, Counter[str]]:
    counts, totals = Counts(), Counter[str]()
    for batch in batches(log, rng):
        counts.fold(arrived(batch))
        if rng.random() < 0.5:
            totals += Counter(dict(zip(*counts.take_totals(), strict=True)))
        if rng.random() < 0.2:
            counts.roll(batch[-1][0] // BUCKET_MS)
    return counts, totals + Counter(dict(zip(*counts.take_totals(), strict=True)))


@given(entries(), st.randoms(use_true_random=False))
def test_cells_and_totals_are_the_oracle_s_however_the_log_is_cut(
    log: list[Entry], rng: random.Random
) -> None:
    cells, totals = oracle.fold(log)
    counts, counted = folded(log, rng)
    assert counted == totals
    assert cells_of(counts) == in_ring(cells, counts.newest)


@given(entries(), st.randoms(use_true_random=False), st.booleans())
def test_a_snapshot_and_the_log_from_there_give_the_same(
    log: list[Entry], rng: random.Random, is_long: bool
) -> None:
    """As a restart does it: the cells of the snapshot, its visitors or, where they are too
    many, those of the entries a little before it, then the rest of the log."""
    cut = rng.randint(0, len(log))
    before, after = log[:cut], log[cut:]
    first, _ = folded(before, rng)
    taken = first.cells()
    kept = unpacked(packed(replace(taken, seen=None) if is_long else taken))
    counts = Counts.of(kept)
    if before and kept.seen is None:
        oldest_open = (before[-1][0] - 960_000) // BUCKET_MS * BUCKET_MS - 60_000
        again = [entry for entry in before if entry[0] >= oldest_open]
        counts.fold(arrived(again), only_visitors=True)
    assert counts.take_totals() == ([], [])
    for batch in batches(after, rng):
        counts.fold(arrived(batch))
    cells, totals = oracle.fold(log)
    assert cells_of(counts) == in_ring(cells, counts.newest)
    totals.subtract(oracle.fold(before)[1])
    assert Counter(dict(zip(*counts.take_totals(), strict=True))) == +totals


@given(entries())
def test_a_snapshot_packs_and_unpacks(log: list[Entry]) -> None:
    counts = Counts()
    counts.fold(arrived(log))
    restored = unpacked(packed(counts.cells()))
    assert restored.newest == counts.newest
    assert as_counter(restored) == cells_of(counts)


def test_slots_of_articles_nobody_reads_any_more_are_used_again() -> None:
    counts = Counts()
    for hour in range(48):
        at = BEGIN_MS + hour * 3_600_000
        counts.fold(arrived([(at, data([(f"{hour}-{n}", 1, at) for n in range(100)]))]))
        counts.take_totals()
    assert len(counts.slots.ids) <= 800
    assert counts.slots.get("47-99") is not None
    assert counts.slots.get("0-0") is None


def test_an_article_s_slot_is_kept_until_its_total_is_taken() -> None:
    counts = Counts()
    counts.fold(arrived([(BEGIN_MS, data([("a", 1, BEGIN_MS)], late=True))]))
    counts.roll(BEGIN_MS // BUCKET_MS + 100)
    assert counts.take_totals() == (["a"], [1])
    counts.roll(BEGIN_MS // BUCKET_MS + 101)
    assert counts.slots.get("a") is None
