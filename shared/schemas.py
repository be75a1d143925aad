"""JSON Schemas and the AsyncAPI 3 document, generated from `shared/events.py`."""

from typing import Any

from pydantic.json_schema import models_json_schema

from shared.events import EVENT_TYPES, STREAMS, EventType, schema_id

JsonObject = dict[str, Any]

SCHEMAS = "#/components/schemas/"


def json_schema(event: EventType) -> JsonObject:
    """Draft 2020-12, of the event's `data`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": schema_id(event.name),
        **event.model.model_json_schema(mode="serialization"),
        "title": event.name,
    }


def asyncapi(version: str) -> JsonObject:
    """Every stream as a channel, every event type as a message on it.

    References lead from the root of the document: tools do not look for an `$id` on the way.
    """
    _, schemas = models_json_schema(
        [(event.model, "serialization") for event in EVENT_TYPES.values()],
        ref_template=SCHEMAS + "{model}",
    )
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "newsrail",
            "version": version,
            "license": {"name": "Apache-2.0"},
            "description": (
                "Redis streams. An entry is one CloudEvent 1.0 as plain fields: the "
                "attributes by their names, and `data`, one JSON document."
            ),
        },
        "defaultContentType": "application/json",
        "channels": {stream.name: _channel(stream.name) for stream in STREAMS},
        "operations": {
            f"receive-{stream.name}": {
                "action": "receive",
                "channel": {"$ref": f"#/channels/{stream.name}"},
            }
            for stream in STREAMS
        },
        "components": {
            "messages": {name: _message(event) for name, event in EVENT_TYPES.items()},
            "schemas": schemas["$defs"],
        },
    }


def _channel(stream: str) -> JsonObject:
    names = [name for name, event in EVENT_TYPES.items() if event.stream.name == stream]
    return {
        "address": stream,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
    }


def _message(event: EventType) -> JsonObject:
    return {
        "name": event.name,
        "contentType": "application/json",
        "headers": {
            "type": "object",
            "properties": {
                name: {"type": "string"}
                for name in ("specversion", "id", "source", "type", "subject", "time", "dataschema")
            },
        },
        "payload": {"$ref": SCHEMAS + event.model.__name__},
    }
