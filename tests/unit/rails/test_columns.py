"""The fast reading of a view entry and the model agree on every input."""

import json
from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.rails.domain.columns import Columns, decode, read
from shared.events import Unreadable, ViewsRecorded

GOOD: dict[str, Any] = {
    "articles": ["a", "b"],
    "article": [0, 1, 1],
    "visitor": [1, 2, 2**52 - 1],
    "since": 1_780_000_000_000,
    "at": [0, 5, 2**40],
    "referrer": [-1, 0, 1],
    "engaged": [0, 86_400, 3],
    "late": False,
    "dropped": {"bot": 2},
}
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.sampled_from([2**40, 2**40 + 1, 2**52 - 1, 2**52, 2**63, 2**64, 2**70, 86_400, 86_401]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "1", "x" * 64, "x" * 65, "1.0", "a"]),
    st.lists(st.one_of(st.integers(-1, 2), st.just("a"), st.just(""), st.just(1.5)), max_size=3),
    st.dictionaries(st.sampled_from("ab"), st.one_of(st.integers(), st.just("x")), max_size=2),
)


@st.composite
def nearly_good(draw: st.DrawFn) -> bytes:
    """A good entry in which a few things were replaced, lost or added."""
    said: dict[str, Any] = {name: list(v) if isinstance(v, list) else v for name, v in GOOD.items()}
    for name in draw(st.lists(st.sampled_from([*GOOD, "more"]), max_size=3)):
        value = said.get(name)
        if isinstance(value, list) and value and draw(st.booleans()):
            value[draw(st.sampled_from(range(len(value))))] = draw(ODD)
        elif isinstance(value, list) and draw(st.booleans()):
            value.append(draw(ODD))
        elif draw(st.integers(0, 4)) == 0:
            said.pop(name, None)
        else:
            said[name] = draw(ODD)
    return json.dumps(said).encode()


def as_model(data: bytes) -> ViewsRecorded | None:
    try:
        return ViewsRecorded.model_validate_json(data)
    except ValidationError:
        return None


def agree(data: bytes) -> None:
    model, columns = as_model(data), decode(data)
    if model is None:
        assert isinstance(columns, Unreadable)
        return
    assert isinstance(columns, Columns)
    assert tuple(columns.articles) == model.articles
    assert columns.article.tolist() == list(model.article)
    assert columns.visitor.tolist() == list(model.visitor)
    assert columns.at_ms.tolist() == [model.since + at for at in model.at]
    assert columns.referrer.tolist() == list(model.referrer)
    assert columns.engaged.tolist() == list(model.engaged)
    assert columns.late == model.late
    assert columns.visitor.dtype == np.int64


@given(nearly_good())
@example(json.dumps(GOOD).encode())
@example(json.dumps(GOOD | {"article": [True, 1.0, "1"]}).encode())
@example(json.dumps(GOOD | {"articles": {"a": 1, "b": 2}}).encode())
@example(json.dumps(GOOD | {"visitor": [1, 2, 3, 4], "at": [0, 5]}).encode())
@example(json.dumps({key: [] for key in GOOD} | {"since": 0, "late": 0, "dropped": {}}).encode())
def test_the_fast_reading_accepts_refuses_and_gives_what_the_model_does(data: bytes) -> None:
    agree(data)


@given(st.one_of(st.binary(), st.text().map(str.encode)))
@example(b"[]")
@example(b'{"articles": "ab"}')
@example(b"NaN")
def test_no_bytes_make_it_raise(data: bytes) -> None:
    agree(data)


def test_an_entry_of_another_type_is_unreadable() -> None:
    good = json.dumps(GOOD).encode()
    views = {b"type": b"news.views.recorded.v1", b"specversion": b"1.0", b"data": good}
    assert isinstance(read(views), Columns)
    for field in (b"type", b"specversion", b"data"):
        assert isinstance(read({**views, field: b"2"}), Unreadable)
        assert isinstance(read({name: v for name, v in views.items() if name != field}), Unreadable)
