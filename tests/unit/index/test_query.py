"""Whatever a reader types is a query."""

from hypothesis import example, given
from hypothesis import strategies as st

from services.index.domain.query import MAX_PARTS, Query, parse, title_key


def parts(text: str) -> tuple[str, ...]:
    query = parse(text)
    assert query
    return query.parts


@given(st.text())
@example('"')
@example('""')
@example("\ud800")
def test_any_text_is_a_query(text: str) -> None:
    query = parse(text)
    assert (query is None) == (not text.strip())
    if query:
        assert len(query.parts) <= MAX_PARTS
        assert all(part == part.strip() and part for part in query.parts)


def test_quotes_make_phrases() -> None:
    assert parts('rain "the old harbour" wind') == ("rain", "the old harbour", "wind")
    assert parts("„der Hafen“ offen") == ("der Hafen", "offen")


def test_a_quote_that_is_not_closed_makes_none() -> None:
    assert parts('the "old harbour') == ("the", "old", "harbour")


def test_there_is_no_other_syntax() -> None:
    assert parts("-rain title:wind a* [x TO y]") == (
        "-rain", "title:wind", "a*", "[x", "TO", "y]",
    )  # fmt: skip


def test_nothing_typed_asks_for_all() -> None:
    assert parse(" \n") is None


def test_a_word_counts_once() -> None:
    assert parts("rain rain") == ("rain",)


def test_only_punctuation_is_looked_for_as_a_title() -> None:
    assert parse("?") == Query(title_key("?"), ("?",))


def test_titles_that_look_alike_have_one_key() -> None:
    assert title_key(" Ｆull  WIDTH\n") == title_key("full width")
    assert title_key("???") != title_key("!!!")
