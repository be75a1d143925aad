from collections import Counter
from random import Random

from cli.readers import Crowd

NOW_MS = 1_777_896_000_000


def a_crowd(*articles: str) -> Crowd:
    crowd = Crowd(Random(7))
    for article in articles:
        crowd.meet(article)
    return crowd


def test_nobody_clicks_where_nothing_is_published() -> None:
    assert a_crowd().clicks(NOW_MS) == {"article": [], "visitor": [], "at": []}


def test_columns_are_of_one_length_and_of_now() -> None:
    columns = a_crowd("a", "b").clicks(NOW_MS)
    assert len(columns["article"]) == len(columns["visitor"]) == len(columns["at"]) > 0
    assert set(columns["at"]) == {NOW_MS}


def test_a_retracted_article_is_clicked_no_more() -> None:
    crowd = a_crowd("a", "b")
    crowd.forget("a")
    crowd.forget("a")
    assert set(crowd.clicks(NOW_MS)["article"]) == {"b"}


def test_an_article_met_again_is_not_liked_twice() -> None:
    crowd = a_crowd("a", "a")
    crowd.forget("a")
    assert not crowd.clicks(NOW_MS)["article"]


def test_few_articles_get_most_clicks_and_which_ones_changes() -> None:
    crowd = a_crowd(*(f"a{number}" for number in range(40)))

    def favourites() -> list[str]:
        clicks = Counter[str]()
        for _ in range(40):
            clicks.update(crowd.clicks(NOW_MS)["article"])
        top = clicks.most_common(5)
        assert sum(count for _, count in top) > clicks.total() * 0.3
        return [article for article, _ in top]

    assert len({tuple(favourites()) for _ in range(5)}) > 1
