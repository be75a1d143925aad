"""newsrail post: files, folders and addresses go in at the door."""

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import uuid4

import httpx
import orjson
import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from cli.console import console, fail
from cli.delivery import Undelivered, client, deliver
from cli.documents import Document, find
from cli.runfile import RUN_FILE, Run

AT_ONCE: Final = 8
GZIP: Final = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one document. `status` is None where nobody answered."""

    place: str
    status: int | None
    answer: Mapping[str, Any]

    @property
    def results(self) -> Sequence[Mapping[str, Any]] | None:
        """None where the document as a whole was refused."""
        return self.answer.get("results")

    def line(self) -> bytes:
        said = {"problem": self.answer} if self.results is None else {"results": self.results}
        return orjson.dumps({"file": self.place, "status": self.status, **said})


@dataclass(slots=True)
class Summary:
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    """The first of each reason."""

    def add(self, outcome: Outcome) -> None:
        if outcome.status is None:
            self._add_refusal("not delivered", outcome.place, outcome.answer)
        elif outcome.results is None:
            self._add_refusal("refused", outcome.place, outcome.answer)
        for result in outcome.results or ():
            if result["problem"]:
                self._add_refusal(result["outcome"], outcome.place, result["problem"])
            else:
                self.outcomes[result["outcome"]] += 1

    def _add_refusal(self, kind: str, place: str, problem: Mapping[str, Any]) -> None:
        reason = str(problem.get("type", kind)).removeprefix("urn:newsrail:problem:")
        self.outcomes[kind] += 1
        self.reasons[reason] += 1
        self.examples.setdefault(reason, f"{place}: {problem.get('detail', '')}")

    @property
    def exit_code(self) -> int:
        if self.outcomes["not delivered"]:
            return 2
        return 1 if self.outcomes["refused"] else 0


def post(
    what: Annotated[list[str], typer.Argument(metavar="FILE|FOLDER|URL", show_default=False)],
    feed: Annotated[str | None, typer.Option(help="The feed all of it is posted for.")] = None,
    feed_per_file: Annotated[
        bool, typer.Option("--feed-per-file", help="A feed for each file, named after its path.")
    ] = False,
    to: Annotated[
        str | None, typer.Option(envvar="NEWSRAIL_INGEST_URL", help="The address of ingest.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(envvar="NEWSRAIL_KEY", help="A key that may publish.")
    ] = None,
    data: Annotated[
        Path, typer.Option(help="The data folder whose run.json knows address and key.")
    ] = Path("data"),
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for each file.")
    ] = False,
) -> None:
    """Post articles: JSON, NDJSON, RSS, Atom, gzipped or not.

    Exit code 0: all was accepted; 1: something was refused; 2: something could not be
    delivered.
    """
    if feed and feed_per_file:
        fail("--feed and --feed-per-file exclude each other; give one of them", 2)
    try:
        documents = list(find(what))
    except FileNotFoundError as missing:
        fail(f"{missing}: no such file or folder", 2)
    run = None if to and key else Run.read(data / RUN_FILE)
    address = to or (run and run.ingest)
    if not address:
        fail(f"no newsrail runs on {data}; start one with `newsrail up`, or give --to and --key", 2)
    door = Door(address, key or (run.key if run else ""), feed, feed_per_file)
    summary = asyncio.run(_post_all(door, documents, _print_line if as_json else None))
    if not as_json:
        _show(summary)
    raise typer.Exit(summary.exit_code)


@dataclass(frozen=True, slots=True)
class Door:
    address: str
    key: str
    feed: str | None
    feed_per_file: bool

    def params(self, document: Document) -> dict[str, str]:
        feed = document.feed() if self.feed_per_file else self.feed
        return {
            **({"feed": feed} if feed else {}),
            **({"url": document.place} if document.is_url else {}),
        }


async def _post_all(
    door: Door, documents: Sequence[Document], tell: Callable[[Outcome], None] | None
) -> Summary:
    summary = Summary()
    waiting = iter(documents)
    bar = _bar() if console.is_terminal and not tell else None
    async with client(door.address, door.key) as sender, httpx.AsyncClient() as web:
        with bar or nullcontext():
            task = bar.add_task("posting", total=len(documents)) if bar else None

            async def post_some(waiting: Iterable[Document]) -> None:
                for document in waiting:
                    outcome = await _post_one(door, sender, web, document)
                    summary.add(outcome)
                    if tell:
                        tell(outcome)
                    if bar and task is not None:
                        bar.advance(task)

            async with asyncio.TaskGroup() as tasks:
                for _ in range(AT_ONCE):
                    tasks.create_task(post_some(waiting))
    return summary


async def _post_one(
    door: Door, sender: httpx.AsyncClient, web: httpx.AsyncClient, document: Document
) -> Outcome:
    try:
        content, content_type = await _read(web, document)
    except (OSError, httpx.HTTPError, httpx.InvalidURL) as error:
        return _undelivered(document, f"cannot be read: {error}")
    headers = {"Idempotency-Key": uuid4().hex}
    if content_type:
        headers["Content-Type"] = content_type
    if content.startswith(GZIP):
        headers["Content-Encoding"] = "gzip"
    request = sender.build_request(
        "POST", "/v1/articles", params=door.params(document), content=content, headers=headers
    )
    answer = await deliver(sender, request)
    if isinstance(answer, Undelivered):
        return _undelivered(document, answer.reason)
    try:
        return Outcome(document.shown, answer.status_code, answer.json())
    except ValueError:
        return _undelivered(document, f"{answer.url} is no newsrail: {answer.text[:80]!r}")


async def _read(web: httpx.AsyncClient, document: Document) -> tuple[bytes, str | None]:
    if not document.is_url:
        return await asyncio.to_thread(Path(document.place).read_bytes), document.content_type()
    fetched = (await web.get(document.place, follow_redirects=True)).raise_for_status()
    return fetched.content, fetched.headers.get("Content-Type")


def _undelivered(document: Document, reason: str) -> Outcome:
    return Outcome(document.shown, None, {"title": "Not delivered", "detail": reason})


def _print_line(outcome: Outcome) -> None:
    sys.stdout.buffer.write(outcome.line() + b"\n")
    sys.stdout.buffer.flush()


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )


def _show(summary: Summary) -> None:
    table = Table("articles", "outcome", box=None)
    for outcome, count in summary.outcomes.most_common():
        table.add_row(f"{count:,}", outcome)
    console.print(table)
    if summary.reasons:
        reasons = Table("refused", "reason", "the first", box=None)
        for reason, count in summary.reasons.most_common():
            reasons.add_row(f"{count:,}", escape(reason), escape(summary.examples[reason]))
        console.print(reasons)
