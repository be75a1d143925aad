import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.documents import FEED_NAME_MAX, Document, feed_name, find

FEED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""As ingest takes it."""

places = st.text(min_size=1, max_size=200)


@given(places)
def test_a_feed_name_is_one_that_ingest_takes(place: str) -> None:
    assert FEED.fullmatch(feed_name(place))


@given(places, places)
def test_two_places_have_two_names(one: str, other: str) -> None:
    assert one == other or feed_name(one) != feed_name(other)


def test_places_that_look_alike_once_they_are_safe_are_told_apart() -> None:
    names = {
        feed_name(place) for place in ("a/b.xml", "a b.xml", "a-b.xml", "../a/b.xml", "ä/b.xml")
    }
    assert len(names) == 5


def test_a_plain_name_stays_as_it_is() -> None:
    assert feed_name("news.xml") == "news.xml"


def test_a_long_place_keeps_its_end() -> None:
    name = feed_name("folder/" * 40 + "news.xml")
    assert "news.xml-" in name
    assert len(name) <= FEED_NAME_MAX


def test_the_suffix_says_the_type_packed_or_not() -> None:
    assert Document("a/b.RSS").content_type() == "application/rss+xml"
    assert Document("a/b.ndjson.gz").content_type() == "application/x-ndjson"
    assert Document("a/b").content_type() is None


def test_a_folder_gives_its_files_in_order_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.xml", "a/c.json", ".git/config", "a/.hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [Path(one.place).relative_to(tmp_path).as_posix() for one in find([str(tmp_path)])]
    assert found == ["a/c.json", "b.xml"]


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        list(find(["nowhere.xml"]))


def test_an_address_is_not_looked_for_on_disk() -> None:
    assert [one.is_url for one in find(["https://feeds.example/rss"])] == [True]
