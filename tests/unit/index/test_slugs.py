from hypothesis import given
from hypothesis import strategies as st

from services.index.domain.slugs import slug


def test_a_slug_keeps_the_letters_of_every_script() -> None:
    assert slug("Harbour opens: 3 ships!") == "harbour-opens-3-ships"
    assert slug("시장이 문을 연다") == "시장이-문을-연다"
    assert slug("???") == "-"


@given(st.text())
def test_a_slug_is_one_part_of_a_path_and_stays_as_it_is(title: str) -> None:
    made = slug(title)
    assert made
    assert not set(made) & set("/?#% .")
    assert slug(made) == made
