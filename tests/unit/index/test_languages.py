import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.index.domain.languages import direction, prep


@given(st.text(alphabet=st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3), min_size=2),
       st.data())  # fmt: skip
def test_the_pairs_of_a_piece_stand_together_in_the_pairs_of_the_whole(
    run: str, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(run) - 2))
    end = data.draw(st.integers(start + 2, len(run)))
    assert prep(run[start:end]) in prep(run)


def test_pairs_are_made_of_runs_only() -> None:
    assert prep("Seoul 경제가 3월") == "Seoul  경제 제가  3 월 "
    assert prep("ＡＢＣ ｶﾞｽ") == "ABC  ガス "
    assert prep("Größe") == "Größe"


@pytest.mark.parametrize(
    ("language", "expected"),
    [("ar", "rtl"), ("ar-EG", "rtl"), ("he", "rtl"), ("az-Arab", "rtl"), ("ku-Latn", "ltr"),
     ("en", "ltr"), ("ko-KR", "ltr"), (None, "auto")],
)  # fmt: skip
def test_the_direction_follows_the_language(language: str | None, expected: str) -> None:
    assert direction(language) == expected
