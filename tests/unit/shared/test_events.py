"""The contract: an entry is plain CloudEvent fields, and reads back as what was written."""

import json
import math
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.clock import to_ms
from shared.events import (
    EVENT_TYPES,
    STREAMS,
    TYPE_OF_MODEL,
    ArticleIndexed,
    Event,
    RailArticle,
    RailEntry,
    Unreadable,
    ViewsRecorded,
    decode,
)
from tests import strategies

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
INDEXED = Event("e1", "/index", "a1", NOON, ArticleIndexed(id="a1", version=2, similar=("b",)))


def entry(event: Event) -> dict[bytes, bytes]:
    """As Redis gives it back."""
    fields = [part if isinstance(part, bytes) else part.encode() for part in event.fields()]
    return dict(zip(fields[::2], fields[1::2], strict=True))


def test_an_entry_is_a_cloud_event_that_any_client_reads() -> None:
    fields = {name.decode(): value.decode() for name, value in entry(INDEXED).items()}
    assert json.loads(fields.pop("data")) == {"id": "a1", "version": 2, "similar": ["b"]}
    assert fields == {
        "specversion": "1.0",
        "id": "e1",
        "source": "/index",
        "type": "news.article.indexed.v1",
        "subject": "a1",
        "time": "2026-05-04T12:00:00.000Z",
        "datacontenttype": "application/json",
        "dataschema": "urn:newsrail:schema:news.article.indexed.v1",
    }


@given(strategies.events)
def test_what_is_written_reads_back_the_same(event: Event) -> None:
    assert decode(entry(event)) == event


@given(strategies.events)
def test_a_reader_accepts_fields_it_does_not_know(event: Event) -> None:
    fields = entry(event)
    data = {**json.loads(fields[b"data"]), "of a newer newsrail": {"x": [1]}}
    assert decode({**fields, b"traceparent": b"x", b"data": json.dumps(data).encode()}) == event


KNOWN = entry(INDEXED)
names = st.sampled_from(list(KNOWN))


@given(st.dictionaries(st.binary(), st.binary()))
def test_fields_of_somebody_else_are_unreadable_and_no_error(fields: dict[bytes, bytes]) -> None:
    assert isinstance(decode(fields), Unreadable)


@given(names, st.binary() | st.text().map(str.encode))
@example(b"data", b"[" * 100_000)
@example(b"data", b'{"id": "a", "version": 1, "x": ' + b"[" * 100_000)
@example(b"data", b'{"id": "\\ud800", "version": 1}')
@example(b"data", b'{"id": "a", "version": ' + b"9" * 5_000 + b"}")
@example(b"data", b'{"id": "a", "version": NaN}')
@example(b"time", b"2026-05-04")
@example(b"time", b"2026-05-04T12:00:00")
@example(b"time", b"\xff")
@example(b"type", b"news.article.indexed.v2")
@example(b"specversion", b"2.0")
def test_one_foreign_field_is_no_error(name: bytes, value: bytes) -> None:
    """What still reads as an event can be written again and has a moment in time."""
    event = decode({**KNOWN, name: value})
    if isinstance(event, Event):
        assert event.fields()
        assert to_ms(event.time)
    else:
        assert len(event.reason) < 300


@given(names.filter(lambda name: name not in {b"datacontenttype", b"dataschema"}))
def test_a_missing_attribute_is_unreadable(name: bytes) -> None:
    fields = {other: value for other, value in KNOWN.items() if other != name}
    assert isinstance(decode(fields), Unreadable)


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_number_that_json_has_not_is_refused_where_it_is_made(score: float) -> None:
    """It would be written as null, and no reader could read the entry."""
    with pytest.raises(ValidationError):
        RailEntry(rank=1, article=RailArticle(id="a", title="A"), score=score)


def test_every_type_has_a_stream_and_a_model_of_its_own() -> None:
    assert {event.stream for event in EVENT_TYPES.values()} == set(STREAMS)
    assert len(TYPE_OF_MODEL) == len(EVENT_TYPES)
    assert all(name == event.name for name, event in EVENT_TYPES.items())


@pytest.mark.parametrize(
    "wrong",
    [
        {"article": (1,)},
        {"article": (-1,)},
        {"referrer": (1,)},
        {"referrer": (-2,)},
        {"visitor": ()},
        {"visitor": (2**52,)},
        {"at": (0, 1)},
        {"engaged": (-1,)},
    ],
)
def test_columns_that_do_not_fit_are_refused(wrong: dict[str, tuple[int, ...]]) -> None:
    view = {
        "articles": ("a",), "article": (0,), "visitor": (1,), "since": 0, "at": (0,),
        "referrer": (-1,), "engaged": (0,),
    }  # fmt: skip
    assert ViewsRecorded.model_validate(view)
    with pytest.raises(ValidationError):
        ViewsRecorded.model_validate({**view, **wrong})
