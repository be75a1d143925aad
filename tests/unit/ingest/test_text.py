import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.ingest.domain import text


@given(st.text())
@example("a\u200b b\u202e\r\n\r\n\x85c")
def test_tidying_twice_changes_nothing(value: str) -> None:
    assert text.line(text.line(value)) == text.line(value)
    assert text.paragraphs(text.paragraphs(value)) == text.paragraphs(value)


@given(st.text())
def test_no_invisible_character_is_left_but_joiners(value: str) -> None:
    left = {unicodedata.category(one) for one in text.line(value) if one not in "\u200c\u200d"}
    assert not left & {"Cc", "Cs", "Zl", "Zp"}
    assert not set(text.line(value)) & set("\u200b\u202a\u202e\u2066\u2069\ufeff\u00ad")


def test_joiners_stay_where_they_shape_words_and_emoji() -> None:
    for kept in ("می\u200cخواهم", "👩\u200d🚀", "क्\u200dष"):
        assert text.line(kept) == unicodedata.normalize("NFC", kept)
    assert text.line("pass\u200dword") == "password"


def test_nbsp_without_its_semicolon_is_a_space() -> None:
    assert text.line(text.unescape("Daniel&nbspKim &amp Co")) == "Daniel Kim & Co"


def test_korean_parentheses_keep_their_form() -> None:
    assert text.line("㈜뉴스") == "㈜뉴스"


def test_paragraphs_are_divided_by_one_empty_line() -> None:
    assert text.paragraphs(" a \t b\r\nc\n \n\n\n d ") == "a b\nc\n\nd"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", 0),
        ("one two\nthree\n\nfour", 4),
        ("서울의 봄", 2),
        ("東京は今日も雨。", 7),
        ("北京2026年 Olympic games", 6),
    ],
)
def test_words_are_counted_as_editors_do(value: str, words: int) -> None:
    assert text.word_count(value) == words


@given(st.text(), st.integers(10, 50))
def test_cutting_never_leaves_more(value: str, at_most: int) -> None:
    assert len(text.cut(value, at_most)) <= at_most
