"""What is said of a change is enough to make the new list of the old one."""

from hypothesis import given
from hypothesis import strategies as st

from services.rails.domain.changes import between

LISTS = st.lists(st.sampled_from("abcdefg"), unique=True, max_size=6)


@given(LISTS, LISTS)
def test_the_changes_lead_from_the_old_list_to_the_new(old: list[str], new: list[str]) -> None:
    changes = between(old, new)
    assert bool(changes) == (old != new)
    assert set(old) - set(changes.left) | set(changes.entered) == set(new)
    for move in changes.moved:
        assert old[move.was - 1] == new[move.now - 1] == move.id
        assert move.was != move.now
    stayed = set(new) - set(changes.entered) - {move.id for move in changes.moved}
    assert all(old.index(id_) == new.index(id_) for id_ in stayed)
