"""Who sends: 70 % views, 25 % article operations, 5 % comments, by events."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import orjson

from shared.clock import from_ms, now, to_ms
from tests.faults.door import Answer, Door, GivenUp, Request
from tests.faults.history import (
    ENGAGED_MOST,
    Comment,
    Fate,
    History,
    Life,
    Operation,
    Post,
    Retract,
    Row,
    Said,
    Version,
    Views,
)

FEED: Final = "faults"
SECTIONS: Final = ("world", "sport", "culture", "economy")
SENDERS: Final = 16
EVENTS_PER_S: Final = 160.0
"""Of all senders together, while nothing is wrong."""
ROWS_MOST: Final = 9
ROWS_A_REQUEST: Final = 3
"""On average: half of the requests are beacons, the others carry 1 to `ROWS_MOST`."""
STEPS: Final = {"views": 70 / ROWS_A_REQUEST, "article": 25, "comment": 5}
READERS: Final = 60
RECENT: Final = 40
BROWSER: Final = "Mozilla/5.0 (X11; Linux x86_64; rv:141.0) Gecko/20100101 Firefox/141.0"


@dataclass(frozen=True, slots=True)
class _Kept:
    """A request to repeat some time later, and the answer that it must get again."""

    request: Request
    said: dict[str, Any]


class Sender:
    def __init__(
        self, door: Door, history: History, headers: Mapping[str, str], rng: Random
    ) -> None:
        self._door = door
        self._history = history
        self._rng = rng
        self._trusted = {**headers, "Content-Type": "application/json"}
        self._lives: list[Life] = []
        self._comments: list[Comment] = []
        self._kept: list[_Kept] = []
        self._settled: set[str] = set()
        """Articles that are not brought back: a late copy of their retraction, which had no
        key, might still come."""

    async def run(self, stopping: asyncio.Event) -> None:
        clock = asyncio.get_running_loop().time
        steps = {"views": self._views, "article": self._article, "comment": self._comment}
        while not stopping.is_set():
            (kind,) = self._rng.choices(list(STEPS), list(STEPS.values()))
            began = clock()
            events = await steps[kind]()
            # Nobody hurries after an outage to make up for it.
            await asyncio.sleep(max(0.0, began + events * SENDERS / EVENTS_PER_S - clock()))

    async def _views(self) -> int:
        if not self._history.published:
            return await self._article()
        if self._kept and self._rng.random() < 0.03:
            return await self._repeated()
        return await (self._beacon() if self._rng.random() < 0.5 else self._columns())

    async def _beacon(self) -> int:
        address = f"10.0.{self._rng.randrange(READERS)}.7"
        row = self._row(address, most_ago_ms=60_000)
        body = {"article": row.article, "at": row.at_ms, "engaged": row.engaged}
        headers = {"User-Agent": BROWSER, "X-Forwarded-For": address}
        request = Request("POST", "/v1/views", orjson.dumps(body), headers)
        answer = await self._door.deliver(request, self._rng)
        self._remember(Views((row,), beacon=True, fate=_fate(answer)))
        if isinstance(answer, Answer) and answer.status != 202:
            self._wrong("a beacon", answer)
        return 1

    async def _columns(self) -> int:
        rows = [
            self._row(f"reader {self._rng.randrange(READERS)}", most_ago_ms=240_000)
            for _ in range(self._rng.randint(1, ROWS_MOST))
        ]
        late = [
            Row(row.article, row.visitor, row.at_ms - 900_000, row.engaged + 1)
            for row in rows[:1]
            if self._rng.random() < 0.05
        ]
        shown = [*rows, *late]
        body = {
            "article": [row.article for row in shown],
            "visitor": [row.visitor for row in shown],
            "at": [row.at_ms for row in shown],
            "engaged": [row.engaged for row in shown],
        }
        request = Request("POST", "/v1/views", orjson.dumps(body), self._with_key())
        answer = await self._door.deliver(request, self._rng)
        self._remember(Views(tuple(rows), tuple(late), fate=_fate(answer)))
        right = {"counted": len(rows), "late": len(late), "dropped": {}}
        if isinstance(answer, Answer):
            self._keep(request, answer)
            if (answer.status, answer.said) != (202, right):
                self._wrong(f"columns, foretold {right}", answer)
        return len(shown)

    def _row(self, visitor: str, *, most_ago_ms: int) -> Row:
        known = self._history.published
        article = self._rng.choice(known[-RECENT:] if self._rng.random() < 0.7 else known)
        at_ms = to_ms(now()) - self._rng.randrange(most_ago_ms)
        return Row(article, visitor, at_ms, self._history.serial % ENGAGED_MOST)

    def _remember(self, views: Views) -> None:
        self._history.views.append(views)
        self._history.count("views", views.fate, len(views.on_time) + len(views.late))

    async def _article(self) -> int:
        if not self._lives or self._rng.random() < 0.35:
            number = f"{self._history.serial}"
            ago_ms = self._rng.randrange(60_000)
            life = Life(number, self._rng.choice(SECTIONS), to_ms(now()) - ago_ms)
            self._history.lives.append(life)
            await self._do(life, Post(self._words(life), order=self._rng.randrange(1, 5)))
        else:
            life = self._rng.choice(self._lives[-RECENT:])
            await self._do(life, self._operation(life))
        return 1

    def _operation(self, life: Life) -> Operation:
        words, newest = self._words(life), life.versions[-1]
        if newest is None:
            again: list[Operation] = [Post(words, life.order + 1), Retract()]
            if life.id not in self._settled:
                again.append(Post(words, life.order + 1, reinstated=True))
            return self._rng.choice(again)
        operations: dict[Operation, int] = {
            Post(words, life.order + self._rng.randrange(1, 4)): 55,
            Post(words, life.order - 1): 20,
            Post(newest, life.order + self._rng.randrange(2)): 10,
            Retract(): 15,
        }
        return self._rng.choices(list(operations), list(operations.values()))[0]

    def _words(self, life: Life) -> Said:
        number = self._history.serial
        return Said(f"Take {number} of story {life.external_id}", f"Rain fell {number} times.")

    async def _do(self, life: Life, operation: Operation) -> None:
        # What brings an article back says so in each of its copies: only a key tells that
        # one of them is late.
        brings_back = isinstance(operation, Post) and operation.reinstated
        has_key = brings_back or self._rng.random() < 0.7
        outcome, added = life.foretell(operation)
        version = len(life.versions) + len(added)
        request = self._request(life, operation, has_key=has_key)
        answer = await self._door.deliver(request, self._rng)
        self._history.count("articles", _fate(answer))
        if isinstance(answer, GivenUp):
            self._leave(life, added if answer.doubted else ())
            return
        allowed = {outcome}
        if answer.doubted and added and not has_key:
            allowed.add("unchanged")
        result = answer.said.get("results", [{}])[0]
        if result.get("outcome") not in allowed or result.get("version") != version:
            self._wrong(f"{life}, {operation}, foretold {outcome} {version}", answer)
            self._leave(life, added)
            return
        if not life.id:
            life.id = result["id"]
            self._lives.append(life)
            self._history.published.append(life.id)
        if isinstance(operation, Retract) and answer.doubted and not has_key:
            self._settled.add(life.id)
        life.acknowledge(operation)
        if has_key:
            self._keep(request, answer)

    def _leave(self, life: Life, maybe: tuple[Version, ...]) -> None:
        life.maybe = maybe
        if life in self._lives:
            self._lives.remove(life)

    def _request(self, life: Life, operation: Operation, *, has_key: bool) -> Request:
        headers = self._with_key() if has_key else self._trusted
        if isinstance(operation, Retract):
            return Request("DELETE", f"/v1/articles/{life.id}", headers=headers)
        body = {
            "external_id": life.external_id,
            "section": life.section,
            "published_at": from_ms(life.published_ms).isoformat(),
            "title": operation.said.title,
            "body_text": operation.said.text,
            "reinstated": operation.reinstated,
        }
        if int(life.external_id) % 2:
            body["version"] = operation.order
        else:
            at = from_ms(life.published_ms + 1000 * operation.order)
            body["updated_at"] = at.isoformat()
        return Request("POST", f"/v1/articles?feed={FEED}", orjson.dumps(body), headers)

    async def _comment(self) -> int:
        if not self._lives:
            return await self._article()
        if self._comments and self._rng.random() < 0.2:
            await self._remove(self._comments.pop())
            return 1
        life = self._rng.choice(self._lives[-RECENT:])
        comment = Comment(life.id, f"Remark {self._history.serial}", Fate.NEVER)
        body = orjson.dumps({"name": "A reader", "text": comment.text})
        headers = {**self._with_key(), "X-Forwarded-For": "10.1.0.9", "User-Agent": BROWSER}
        request = Request("POST", f"/v1/articles/{life.id}/comments", body, headers)
        answer = await self._door.deliver(request, self._rng)
        right = 410 if life.retracted else 202
        if isinstance(answer, Answer) and answer.status != right:
            self._wrong(f"a comment on {life}, foretold {right}", answer)
        if not life.retracted:
            comment.fate = _fate(answer)
            self._history.comments.append(comment)
        self._history.count("comments", comment.fate)
        if isinstance(answer, Answer) and answer.status == 202:
            comment.id = answer.said["id"]
            self._comments.append(comment)
            self._keep(request, answer)
        return 1

    async def _remove(self, comment: Comment) -> None:
        request = Request("DELETE", f"/v1/comments/{comment.id}", headers=self._trusted)
        answer = await self._door.deliver(request, self._rng)
        comment.removed = _fate(answer)
        self._history.count("comments", comment.removed)
        right = {"id": comment.id, "version": 2, "outcome": "removed"}
        if isinstance(answer, Answer) and answer.said != right:
            self._wrong(f"the removal of {comment}", answer)

    async def _repeated(self) -> int:
        """A request that was answered comes again, through all ingests at once."""
        kept = self._rng.choice(self._kept)
        for answer in await self._door.twice(kept.request):
            if answer.said != kept.said:
                self._wrong(f"a repeat of what was answered {kept.said}", answer)
        return 1

    def _keep(self, request: Request, answer: Answer) -> None:
        self._kept = [*self._kept[-20:], _Kept(request, answer.said)]

    def _with_key(self) -> dict[str, str]:
        return {**self._trusted, "Idempotency-Key": f"key-{self._rng.getrandbits(64):016x}"}

    def _wrong(self, what: str, answer: Answer | GivenUp) -> None:
        self._history.wrong.append(f"{what}: {answer}")


def _fate(answer: Answer | GivenUp) -> Fate:
    if isinstance(answer, Answer):
        return Fate.ACKED
    return Fate.MAYBE if answer.doubted else Fate.NEVER
