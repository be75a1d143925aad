"""The life of the sample: its news is posted, and simulated readers click on it.

Both come in at the door, with a key, as a feed's and a site's would. The readers are a
crowd with one taste: of the articles in the order of their favour, the nth gets 1/n of what
the first gets, and now and then some article is talked about and comes into favour.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from random import Random
from typing import Any, Final
from uuid import uuid4

import httpx

from cli import sample
from cli.delivery import Undelivered, deliver
from cli.sample import Step
from shared.clock import now, to_ms

EVERY_S: Final = 1.5
READERS: Final = 5_000
CLICKS: Final = (6, 24)
"""At least and at most, each time."""
TALKED_ABOUT: Final = 1 / 20
"""How likely it is each time that an article comes into favour."""


class Refused(Exception):
    """The door will not have the sample; `detail` says why."""


class Crowd:
    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._in_favour: list[str] = []

    def meet(self, article: str) -> None:
        """An article that is new to the crowd may be liked by any number of it."""
        if article not in self._in_favour:
            self._in_favour.insert(self._chance.randint(0, len(self._in_favour)), article)

    def forget(self, article: str) -> None:
        if article in self._in_favour:
            self._in_favour.remove(article)

    def clicks(self, now_ms: int) -> dict[str, list[Any]]:
        """The next views, as columns."""
        if not self._in_favour:
            return {"article": [], "visitor": [], "at": []}
        if self._chance.random() < TALKED_ABOUT:
            talked_about = self._chance.choice(self._in_favour)
            self._in_favour.remove(talked_about)
            self._in_favour.insert(self._chance.randint(0, 2), talked_about)
        count = self._chance.randint(*CLICKS)
        weights = [1 / place for place in range(1, len(self._in_favour) + 1)]
        return {
            "article": self._chance.choices(self._in_favour, weights, k=count),
            "visitor": [f"sample-{self._chance.randrange(READERS)}" for _ in range(count)],
            "at": [now_ms] * count,
        }


async def live(door: httpx.AsyncClient, began: datetime, say: Callable[[str], None]) -> None:
    """Until cancelled. A door that does not answer is asked again; returns where it refuses."""
    clock = asyncio.get_running_loop().time
    opened = clock()
    due = deque(sample.steps(began))
    crowd = Crowd(Random())  # noqa: S311 - whom it pleases is no secret
    try:
        while True:
            while due and due[0].after_s <= clock() - opened and await _post(door, due[0], crowd):
                due.popleft()
            await _send(door, "/v1/views", crowd.clicks(to_ms(now())))
            await asyncio.sleep(EVERY_S)
    except Refused as refused:
        say(f"the sample readers have gone: {refused}")


async def _post(door: httpx.AsyncClient, step: Step, crowd: Crowd) -> bool:
    """Whether it was delivered."""
    answer = await _send(door, "/v1/articles", list(step.articles), feed=step.feed)
    for result in answer.get("results", ()):
        remember = crowd.forget if result["outcome"] == "retracted" else crowd.meet
        remember(result["id"])
    return bool(answer)


async def _send(
    door: httpx.AsyncClient, path: str, body: object, **params: str
) -> Mapping[str, Any]:
    """The answer; empty where there was none. Raises Refused."""
    headers = {"Idempotency-Key": uuid4().hex}
    request = door.build_request("POST", path, params=params, json=body, headers=headers)
    answer = await deliver(door, request)
    if isinstance(answer, Undelivered):
        return {}
    said: Mapping[str, Any] = answer.json()
    if not answer.is_success or answer.status_code == httpx.codes.MULTI_STATUS:
        raise Refused(said.get("detail") or answer.text[:200])
    return said
