"""newsrail dead: what groups gave up, asked of the services that own them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import httpx
import orjson
import typer
from rich.markup import escape
from rich.table import Table

from cli.console import console, fail
from cli.runfile import RUN_FILE, Run

A_PAGE: Final = 100
TIMEOUT_S: Final = 60.0

Urls = Annotated[
    list[str] | None,
    typer.Option(
        "--url", envvar="NEWSRAIL_SERVICES", help="The address of a service; once for each."
    ),
]
Key = Annotated[
    str | None, typer.Option(envvar="NEWSRAIL_KEY", help="A key with the scope operate.")
]
Data = Annotated[Path, typer.Option(help="The data folder whose run.json knows addresses and key.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Stream = Annotated[str, typer.Argument(help="Such as news.articles.")]
Group = Annotated[str, typer.Argument(help="Such as index.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Of letters.")]
All = Annotated[bool, typer.Option("--all", help="All letters of the group.")]

app = typer.Typer(no_args_is_help=True)


@app.command("list")
def list_letters(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Letters of each group.")] = 20,
    url: Urls = None,
    key: Key = None,
    data: Data = Path("data"),
    as_json: AsJson = False,
) -> None:
    """Show each group with its dead letters, the oldest first."""
    services = _services(url, key, data)
    groups = [group for address in services.addresses for group in services.groups(address, limit)]
    if as_json:
        _print({"groups": groups})
        return
    if not any(group["count"] for group in groups):
        console.print("no dead letters")
        return
    counts = Table("stream", "group", "letters", "oldest", box=None)
    letters = Table("stream", "group", "id", "attempts", "type", "subject", "reason", box=None)
    for group in groups:
        place = group["stream"], group["group"]
        counts.add_row(*place, f"{group['count']:,}", _time(group["oldest"]))
        for letter in group["letters"]:
            said = [letter[name] or "-" for name in ("type", "subject", "reason")]
            cells = (letter["id"], str(letter["attempts"]), *map(escape, said))
            letters.add_row(*place, *cells)
    console.print(counts)
    console.print(letters)


@app.command()
def show(
    stream: Stream,
    group: Group,
    letter_id: Annotated[str, typer.Argument(metavar="ID")],
    url: Urls = None,
    key: Key = None,
    data: Data = Path("data"),
    as_json: AsJson = False,
) -> None:
    """Show one letter whole, with the fields of the original entry."""
    owner = _services(url, key, data).owner(stream, group)
    answer = owner.ask("GET", f"/{letter_id}")
    if answer.status_code != httpx.codes.OK:
        fail(_detail(answer))
    letter = answer.json()
    if as_json:
        _print(letter)
        return
    fields = letter.pop("fields")
    for title, rows in (("letter", letter), ("original field", fields)):
        table = Table(title, "", box=None)
        for name, value in rows.items():
            table.add_row(escape(name), escape("-" if value is None else str(value)))
        console.print(table)


@app.command()
def redrive(
    stream: Stream,
    group: Group,
    ids: Ids = None,
    all_: All = False,
    url: Urls = None,
    key: Key = None,
    data: Data = Path("data"),
    as_json: AsJson = False,
) -> None:
    """Give letters to their group once more, and to no other. One that fails again stays.

    Exit code 0: all were redriven; 1: some were not; 2: the service cannot be asked.
    """
    owner = _services(url, key, data).owner(stream, group)
    results: list[Mapping[str, Any]] = []
    for page in owner.pages(ids or (), all_=all_):
        answer = owner.ask("POST", "/redrive", json={"ids": page})
        if answer.status_code not in {httpx.codes.OK, httpx.codes.MULTI_STATUS}:
            fail(_detail(answer))
        results += answer.json()["results"]
    _end(results, "redriven", as_json=as_json)


@app.command()
def drop(
    stream: Stream,
    group: Group,
    ids: Ids = None,
    all_: All = False,
    url: Urls = None,
    key: Key = None,
    data: Data = Path("data"),
    as_json: AsJson = False,
) -> None:
    """Drop letters for good: nobody can redrive them again.

    Exit code 0: all were dropped; 1: some were not there; 2: the service cannot be asked.
    """
    owner = _services(url, key, data).owner(stream, group)
    results: list[Mapping[str, Any]] = []
    for page in owner.pages(ids or (), all_=all_):
        for letter_id in page:
            answer = owner.ask("DELETE", f"/{letter_id}")
            problem = None if answer.status_code == httpx.codes.NO_CONTENT else answer.json()
            outcome = "missing" if problem else "dropped"
            results.append({"id": letter_id, "outcome": outcome, "problem": problem})
    _end(results, "dropped", as_json=as_json)


@dataclass(frozen=True, slots=True)
class Services:
    addresses: Sequence[str]
    key: str

    def groups(self, address: str, limit: int, **asked: str) -> list[dict[str, Any]]:
        answer = self.ask(address, "GET", "", params={"limit": str(limit), **asked})
        if answer.status_code != httpx.codes.OK:
            fail(f"{address}: {_detail(answer)}", 2)
        groups: list[dict[str, Any]] = answer.json()["groups"]
        return groups

    def owner(self, stream: str, group: str) -> "Owner":
        addresses = (a for a in self.addresses if self.groups(a, 1, stream=stream, group=group))
        address = next(addresses, None)
        if address is None:
            fail(f"no service has a group {group} on {stream}; `newsrail dead list` shows all")
        return Owner(self, address, stream, group)

    def ask(self, address: str, method: str, path: str, **more: Any) -> httpx.Response:
        """Ends the command where the service is away or refuses the key."""
        try:
            # Never through the proxy that the environment names for the world outside.
            answer = httpx.request(
                method,
                f"{address.rstrip('/')}/v1/dead{path}",
                headers={"Authorization": f"Bearer {self.key}"} if self.key else {},
                timeout=TIMEOUT_S,
                trust_env=False,
                **more,
            )
        except (httpx.TransportError, httpx.InvalidURL) as error:
            fail(f"{address} does not answer ({error}); is it running?", 2)
        refused = {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}
        if answer.is_server_error or answer.status_code in refused:
            fail(f"{address}: {_detail(answer)}", 2)
        return answer


@dataclass(frozen=True, slots=True)
class Owner:
    """The service of a group."""

    services: Services
    address: str
    stream: str
    group: str

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        return self.services.ask(self.address, method, f"/{self.stream}/{self.group}{path}", **more)

    def pages(self, ids: Sequence[str], *, all_: bool) -> Iterator[list[str]]:
        """The letters that are meant, some at a time, so that each answer comes soon."""
        if bool(ids) == all_:
            fail("name letters by their ids, or give --all", 2)
        for start in range(0, len(ids), A_PAGE):
            yield list(ids[start : start + A_PAGE])
        after = "0-0" if all_ else None
        while after:
            place = {"stream": self.stream, "group": self.group, "after": after}
            (found,) = self.services.groups(self.address, A_PAGE, **place)
            if found["letters"]:
                yield [letter["id"] for letter in found["letters"]]
            after = found["next"]


def _services(urls: Sequence[str] | None, key: str | None, data: Path) -> Services:
    run = None if urls and key else Run.read(data / RUN_FILE)
    addresses = urls or (run and [run.index, run.rails, run.ingest])
    if not addresses:
        fail(f"no newsrail runs on {data}; start one, or give --url and --key", 2)
    return Services(addresses, key or (run.key if run else ""))


def _end(results: Sequence[Mapping[str, Any]], wanted: str, *, as_json: bool) -> NoReturn:
    done = sum(result["outcome"] == wanted for result in results)
    if as_json:
        _print({"results": results})
    else:
        table = Table("id", "outcome", "why", box=None)
        for result in results:
            if problem := result["problem"]:
                table.add_row(result["id"], result["outcome"], escape(problem["detail"]))
        if table.row_count:
            console.print(table)
        console.print(f"{done:,} of {len(results):,} {wanted}")
    raise typer.Exit(0 if done == len(results) else 1)


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"{answer.url} is no service of newsrail: {answer.status_code} {answer.text[:80]!r}"


def _time(at: str | None) -> str:
    return at[:19].replace("T", " ") if at else "-"


def _print(answer: Any) -> None:
    print(orjson.dumps(answer).decode())
