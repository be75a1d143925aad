from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cli.sample import steps

BEGAN = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)

Posted = dict[tuple[str, str], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def posted() -> Posted:
    """The versions of each article, by feed and its id, in the order they are posted."""
    versions: Posted = {}
    for step in steps(BEGAN):
        for article in step.articles:
            versions.setdefault((step.feed, article["external_id"]), []).append(dict(article))
    return versions


def test_it_is_about_forty_articles_of_six_languages_and_more(posted: Posted) -> None:
    languages = {versions[0]["language"] for versions in posted.values()}
    assert 38 <= len(posted) <= 45
    assert languages == {"en", "ko", "ja", "zh-Hans", "de", "ar", "fr", "es"}


def test_each_of_five_sections_fills_its_rail(posted: Posted) -> None:
    sections = Counter(versions[0]["section"] for versions in posted.values())
    assert set(sections) == {"world", "business", "science", "culture", "sport"}
    assert min(sections.values()) >= 6


def test_no_feed_uses_an_id_twice(posted: Posted) -> None:
    for versions in posted.values():
        assert [one["version"] for one in versions] == list(range(1, len(versions) + 1))


def test_two_stories_are_told_by_three_feeds_each(posted: Posted) -> None:
    for word in ("Tamsin Orrock", "Tarnfell Ice Institute"):
        told = [key for key, versions in posted.items() if word in versions[0]["body_text"]]
        assert len({feed for feed, _ in told}) == len(told) == 3


def test_there_are_updates_one_correction_and_one_retraction(posted: Posted) -> None:
    later = [version for versions in posted.values() for version in versions[1:]]
    corrected = [version for version in later if "corrections" in version]
    retracted = [version for version in later if version.get("status") == "canceled"]
    assert len(corrected) == len(retracted) == 1
    assert len(later) - 2 >= 3


def test_all_is_posted_within_the_first_minute(posted: Posted) -> None:
    assert {step.after_s for step in steps(BEGAN)} >= {0}
    assert max(step.after_s for step in steps(BEGAN)) <= 60


def test_nothing_is_published_before_it_is_posted(posted: Posted) -> None:
    for step in steps(BEGAN):
        for article in step.articles:
            at = BEGAN + timedelta(seconds=step.after_s)
            assert datetime.fromisoformat(article["published_at"]) <= at
            assert datetime.fromisoformat(article.get("updated_at", at.isoformat())) <= at


def test_the_same_beginning_gives_the_same_steps() -> None:
    assert steps(BEGAN) == steps(BEGAN)


def test_each_article_is_written_as_a_house_would(posted: Posted) -> None:
    for versions in posted.values():
        for one in versions:
            assert one["title"]
            assert one["summary"]
            assert one["authors"]
            assert one["tags"]
            assert one["body_text"].strip().count("\n\n") >= 1, one["title"]
