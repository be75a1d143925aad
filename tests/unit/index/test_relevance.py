from hypothesis import given
from hypothesis import strategies as st

from services.index.domain.relevance import LEVELS, levels, rarity

WORDS = st.lists(st.sampled_from(["bridge", "harbour", "storm", "the"]), max_size=60)


@given(title=WORDS, body=WORDS)
def test_each_word_of_an_article_has_a_level_and_no_other_has(
    title: list[str], body: list[str]
) -> None:
    found = levels(title, body)
    assert found.keys() == {*title, *body}
    assert set(found.values()) <= set(range(1, LEVELS + 1))


@given(title=WORDS, body=WORDS)
def test_a_word_more_makes_an_article_no_less_relevant_to_it(
    title: list[str], body: list[str]
) -> None:
    before = levels(title, body).get("storm", 0)
    assert levels(title, ["storm", *body])["storm"] >= before
    assert levels(["storm", *title], body)["storm"] >= before


@given(others=WORDS, body=WORDS)
def test_a_longer_text_makes_an_article_no_more_relevant(
    others: list[str], body: list[str]
) -> None:
    longer = levels([], ["storm", *body, *(word for word in others if word != "storm")])
    assert longer["storm"] <= levels([], ["storm", *body])["storm"]


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_rarer_word_counts_no_less_and_none_counts_nothing(one: int, other: int) -> None:
    rare, common = sorted((one, other))
    assert rarity(rare, 10_000) >= rarity(common, 10_000) >= 1
