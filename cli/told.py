"""An entry as a line: for people, or as JSON for programs."""

from datetime import UTC, datetime
from typing import Any

import orjson

from cli.console import fail
from shared.clock import from_ms, to_ms
from shared.events import (
    ArticlePublished,
    ArticleRetracted,
    CommentPosted,
    Event,
    InputRejected,
    RailChanged,
    Unreadable,
    ViewsRecorded,
    decode,
)
from shared.streams.entries import Entry

WIDTH = 90


def as_json(stream_key: str, entry: Entry) -> bytes:
    """`event` is the CloudEvent; of an entry that is none, `fields` are all there is."""
    place = {"stream": stream_key, "entry": entry.id}
    if isinstance(decode(entry.fields), Unreadable):
        fields = {_text(name): _text(value) for name, value in entry.fields.items()}
        return orjson.dumps({**place, "fields": fields})
    event: dict[str, Any] = {_text(name): _text(value) for name, value in entry.fields.items()}
    event["data"] = orjson.Fragment(entry.fields[b"data"])
    return orjson.dumps({**place, "event": event})


def as_line(stream_key: str, entry: Entry) -> str:
    at = from_ms(entry.at_ms).astimezone()
    match decode(entry.fields):
        case Unreadable(reason):
            kind, about, words = "unreadable", stream_key, reason
        case Event() as event:
            kind, about, words = event.type.name, event.subject, _words(event)
    return f"{at:%H:%M:%S} {kind.removeprefix('news.'):24} {about:24.24} {words:.{WIDTH}}"


def _words(event: Event) -> str:
    match event.data:
        case ArticlePublished(article=article, changed=changed):
            changes = f" ({', '.join(changed)})" if changed else ""
            return f"v{article.version} {article.title}{changes}"
        case ArticleRetracted(version=version, reason=reason):
            return f"v{version} {reason or ''}"
        case ViewsRecorded(articles=articles, article=views, late=late):
            return f"{len(views)} {'late ' if late else ''}views of {len(articles)} articles"
        case CommentPosted(name=name, text=text):
            return f"{name}: {text}"
        case InputRejected(feed=feed, detail=detail):
            return f"{feed}: {detail}"
        case RailChanged(version=version, entries=entries):
            return f"v{version} " + " | ".join(entry.article.title for entry in entries)
        case data:
            return data.model_dump_json(exclude_defaults=True)


def time_ms(text: str) -> int:
    """Of RFC 3339, or of such a time without an offset, which is then UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{text!r} is no time; write it as 2026-05-04T12:00", 2)
    return to_ms(at if at.tzinfo else at.replace(tzinfo=UTC))


def _text(value: bytes) -> str:
    return value.decode(errors="backslashreplace")
