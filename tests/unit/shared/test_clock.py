"""Milliseconds, exact both ways."""

from hypothesis import given
from hypothesis import strategies as st

from shared.clock import from_ms, now, to_ms


@given(st.integers(-(10**12), 253_402_300_799_999))
def test_milliseconds_survive_the_way_there_and_back(ms: int) -> None:
    assert to_ms(from_ms(ms)) == ms


def test_now_is_in_utc() -> None:
    assert now().utcoffset() == from_ms(0).utcoffset()
