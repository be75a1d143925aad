"""Sample news: invented places, people and houses, in the package as data.

`NAME.toml` is what feed NAME posts. An article has `minutes_ago`, or `after_s` where it is
news of the next minutes; `[[article.later]]` is its next version, with what is new in it.
All times are relative to when the sample began, so that the same steps come again from the
same beginning: a second start publishes nothing twice.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.resources import files
from itertools import groupby
from typing import Any

Article = Mapping[str, Any]
"""As `POST /v1/articles` takes it."""


@dataclass(frozen=True, slots=True)
class Step:
    after_s: int
    """Seconds after the beginning."""
    feed: str
    articles: tuple[Article, ...]
    """One post."""


def steps(began: datetime) -> list[Step]:
    """In the order of their time; what is there from the beginning is one step a feed."""
    due = [
        (after_s, feed, version)
        for feed, said in _feeds()
        for article in said["article"]
        for after_s, version in _versions(article, said["language"], began)
    ]
    due.sort(key=lambda one: one[:2])
    return [
        Step(after_s, feed, tuple(version for *_, version in group))
        for (after_s, feed), group in groupby(due, key=lambda one: one[:2])
    ]


def _feeds() -> Iterator[tuple[str, dict[str, Any]]]:
    for file in sorted(files(__name__).iterdir(), key=lambda file: file.name):
        if file.name.endswith(".toml"):
            yield file.name.removesuffix(".toml"), tomllib.loads(file.read_text("utf-8"))


def _versions(
    said: dict[str, Any], language: str, began: datetime
) -> Iterator[tuple[int, Article]]:
    """Each version of an article and when it is posted."""
    later = said.pop("later", [])
    after_s = said.pop("after_s", 0)
    ago = timedelta(minutes=said.pop("minutes_ago", 0))
    published_at = began - ago + timedelta(seconds=after_s)
    version = {"language": language, "published_at": _said(published_at), "version": 1, **said}
    yield after_s, version
    for number, change in enumerate(later, start=2):
        after_s = change.pop("after_s")
        at = _said(began + timedelta(seconds=after_s))
        if text := change.pop("correction", None):
            change["corrections"] = [{"at": at, "text": text}]
        version = {**version, **change, "version": number, "updated_at": at}
        yield after_s, version


def _said(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
