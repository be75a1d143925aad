"""Comments to the log: posted once, removed by a moderator."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import orjson

from services.ingest import keys
from services.ingest.domain.comments import PostedComment
from services.ingest.publish import Repeatable
from services.ingest.records import Records
from shared.errors import Gone, NotFound, Unavailable
from shared.events import CommentPosted, CommentRemoved, Event
from shared.streams.append import Appender, Changed, Repeated, Unit, Write, entry
from shared.streams.keys import partition_of

MAX_TRIES: Final = 8


@dataclass(frozen=True, slots=True)
class Commented:
    id: str
    version: int
    outcome: str


class Comments:
    def __init__(self, appenders: Sequence[Appender], records: Records) -> None:
        """`appenders`: of `news.comments`, one a partition."""
        self._appenders = appenders
        self._records = records

    async def post(
        self, article: str, comment: PostedComment, repeatable: Repeatable, now: datetime
    ) -> Commented:
        """Raises NotFound or Gone where there is no such article to comment on. A repeat of
        what was posted before a retraction is answered as it was: it did count."""
        record = await self._records.article(article)
        if record is None or (record.version == 0 and not record.retracted):
            raise NotFound(f"article: there is no article {article[:64]!r}")
        # The article's id in front: whoever has the comment's knows its partition.
        id_ = f"{article}-{repeatable.key[:16]}"
        if record.retracted and await self._records.comment(id_, article) is None:
            raise Gone("article: it was retracted and takes no comments")
        data = CommentPosted(
            id=id_, article=article, name=comment.name, text=comment.text, posted_at=now
        )
        outcome = await self._appender(article).append(
            Unit(
                [
                    Write("HSET", keys.RECORDS, [id_, _record(1, removed=False)]),
                    entry(_event(id_, 1, article, now, data)),
                ],
                repeatable.seen(id_),
                # Nor after the time for which repeats are remembered.
                expect=[(id_, "")],
            )
        )
        if isinstance(outcome, Repeated):
            repeatable.answer_of(outcome.value)
        return Commented(id_, 1, "posted")

    async def remove(self, id_: str, now: datetime, reason: str | None = None) -> Commented:
        """Raises NotFound. Removing again changes nothing."""
        article = id_.rpartition("-")[0]
        for _ in range(MAX_TRIES):
            text = await self._records.comment(id_, article)
            if text is None:
                raise NotFound(f"id: there is no comment {id_[:80]!r}")
            version, removed = orjson.loads(text)
            if removed:
                return Commented(id_, version, "removed")
            data = CommentRemoved(
                id=id_, article=article, version=version + 1, removed_at=now, reason=reason
            )
            unit = Unit(
                [
                    Write("HSET", keys.RECORDS, [id_, _record(version + 1, removed=True)]),
                    entry(_event(id_, version + 1, article, now, data)),
                ],
                expect=[(id_, text)],
            )
            if not isinstance(await self._appender(article).append(unit), Changed):
                return Commented(id_, version + 1, "removed")
        raise Unavailable("the comment changes at this moment; send the request again")

    def _appender(self, article: str) -> Appender:
        return self._appenders[partition_of(article, len(self._appenders))]


def _record(version: int, *, removed: bool) -> str:
    return orjson.dumps([version, removed]).decode()


def _event(
    id_: str, version: int, article: str, now: datetime, data: CommentPosted | CommentRemoved
) -> Event:
    return Event(
        id=f"{id_}.{version}", source="/ingest/comments", subject=article, time=now, data=data
    )
