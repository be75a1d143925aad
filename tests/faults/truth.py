"""The log against the history, and then what every read model must say.

What was given up with an unknown outcome counts if the log has it: then all must have it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from shared.events import (
    ArticleIndexed,
    ArticlePublished,
    ArticleRetracted,
    CommentPosted,
    CommentRemoved,
    Stream,
    Unreadable,
    ViewsRecorded,
    decode,
)
from shared.streams.entries import Entry
from tests.faults.history import Fate, History, Life, Row, Said
from tests.faults.model import Bag, Differences, Fact, compare

BUCKET_MS: Final = 300_000


@dataclass(slots=True)
class Truth:
    """`articles` first, then `views`: what all others must say is taken from there."""

    history: History
    lives: dict[str, Life] = field(default_factory=dict)
    """By the article's id, each with all versions that the log has of it."""
    counted: list[Row] = field(default_factory=list)
    late: list[Row] = field(default_factory=list)

    def articles(self, entries: Sequence[Entry]) -> Differences:
        by_external_id = {life.external_id: life for life in self.history.lives}
        names: dict[str, str] = {}
        found, bag = Counter[Fact](), Bag()
        last: Counter[str] = Counter()
        for data in _data(entries):
            if isinstance(data, ArticlePublished):
                article = data.article
                names[article.id] = article.external_id or ""
                id_, version = article.id, article.version
                said: Said | None = Said(article.title, article.body_text)
            else:
                assert isinstance(data, ArticleRetracted)
                id_, version, said = data.id, data.version, None
            found[names.get(id_, id_), version, said] += 1
            if version != last[id_] + 1:
                found[f"{id_}: version {version} after {last[id_]}"] += 1
            last[id_] = version
        for life in self.history.lives:
            for version, said in enumerate(life.versions, 1):
                bag.must((life.external_id, version, said))
            for version, said in enumerate(life.maybe, len(life.versions) + 1):
                bag.may((life.external_id, version, said))
                if found[life.external_id, version, said]:
                    life.versions.append(said)
        known = ((id_, by_external_id.get(name)) for id_, name in names.items())
        self.lives = {id_: life for id_, life in known if life and life.versions}
        return compare(bag, found)

    def views(self, entries: Sequence[Entry]) -> Differences:
        """A keyed request is an entry of its own, beacons share theirs."""
        bag, found = Bag(), Counter[Fact]()
        beacons = {sent.on_time[0]: sent for sent in self.history.views if sent.beacon}
        by_view = {(row.article, row.at_ms, row.engaged): row for row in beacons}
        parts = [(part, sent) for sent in self.history.views if not sent.beacon
                 for part in (sent.on_time, sent.late) if part]  # fmt: skip
        by_part = {_seen(part): (part, sent) for part, sent in parts}
        for data in _data(entries):
            assert isinstance(data, ViewsRecorded)
            seen = tuple(
                (data.articles[which], data.since + at, engaged)
                for which, at, engaged in zip(data.article, data.at, data.engaged, strict=True)
            )
            if seen in by_part:
                found[seen, data.late] += 1
            else:
                # A beacon that was sent again is the same view.
                found.update((view, data.late) for view in seen if not found[view, data.late])
        for part, sent in by_part.values():
            fact = (_seen(part), part == sent.late)
            _expect(bag, fact, sent.fate)
            if found[fact]:
                (self.late if part == sent.late else self.counted).extend(part)
        for view, row in by_view.items():
            _expect(bag, (view, False), beacons[row].fate)
            if found[view, False]:
                self.counted.append(row)
        return compare(bag, found)

    def comments(self, entries: Sequence[Entry]) -> Differences:
        bag, found = Bag(), Counter[Fact]()
        texts: dict[str, str] = {}
        for data in _data(entries):
            if isinstance(data, CommentPosted):
                texts[data.id] = data.text
                found[data.article, data.text, 1] += 1
            else:
                assert isinstance(data, CommentRemoved)
                found[data.article, texts.get(data.id, data.id), data.version] += 1
        for comment in self.history.comments:
            _expect(bag, (comment.article, comment.text, 1), comment.fate)
            _expect(bag, (comment.article, comment.text, 2), comment.removed)
        return compare(bag, found)

    def indexed(self, entries: Sequence[Entry]) -> Differences:
        """The newest version is announced once; one that was replaced within a batch is not."""
        bag, found = Bag(), Counter[Fact]()
        for data in _data(entries):
            assert isinstance(data, ArticleIndexed)
            found[data.id, data.version] += 1
        for id_, life in self.lives.items():
            *replaced, newest = enumerate(life.versions, 1)
            for version, said in replaced:
                if said:
                    bag.may((id_, version))
            if newest[1]:
                bag.must((id_, newest[0]))
        return compare(bag, found)

    def totals(self) -> Counter[Fact]:
        distinct = {(row.article, row.visitor, row.at_ms // BUCKET_MS) for row in self.counted}
        return Counter(article for article, _, _ in distinct) + Counter(
            row.article for row in self.late
        )

    def of_lists(self) -> dict[str, dict[str, Any]]:
        return {
            id_: {
                "published": life.published_ms, "sections": [life.section], "story": id_,
                "retracted": life.retracted,
            }
            for id_, life in self.lives.items()
        }  # fmt: skip


def event_ids(logs: Mapping[Stream, Sequence[Entry]]) -> Differences:
    bag, found = Bag(), Counter[Fact]()
    for stream, entries in logs.items():
        found.update((stream.name, entry.fields[b"id"].decode()) for entry in entries)
    for fact in found:
        bag.may(fact)
    return compare(bag, found)


def _data(entries: Iterable[Entry]) -> Iterable[Any]:
    for entry in entries:
        match decode(entry.fields):
            case Unreadable(reason):
                raise AssertionError(f"{entry.id} on the log: {reason}")
            case event:
                yield event.data


def _seen(part: Sequence[Row]) -> Fact:
    """Of a request's views, what the log tells them by: it hashes visitors."""
    return tuple((row.article, row.at_ms, row.engaged) for row in part)


def _expect(bag: Bag, fact: Fact, fate: Fate) -> None:
    if fate is Fate.ACKED:
        bag.must(fact)
    elif fate is Fate.MAYBE:
        bag.may(fact)
