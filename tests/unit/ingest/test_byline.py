import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.domain import byline


@pytest.mark.parametrize(
    ("written", "authors", "credit"),
    [
        ("By Daniel Kim and Jane Doe", ["Daniel Kim", "Jane Doe"], None),
        ("Daniel Kim, Jane Doe", ["Daniel Kim", "Jane Doe"], None),
        ("Daniel Kim Views", ["Daniel Kim"], None),
        ("Daniel Kim 1,234 views", ["Daniel Kim"], None),
        ("Jane Doe Updated 5 hours ago", ["Jane Doe"], None),
        ("김민수 기자", ["김민수"], None),
        ("(서울=연합뉴스) 김민수 기자 kim@news.example.com", ["김민수"], None),
        ("記者：李明、王芳", ["李明", "王芳"], None),
        ("田中太郎記者", ["田中太郎"], None),
        ("AP Yonhap News", [], "AP Yonhap News"),
        ("By Jane Doe, Reuters", ["Jane Doe"], "Reuters"),
        ("BBC News, Seoul", [], "BBC News"),
        ("Reuters; Jane Doe", ["Jane Doe"], "Reuters"),
        ("Doe, Jane", ["Jane Doe"], None),
        ("jane@example.com (Jane Doe)", ["Jane Doe"], None),
        ("Jane Doe <jane@example.com>", ["Jane Doe"], None),
        ("jane@example.com", [], None),
        ("JANE DOE", ["Jane Doe"], None),
        ("Post Malone", ["Post Malone"], None),
        ("Andy Warhol", ["Andy Warhol"], None),
        ("Martin Luther King, Jr.", ["Martin Luther King, Jr."], None),
        ("Von Anna Müller und Ben Vogt", ["Anna Müller", "Ben Vogt"], None),
        ("Kim Min-soo, Staff Writer", ["Kim Min-soo"], None),
    ],
)
def test_a_byline_is_names(written: str, authors: list[str], credit: str | None) -> None:
    assert byline.names(written) == (tuple(authors), credit)


@given(st.text(max_size=3000))
def test_no_byline_is_too_odd(written: str) -> None:
    authors, _ = byline.names(written)
    assert all(authors)
