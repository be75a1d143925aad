"""Whether a reader of an older schema still understands what a newer newsrail writes.

A reader ignores fields it does not know; of those it knows, it holds on to name, type,
bounds and whether they are there. So data of the new schema must be data of the old one.
"""

from collections.abc import Iterator
from typing import Any, Final

Schema = dict[str, Any]

LOWER: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
UPPER: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
WITHIN: Final = {"number": ["number", "integer"]}
SAME: Final = ("const", "format", "pattern")


def breaks(old: Schema, new: Schema) -> list[str]:
    """What would break a reader of `old`, each with its place; empty: nothing."""
    return list(_breaks(_Node(old, old), _Node(new, new), ""))


class _Node:
    """A schema within a document, its reference followed."""

    def __init__(self, schema: Schema, document: Schema) -> None:
        while "$ref" in schema:
            schema = document["$defs"][schema["$ref"].removeprefix("#/$defs/")]
        self.schema = schema
        self.document = document

    def child(self, schema: Schema) -> "_Node":
        return _Node(schema, self.document)

    def choices(self) -> list["_Node"]:
        return [self.child(schema) for schema in self.schema.get("anyOf", [self.schema])]


def _breaks(old: _Node, new: _Node, place: str) -> Iterator[str]:
    """Each thing that `new` allows must be one that `old` allows."""
    for choice in new.choices():
        complaints = [list(_differences(known, choice, place)) for known in old.choices()]
        # The choice that comes nearest says best what is wrong.
        yield from min(complaints, key=len)


def _differences(old: _Node, new: _Node, place: str) -> Iterator[str]:
    was, now = old.schema, new.schema
    if "type" in was and now.get("type") not in WITHIN.get(was["type"], [was["type"]]):
        yield f"{place}: was {was['type']}, is {now.get('type', 'anything')}"
        return
    if "enum" in was and set(was["enum"]) != set(now.get("enum", [])):
        yield f"{place}: one of {was['enum']}, now of {now.get('enum')}"
    for name in SAME:
        if name in was and was[name] != now.get(name):
            yield f"{place}: {name} was {was[name]}, is {now.get(name)}"
    for names, sign in ((LOWER, 1), (UPPER, -1)):
        for name in names:
            if name in was and sign * now.get(name, -sign * float("inf")) < sign * was[name]:
                yield f"{place}: {name} was {was[name]}, is {now.get(name)}"
    for name, schema in was.get("properties", {}).items():
        within = f"{place}/{name}"
        if name not in now.get("properties", {}):
            yield f"{within}: is gone"
            continue
        if name in was.get("required", []) and name not in now.get("required", []):
            yield f"{within}: was always there, may be absent"
        yield from _breaks(old.child(schema), new.child(now["properties"][name]), within)
    for name in ("items", "additionalProperties"):
        if isinstance(was.get(name), dict):
            yield from _breaks(
                old.child(was[name]), new.child(now.get(name) or {}), f"{place}/{name}"
            )
