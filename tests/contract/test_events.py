"""No change breaks a reader of the released contract."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Annotated, Any, Literal

import pytest
from pydantic import AwareDatetime, BaseModel, Field, create_model

from shared.events import EVENT_TYPES
from shared.schemas import json_schema
from tests.contract import released
from tests.contract.compatibility import Schema, breaks

RELEASED = released.read()


@pytest.mark.parametrize("name", sorted(RELEASED))
def test_a_released_event_can_still_be_read(name: str) -> None:
    event = EVENT_TYPES.get(name)
    assert event, f"{name} is gone; it may only be joined by a .v2"
    assert event.stream.name == RELEASED[name]["stream"]
    assert breaks(RELEASED[name]["schema"], json_schema(event)) == []


def test_every_event_is_written_down() -> None:
    """A new one: `python -m tests.contract.released`."""
    assert set(RELEASED) == set(EVENT_TYPES)


def schema(**fields: Any) -> Schema:
    """Of a model with these fields; a tuple has a default."""
    known: dict[str, Any] = {
        name: kind if isinstance(kind, tuple) else (kind, ...) for name, kind in fields.items()
    }
    model: type[BaseModel] = create_model("Example", **known)
    return model.model_json_schema(mode="serialization")


INNER = create_model("Inner", a=(str, ...), b=(str, ...))
SMALLER = create_model("Inner", a=(str, ...))
LARGER = create_model("Inner", a=(str, ...), b=(str, ...), c=(str, ...))


BREAKING: Mapping[str, tuple[object, object]] = {
    "another type": (int, str),
    "a number that was whole": (int, float),
    "null": (str, str | None),
    "absent": (str, (str, "")),
    "a time that is any text": (AwareDatetime, str),
    "a value more": (Literal["a", "b"], Literal["a", "b", "c"]),
    "a value less": (Literal["a", "b"], Literal["a"]),
    "another constant": (Literal["a"], Literal["b"]),
    "a lower bound": (Annotated[int, Field(ge=1)], Annotated[int, Field(ge=0)]),
    "no lower bound": (Annotated[int, Field(ge=1)], int),
    "a longer text": (Annotated[str, Field(max_length=9)], Annotated[str, Field(max_length=10)]),
    "other items": (tuple[int, ...], tuple[str, ...]),
    "one in place of many": (tuple[int, ...], int),
    "another type in a map": (dict[str, int], dict[str, str]),
    "a field of a field gone": (INNER, SMALLER),
    "a field of items gone": (tuple[INNER, ...], tuple[SMALLER, ...]),
    "a field of what may be null gone": (INNER | None, SMALLER | None),
}
HARMLESS: Mapping[str, tuple[object, object]] = {
    "nothing": (str, str),
    "never null now": (str | None, str),
    "always there now": ((str, ""), str),
    "whole numbers only": (float, int),
    "tighter bounds": (Annotated[int, Field(ge=0, le=9)], Annotated[int, Field(ge=1, le=8)]),
    "a bound where there was none": (int, Annotated[int, Field(ge=1)]),
    "one of some where it was any": (str, Literal["a", "b"]),
    "other words": (Annotated[int, Field(title="A")], Annotated[int, Field(description="B")]),
    "another default": ((str, "a"), (str, "b")),
    "a field of a field more": (INNER | None, LARGER | None),
    "one of those it might be": (int | str | None, str | None),
}


@pytest.mark.parametrize("change", BREAKING)
def test_a_change_that_breaks_readers_is_found(change: str) -> None:
    old, new = BREAKING[change]
    (complaint,) = breaks(schema(x=old), schema(x=new))
    assert complaint.startswith("/x")


@pytest.mark.parametrize("change", HARMLESS)
def test_a_change_that_breaks_nobody_passes(change: str) -> None:
    old, new = HARMLESS[change]
    assert breaks(schema(x=old), schema(x=new)) == []


def test_a_new_field_breaks_nobody_and_one_that_is_gone_or_renamed_does() -> None:
    assert breaks(schema(a=str), schema(a=str, b=(str | None, None), c=str)) == []
    assert breaks(schema(a=str, b=(str, "")), schema(a=str)) == ["/b: is gone"]
    assert breaks(schema(a=str, b=str), schema(a=str, c=str)) == ["/b: is gone"]


@pytest.mark.parametrize("name", sorted(RELEASED))
def test_any_field_of_any_event_is_missed(name: str) -> None:
    whole = RELEASED[name]["schema"]
    assert breaks(whole, whole) == []
    for place in ("properties", *(f"$defs/{model}/properties" for model in whole.get("$defs", {}))):
        for field in reach(whole, place):
            less = deepcopy(whole)
            del reach(less, place)[field]
            assert breaks(whole, less), f"{place}/{field}"


def reach(document: Schema, place: str) -> Schema:
    for step in place.split("/"):
        document = document.get(step, {})
    return document
