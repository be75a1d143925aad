"""Names that put what belongs together in one slot, and partitions that share the load."""

from collections import Counter
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from shared.events import VIEWS
from shared.streams.keys import belonging, dead, key, keys, partition_of


def test_one_partition_has_the_streams_own_name() -> None:
    assert keys(VIEWS) == ["news.views"]
    assert keys(VIEWS, 3) == ["news.views.00", "news.views.01", "news.views.02"]


@pytest.mark.parametrize("stream_key", keys(VIEWS) + keys(VIEWS, 100))
def test_what_belongs_to_a_stream_is_in_its_slot(stream_key: str) -> None:
    slot = key_slot(stream_key.encode())
    assert key_slot(belonging(stream_key, "seen", "12").encode()) == slot
    assert key_slot(dead(stream_key, "index").encode()) == slot


def test_names_of_one_stream_do_not_meet_those_of_another() -> None:
    assert dead(key(VIEWS, 1, 2), "rails") == "{news.views.01}:dead:rails"


@given(st.text(max_size=64), st.integers(1, 64))
def test_any_id_has_one_partition_and_keeps_it(article: str, partitions: int) -> None:
    partition = partition_of(article, partitions)
    assert 0 <= partition < partitions
    assert partition_of(article, partitions) == partition


@pytest.mark.parametrize("partitions", [2, 3, 8, 64])
def test_hashed_ids_are_spread_evenly(partitions: int) -> None:
    ids = (sha256(str(n).encode()).hexdigest()[:24] for n in range(64_000))
    sizes = Counter(partition_of(id_, partitions) for id_ in ids)
    fair = 64_000 / partitions
    assert len(sizes) == partitions
    assert all(0.8 * fair < size < 1.2 * fair for size in sizes.values())


def test_the_partitions_of_articles_never_move() -> None:
    """They are on disk: another answer would put an article's events in two partitions."""
    assert [partition_of(id_, 16) for id_ in ("00000000", "ff00", "0123456789", "news-1")] == [
        0, 0, 7, 11,
    ]  # fmt: skip
