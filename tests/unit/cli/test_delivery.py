import httpx

from cli.delivery import Undelivered, deliver

AT_ONCE = {"Retry-After": "0"}


class Network:
    """Answers with these, one a request; an exception is a connection that fails."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = iter(answers)
        self.heard: list[tuple[bytes, str]] = []
        self.client = httpx.AsyncClient(
            transport=httpx.MockTransport(self._answer), base_url="http://ingest.example"
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.heard.append((request.content, request.headers["Idempotency-Key"]))
        answer = next(self.answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def deliver(self, tries: int = 5) -> httpx.Response | Undelivered:
        request = self.client.build_request(
            "POST", "/v1/articles", content=b"{}", headers={"Idempotency-Key": "k"}
        )
        async with self.client:
            return await deliver(self.client, request, tries=tries)


async def test_busy_and_full_are_asked_again_with_the_same_bytes_and_key() -> None:
    network = Network(*(httpx.Response(s, headers=AT_ONCE) for s in (503, 429, 500, 202)))
    answer = await network.deliver()
    assert isinstance(answer, httpx.Response)
    assert answer.status_code == 202
    assert network.heard == [(b"{}", "k")] * 4


async def test_a_refusal_is_an_answer() -> None:
    network = Network(httpx.Response(422))
    assert isinstance(await network.deliver(), httpx.Response)
    assert len(network.heard) == 1


async def test_it_gives_up_and_says_why() -> None:
    network = Network(*[httpx.Response(503, text="the log is full", headers=AT_ONCE)] * 3)
    answer = await network.deliver(tries=3)
    assert answer == Undelivered("503 the log is full (3 tries)")


async def test_a_door_that_is_shut_is_no_crash() -> None:
    network = Network(httpx.ConnectError("connection refused"))
    assert await network.deliver(tries=1) == Undelivered("connection refused (1 tries)")
