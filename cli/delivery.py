"""A request that is sent again, as it was, until somebody has answered it.

An idempotency key makes the repeats harmless: whoever answered before, but was not
heard, gives the same answer again.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

import httpx

TRIES: Final = 5
FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 30.0
TIMEOUT_S: Final = 30.0
TOO_MANY: Final = 429


@dataclass(frozen=True, slots=True)
class Undelivered:
    """Nothing is known of the request: it may have been taken, or not."""

    reason: str


def client(base_url: str, key: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=base_url,
        headers={"Authorization": f"Bearer {key}"} if key else {},
        timeout=TIMEOUT_S,
        # Never through the proxy that the environment names for the world outside.
        mounts={"all://127.0.0.1": None, "all://localhost": None},
    )


async def deliver(
    sender: httpx.AsyncClient, request: httpx.Request, *, tries: int = TRIES
) -> httpx.Response | Undelivered:
    reason = ""
    for attempt in range(tries):
        wait_s = FIRST_WAIT_S * 2.0**attempt
        try:
            answer = await sender.send(request)
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
        else:
            if answer.status_code < 500 and answer.status_code != TOO_MANY:
                return answer
            reason = f"{answer.status_code} {answer.text[:200]}"
            wait_s = _retry_after_s(answer, wait_s)
        if attempt < tries - 1:
            await asyncio.sleep(min(wait_s, LONGEST_WAIT_S))
    return Undelivered(f"{reason} ({tries} tries)")


def _retry_after_s(answer: httpx.Response, otherwise: float) -> float:
    seconds: str = answer.headers.get("Retry-After", "")
    return float(seconds) if seconds.isdecimal() else otherwise
