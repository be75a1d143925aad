"""Any value that the contract allows, made from its models: a new event needs nothing here."""

from collections.abc import Mapping, Sequence
from datetime import UTC
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, get_args, get_origin

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from pydantic import AwareDatetime, BaseModel
from pydantic.fields import FieldInfo

from shared.clock import EPOCH
from shared.events import TYPE_OF_MODEL, Contract, Event, ViewsRecorded

MAX_INT = 2**53
moments = st.datetimes(min_value=EPOCH.replace(tzinfo=None), timezones=st.just(UTC))
PLAIN: dict[object, SearchStrategy[Any]] = {
    NoneType: st.none(),
    bool: st.booleans(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    AwareDatetime: moments,
}


def of(model: type[BaseModel]) -> SearchStrategy[Any]:
    if model is ViewsRecorded:
        return views_recorded()
    fields = model.model_fields.items()
    return st.builds(model, **{name: _value(f.annotation, f.metadata) for name, f in fields})


def _value(kind: Any, limits: Sequence[object] = ()) -> SearchStrategy[Any]:
    arguments = get_args(kind)
    if kind in PLAIN:
        return PLAIN[kind]
    if kind is str:
        return st.text(
            min_size=_limit(limits, "min_length", 0), max_size=_limit(limits, "max_length", 40)
        )
    if kind is int:
        most = min(_limit(limits, "le", MAX_INT), _limit(limits, "lt", MAX_INT + 1) - 1)
        return st.integers(_limit(limits, "ge", -MAX_INT), most)
    match get_origin(kind):
        case _ if kind is Annotated or hasattr(kind, "__metadata__"):
            said = [f.metadata if isinstance(f, FieldInfo) else [f] for f in kind.__metadata__]
            return _value(kind.__origin__, [limit for limits in said for limit in limits])
        case origin if origin is UnionType:
            return st.one_of(*map(_value, arguments))
        case origin if origin is Literal:
            return st.sampled_from(arguments)
        case origin if origin is tuple:
            return st.lists(_value(arguments[0]), max_size=4).map(tuple)
        case origin if origin is Mapping:
            return st.dictionaries(*map(_value, arguments), max_size=4)
    if issubclass(kind, Enum):
        return st.sampled_from(kind)
    return of(kind)


def _limit(limits: Sequence[object], name: str, otherwise: int) -> int:
    return next((getattr(limit, name) for limit in limits if hasattr(limit, name)), otherwise)


@st.composite
def views_recorded(draw: st.DrawFn) -> ViewsRecorded:
    """Its columns fit each other."""
    fields = {name: field.annotation for name, field in ViewsRecorded.model_fields.items()}
    articles = draw(_value(fields["articles"]))
    n = draw(st.integers(0, 4)) if articles else 0

    def column(values: SearchStrategy[int]) -> tuple[int, ...]:
        return tuple(draw(st.lists(values, min_size=n, max_size=n)))

    return ViewsRecorded(
        articles=articles,
        article=column(st.integers(0, len(articles) - 1) if articles else st.nothing()),
        visitor=column(_value(get_args(fields["visitor"])[0])),
        since=draw(st.integers(0, 253_402_300_799_999)),
        at=column(_value(get_args(fields["at"])[0])),
        referrer=column(st.integers(-1, len(articles) - 1)),
        engaged=column(_value(get_args(fields["engaged"])[0])),
        late=draw(st.booleans()),
        dropped=draw(_value(fields["dropped"])),
    )


models: SearchStrategy[type[Contract]] = st.sampled_from(list(TYPE_OF_MODEL))
data: SearchStrategy[Contract] = models.flatmap(of)
events = st.builds(
    Event,
    id=st.text(),
    source=st.text(),
    subject=st.text(),
    # An entry carries its time in milliseconds.
    time=moments.map(lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000)),
    data=data,
)
