"""The breaker: when a group stops consuming, and when it goes on."""

from collections.abc import Iterator, Sequence
from itertools import count

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.streams.breaker import IN_A_ROW, MOST_FAILED, WINDOW, Breaker

OUTCOMES = st.lists(st.tuples(st.booleans(), st.integers(1, 120)), max_size=60).map(
    lambda runs: [fine for fine, length in runs for _ in range(length)]
)


def tell(breaker: Breaker, outcomes: Sequence[bool], ids: Iterator[int]) -> int | None:
    """How many entries were tried until it opened, each another one; None: it did not."""
    for tried, fine in enumerate(outcomes, start=1):
        if fine:
            breaker.succeeded(1)
        elif breaker.failed(f"{next(ids)}-0"):
            return tried
    return None


@given(OUTCOMES)
@example([False] * IN_A_ROW)
@example([False, *[True] * 9] * MOST_FAILED)
@example([False, *[True] * 10] * MOST_FAILED)
def test_it_opens_at_the_entry_that_makes_too_many_and_at_no_other(outcomes: list[bool]) -> None:
    def too_many(tried: int) -> bool:
        last = outcomes[max(tried - WINDOW, 0) : tried]
        row = last[-IN_A_ROW:]
        return (len(row) == IN_A_ROW and not any(row)) or last.count(False) >= MOST_FAILED

    expected = next((n for n in range(1, len(outcomes) + 1) if too_many(n)), None)
    assert tell(Breaker(), outcomes, count()) == expected


@given(st.integers(1, IN_A_ROW - 1), st.integers(1, 50))
def test_a_few_that_fail_again_and_again_never_open_it(bad: int, attempts: int) -> None:
    breaker = Breaker()
    for _ in range(attempts):
        for number in range(bad):
            assert not breaker.failed(f"{number}-0")


@given(st.lists(st.integers(1, 2_000), max_size=20))
def test_whole_batches_count_as_their_entries_do(sizes: list[int]) -> None:
    by_batch, by_entry = Breaker(), Breaker()
    ids = [f"{number}-0" for number in range(MOST_FAILED)]
    for size, id_ in zip(sizes, ids, strict=False):
        by_batch.succeeded(size)
        for _ in range(size):
            by_entry.succeeded(1)
        assert by_batch.failed(id_) == by_entry.failed(id_)


@given(OUTCOMES)
def test_a_success_closes_it_and_it_begins_anew(outcomes: list[bool]) -> None:
    ids = count()
    breaker = Breaker()
    assert tell(breaker, [False] * IN_A_ROW, ids) == IN_A_ROW
    assert not breaker.failed("more-0")
    assert [breaker.succeeded(1), breaker.succeeded(1)] == [True, False]
    assert tell(breaker, outcomes, ids) == tell(Breaker(), outcomes, count())


@pytest.mark.parametrize("fine", [WINDOW - MOST_FAILED, WINDOW])
def test_a_tenth_of_the_last_thousand_is_too_much(fine: int) -> None:
    """What is longer ago does not count."""
    breaker = Breaker()
    for number in range(MOST_FAILED - 1):
        breaker.failed(f"{number}-0")
        breaker.succeeded(1)
    breaker.succeeded(fine - MOST_FAILED + 1)
    assert breaker.failed("last-0") == (fine < WINDOW)
