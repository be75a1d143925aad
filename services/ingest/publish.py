"""Articles to the log: decide, append in one step, answer.

A decision stands only if the record it was made from is still there when the script
writes; else it is made again from the record as it is now.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Final, Literal
from uuid import uuid4

import orjson

from services.ingest import keys
from services.ingest.domain import versions
from services.ingest.domain.items import Refusal
from services.ingest.domain.normalise import Normalised
from services.ingest.domain.versions import Decision, Hold, Keep, Publish, Record, Retract
from services.ingest.records import Records
from shared import metrics
from shared.clock import to_ms
from shared.errors import KeyReused, NotFound, Unavailable
from shared.events import (
    ArticlePublished,
    ArticleRetracted,
    ArticleUpdated,
    Contract,
    Event,
    InputRejected,
    to_json,
)
from shared.streams.append import (
    Appender,
    Changed,
    Done,
    Repeated,
    Seen,
    Unit,
    Write,
    entry,
)
from shared.streams.keys import partition_of

MAX_TRIES: Final = 8
NO_DUE_TIME: Final = "+inf"

Status = Literal[202, 422]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one article, or of a thing that is none."""

    status: Status
    outcome: str
    id: str | None = None
    version: int | None = None
    event: str | None = None
    warnings: tuple[str, ...] = ()
    problem: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Who posts: the id of the key, and the feed."""

    sender: str
    feed: str


@dataclass(frozen=True, slots=True)
class Repeatable:
    """A request that its sender can repeat: its key, and a fingerprint of what it said."""

    key: str
    fingerprint: str

    @classmethod
    def of(cls, sender: str, route: str, key: str | None, body: bytes) -> "Repeatable":
        """Without a key the bytes are the key."""
        said = blake2b(body, digest_size=12).hexdigest()
        name = f"{sender}\0{route}\0{key or said}".encode()
        return cls(blake2b(name, digest_size=16).hexdigest(), said)

    def seen(self, answer: str) -> Seen:
        return Seen(self.key, f"{self.fingerprint} {answer}")

    def answer_of(self, stored: str) -> str:
        """The answer that the request had before. Raises KeyReused."""
        fingerprint, _, answer = stored.partition(" ")
        if fingerprint != self.fingerprint:
            raise KeyReused(
                "Idempotency-Key: it was used for another request; take a new key for a new one"
            )
        return answer


@dataclass(slots=True)
class _Plan:
    """What one partition's articles become, and what that writes."""

    writes: list[Write] = field(default_factory=list)
    expect: list[tuple[str, str]] = field(default_factory=list)
    results: dict[int, Result] = field(default_factory=dict)


class Publisher:
    def __init__(self, appenders: Sequence[Appender], rejected: Appender, records: Records) -> None:
        """`appenders`: of `news.articles`, one a partition."""
        self._appenders = appenders
        self._rejected = rejected
        self._records = records

    async def articles(
        self,
        things: Sequence[Normalised | Refusal],
        now: datetime,
        *,
        repeatable: Repeatable | None = None,
        dry_run: bool = False,
    ) -> list[Result]:
        """One result each, in order, once everything is on disk."""
        results: dict[int, Result] = {}
        posted: list[tuple[int, Normalised]] = []
        for place, thing in enumerate(things):
            if isinstance(thing, Refusal):
                results[place] = Result(
                    422, "refused", problem={"slug": thing.slug, "detail": thing.detail}
                )
            else:
                posted.append((place, thing))
        for partition, appender in enumerate(self._appenders):
            mine = [
                (place, article)
                for place, article in posted
                if partition_of(article.article.id, len(self._appenders)) == partition
            ]
            if mine:
                results |= await self._append(appender, mine, now, repeatable, dry_run)
        for result in results.values():
            metrics.ARTICLES.labels(result.outcome).inc()
        return [results[place] for place in range(len(things))]

    async def retract(
        self,
        id_: str,
        now: datetime,
        reason: str | None = None,
        repeatable: Repeatable | None = None,
    ) -> Result:
        """Raises NotFound for an article that nobody ever posted.

        Without a key a copy that was under way for long retracts an article that has been
        reinstated since: its record cannot tell that it is late.
        """
        appender = self._appenders[partition_of(id_, len(self._appenders))]
        for _ in range(MAX_TRIES):
            text = (await self._records.articles([id_])).get(id_, "")
            if not text:
                raise NotFound(f"id: there is no article {id_[:64]!r}")
            plan = _Plan()
            _add(plan, 0, id_, text, versions.retract(Record.from_json(text)), now, reason=reason)
            if not (plan.writes or repeatable):
                return plan.results[0]
            match await appender.append(_unit(plan, repeatable)):
                case Done():
                    return plan.results[0]
                case Repeated(stored) if repeatable:
                    return _results_from(repeatable.answer_of(stored))[0]
        raise Unavailable("the article changes at this moment; send the request again")

    async def reject(
        self, source: Source, route: str, refused: Iterable[tuple[int | None, str, str, str]],
        now: datetime, kept: int,
    ) -> None:  # fmt: skip
        """Keeps what a known sender had refused: (place, slug, detail, original) each."""
        writes = [
            entry(
                _event(
                    uuid4().hex,
                    source.feed,
                    source.feed,
                    now,
                    InputRejected(
                        feed=source.feed, sender=source.sender, route=route, problem=slug,
                        detail=detail, item=place, original=original,
                    ),
                ),
                cap=kept,
            )
            for place, slug, detail, original in refused
        ]  # fmt: skip
        if writes:
            await self._rejected.append(Unit(writes))

    async def _append(
        self,
        appender: Appender,
        posted: Sequence[tuple[int, Normalised]],
        now: datetime,
        repeatable: Repeatable | None,
        dry_run: bool,
    ) -> dict[int, Result]:
        ids = [article.article.id for _, article in posted]
        # A lone article is most often new: say so, and read only if that was wrong. Of
        # a whole feed most are known.
        optimistic = len(ids) == 1 and not dry_run
        known = {} if optimistic else await self._records.articles(ids)
        for _ in range(MAX_TRIES):
            plan = _plan(posted, known, now)
            if dry_run or not (plan.writes or repeatable):
                return plan.results
            match await appender.append(_unit(plan, repeatable)):
                case Done():
                    return plan.results
                case Repeated(stored) if repeatable:
                    return _results_from(repeatable.answer_of(stored))
                case Changed(records):
                    expected = (id_ for id_, _ in plan.expect)
                    known = {**known, **dict(zip(expected, records, strict=True))}
        raise Unavailable("the articles change at this moment; send the request again")


def _plan(
    posted: Sequence[tuple[int, Normalised]], known: Mapping[str, str], now: datetime
) -> _Plan:
    plan = _Plan()
    counts = versions.newest_places([article for _, article in posted])
    for index, (place, article) in enumerate(posted):
        text = known.get(article.article.id, "")
        record = Record.from_json(text) if text else None
        if index not in counts:
            version = record.version if record else None
            plan.results[place] = Result(202, "late", article.article.id, version or None)
            continue
        decision = versions.decide(record, article, now)
        _add(plan, place, article.article.id, text, decision, now, warnings=article.warnings)
    return plan


def _add(
    plan: _Plan,
    place: int,
    id_: str,
    text: str,
    decision: Decision,
    now: datetime,
    *,
    warnings: tuple[str, ...] = (),
    reason: str | None = None,
) -> None:
    """Adds to the plan what a decision writes and answers."""
    outcome, version, event = _said(decision, id_, now, reason)
    plan.results[place] = Result(
        202, outcome, id_, version or None, event.id if event else None, warnings
    )
    writes = list(writes_of(decision, id_, event))
    if writes:
        plan.expect.append((id_, text))
        plan.writes += writes


def _said(
    decision: Decision, id_: str, now: datetime, reason: str | None = None
) -> tuple[str, int, Event | None]:
    match decision:
        case Publish(article):
            outcome = "published" if decision.first else "updated"
            return outcome, article.version, published_event(decision, now)
        case Hold(record=record):
            return "held", record.version, None
        case Retract(record, published):
            data = ArticleRetracted(
                id=id_, feed=record.feed, version=max(record.version, 1), url=record.url,
                retracted_at=now, reason=reason,
            )  # fmt: skip
            event = _event(f"{id_}.{record.version}", record.feed, id_, now, data)
            return "retracted", record.version, event if published else None
        case Keep(outcome, version):
            return outcome, version, None


def published_event(decision: Publish, now: datetime) -> Event:
    article = decision.article
    kind = ArticlePublished if decision.first else ArticleUpdated
    data = kind(article=article, changed=decision.changed, correction=decision.correction)
    return _event(f"{article.id}.{article.version}", article.feed, article.id, now, data)


def writes_of(decision: Decision, id_: str, event: Event | None) -> Iterable[Write]:
    """All that a decision changes in the stream's slot."""
    record = decision.record
    if record is None:
        return
    yield Write("HSET", keys.RECORDS, [id_, record.to_json()])
    if event:
        yield entry(event)
    match decision:
        case Publish(article) if article.url and (decision.first or "url" in decision.changed):
            yield Write("HSETNX", keys.URLS, [url_hash(article.url), id_])
        case Hold(article, until):
            due: str | int = to_ms(until) if until else NO_DUE_TIME
            yield Write("ZADD", keys.HELD, [due, id_])
            yield Write("HSET", keys.HELD_ARTICLES, [id_, to_json(article)])
    if isinstance(decision, Publish | Retract) and decision.ends_hold:
        yield Write("ZREM", keys.HELD, [id_])
        yield Write("HDEL", keys.HELD_ARTICLES, [id_])


def url_hash(url: str) -> str:
    return blake2b(url.encode(), digest_size=12).hexdigest()


def _event(id_: str, feed: str, subject: str, now: datetime, data: Contract) -> Event:
    return Event(id=id_, source=f"/ingest/feeds/{feed}", subject=subject, time=now, data=data)


def _unit(plan: _Plan, repeatable: Repeatable | None = None) -> Unit:
    answer = orjson.dumps(list(plan.results.items())).decode() if repeatable else ""
    return Unit(plan.writes, repeatable.seen(answer) if repeatable else None, plan.expect)


def _results_from(answer: str) -> dict[int, Result]:
    return {place: Result(**result) for place, result in orjson.loads(answer)}
