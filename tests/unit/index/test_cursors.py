import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.index.domain import cursors
from services.index.domain.query import parse
from services.index.store import Filters, Place, SearchRequest, Sort
from shared.errors import BadInput

ASKED = SearchRequest(parse("rain"), Filters(feeds=("wire",)))


@given(skip=st.integers(0, 10**6), key=st.none() | st.integers(0, 2**64 - 1))
def test_a_cursor_gives_its_place_back(skip: int, key: int | None) -> None:
    place = Place(skip, key)
    assert cursors.decode(cursors.encode(place, ASKED), ASKED) == place


@pytest.mark.parametrize(
    "other",
    [
        SearchRequest(parse("wind"), ASKED.filters),
        SearchRequest(ASKED.query, Filters()),
        SearchRequest(ASKED.query, ASKED.filters, Sort.RELEVANCE),
    ],
)
def test_a_cursor_of_another_query_is_refused_and_told_so(other: SearchRequest) -> None:
    with pytest.raises(BadInput, match="another query"):
        cursors.decode(cursors.encode(Place(20), ASKED), other)


@given(st.text())
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        cursors.decode(text, ASKED)
