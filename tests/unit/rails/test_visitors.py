"""The set of visitors is a set, whatever comes in whichever batches."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.rails.domain.visitors import VisitorSet

PAIRS = st.lists(st.tuples(st.integers(0, 5), st.sampled_from([0, 1, 2, 2**52 - 1])))


@given(st.lists(PAIRS))
def test_a_pair_is_fresh_exactly_once(batches: list[list[tuple[int, int]]]) -> None:
    visitors, seen = VisitorSet(), set[tuple[int, int]]()
    for batch in batches:
        fresh = visitors.add(
            np.array([a for a, _ in batch], np.int32), np.array([v for _, v in batch], np.uint64)
        )
        found = [pair for pair, is_fresh in zip(batch, fresh, strict=True) if is_fresh]
        assert sorted(found) == sorted(set(batch) - seen)
        seen.update(batch)
    assert len(visitors) == len(seen)


def test_it_grows_and_forgets_none() -> None:
    rng = np.random.default_rng(7)
    visitors, seen = VisitorSet(), set[tuple[int, int]]()
    for _ in range(20):
        articles = rng.integers(0, 50, 5_000).astype(np.int32)
        readers = rng.integers(0, 1_000, 5_000).astype(np.uint64)
        fresh = visitors.add(articles, readers)
        batch = set(zip(articles.tolist(), readers.tolist(), strict=True))
        assert np.count_nonzero(fresh) == len(batch - seen)
        seen |= batch
    assert len(visitors) == len(seen)
