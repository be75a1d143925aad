"""The table in front of the dict changes no answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.rails.domain import slots
from services.rails.domain.slots import Slots

IDS = st.lists(st.sampled_from([str(n) for n in range(20)]))


@given(st.lists(st.tuples(IDS, IDS)))
def test_each_article_has_one_slot_and_shares_it_with_none(
    steps: list[tuple[list[str], list[str]]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # So few that articles keep displacing each other.
        patch.setattr(slots, "PLACES", 4)
        given_, expected = Slots(), dict[str, int]()
        for named, released in steps:
            found = given_.of(named).tolist()
            for id_, slot in zip(named, found, strict=True):
                assert expected.setdefault(id_, slot) == slot == given_.get(id_)
            assert len(set(expected.values())) == len(expected)
            for id_ in set(released) & set(expected):
                given_.release(expected.pop(id_))
                assert given_.get(id_) is None
        assert {id_: slot for slot, id_ in enumerate(given_.ids) if id_} == expected
